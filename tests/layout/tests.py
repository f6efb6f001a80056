"""Checks the tests themselves: each unit test beside its source is known to ctest, none may skip, and each has a limit.

usage: tests.py CTEST BUILD_FOLDER ROOT
"""

import json
import pathlib
import re
import subprocess
import sys

from report import finish


def is_left_out(folder, root, build):
    """A transport that is loaded at run time and that this build does not have."""
    modules = re.findall(r"^hmc_add_module\((\w+)", (root / "cmake/modules.cmake").read_text(encoding="utf-8"), re.M)
    return folder in modules and not (pathlib.Path(build) / f"hmc/libhmc-{folder}.so").exists()


def main():
    ctest, build, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    listed = subprocess.run([ctest, "--show-only=json-v1"], cwd=build, stdout=subprocess.PIPE, check=True)
    tests = {test["name"]: {item["name"]: item["value"] for item in test.get("properties", [])}
             for test in json.loads(listed.stdout)["tests"]}
    faults = []
    for source in sorted((root / "src").rglob("*_test.c")):
        name = "unit." + str(source.relative_to(root / "src"))[: -len("_test.c")].replace("/", ".")
        if name not in tests and not is_left_out(source.parent.name, root, build):
            faults.append(f"{source.relative_to(root)} is no test: {name} is unknown")
    for name, properties in tests.items():
        if properties.get("DISABLED") or "SKIP_RETURN_CODE" in properties or "SKIP_REGULAR_EXPRESSION" in properties:
            faults.append(f"{name} is disabled or may skip itself")
        if "TIMEOUT" not in properties:
            faults.append(f"{name} has no TIMEOUT")
        if "alone" in properties.get("LABELS", []) and not properties.get("RUN_SERIAL"):
            faults.append(f"{name} has the label alone, but not RUN_SERIAL")
    finish(faults, len(tests), "tests")


main()
