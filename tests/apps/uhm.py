"""uhm_server and uhm_client in every mode, what they refuse, and what they answer where UCX is missing.

usage: uhm.py UHM_SERVER UHM_CLIENT
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SERVER, CLIENT = sys.argv[1:3]
WAITING = re.compile(r"\Auhm_client: waiting for uhm_server at .*\n")
SIZES = {"1": 1, "4097": 4097, "300K": 300 << 10}
ROW = re.compile(r"^ *(\d+) +(\d+) +([0-9.]+) +([0-9.]+)  (\w+)$", re.MULTILINE)
READY = re.compile(r"^mode (\w+), (\w+) memory: listening on 127\.0\.0\.1, port (\d+), control port (\d+)$")


class Uhm(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="hmc-test-apps-")
        self.addCleanup(shutil.rmtree, self.home)
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("HMC_") and name != "CTRL_TRANSPORT"}
        self.environment["HOME"] = self.home

    def start(self, *command):
        process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, universal_newlines=True)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()

    def finish(self, process):
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err

    def test_the_screen(self):
        for program in (SERVER, CLIENT):
            code, out, err = self.finish(self.start(program, "--help"))
            self.assertEqual((code, err), (0, ""))
            self.assertLessEqual(max(len(line) for line in out.splitlines()), 80, out)

    def serve(self, mode, *arguments):
        """Answers (process, ports) or, where the mode does not work here, (process, None)."""
        server = self.start(SERVER, "--mode", mode, "--port", "0", "--ctrl-port", "0", "--memory", "sim", "--buffer", "1M",
                            *arguments)
        line = server.stdout.readline()
        if not line:
            return server, None
        ready = READY.match(line)
        self.assertTrue(ready, line)
        self.assertEqual(ready.groups()[:2], (mode, "cpu" if mode == "rdma_cpu" else "sim"))
        return server, ready.groups()[2:]

    def run_client(self, mode, ports, *arguments):
        return self.finish(self.start(CLIENT, "--mode", mode, "--port", ports[0], "--ctrl-port", ports[1], "--memory", "sim",
                                      "--sizes", ",".join(SIZES), "--rounds", "3", "--chunk", "100000", *arguments))

    def check_mode(self, mode, *arguments):
        server, ports = self.serve(mode, *arguments)
        self.assertIsNotNone(ports)
        code, out, err = self.run_client(mode, ports, *arguments)
        err = WAITING.sub("", err)  # a busy server may let its client wait for a second
        self.assertEqual((code, err), (0, ""), out)
        memory = "cpu" if mode == "rdma_cpu" else "sim"
        self.assertIn(f"mode {mode}, {memory} memory to {memory} memory\n", out)
        rows = ROW.findall(out)
        self.assertEqual([int(row[0]) for row in rows], list(SIZES.values()), out)
        self.assertLessEqual(max(len(line) for line in out.splitlines()), 80, out)
        for row in rows:
            self.assertEqual((row[1], row[4]), ("3", "verified"), out)
            self.assertGreater(float(row[2]), 0)
        code, _, err = self.finish(server)
        self.assertEqual((code, err), (0, ""))
        return out

    def test_uhm(self):
        self.assertRegex(self.check_mode("uhm"), r"route: .*(shm|rdma)")

    def test_rdma_cpu(self):
        """By RDMA, or by what is asked for, or not at all; never in silence by anything else."""
        self.assertRegex(self.check_mode("rdma_cpu", "--type", "tcp"), r"route: .*tcp")
        server, ports = self.serve("rdma_cpu")
        if ports:
            self.end(server)
            self.assertRegex(self.check_mode("rdma_cpu"), r"route: .*rdma")
            return
        code, _, err = self.finish(server)
        self.assertEqual(code, 3)
        self.assertIn("RDMA", err)

    def test_a_client_of_another_mode(self):
        """It is turned away, and the server goes on."""
        server, ports = self.serve("uhm")
        code, _, err = self.run_client("serial", ports)
        self.assertEqual(code, 1)
        self.assertIn("the server runs mode uhm, not serial", err)
        code, out, err = self.run_client("uhm", ports)
        self.assertEqual((code, err), (0, ""), out)
        code, _, err = self.finish(server)
        self.assertEqual(code, 0)
        self.assertIn("a client of mode serial was turned away", err)

    def test_what_a_client_waits_for(self):
        client = self.start(CLIENT, "--port", "1", "--ctrl-port", "2", "--sizes", "8")
        self.assertRegex(client.stderr.readline(), "^uhm_client: waiting for uhm_server at 127.0.0.1, port 1, control port 2")
        self.end(client)

    def test_memory_that_is_not_here(self):
        """The text names the cause beside the kind."""
        code, out, err = self.finish(self.start(SERVER, "--memory", "mlu"))
        self.assertEqual((code, out), (3, ""))
        self.assertRegex(err, "^uhm_server: Cambricon MLU is not supported: mlu memory: .+")

    def test_g2h2g(self):
        self.check_mode("g2h2g")

    def test_serial(self):
        self.check_mode("serial")

    def test_tcp(self):
        self.assertRegex(self.check_mode("uhm", "--type", "tcp"), r"route: .*tcp")

    def test_ucx(self):
        """Works, or says with the library's words that there is no UCX; never by anything else."""
        server, ports = self.serve("ucx")
        if ports:
            self.end(server)
            self.assertRegex(self.check_mode("ucx"), r"route: .*ucx")
            return
        code, _, err = self.finish(server)
        self.assertEqual(code, 3)
        self.assertIn("UNSUPPORT", err)
        self.assertRegex(err, "(?i)ucx")
        code, out, err = self.run_client("ucx", ("1", "1"))
        self.assertEqual((code, out), (3, ""))
        self.assertRegex(err, "(?i)ucx")

    def test_too_large(self):
        server, ports = self.serve("uhm")
        code, _, err = self.run_client("uhm", ports, "--sizes", "2M")
        self.assertEqual(code, 1)
        self.assertIn("--buffer", err)
        self.assertEqual(self.finish(server)[0], 0)

    def test_client_dies(self):
        server, ports = self.serve("uhm")
        client = self.start(CLIENT, "--mode", "uhm", "--port", ports[0], "--ctrl-port", ports[1], "--memory", "sim", "--sizes",
                            "1M", "--rounds", "1000000000")
        client.stdout.readline()
        client.kill()
        client.communicate()
        code, _, err = self.finish(server)
        self.assertEqual(code, 1)
        self.assertIn("PEER_LOST", err)

    def test_remedies(self):
        """What went wrong, and what to do about it."""
        first, ports = self.serve("uhm")
        code, _, err = self.finish(self.start(SERVER, "--port", ports[0], "--ctrl-port", "0"))
        self.assertEqual(code, 1)
        self.assertRegex(err, f"^uhm_server: listening: ADDRESS_IN_USE: .*:{ports[0]} .*--port")
        self.end(first)
        self.environment["HMC_TIMEOUT"] = "500ms"
        code, out, err = self.finish(self.start(CLIENT, "--port", ports[0], "--ctrl-port", ports[1], "--sizes", "8"))
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(err, f"^uhm_client: connecting: .*:{ports[1]}: start uhm_server first")
        code, out, err = self.finish(self.start(SERVER, "--mode", "g2h2g", "--buffer", "4096T"))
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(err, "^uhm_server: .* of memory is needed in all, and this host has ")

    def test_refusals(self):
        for arguments, text in ((["--mode", "fast"], "rdma_cpu"), (["--port"], "needs a value"),
                                (["--port", "65536"], "65535"), (["--sizes", "1,,2"], "--sizes '1,,2'"),
                                (["--sizes", "0"], "above 0"), (["--type", "x"], "shm"), (["--memory", "x"], "sim"),
                                (["--mdoe", "uhm"], "did you mean '--mode'?"), (["--what", "1"], "unknown option '--what'"),
                                (["there"], "what is 'there'?"), (["--mode", "ucx", "--type", "tcp"], "leave --type out")):
            for program, name in ((SERVER, "uhm_server"), (CLIENT, "uhm_client")):
                code, out, err = self.finish(self.start(program, *arguments))
                self.assertEqual((code, out), (2, ""), arguments)
                self.assertTrue(err.startswith(name + ": "), err)
                self.assertIn(text, err)
                self.assertIn("--help", err)
        code, out, err = self.finish(self.start(CLIENT, "--help"))
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(self.finish(self.start(SERVER, "--version"))[1], r"^\d+\.\d+\.\d+\n$")
        for word in ("uhm", "rdma_cpu", "g2h2g", "serial", "ucx"):
            self.assertIn(word, out)


unittest.main(argv=sys.argv[:1], verbosity=1)
