"""Runs the blocks of the documents that are marked for it, in the order of each document, as a reader would.

    run.py ROOT BUILD PYTHON [DOCUMENT...]

A comment on the line before a block says what becomes of it:

    <!-- run -->                 sh: by bash, stopping at the first failure; c, cpp: compiled and run; python: run
    <!-- run: oshrun -n 4 -->    c: compiled by oshcc and started by that command
    <!-- file: NAME -->          saved as NAME; NAME.sh, .service, .yaml and .json are also checked for their syntax
    <!-- shown: FILE -->         not run here: FILE of this tree is a program that does what the block shows

A block without such a comment is a fault, unless it is in no language or in `text`.

The blocks of one document share a folder, which is their HOME too; build/release lies in it, as in the tree. Programs of the build are in PATH under their own
names, and pkg-config, the compilers and Python find an installation of the build, made for the test.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^(?:<!-- (run|file|shown)(?:: *([^>]*?))? -->\n\s*)?```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LIMIT = 600  # seconds; only there to end what hangs


def run(command, folder, environment):
    """Why a command fails, or None."""
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return f"did not end within {LIMIT} s"
    said = done.stdout.decode("utf-8", "replace")
    return None if done.returncode == 0 else f"ended with {done.returncode}:\n{said}"


def compiled(folder, language, code, launcher, environment):
    source = folder / f"block.{language}"
    source.write_text(code, encoding="utf-8")
    if launcher:
        fault = run(["oshcc", str(source), "-o", "block"], folder, environment)
        return fault or run([*launcher.split(), "./block"], folder, environment)
    packages = ["smem"] if "<smem/" in code else ["hmc"]
    words = subprocess.run(["pkg-config", "--cflags", "--libs", *packages], env=environment, stdout=subprocess.PIPE,
                           check=True, universal_newlines=True).stdout.split()
    compiler = "c++" if language == "cpp" else "cc"
    fault = run([compiler, str(source), "-Wall", "-Wextra", "-Werror", "-o", "block", *words, "-pthread"], folder,
                environment)
    return fault or run(["./block"], folder, environment)


def unit_fault(path, environment):
    """A systemd unit: sections, and lines NAME=VALUE; systemd itself looks at it where it is installed."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line and not re.fullmatch(r"\[\w+\]|[A-Z]\w*=.+|[#;].*", line):
            return f"line {number} of the unit is not understood: {line}"
    if shutil.which("systemd-analyze"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.M), encoding="utf-8")
        fault = run(["systemd-analyze", "verify", "--man=no", str(path)], path.parent, environment)
        path.write_text(text, encoding="utf-8")
        return fault
    return None


def yaml_fault(path):
    """Indentation and `key: value` of the plain YAML that manifests are written in: no tabs, no odd nesting."""
    depths = [0]
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line == "---":
            depths = [0]
            continue
        bare = line.lstrip(" ")
        depth = len(line) - len(bare)
        if "\t" in line or not re.fullmatch(r"(- )*[\w.\-/\"]+:( .+)?|- .+", bare):
            return f"line {number} of the manifest is not understood: {line}"
        while depths and depths[-1] > depth:
            depths.pop()
        if depths[-1] != depth:
            depths.append(depth)
        if depth % 2:
            return f"line {number} is indented by {depth}"
    return None


def saved(folder, name, code, environment):
    path = folder / name
    path.write_text(code, encoding="utf-8")
    if path.suffix == ".sh":
        return run(["bash", "-n", name], folder, environment)
    if path.suffix == ".service":
        return unit_fault(path, environment)
    if path.suffix == ".yaml":
        return yaml_fault(path)
    if path.suffix == ".json":
        json.loads(code)
    return None


def try_block(match, folder, python, environment, root):
    what, argument, language, code = match.groups()
    if what is None:
        return f"a block of {language} that is not marked" if language not in ("", "text") else None
    if what == "shown":
        return None if (root / argument).exists() else f"{argument} is not there"
    if what == "file":
        return saved(folder, argument, code, environment)
    if language == "sh":
        return run(["bash", "-euo", "pipefail", "-c", code], folder, environment)
    if language == "python":
        return run([python, "-c", code], folder, environment)
    if language in ("c", "cpp"):
        return compiled(folder, language, code, argument, environment)
    return f"blocks of the language {language} cannot be run"


def installed(build, top):
    """The environment of a reader who has installed HMC below `top`."""
    prefix = top / "prefix"
    subprocess.run(["cmake", "--install", str(build), "--prefix", str(prefix)], stdout=subprocess.DEVNULL, check=True)
    configuration = next(prefix.rglob("hmc.pc"))
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("HMC_", "SHMEM_", "PYTHON", "LD_"))}
    environment.update(PATH=f"{prefix}/bin:{environment['PATH']}", PKG_CONFIG_PATH=str(configuration.parent),
                       LD_LIBRARY_PATH=str(configuration.parent.parent), PYTHONDONTWRITEBYTECODE="1")
    return environment


def main():
    root, build, python = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
    documents = [root / name for name in sys.argv[4:]]
    documents = documents or sorted([*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("*/README.md")])
    faults, count = [], 0
    with tempfile.TemporaryDirectory(prefix="hmc-test-docs-") as name:
        environment = installed(build, pathlib.Path(name))
        for document in documents:
            text = document.read_text(encoding="utf-8")
            folder = pathlib.Path(name) / "-".join(document.relative_to(root).parts)
            (folder / "build").mkdir(parents=True)
            (folder / "build/release").symlink_to(build)
            environment["HOME"] = str(folder)
            for match in BLOCK.finditer(text):
                count += 1
                fault = try_block(match, folder, python, environment, root)
                if fault:
                    line = text.count("\n", 0, match.start(4)) + 1
                    faults.append(f"{document.relative_to(root)}:{line}: {fault}")
    if count == 0:
        faults.append("no block is marked")
    print("\n".join(faults) if faults else f"{count} blocks run")
    sys.exit(1 if faults else 0)


main()
