"""The backend "hmc" of torch.distributed, in worlds of several sizes, with whichever interpreter here has torch."""

import os
import pathlib
import subprocess
import sys

import pytest

import hmc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

PROGRAM = pathlib.Path(__file__).with_name("torch_program.py")
PACKAGES = pathlib.Path(hmc.__file__).resolve().parent.parent


def interpreter():
    """This one, or the system's, where its version is the same and it has torch."""
    version = "%d.%d" % sys.version_info[:2]
    for python in (sys.executable, "/usr/bin/python" + version):
        if os.path.exists(python) and not subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode:
            return python
    return None


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """(interpreter, folder with the package alone): what else lies beside it is not for another interpreter."""
    found = interpreter()
    assert found, "no interpreter of this version has torch: install python3-torch (scripts/setup torch)"
    folder = tmp_path_factory.mktemp("packages")
    (folder / "hmc").symlink_to(PACKAGES / "hmc")
    return found, str(folder)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_operations(python, world):
    port = free_port()
    ranks = []
    try:
        for rank in range(world):
            environment = {**os.environ, "PYTHONPATH": python[1], "RANK": str(rank), "WORLD_SIZE": str(world),
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
            ranks.append(subprocess.Popen([python[0], PROGRAM], env=environment, stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT, text=True))
        said = [each.communicate(timeout=900)[0] for each in ranks]
    finally:
        for each in ranks:
            each.kill()
    for rank, (each, text) in enumerate(zip(ranks, said)):
        assert each.returncode == 0 and "rank %d of %d did 7\n" % (rank, world) in text, text
