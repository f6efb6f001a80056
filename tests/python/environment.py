"""Makes the environment of the Python tests: a virtual environment with pytest and numpy, and in it the wheel that
scikit-build-core makes of this tree. The wheel takes the libraries that the build tree has; that `pip install .` by
itself builds them is the test python.install.

    environment.py <source tree> <build tree> sanitizer=<address or nothing>

Does nothing where all of it is newer than what it is made of. The environment is made once per build tree; the package
in it is removed and installed again whenever it changes.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

TOOLS = ["cython>=3.0,<4", "scikit-build-core>=0.10", "pytest", "numpy"]
os.environ.update(PIP_RETRIES="8", PIP_DEFAULT_TIMEOUT="60")  # a network that is away for a moment
MADE_OF = ["pyproject.toml", "cmake/python.cmake", "cmake/compiler.cmake", "python", "include"]


def run(*command, **more):
    done = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **more)
    if done.returncode:
        sys.exit("%s failed:\n%s" % (" ".join(map(str, command)), done.stdout))
    return done.stdout


def fingerprint(source, build, sanitizer):
    """Changes whenever something changes that the wheel is made of."""
    digest = hashlib.sha256(("%s %s" % (sanitizer, sys.version)).encode())
    files = [path for name in MADE_OF for path in
             ([source / name] if (source / name).is_file() else sorted((source / name).rglob("*"))) if path.is_file()]
    libraries = sorted(build.glob("lib*.so*")) + sorted(build.glob("hmc/*.so")) + sorted(build.glob("nixl/*.so")) + \
        sorted(path for path in build.glob("tools/hmc*") if path.is_file())
    for path in files:
        if "__pycache__" not in path.parts:
            digest.update(str(path).encode() + path.read_bytes())
    for path in libraries:
        digest.update(("%s %d" % (path, path.stat().st_mtime_ns)).encode())
    return digest.hexdigest()


def make_venv(folder):
    python = folder / "bin/python"
    marker = folder / "tools"
    if marker.exists() and marker.read_text() == repr((TOOLS, sys.version)):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "venv", folder)
    run(python, "-m", "pip", "-q", "--disable-pip-version-check", "install", *TOOLS)
    marker.write_text(repr((TOOLS, sys.version)))
    return python


def main():
    source, build, sanitizer = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3].partition("=")[2]
    folder = build / "python"
    python = make_venv(folder / "venv")
    marker = folder / "installed"
    wanted = fingerprint(source, build, sanitizer)
    if marker.exists() and marker.read_text() == wanted:
        return
    if marker.exists():
        marker.unlink()
    shutil.rmtree(folder / "wheel", ignore_errors=True)
    settings = {
        "cmake.source-dir": "python",
        "build-dir": folder / "wheel-build",
        "cmake.define.HMC_BUILT_IN": build,
        "cmake.define.HMC_SANITIZE": sanitizer,
        # Optimising what Cython writes takes most of the time, and is not what is tested.
        "cmake.define.CMAKE_C_FLAGS_RELEASE": "-O1",
        "cmake.define.CMAKE_CXX_FLAGS_RELEASE": "-O1",
    }
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    run(python, "-m", "pip", "-q", "--disable-pip-version-check", "wheel", "--no-build-isolation", "--no-deps",
        "-w", folder / "wheel", source, *("--config-settings=%s=%s" % each for each in settings.items()),
        env=environment)
    wheel, = (folder / "wheel").glob("hmc-*.whl")
    run(python, "-m", "pip", "-q", "--disable-pip-version-check", "install", "--force-reinstall", "--no-deps", wheel)
    marker.write_text(wanted)


if __name__ == "__main__":
    main()
