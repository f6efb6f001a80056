"""hmc-doctor finds what is planted: each defect makes a line of its own, with a remedy, and the exit status says so."""

import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

import program

PR_CAPBSET_DROP, CAP_SYS_PTRACE, CAP_IPC_LOCK = 24, 19, 14
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
LIBC = ctypes.CDLL(None, use_errno=True)


def lose_capability(number):
    """From the next exec on, for the one who starts as root; others have none."""
    if os.geteuid() == 0 and LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
        os._exit(99)


def forbid_attach():
    """As a ptrace scope or a container's profile does: process_vm_readv answers EPERM."""
    number = {"x86_64": 310, "aarch64": 270}[os.uname().machine]
    rules = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 1), (0x06, 0, 0, 0x7FFF0000)]
    code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    rules_of = Program(len(rules), ctypes.addressof(buffer))
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if LIBC.prctl(PR_SET_SECCOMP, 2, ctypes.byref(rules_of), 0, 0) != 0:
        os._exit(99)


class Doctor(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.environment.pop("XDG_RUNTIME_DIR", None)
        self.environment["HMC_SIM_DEVICES"] = "1"

    def examine(self, *arguments, prefix=(), before=None, **variables):
        """The findings, and the exit status."""
        done = subprocess.run([*prefix, self.program, "--json", *arguments], env={**self.environment, **variables},
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=before, timeout=300,
                              check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual(found["failures"], sum(check["level"] == "failure" for check in found["checks"]))
        self.assertEqual(found["warnings"], sum(check["level"] == "warning" for check in found["checks"]))
        return found["checks"], done.returncode

    def finding(self, checks, name, level, *texts):
        """The finding of that name and level, which has a remedy and says what is expected."""
        found = [check for check in checks if check["check"] == name and check["level"] == level]
        self.assertTrue(found, f"no {level} of {name}: {checks}")
        for text in texts:
            self.assertTrue(any(text in check["figure"] + check["remedy"] for check in found), f"{text}: {found}")
        if level in ("warning", "failure"):
            for check in found:
                self.assertTrue(check["remedy"], check)

    def test_a_healthy_machine(self):
        checks, code = self.examine()
        self.assertEqual(code, 0, checks)
        self.assertFalse([check for check in checks if check["level"] == "failure"])
        for name in ("settings", "secret", "loopback", "attach"):
            self.assertTrue(any(check["check"] == name for check in checks), name)
        routes = [check["figure"] for check in checks if check["check"] == "route" and check["level"] == "ok"]
        self.assertTrue(any(route.startswith("tcp: ") for route in routes), routes)
        self.assertTrue(any(route.startswith("shm: ") for route in routes), routes)
        self.finding(checks, "sim:0", "ok", "there and back are right")

    def test_the_screen(self):
        out, err = self.run_program()
        self.assertEqual(err, "")
        self.assertLessEqual(max(len(line) for line in out.splitlines()), 80)
        self.assertNotIn("\033", out)
        self.assertRegex(out, r"\n\d+ checks, \d+ warnings?, 0 failures\n$")
        quiet, _ = self.run_program("--quiet")
        self.assertNotIn("ok    secret", quiet)

    def test_a_mistyped_variable(self):
        checks, code = self.examine(HMC_TIMOUT="5s")
        self.finding(checks, "settings", "warning", "HMC_TIMOUT", "HMC_TIMEOUT?")
        self.assertEqual(code, 0)
        _, code = self.examine("--strict", HMC_TIMOUT="5s")
        self.assertEqual(code, 1)

    def test_a_value_that_does_not_fit(self):
        checks, code = self.examine(HMC_TIMEOUT="5")
        self.finding(checks, "settings", "failure", "5s or 5ms")
        self.finding(checks, "secret", "note", "not looked for")
        self.assertEqual(code, 1)
        checks, code = self.examine(HMC_TRANSPORTS="tpc")
        self.finding(checks, "settings", "failure", "'tpc' is none of shm")
        self.assertEqual(code, 1)

    def test_a_secret_that_others_can_read(self):
        os.mkdir(f"{self.home}/.hmc", 0o700)
        with open(f"{self.home}/.hmc/secret", "w", encoding="ascii") as file:
            file.write("0123456789abcdefghijklmnop\n")
        os.chmod(f"{self.home}/.hmc/secret", 0o644)
        checks, code = self.examine()
        self.finding(checks, "secret", "failure", "chmod 600")
        self.assertEqual(code, 1)

    def test_two_secrets(self):
        self.examine()  # makes the user's own
        with open(f"{self.home}/other", "w", encoding="ascii") as file:
            file.write("0123456789abcdefghijklmnop\n")
        os.chmod(f"{self.home}/other", 0o600)
        checks, _ = self.examine(HMC_SECRET_FILE=f"{self.home}/other")
        self.finding(checks, "secret", "warning", "two secrets", "other counts")
        checks, _ = self.examine(HMC_SECRET_FILE=f"{self.home}/other", HMC_SECRET="qwertyuiopasdfghjkl")
        self.finding(checks, "secret", "warning", "HMC_SECRET is ignored")

    def test_no_home_that_can_be_written(self):
        checks, code = self.examine(HOME="/proc/nowhere")
        self.finding(checks, "secret", "failure", "HMC_SECRET_FILE")
        self.assertEqual(code, 1)
        checks, code = self.examine(HOME="/proc/nowhere", XDG_RUNTIME_DIR=self.home)
        self.finding(checks, "secret", "warning", f"{self.home}/hmc/secret")
        self.assertEqual(code, 0)

    def test_memlock(self):
        checks, _ = self.examine(prefix=("prlimit", "--memlock=65536"), before=lambda: lose_capability(CAP_IPC_LOCK))
        self.finding(checks, "memlock", "warning", "64 KiB", "ulimit -l")

    def test_no_attach(self):
        checks, _ = self.examine(before=forbid_attach)
        self.finding(checks, "attach", "warning", "ptrace_scope=0")

    def test_a_missing_module(self):
        checks, _ = self.examine(HMC_MODULE_PATH=self.home)
        self.finding(checks, "modules", "warning", "libhmc-verbs.so", "libibverbs-dev")
        self.finding(checks, "modules", "warning", "libhmc-ucx.so")

    def in_namespace(self, script, **variables):
        """Runs a script in network and mount namespaces of its own; $1 is the program."""
        prefix = ["unshare", "-n", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-n", "-m"]
        done = subprocess.run([*prefix, "sh", "-ec", script, "sh", self.program], text=True, stdout=subprocess.PIPE,
                              env={**self.environment, **variables}, stderr=subprocess.STDOUT, timeout=200, check=False)
        return done.stdout, done.returncode

    def test_small_shared_memory(self):
        out, _ = self.in_namespace('ip link set lo up; mount -t tmpfs -o size=1m tmpfs /dev/shm; "$1" --quiet || true')
        self.assertRegex(out, r"warn  shm size +1 MiB free")

    def test_no_loopback(self):
        out, code = self.in_namespace('"$1" --quiet')
        self.assertIn("FAIL  loopback", out)
        self.assertIn("ip link set lo up", out)
        self.assertIn("0 warnings, 1 failure\n", out)  # what follows from it is not counted again
        out, _ = self.in_namespace('"${1%doctor}info" --try tcp')
        self.assertIn("the loopback is down (ip link set lo up)", out)
        self.assertEqual(code, 1)

    PAIR = """
        ip link set lo up
        unshare -n sleep 1000 & other=$!
        listener=$other
        trap 'kill $other $listener 2>/dev/null || true' EXIT
        until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
        there="nsenter -t $other -n"
        ip link add here mtu %d type veth peer name there mtu %d
        ip link set there netns $other
        ip addr add 10.9.8.1/24 dev here; ip link set here up
        $there ip link set lo up; $there ip addr add 10.9.8.2/24 dev there; $there ip link set there up
    """

    def test_an_mtu_that_differs(self):
        out, _ = self.in_namespace(self.PAIR % (9000, 1500) + """
            $there "$1" --listen 10.9.8.2:3333 > "$HOME/listen" & listener=$!
            until grep -q listening "$HOME/listen"; do sleep 0.05; done
            "$1" 10.9.8.2:3333 || true
        """)
        self.assertRegex(out, r"warn  mtu +MTUs differ")
        self.assertRegex(out, r"ok    pair +tcp: 4 MiB")

    def test_a_port_that_a_firewall_closes(self):
        out, code = self.in_namespace(self.PAIR % (1500, 1500) + """
            mac=$($there ip -br link show there | tr -s ' ' | cut -d ' ' -f 3)
            ip neigh add 10.9.8.3 lladdr $mac dev here nud permanent  # is taken in there, and dropped
            "$1" --quiet 10.9.8.3:3333
        """)
        self.assertRegex(out, r"FAIL  port +10.9.8.3:3333 does not answer")
        self.assertIn("firewall", out)
        self.assertEqual(code, 1)

    def listen(self, **variables):
        """Another end in this namespace; answers its address."""
        process = self.start("--listen", "127.0.0.1:0", **variables)
        line = process.stdout.readline()
        self.addCleanup(process.send_signal, signal.SIGTERM)
        return "localhost:" + line.split(" port ")[1].split(";")[0]

    def test_a_pair(self):
        checks, code = self.examine(self.listen())
        self.assertEqual(code, 0, checks)
        self.finding(checks, "pair", "ok", "lets this user in")
        self.finding(checks, "mtu", "ok", "(lo)")
        self.finding(checks, "pair", "ok", "tcp: 4 MiB there and back are right")

    def test_a_pair_with_other_secrets(self):
        home = tempfile.mkdtemp(prefix="hmc-test-tools-")
        self.addCleanup(shutil.rmtree, home)
        checks, code = self.examine(self.listen(HOME=home))
        self.finding(checks, "pair", "failure", "~/.hmc/secret")
        self.assertEqual(code, 1)

    def test_nobody_listens(self):
        checks, code = self.examine("127.0.0.1:1")
        self.finding(checks, "port", "failure", "refuses", "hmc-doctor --listen")
        self.assertEqual(code, 1)
        checks, _ = self.examine("no-such-host.invalid")
        self.finding(checks, "host", "failure", "no-such-host.invalid")

    def test_something_else_is_there(self):
        where = self.listen()
        _, err = self.run_program("--listen", where.replace("localhost", "127.0.0.1"), expect=1)
        self.assertIn("choose another port", err)
        perf = pathlib.Path(self.program).with_name("hmc-perf")
        server = subprocess.Popen([perf, "--port", "0"], env=self.environment, text=True, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE)
        self.addCleanup(self.end_server, server)
        checks, code = self.examine("127.0.0.1:" + re.search(r"port (\d+)", server.stderr.readline()).group(1))
        self.finding(checks, "pair", "note", "another program with HMC", "hmc-doctor --listen")
        self.assertEqual(code, 0, checks)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self.greet, args=(listener,))
            thread.start()
            checks, code = self.examine(f"127.0.0.1:{listener.getsockname()[1]}")
            listener.shutdown(socket.SHUT_RDWR)  # ends accept() in the thread
            thread.join()
        self.finding(checks, "pair", "failure", "is not HMC", "correct the port")
        self.assertEqual(code, 1)

    @staticmethod
    def end_server(server):
        server.kill()
        server.wait()
        server.stderr.close()

    @staticmethod
    def greet(listener):
        """A mail server, which speaks first, to each who connects, until nobody can."""
        while True:
            try:
                with listener.accept()[0] as connection:
                    connection.sendall(b"220 mail.example.org ESMTP\r\n")
            except OSError:
                return

    def test_command_line(self):
        self.check_help("hmc-doctor")
        self.check_refusal([""], "HOST or HOST:PORT")
        self.check_refusal(["--jsn"], "did you mean '--json'?")
        self.check_refusal(["one", "two"], "'two'")
        for shell, word in (("bash", "complete -o default"), ("zsh", "#compdef hmc-doctor"), ("fish", "complete -c")):
            out, _ = self.run_program("--completion", shell)
            self.assertIn(word, out)
            self.assertIn("strict", out)
        self.check_refusal(["--completion", "csh"], "bash, zsh or fish")
        page, _ = self.run_program("--help-man")
        written = pathlib.Path(__file__).resolve().parents[2] / "man" / "hmc-doctor.1"
        self.assertEqual(page, written.read_text(encoding="utf-8"), "hmc-doctor --help-man > man/hmc-doctor.1")


if __name__ == "__main__":
    unittest.TestCase.maxDiff = None
    program.main(Doctor)
