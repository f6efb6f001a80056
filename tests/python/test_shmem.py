"""The package shmem of the wheel, with the library that lies in it: one PE, and two of a job."""

import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

PROGRAM = """
import numpy, shmem
from shmem import _library
shmem.init()
me, n = shmem.my_pe(), shmem.n_pes()
mine = shmem.zeros(4)
shmem.put(mine, numpy.arange(4.0) + me, (me + 1) % n)
shmem.barrier_all()
assert list(mine) == [(me - 1) % n + i for i in range(4)], mine
print(_library.lib._name, me, n)
"""


def environment_of(tmp_path, **more):
    names = {"HMC_SHMEM_LIBRARY", "PYTHONPATH", "SHMEM_HOME_PATH", "LD_LIBRARY_PATH"}
    kept = {name: value for name, value in os.environ.items()
            if name not in names and not name.startswith(("HMC_JOB", "PMIX"))}
    return dict(kept, HOME=str(tmp_path), SHMEM_SYMMETRIC_SIZE="16M", **more)


def check(said, me, n):
    name, number, count = said.split()
    assert (int(number), int(count)) == (me, n)
    assert pathlib.Path(name).parts[-3:] == ("hmc", "lib", "libshmem.so.1")


def test_one_pe(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment_of(tmp_path), cwd=str(tmp_path), text=True,
                          stdout=subprocess.PIPE, timeout=120, check=True)
    check(done.stdout, 0, 1)


def test_the_library_is_looked_for_beside_itself(tmp_path):
    """In no folder of the build tree, which is gone, or somebody else's by now, and not in the working one."""
    import hmc

    folder = pathlib.Path(hmc.__file__).parent / "lib"
    for path in [folder / "libshmem.so.1", folder / "libmf_smem.so.1", *folder.glob("hmc/*.so"), *folder.parent.glob("bin/hmc*")]:
        said = subprocess.run(["readelf", "-d", str(path)], text=True, stdout=subprocess.PIPE, check=True).stdout
        paths = [where for line in re.findall(r"(?:RUNPATH|RPATH).*\[(.*)\]", said) for where in line.split(":")]
        assert paths and all(where.startswith("$ORIGIN") for where in paths), (path.name, paths)


def test_without_numpy():
    """What needs numpy says so; the rest works."""
    code = "import sys; sys.modules['numpy'] = None; import shmem; shmem.init(); shmem.barrier_all(); shmem.zeros"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1 and "need numpy, which is not installed" in done.stderr, done.stderr


ALONE = """
import inspect, numpy, shmem
from shmem import _arrays
for name, call in vars(_arrays).items():
    assert name.startswith("_") or getattr(call, "__module__", "") != _arrays.__name__ or inspect.getdoc(call), name
shmem.init()
small, large = shmem.zeros(2), shmem.zeros(3)
for call in (shmem.broadcast, shmem.sum_inscan, shmem.sum_exscan, shmem.fcollect, shmem.alltoall):
    call(large, small)
    try:
        call(small, large)
    except ValueError as error:
        assert "3 go into it" in str(error), error
    else:
        raise AssertionError(call)
print("done")
"""


def test_targets_that_are_too_small(tmp_path):
    """They are refused: the call would write behind the array. And each name has its line of help."""
    done = subprocess.run([sys.executable, "-c", ALONE], env=environment_of(tmp_path), cwd=str(tmp_path), text=True,
                          stdout=subprocess.PIPE, timeout=120, check=True)
    assert done.stdout == "done\n"


def test_two_pes_as_torchrun_starts_them(tmp_path):
    port = str(free_port())
    jobs = [subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=str(tmp_path), text=True, stdout=subprocess.PIPE,
                             env=environment_of(tmp_path, RANK=str(i), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
                                                MASTER_PORT=port, SHMEM_MASTER_PORT=port)) for i in range(2)]
    for me, job in enumerate(jobs):
        check(job.communicate(timeout=120)[0], me, 2)
        assert job.returncode == 0
