"""Makes an environment of tests: a virtual environment with numpy, pytest, and the newest wheels of what HMC is compared with,
without what only a GPU needs.

    environment.py <folder> <package>...

Does nothing where it is there already.
"""

import os
import pathlib
import shutil
import subprocess
import sys

os.environ.update(PIP_RETRIES="8", PIP_DEFAULT_TIMEOUT="60")  # a network that is away for a moment


def run(*command):
    done = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit("%s failed:\n%s" % (" ".join(map(str, command)), done.stdout))


def main():
    folder = pathlib.Path(sys.argv[1])
    marker = folder / "complete"
    if marker.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "venv", folder)
    pip = [folder / "bin/python", "-m", "pip", "-q", "--disable-pip-version-check", "install"]
    run(*pip, "numpy", "pytest")
    run(*pip, "--no-deps", *sys.argv[2:])
    marker.write_text("")


main()
