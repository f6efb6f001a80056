"""hmc-demo: files of all sizes arrive, and what cannot be moved is said."""

import hashlib
import os
import pty
import re
import signal
import subprocess

from program import ProgramTest, main


class Demo(ProgramTest):
    def file(self, size, name="file"):
        path = os.path.join(self.home, name)
        with open(path, "wb") as file:
            file.write(os.urandom(size))
        return path

    def rows(self, out):
        return [line.split() for line in out.splitlines() if re.match(r"(shm|tcp) +(get|put) ", line)]

    def test_help(self):
        self.check_help("hmc-demo")

    def test_sizes(self):
        for size in (1, 4096, (4 << 20) - 1, 4 << 20, (9 << 20) + 5):
            path = self.file(size)
            out, err = self.run_program("--rounds", "2", path)
            self.assertEqual(err, "")
            with open(path, "rb") as file:
                self.assertIn(hashlib.sha256(file.read()).hexdigest(), out)
            rows = self.rows(out)
            self.assertEqual([row[:2] for row in rows], [["shm", "get"], ["shm", "put"], ["tcp", "get"], ["tcp", "put"]])
            for row in rows:
                self.assertIn(str(size), row)
                self.assertEqual(row[-1], "sha256")
        self.assertRegex(out, r"(?m)^shm:\n  \S")
        self.assertRegex(out, r"(?m)^tcp:\n  \S")

    def test_modes(self):
        path = self.file((5 << 20) + 3)
        out, err = self.run_program("--rounds", "2", path)
        self.assertEqual(err, "")
        self.assertNotRegex(out, r"[\r\x1b]")
        table = out.split("route mode")[1].split("\n\n")[0].splitlines()[1:]
        rows = {line.split()[1]: line.split() for line in table if not line.startswith(" ")} # a reason may take two lines
        self.assertEqual(list(rows), ["uhm", "rdma_cpu", "g2h2g", "serial", "ucx"])
        for name, row in rows.items():
            if row[2:4] == ["not", "here:"]: # hardware, or a library, that this machine has not
                self.assertIn(name, ("rdma_cpu", "ucx"))
                self.assertGreater(len(row), 5)
            else:
                self.assertIn(str((5 << 20) + 3), row)
                self.assertEqual(row[-1], "sha256")
        for line in out.splitlines()[2:10]:
            self.assertLessEqual(len(line), 80, line)

    def test_default_file(self):
        out, _ = self.run_program("--rounds", "1")
        path = re.search(r"(?m)^file +(/\S+) \(", out).group(1)
        self.assertGreater(os.path.getsize(path), 500_000)
        self.assertIn("sim:0 -> sim:1", out)

    def test_memory(self):
        out, _ = self.run_program("--rounds", "1", "--memory", "cpu", self.file(1000))
        self.assertIn("cpu -> cpu", out)

    def test_no_file(self):
        for path, text in ((os.path.join(self.home, "missing"), "No such file"), (self.home, "Is a directory"),
                           (self.file(0, "empty"), "empty"), ("/dev/null", "not a regular file")):
            out, err = self.run_program(path, expect=1)
            self.assertEqual(out, "")
            self.assertIn(path, err)
            self.assertIn(text, err)
            self.assertEqual(len(err.splitlines()), 1)

    def test_more_than_there_is(self):
        path = os.path.join(self.home, "large")
        with open(path, "wb") as file: # no bytes on the disk
            file.truncate(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 + 4096)
        out, err = self.run_program(path, expect=1)
        self.assertEqual(out, "")
        self.assertIn("do not fit into this host's memory", err)

    def test_no_device(self):
        out, err = self.run_program("--memory", "sim", HMC_SIM_DEVICES="0", expect=1)
        self.assertEqual(out, "")
        self.assertIn("sim", err)

    def test_progress_on_a_terminal(self):
        path = self.file(8 << 20)
        master, slave = pty.openpty()
        with subprocess.Popen([self.program, "--rounds", "1", path], env={**self.environment, "HMC_SIM_BANDWIDTH": "64M"},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave) as process:
            os.close(slave)
            shown = b""
            while True:
                try:
                    piece = os.read(master, 65536)
                except OSError: # the other end is closed
                    break
                if not piece:
                    break
                shown += piece
            out = process.stdout.read()
        os.close(master)
        self.assertEqual(process.returncode, 0)
        for text in (b"reading the file", b"shm get, round 1 of 1", b"tcp put, round 1 of 1", b"checking", b"100%"):
            self.assertIn(text, shown)
        self.assertNotIn(b"\r", out)
        for text in (b"tcp uhm, round 1 of 1", b"tcp serial, round 1 of 1"):
            self.assertIn(text, shown)
        for frame in shown.split(b"\r"): # what a terminal of 80 columns shows in one line
            self.assertLess(len(frame.replace(b"\x1b[K", b"")), 80)
            self.assertNotIn(b"\n", frame)
        self.assertTrue(shown.endswith(b"\r\x1b[K")) # nothing stays on the line

    def test_interrupted(self):
        process = self.start("--rounds", "1000", self.file(1 << 20), HMC_SIM_BANDWIDTH="8M")
        self.assertIn("file", process.stdout.readline())
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], stdout=subprocess.PIPE, text=True,
                                  check=True).stdout.split()
        self.assertEqual(len(children), 1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=100)
        self.assertEqual(process.returncode, -signal.SIGTERM)
        for _ in range(100): # its child goes with it
            if not os.path.exists(f"/proc/{children[0]}/fd"):
                break
            subprocess.run(["sleep", "0.05"], check=True)
        else:
            self.fail("the process that holds the file is left behind")

    def test_mistyped(self):
        self.check_refusal(["--round", "x"], "--rounds 'x'", "1 to 1000")
        self.check_refusal(["--momory", "cpu"], "did you mean '--memory'")
        self.check_refusal(["--memory", "tape"], "--memory 'tape'", "sim")
        self.check_refusal(["a", "b"], "what is 'b'?")


main(Demo)
