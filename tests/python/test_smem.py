"""memfabric_hybrid, mf_smem and mf_adapter: a pool, certificates, and every name of the interface."""

import ctypes
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from smem_processes import PATIENCE, environment, free_port, run_members  # noqa: F401 (a fixture)

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def test_pool(environment):
    run_members("pool", 3, environment)


def test_paths():
    import memfabric_hybrid as mf
    assert (pathlib.Path(mf.get_lib_path()) / "libmf_smem.so.1").exists()
    assert (pathlib.Path(mf.get_include_path()) / "smem/host/smem_bm.h").exists()


def test_certificates_are_checked():
    import mf_adapter
    import memfabric_hybrid as mf
    import mf_smem
    option = mf_smem.TlsOption()
    assert mf_smem.set_ssl_option(None) == -2000
    assert mf_smem.set_ssl_option(option) == 0  # enable_tls is False
    option.enable_tls, option.tls_top_path = True, "/top"
    assert mf_smem.set_ssl_option(option) == -2000
    option.tls_cert, option.tls_ca_path, option.tls_ca_file = "cert.pem", "ca", {"one.pem", "two.pem"}
    option.tls_crl_path, option.tls_crl_file = "crl", {"crl.pem"}
    option.tls_pk, option.tls_pk_pwd = "key.pem", "password"
    option.kmc_ksf_master = option.kmc_ksf_standby = option.package_path = ""
    assert mf_smem.set_ssl_option(option) == 0
    url = "tcp://127.0.0.1:%d" % free_port()
    assert mf_adapter.create_config_store(url) == -1 and "/top/ca/one.pem" in mf.get_last_err_msg()
    assert mf_adapter.set_conf_store_tls(True, "tlsCert: c.pem") == -2000
    asked = []

    def refuse(cipher):
        asked.append(cipher)
        raise ValueError("no plain text")

    info = "tlsCert: c.pem;tlsCaPath: /nowhere;tlsCaFile: ca.pem;"
    assert mf.set_conf_store_tls(True, info) == 0
    assert mf.set_conf_store_tls_key("a key", "cipher text", refuse) == 0
    assert mf.create_config_store(url) == -1 and asked == ["cipher text"]
    assert "decrypt" in mf.get_last_err_msg()
    assert mf_smem.set_conf_store_tls_key("a key", "password", lambda cipher: "plain") == 0
    assert mf_smem.set_conf_store_tls(False, "") == 0 and mf_adapter.set_log_level(2) == 0
    assert mf.create_config_store(url) == 0  # by the secret again


def test_numbers_that_do_not_fit():
    """What pybind's classes refuse is not cut to fewer bits."""
    import memfabric_hybrid as mf
    import mf_smem
    config = mf.bm.BmConfig()
    for name, wrong in (("init_timeout", -1), ("create_timeout", 2**32), ("operation_timeout", 1.5), ("rank_id", 65536),
                        ("rank_id", -2), ("flags", "1")):
        with pytest.raises(TypeError):
            setattr(config, name, wrong)
    assert config.init_timeout == config.create_timeout == config.operation_timeout == 120 and config.rank_id == 65535
    with pytest.raises(TypeError):
        mf.shm.ShmConfig().init_timeout = -5
    for call in (lambda: mf.bm.create(2**32, 0, 0), lambda: mf.bm.create(0, -1, 0), lambda: mf.bm.initialize("", 1, 65536, config),
                 lambda: mf.shm.create(2**32, 1, 0, 0), lambda: mf_smem.shm.initialize("", -1, 0, 0, mf.shm.ShmConfig())):
        with pytest.raises(ctypes.ArgumentError):
            call()
    with pytest.raises(RuntimeError):
        mf.set_extern_logger(None)
    with pytest.raises(RuntimeError, match="call smem_bm_init first"):
        mf.bm.create(0, 2 << 20, 0)
    assert mf.bm.initialize("tcp://127.0.0.1:4100", 1, 0, None) == mf.shm.initialize("", 1, 0, 0, None) == -2000
    engine = mf.TransferEngine()
    assert engine.register_memory(4096, 4096) == engine.transfer_sync_read("127.0.0.1:4100", 4096, 4096, 1) == -2000
    engine.destroy()
    ended = mf.shm.ShareMemory(None, 0, 0)
    with pytest.raises(RuntimeError, match="all gather failed: -2000"):
        ended.all_gather(b"two")


ENGINES = """
import gc, threading, time
import memfabric_hybrid as mf
stores, points = %r, %r
late, early, third = (mf.TransferEngine() for _ in range(3))
answers = []
thread = threading.Thread(target=lambda: answers.append(late.initialize(stores[0], points[0], "Prefill", 0)))
thread.start()
time.sleep(0.3)
assert mf.create_config_store(stores[1]) == 0 and early.initialize(stores[1], points[1], "Prefill", 0) == 0
assert third.initialize(stores[1], points[2], "Decode", 0) == 0 and not answers
third.itself = third
with mf.TransferEngine._lock:  # wherever the collector comes
    del third
    gc.collect()
early.destroy()
assert mf.create_config_store(stores[0]) == 0
thread.join()
assert answers == [0] and late.register_memory(4096, 0) == -2000
"""


def test_engines_begin_by_themselves(environment):
    """An engine waits for its store, which is not served yet, while others come and go."""
    stores = ["tcp://127.0.0.1:%d" % free_port() for _ in range(2)]
    points = ["127.0.0.1:%d" % free_port() for _ in range(3)]
    program = ENGINES % (stores, points)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=PATIENCE)


def make_certificates(folder):
    """An authority with a certificate, the same one expired, and another authority with its own; keys by a password."""
    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    for ca, own in (("ca", "own"), ("other_ca", "other")):
        openssl("req", "-x509", *curve, "-nodes", "-keyout", ca + ".key", "-out", ca + ".pem", "-days", 2, "-subj", "/CN=" + ca)
        openssl("req", "-new", *curve, "-passout", "pass:secret", "-keyout", own + ".key", "-out", own + ".csr", "-subj", "/CN=me")
        for name, days in ((own, 2), ("expired", -1)):
            if ca == "ca" or days > 0:
                openssl("x509", "-req", "-in", own + ".csr", "-CA", ca + ".pem", "-CAkey", ca + ".key", "-CAcreateserial",
                        "-days", days, "-out", name + ".pem")


def test_what_is_mistyped():
    """A name that a config does not have, and arguments of other types, are named."""
    import memfabric_hybrid as mf
    for made in (mf.bm.BmConfig(), mf.shm.ShmConfig(), mf.bm.CopyData2DParams()):
        with pytest.raises(AttributeError, match="rank_idd"):
            made.rank_idd = 3
    config = mf.bm.BmConfig()
    for call, said in ((lambda: mf.bm.initialize(5, 1, 0, config), "a text is expected, not 5"),
                       (lambda: mf.bm.initialize("tcp://127.0.0.1:1", 1, 0, 5), "a BmConfig is expected, not 5"),
                       (lambda: mf.shm.initialize("tcp://127.0.0.1:1", 1, 0, 0, config), "a ShmConfig is expected")):
        with pytest.raises(TypeError, match=said):
            call()


def test_certificates(environment, tmp_path):
    make_certificates(tmp_path)
    run_members("certificates", 2, environment, tmp_path)


def names():
    for line in (ROOT / "tests/smem/python_names.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            owner, _, listed = line.partition(":")
            yield from ((owner, name) for name in listed.split())


def resolve(owner):
    parts = owner.replace("()", "").split(".")
    made = importlib.import_module(parts[0])
    for part in parts[1:]:
        made = getattr(made, part)
    return made() if owner.endswith("()") else made


def test_every_name_is_there_and_used():
    used = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("*smem*.py"))
    faults = ["%s.%s is not there" % each for each in names() if not hasattr(resolve(each[0]), each[1])]
    faults += ["%s.%s is used by no test" % each for each in names() if not re.search(r"\b%s\b" % each[1], used)]
    assert not faults and len(list(names())) > 200
