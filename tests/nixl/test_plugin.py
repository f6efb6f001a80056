"""The plug-in in NIXL's wheel: how it is found."""

import os
import subprocess
import sys

from ends import PLUGINS

SCRIPT = """
from nixl._api import nixl_agent, nixl_agent_config
agent = nixl_agent("a", nixl_agent_config(backends=["HMC"]))
libraries = {line.split()[-1] for line in open("/proc/self/maps") if "plugin_HMC" in line or "libhmc" in line}
print(*agent.plugin_list, *sorted(libraries))
"""
# The tests' environment of the Python package, whose interpreter is this one's.
PACKAGES, = (PLUGINS.parent / "python/venv").glob("lib/python3*/site-packages")


def found_in(folder):
    """The plug-ins that NIXL finds there, and the files of ours that it loads."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], env={**os.environ, "NIXL_PLUGIN_DIR": str(folder)},
                          stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split("\n")[-2].split()


def compat(*arguments):
    return subprocess.run([sys.executable, "-m", "hmc.compat", *arguments], stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(PACKAGES)}).stdout.strip()


def test_found_in_the_build_tree():
    assert found_in(PLUGINS)[0] == "HMC"


def test_found_in_the_package():
    plugins, *files = found_in(compat("plugin"))
    assert plugins == "HMC" and len(files) >= 2 and all(each.startswith(str(PACKAGES / "hmc/lib")) for each in files)


def test_linked_beside_the_wheels_own(tmp_path):
    """In a copy of the wheel's place, so that the other tests keep what they have."""
    script = ("import glob, os, sysconfig, sys; sysconfig.get_paths = lambda: {'platlib': sys.argv[1]};"
              "import hmc.compat as compat; print(compat.link_plugin(), compat.link_plugin())")
    folder = tmp_path / ".nixl_cu0.mesonpy.libs/plugins"
    folder.mkdir(parents=True)
    (tmp_path / "hmc").symlink_to(PACKAGES / "hmc")
    said = subprocess.run([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(PACKAGES)}).stdout
    assert said.count(str(folder / "libplugin_HMC.so")) == 2 and found_in(folder)[0] == "HMC"
