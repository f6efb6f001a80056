"""Runs the blocks of the documents that are marked for it, in the order of each document, as a reader would.

    run.py ROOT BUILD PYTHON [DOCUMENT...]

A comment on the line before a block says what becomes of it:

    <!-- run -->                 sh: by bash, stopping at the first failure; c, cpp: compiled and run; python: run
    <!-- run: oshrun -n 4 -->    c: compiled by oshcc and started by that command
    <!-- file: NAME -->          saved as NAME; NAME.sh, .service, .yaml and .json are also checked for their syntax
    <!-- shown: FILE -->         not run here: FILE of this tree does what the block shows; of a Makefile, each target is there
    <!-- test: NAME -->          not run here: the test of that name does what the block shows
    <!-- text -->                for other machines than this one, or what a program prints

A block is fenced, or indented by four spaces after an empty line. One without such a comment is a fault, unless its fence says that it is
in no language or in `text`.

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

MARK = r"^(?:<!-- (run|file|shown|test|text)(?:: *([^>]*?))? -->\n\s*?)?"
BLOCK = re.compile(MARK + r"```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(MARK.replace("^", r"(?:\A|\n)", 1) + r"()\n((?:    .*\n(?:\n+(?=    ))?)+)")
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


def blocks(text):
    """The fenced and the indented blocks of a document, in their order."""
    fenced = list(BLOCK.finditer(text))
    rest = BLOCK.sub(lambda match: re.sub(r"[^\n]", "-", match[0]), text)
    indented = [match for match in INDENTED.finditer(rest)]
    return sorted([(match, False) for match in fenced] + [(match, True) for match in indented],
                  key=lambda each: each[0].start(4))


def shown_fault(path, code):
    if not path.exists():
        return f"{path.name} is not there"
    if path.name != "Makefile":
        return None
    targets = re.findall(r"^([\w-]+):", path.read_text(encoding="utf-8"), re.M)
    missing = [each for each in re.findall(r"\bmake ([\w-]+)", code) if each not in targets]
    return f"there is no target {', '.join(missing)}" if missing else None


def test_fault(build, name):
    """Whether the build tree has a test of that name."""
    found = any(re.search(r"add_test\((\[=\[)?%s(\]=\])? " % re.escape(name), path.read_text(encoding="utf-8"))
                for path in build.rglob("CTestTestfile.cmake"))
    return None if found else f"there is no test {name}"


def try_block(match, is_indented, folder, python, environment, root):
    what, argument, language, code = match.groups()
    if what is None:
        return "a block that is not marked" if is_indented or language not in ("", "text") else None
    if what == "text":
        return None
    if what == "shown":
        return shown_fault(root / argument, code)
    if what == "test":
        return test_fault(folder / "build/release/", argument)
    if is_indented:
        language, code = "sh", "\n".join(line[4:] for line in code.splitlines())
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
            for match, is_indented in blocks(text):
                count += 1
                fault = try_block(match, is_indented, folder, python, environment, root)
                if fault:
                    line = text.count("\n", 0, match.start(4)) + 1
                    faults.append(f"{document.relative_to(root)}:{line}: {fault}")
    if count == 0:
        faults.append("no block is marked")
    print("\n".join(faults) if faults else f"{count} blocks looked at")
    sys.exit(1 if faults else 0)


main()
