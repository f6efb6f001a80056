"""SHMEM under the launchers of clusters, by PMIx: Open MPI's mpirun, and srun of a Slurm cluster of this one machine,
which the test makes and ends: munged, slurmctld and slurmd on free ports, in a folder of its own.

usage: launchers.py PROGRAM
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

CONFIGURATION = """ClusterName=hmctest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MessageTimeout=60
TCPTimeout=60
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def run(command, environment):
    return subprocess.run(command, env=environment, cwd="/tmp", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=200, check=False)


def try_launcher(name, command_of, program, environment):
    """Numbers of PEs, and a status that ends all."""
    for n in (1, 3):
        done = run([*command_of(n), program], environment)
        if done.returncode or sorted(done.stdout.splitlines()) != [f"PE {pe} of {n}" for pe in range(n)]:
            sys.exit(f"{name}, {n} PEs: ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    for _ in range(10):
        done = run([*command_of(3), program, "exit", "5"], environment)
        if "aborted before step completely launched" not in done.stderr and "launch failed" not in done.stderr:
            break  # else srun, on a busy machine, was slower than the job or its daemon, and says nothing of a status
    if done.returncode == 0:
        sys.exit(f"{name}: shmem_global_exit(5) ended with 0:\n{done.stdout}{done.stderr}")


class Slurm:
    """A cluster of this machine, while the `with` lasts."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.daemons = []

    def start(self, *command):
        output = open(self.folder / f"{pathlib.Path(command[0]).name}.out", "wb")
        self.daemons.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                             env=dict(os.environ, SLURM_CONF=str(self.configuration))))
        output.close()

    def __enter__(self):
        folder = self.folder
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(CONFIGURATION.format(host=socket.gethostname(), folder=folder, user="root",
                                                           control_port=free_port(), node_port=free_port()))
        (folder / "cgroup.conf").write_text("IgnoreSystemd=yes\n")
        self.start("munged", "--foreground", f"--key-file={key}", f"--socket={folder}/munge.sock",
                   f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
                   f"--seed-file={folder}/munge.seed", "--force")
        deadline = time.monotonic() + 200
        while not (folder / "munge.sock").exists():
            self.wait(deadline, "munged")
        self.start("slurmctld", "-D", "-f", str(self.configuration))
        self.start("slurmd", "-D", "-f", str(self.configuration))
        while "idle" not in run(["sinfo", "-h", "-o", "%T"], self.environment()).stdout:
            self.wait(deadline, "the node")
        return self

    def wait(self, deadline, what):
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
            sys.exit(f"slurm: {what} does not come up:\n{logs}")
        time.sleep(0.2)

    def environment(self):
        return dict(os.environ, SLURM_CONF=str(self.configuration), SHMEM_SYMMETRIC_SIZE="16M")

    def __exit__(self, *exception):
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()


def main():
    program = sys.argv[1]
    for tool in ("mpirun", "srun", "slurmctld", "slurmd", "munged"):
        if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin"):
            sys.exit(f"{tool} is not installed (scripts/setup launchers)")
    os.environ["PATH"] += ":/usr/sbin"
    environment = dict(os.environ, SHMEM_SYMMETRIC_SIZE="16M", OMPI_ALLOW_RUN_AS_ROOT="1",
                       OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    try_launcher("mpirun", lambda n: ["mpirun", "--oversubscribe", "-n", str(n)], program, environment)
    with tempfile.TemporaryDirectory(prefix="hmc-test-slurm-") as folder:
        os.chmod(folder, 0o755)
        with Slurm(folder) as slurm:
            try_launcher("srun", lambda n: ["srun", "--mpi=pmix", "-n", str(n)], program, slurm.environment())
    print("mpirun and srun start PEs")


main()
