"""memfabric_hybrid, mf_smem and mf_adapter between processes: what takes longer than the pool of test_smem.py."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from smem_processes import HERE, PATIENCE, environment, free_port, run_members, run_ranks  # noqa: F401 (a fixture)


def test_objects(environment):
    run_members("objects", 3, environment)


def test_first_generation(environment):
    run_members("first", 2, environment)


def test_tensors(environment):
    run_members("tensors", 1, environment)


def test_transfer(environment, tmp_path):
    run_members("transfer", 2, environment, tmp_path)


def test_adapter_serves_the_store(environment):
    program = [sys.executable, "-m", "mf_adapter.launch_ascend_mf_store"]
    refused = subprocess.run(program, env=environment, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert refused.returncode == 1 and "ASCEND_MF_STORE_URL" in refused.stderr
    url = "tcp://127.0.0.1:%d" % free_port()
    environment = {**environment, "ASCEND_MF_STORE_URL": url, "ASCEND_MF_LOG_LEVEL": "2"}
    store = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert url in store.stdout.readline()
        client = "import hmc\nimport sys\nfrom memfabric_hybrid import bm\nc = bm.BmConfig()\nc.start_store = False\n" \
                 "sys.exit(bm.initialize(%r, 1, 0, c))" % url
        assert subprocess.run([sys.executable, "-c", client], env=environment, timeout=PATIENCE).returncode == 0
        store.send_signal(signal.SIGTERM)
        assert store.wait(timeout=PATIENCE) == 0
    finally:
        store.kill()
        store.wait()


@pytest.mark.parametrize("how", [[], ["auto"]])
def test_sample_over_the_vendors_runtime(environment, how):
    library = pathlib.Path(os.environ["TESTED_BUILD"]) / "lookalike/libascendcl.so"
    environment = {**environment, "HMC_ACL_LIBRARY": str(library), "PYTHONPATH": str(HERE / "npu")}
    texts = run_ranks(lambda rank, url: [str(HERE / "samples/smem_bm.py"), "2", str(rank), url, *how], 2, environment)
    assert "".join(texts).count("all copies are right") == 2
