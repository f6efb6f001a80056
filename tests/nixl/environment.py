"""Makes the environment of the NIXL tests: a virtual environment with the newest NIXL, without what only a GPU needs.

    environment.py <folder>

Does nothing where it is there already.
"""

import pathlib
import shutil
import subprocess
import sys


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
    run(*pip, "--no-deps", "nixl", "nixl-cu13")
    marker.write_text("")


main()
