"""Runs a program of SHMEM for Ascend in the three ways in which its PEs find each other.

usage: ascend.py HMCRUN PROGRAM
"""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402


def environment_of(folder):
    names = ("HMC_JOB_DIR", "HMC_JOB_RANK", "HMC_JOB_SIZE", "HMC_SECRET", "MASTER_ADDR", "PMIX_RANK")
    return dict({name: value for name, value in os.environ.items() if name not in names}, HOME=folder)


def run_pes(program, n, environment, way, last):
    jobs = [subprocess.Popen([program, way, str(pe), str(n), last], env=environment, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, universal_newlines=True) for pe in range(n)]
    for pe, job in enumerate(jobs):
        said = job.communicate(timeout=60)[0]
        if job.returncode or said != "passed\n":
            sys.exit(f"{way}: PE {pe} of {n} ended with {job.returncode}:\n{said}")


def make_certificates(folder):
    """An authority, and a certificate of its own for all PEs, whose key needs a password; in `other`, a stranger's."""
    def openssl(*words, where):
        subprocess.run(["openssl", *words], cwd=where, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in ("certificates", "other"):
        where = f"{folder}/{name}"
        os.mkdir(where)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
                "-out", "ca.pem", "-days", "2", "-subj", f"/CN={name}", where=where)
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-passout", "pass:secret",
                "-keyout", "own.key", "-out", "own.csr", "-subj", "/CN=pe", where=where)
        openssl("x509", "-req", "-in", "own.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-out", "own.pem", where=where)
    return f"{folder}/certificates", f"{folder}/other"


def turn_away(program, environment, own, others):
    """A PE with another authority's certificate gets in nowhere."""
    address = f"tcp://127.0.0.1:{free_port()}"
    environment = dict(environment, HMC_TIMEOUT="5s")
    jobs = [subprocess.Popen([program, "address", str(pe), "2", address], env=dict(environment, TLS=tls),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
            for pe, tls in ((0, own), (1, others))]
    said = [job.communicate(timeout=120)[0] for job in jobs]
    if any(job.returncode == 0 for job in jobs) or "does not meet the others" not in said[1]:
        sys.exit(f"a stranger's certificate was taken: {said}")


def main():
    hmcrun, program = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="hmc-test-ascend-") as folder:
        environment = environment_of(folder)
        for n in (1, 2, 3):
            done = subprocess.run([hmcrun, "-n", str(n), program], env=environment, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, universal_newlines=True, timeout=60, check=False)
            if done.returncode or done.stdout != "passed\n" * n:
                sys.exit(f"launcher, {n} PEs: ended with {done.returncode}:\n{done.stdout}")
        done = subprocess.run([hmcrun, "-n", "2", program, "device"], env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, timeout=60, check=False)
        if done.returncode or done.stdout != "passed\n" * 2:
            sys.exit(f"with device heaps: ended with {done.returncode}:\n{done.stdout}")
        run_pes(program, 2, environment, "uid", f"{folder}/uid")
        run_pes(program, 1, environment, "address", "")
        run_pes(program, 2, environment, "address", f"tcp://127.0.0.1:{free_port()}")
        own, others = make_certificates(folder)
        run_pes(program, 3, dict(environment, TLS=own), "address", f"tcp://127.0.0.1:{free_port()}")
        run_pes(program, 2, dict(environment, TLS=own), "uid", f"{folder}/uid.certificates")
        turn_away(program, environment, own, others)
    print("passed by launcher, unique id and address")


main()
