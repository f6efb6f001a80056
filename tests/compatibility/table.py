"""Checks docs/compatibility.md against the names of the seed documents, the sources and the tests.

usage: table.py CTEST BUILD_FOLDER ROOT

Every name of names.txt has a row; each row's file has the name in it; its test is one that ctest knows, and the source
of that test really uses the name: a call with its parenthesis, outside of comments.
"""

import json
import pathlib
import re
import subprocess
import sys

ROW = re.compile(r"^\| `([^`]+)` \|[^|]*\| `([^`]+)` \| `([^`]+)` \|$")

# Where the source of a test lies, by the start of its name; the longest that fits.
SOURCES = {
    "cpp.memory": "tests/cpp/memory_test.cpp",
    "cpp.control": "tests/cpp/control_test.cpp",
    "cpp.communicator.": "tests/cpp/communicator_test.cpp",
    "cpp.exchange.": "tests/cpp/exchange_test.cpp",
    "cpp.samples.memory": "tests/compatibility/001_memory.cpp",
    "cpp.samples.control": "tests/compatibility/001_control.cpp",
    "cpp.samples.first_": "tests/compatibility/001_communicator.cpp",
    "cpp.samples.second_": "tests/compatibility/002_communicator.cpp",
    "unit.ctrl.control": "src/ctrl/control_test.c",
    "apps.uhm": "tests/apps/uhm.py",
    "compatibility.options": "tests/compatibility/options.py",
}


def source_of(test):
    fitting = [start for start in SOURCES if test == start or (test.startswith(start) and start[-1] in "._")]
    return SOURCES[max(fitting, key=len)] if fitting else None


def without_comments(path, text):
    if path.suffix in {".c", ".cpp", ".hpp"}:
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        return re.sub(r"//[^\n]*", "", text)
    if path.suffix == ".py":
        return re.sub(r'"""([^"]|"(?!""))*"""', "", text)
    return text


def uses(path, name, is_test):
    """True where the file has the name; in a test a call must be made, or the object of a constructor."""
    text = without_comments(path, path.read_text(encoding="utf-8"))
    word = re.escape(name.rstrip("()").rsplit("::", 1)[-1])
    if not is_test or not name.endswith("()"):
        return re.search(rf"(?:(?<![\w-])|(?<=-D)){word}(?!\w)", text) is not None
    if "::" in name:
        return re.search(rf"(?:\.|->|::){word}(?:<\w+>)?\(", text) is not None
    return re.search(rf"(?<!\w){word}(?: \w+|>)?\(", text) is not None


def rows_of(document):
    rows, is_ours = {}, False
    for line in document.read_text(encoding="utf-8").splitlines():
        if not is_ours:  # other tables have another head
            is_ours = line.startswith("| name |")
            continue
        is_ours = bool(line)
        match = ROW.match(line)
        if match:
            rows.setdefault(match.group(1), []).append(match.groups()[1:])
        elif line.startswith("| `"):
            yield None, line
    yield from rows.items()


def main():
    ctest, build, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    listed = subprocess.run([ctest, "--show-only=json-v1"], cwd=build, stdout=subprocess.PIPE, check=True)
    tests = {test["name"] for test in json.loads(listed.stdout)["tests"]}
    faults, rows = [], {}
    for name, found in rows_of(root / "docs/compatibility.md"):
        if name is None:
            faults.append(f"not a row of four cells: {found}")
        else:
            rows[name] = found
    names = [line for line in (root / "tests/compatibility/names.txt").read_text(encoding="utf-8").splitlines()
             if line and not line.startswith("#")]
    faults += [f"{name} has no row" for name in names if name not in rows]
    for name, places in rows.items():
        for where, test in places:
            home = root / where
            if not home.is_file() or not uses(home, name, False):
                faults.append(f"{name} is not in {where}")
            source = source_of(test)
            if test not in tests:
                faults.append(f"{name}: there is no test {test}")
            elif source is None:
                faults.append(f"{name}: it is not known where the source of {test} lies")
            elif not uses(root / source, name, True):
                faults.append(f"{name} is not used by {test}, {source}")
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults or not names:
        sys.exit(f"{len(faults)} faults, {len(names)} names")
    print(f"checked {len(names)} names, {sum(len(places) for places in rows.values())} rows")


main()
