"""Builds and tries the package with interpreters of this machine, each in a fresh virtual environment.

    interpreters.py <source tree> <build tree> built     every Python from 3.8 on, with the libraries of the build tree
    interpreters.py <source tree> <build tree> whole     this one, by `pip install .` as users call it

Interpreters are those on PATH and pyenv's. One without the headers that extensions need is named and passed over.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

TRY = """
import hmc, sys
assert "numpy" not in sys.modules
with hmc.Context() as a, hmc.Context() as b:
    region = a.allocate(1 << 20, name="x")
    for via in ("shm", "tcp"):
        remote = b.connect(str(a.listen("127.0.0.1:0")), via=via).open("x")
        data = bytes(range(256)) * 256
        remote[0:len(data)].put(data, notify=b"n")
        assert a.notification(timeout=20).data == b"n" and bytes(memoryview(region)[:len(data)]) == data
        out = bytearray(len(data))
        remote.get_into(out)
        assert out == data
    import asyncio
    async def main():
        assert await remote[0:4].get_nb() == data[:4]
    asyncio.run(main())
sess = hmc.create_session(buffer_size=4096)
assert sess.buf.put(b"abc") == 3
print(hmc.version(), *hmc.connection_types())
"""

# Each in an interpreter of its own, in which nothing else has loaded the engine before.
FACES = ("shmem", "mf_smem", "memfabric_hybrid", "mf_adapter")


def run(*command, **more):
    done = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, **more)
    if done.returncode:
        sys.exit("%s failed:\n%s" % (" ".join(map(str, command)), done.stdout))
    return done.stdout


def interpreters():
    """{(3, 8): path, ...}: one of each version."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if shutil.which("pyenv"):
        root = pathlib.Path(run("pyenv", "root").strip()) / "versions"
        folders = [str(each) for each in sorted(root.glob("*/bin"))] + folders
    found = {}
    for folder in folders:
        for path in sorted(pathlib.Path(folder).glob("python3*")) if os.path.isdir(folder) else ():
            if not re.fullmatch(r"python3(\.\d+t?)?", path.name):
                continue
            asked = subprocess.run([str(path), "-c", "import sys, sysconfig, os; print(sys.version_info[0], "
                                    "sys.version_info[1], os.path.exists(os.path.join(sysconfig.get_paths()['include'],"
                                    " 'Python.h')))"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   universal_newlines=True)
            if asked.returncode:
                continue  # a shim of a version that is not active
            major, minor, headers = asked.stdout.split()
            if (int(major), int(minor)) >= (3, 8) and headers == "True":
                found.setdefault((int(major), int(minor)), path)
            elif headers != "True":
                print("%s has no headers (python3-dev)" % path)
    return found


def try_one(python, source, build, is_whole, folder):
    venv = folder / "venv"
    run(python, "-m", "venv", venv)
    pip = [venv / "bin/python", "-m", "pip", "-q", "--disable-pip-version-check"]
    options = [] if is_whole else ["--config-settings=cmake.source-dir=python",
                                   "--config-settings=cmake.define.HMC_BUILT_IN=%s" % build,
                                   "--config-settings=cmake.define.CMAKE_C_FLAGS_RELEASE=-O0",
                                   "--config-settings=cmake.define.CMAKE_CXX_FLAGS_RELEASE=-O0"]
    run(*pip, "install", "--upgrade", "pip")
    run(*pip, "install", source, *options, env=dict(os.environ, TMPDIR=str(folder)))
    for tool in ("-m", "hmc", "info"), ("-m", "hmc", "perf", "--self", "-n", "10"):     # with the package's libraries
        run(venv / "bin/python", *tool, cwd=str(folder), env=dict(os.environ, HOME=str(folder)))
    run(venv / "bin/hmc-doctor", cwd=str(folder), env=dict(os.environ, HOME=str(folder)))
    for face in FACES if is_whole else ():
        run(venv / "bin/python", "-c", "import " + face, cwd=str(folder), env=dict(os.environ, HOME=str(folder)))
    # Warnings are errors: what this version warns of, a later one no longer has.
    return run(venv / "bin/python", "-W", "error", "-c", TRY, cwd=str(folder), env=dict(os.environ, HOME=str(folder))).strip()


def main():
    source, build, is_whole = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] == "whole"
    found = {sys.version_info[:2]: sys.executable} if is_whole else interpreters()
    if not found:
        sys.exit("no interpreter with headers was found")
    for version, python in sorted(found.items()):
        with tempfile.TemporaryDirectory(prefix="hmc-test-python-") as folder:
            print("%d.%d %s: %s" % (version + (python, try_one(python, source, build, is_whole, pathlib.Path(folder)))),
                  flush=True)


if __name__ == "__main__":
    main()
