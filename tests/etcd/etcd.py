"""The store over an etcd cluster of three: every call, clients in processes, an outage, and a member of the cluster killed
under them.

usage: etcd.py ETCD_STORE SMEM_BM SMEM_SHM
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

PATIENCE = 120


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        ports = [free_port() for _ in range(6)]
        self.clients, self.peers = ports[:3], ports[3:]
        self.members = [self.start(i) for i in range(3)]

    def start(self, i):
        here, there = ["http://127.0.0.1:%d" % ports[i] for ports in (self.clients, self.peers)]
        initial = ",".join("m%d=http://127.0.0.1:%d" % (i, self.peers[i]) for i in range(3))
        with open(self.folder / ("etcd%d.log" % i), "ab") as log:
            return subprocess.Popen(
                [shutil.which("etcd") or "/usr/bin/etcd", "--name", "m%d" % i,
                 "--data-dir", str(self.folder / ("data%d" % i)), "--listen-client-urls", here,
                 "--advertise-client-urls", here, "--listen-peer-urls", there, "--initial-advertise-peer-urls", there,
                 "--initial-cluster", initial, "--initial-cluster-state", "new", "--heartbeat-interval", "200",
                 "--election-timeout", "2000"], stdout=log, stderr=subprocess.STDOUT)

    def address(self, prefix):
        return "etcd://%s/%s" % (",".join("127.0.0.1:%d" % port for port in self.clients), prefix)

    def await_health(self):
        until = time.monotonic() + PATIENCE
        for port in self.clients:
            while True:
                try:
                    if b"true" in urllib.request.urlopen("http://127.0.0.1:%d/health" % port, timeout=5).read():
                        break
                except OSError:
                    pass
                if time.monotonic() > until:
                    sys.exit("etcd does not come up")
                time.sleep(0.1)

    def stop_majority(self):
        """Returns when it stands: a thread that runs goes on for a while on a busy machine."""
        for member in self.members[1:]:
            member.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, member.pid, os.WSTOPPED)

    def continue_majority(self):
        for member in self.members[1:]:
            member.send_signal(signal.SIGCONT)

    def restart_each(self):
        for i, member in enumerate(self.members):
            member.terminate()
            member.wait()
            self.members[i] = self.start(i)
            self.await_health()

    def kill_one(self):
        self.members[0].kill()
        self.members[0].wait()

    def end(self):
        for member in self.members:
            if member.poll() is None:
                member.kill()
            member.wait()


def run(name, command, environment):
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=600)
    print("%s: %d\n%s" % (name, done.returncode, done.stdout), flush=True)
    if done.returncode:
        sys.exit("%s failed" % name)


def converse(cluster, command, environment):
    """Runs a program that says what is to be done to the cluster, and when."""
    steps = {"stop\n": cluster.stop_majority, "go on\n": cluster.continue_majority, "restart\n": cluster.restart_each}
    asking = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    for line in asking.stdout:
        print("%s: %s" % (command[1], line), end="", flush=True)
        if line in steps:
            steps[line]()
            asking.stdin.write("done\n")
            asking.stdin.flush()
    if asking.wait(timeout=600) != 0:
        sys.exit("%s failed" % command[1])


def main():
    program, bm, shm = sys.argv[1:]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hmc-test-etcd-"))
    environment = {**os.environ, "HOME": str(folder), "HMC_SECRET": str(folder), "http_proxy": "http://127.0.0.1:9"}
    cluster = Cluster(folder)
    try:
        cluster.await_health()
        run("every call", [program, "calls", cluster.address("calls")], environment)
        converse(cluster, [program, "outage", cluster.address("outage")], environment)
        converse(cluster, [program, "rolling", cluster.address("rolling")], environment)
        # Under load one member of the cluster is killed: nothing is done twice, nobody hangs.
        load = subprocess.Popen([program, "load", cluster.address("load")], env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)
        for line in load.stdout:
            print(line, end="", flush=True)
            if line.startswith("half"):
                cluster.kill_one()
        if load.wait(timeout=600) != 0:
            sys.exit("the load failed")
        run("every call, with two left", [program, "calls", cluster.address("again")], environment)
        for name, test in (("the pool", bm), ("objects", shm)):
            run(name, [test], {**environment, "HMC_TEST_STORE": cluster.address(name.split()[-1])})
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


main()
