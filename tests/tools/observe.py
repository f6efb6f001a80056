"""Seeing HMC run: HMC_METRICS with hmc-top, and HMC_RECORDER with hmc-info --recorder, also after kill -9.

usage: observe.py HMC_TOP HMC_INFO HMC_PERF
"""

import json
import os
import re
import signal
import socket
import sys
import threading
import time

import program

TOP, INFO, PERF = sys.argv[1:4]


class Observe(program.ProgramTest):
    def run_load(self, transport="tcp", **variables):
        """A benchmark that goes on until the test ends: it and its forked server are two processes."""
        self.program = PERF
        load = self.start("--self", "--transport", transport, "--size", "4K", "--seconds", "1000", **variables)
        self.addCleanup(load.wait)
        self.addCleanup(load.send_signal, signal.SIGTERM)
        return load

    def ask(self, path, deadline=60):
        """The whole answer of the socket, once there is one that counts puts which have ended."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(path)
                    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
                    text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
                if re.search(r'operation="put",le="\+Inf"} [1-9]', text):
                    return text
            except (FileNotFoundError, ConnectionError):
                pass
            time.sleep(0.05)
        self.fail("nothing was shown at the socket")

    def test_metrics_and_top(self):
        load = self.run_load(HMC_METRICS=f"unix:{self.home}/%p")
        path = f"{self.home}/{load.pid}"
        text = self.ask(path)
        self.assertTrue(text.startswith("HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"))
        self.assertRegex(text, r'hmc_operations_total{context="hmc-perf",peer="127.0.0.1:\d+",name="[^"]*",route="tcp",operation="put"} \d+\n')
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.program = TOP
        out, err = self.run_program("--once", "--interval", "0.3", f"unix:{path}")
        self.assertEqual(err, "")
        self.assertIn("put/s", out)
        port = re.search(r'peer="127.0.0.1:(\d+)"', text).group(1)
        self.assertRegex(out, rf"hmc[-perf]* 127.0.0.1:{port} +tcp +[0-9.]+[KM]? ")
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        out, _ = self.run_program("--totals", HMC_METRICS=f"unix:{path}")
        self.assertNotIn("/s", out)
        _, err = self.run_program("--once", "unix:/nowhere", expect=1)
        self.assertIn("was it started with this HMC_METRICS?", err)

    def test_a_program_that_has_just_been_started(self):
        """As the documents have it: 'HMC_METRICS=unix:/tmp/hmc.%p ./program & hmc-top unix:/tmp/hmc.$!'."""
        self.program = TOP
        path = f"{self.home}/late"
        text = b"HTTP/1.0 200 OK\r\n\r\n# HELP hmc_operations_total Operations.\n"
        with self.start("--totals", f"unix:{path}") as top, socket.socket(socket.AF_UNIX) as listener:
            time.sleep(0.3)
            self.assertIsNone(top.poll())
            listener.bind(path)
            listener.listen()
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(text)
            out, err = top.communicate(timeout=100)
        self.assertEqual((top.returncode, err), (0, ""), out)

    def test_a_server_of_something_else(self):
        def answer(listener):
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno such page\n")

        self.program = TOP
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=answer, args=(listener,))
            thread.start()
            _, err = self.run_program("--once", "127.0.0.1:%d" % listener.getsockname()[1], expect=1)
            thread.join()
        self.assertIn("not HMC_METRICS", err)

    def test_only_this_host_may_look(self):
        self.program = PERF
        for where in ("0.0.0.0:9400", "127.0.0.1"):
            _, err = self.run_program("--self", "--size", "8", "--seconds", "0.01", HMC_METRICS=where, HMC_LOG="warning")
            self.assertIn(f"HMC_METRICS={where}: nothing is shown there", err)

    def test_the_recorder_survives(self):
        path = f"{self.home}/last"
        load = self.run_load(HMC_RECORDER=path + ".%p")
        end = time.monotonic() + 60
        self.program = INFO
        while True:
            out = "" if not os.path.exists(f"{path}.{load.pid}") else self.run_program("--recorder", f"{path}.{load.pid}")[0]
            if out.count(" put ") > 100:
                break
            self.assertLess(time.monotonic(), end, out[-500:])
            time.sleep(0.05)
        load.kill()
        load.wait()
        out, err = self.run_program("--recorder", f"{path}.{load.pid}")
        self.assertEqual(err, "")
        self.assertRegex(out, r"(?m)^\d\d:\d\d:\d\d\.\d{6} +\d+  context hmc-perf made$")
        self.assertRegex(out, r"(?m)^\S+ +\d+  peer    127.0.0.1:\d+ connected$")
        self.assertRegex(out, r"(?m)^\S+ +\d+  put     127.0.0.1:\d+, 4 KiB in [0-9.]+ us: SUCCESS$")
        trace, _ = self.run_program("--recorder", f"{path}.{load.pid}", "--trace")
        events = json.loads(trace)["traceEvents"]
        puts = [event for event in events if event["name"] == "put"]
        self.assertTrue(all(event["ph"] == "X" and event["dur"] > 0 and event["pid"] == load.pid for event in puts))
        self.assertEqual(os.stat(f"{path}.{load.pid}").st_mode & 0o777, 0o600)

    def test_the_recorder_keeps_other_files(self):
        with open(f"{self.home}/mine", "w", encoding="ascii") as file:
            file.write("precious")
        self.program = PERF
        _, err = self.run_program("--self", "--size", "8", "--seconds", "0.01", HMC_RECORDER=f"{self.home}/mine", expect=1)
        self.assertIn("it is there and not a recorder's file", err)
        with open(f"{self.home}/mine", encoding="ascii") as file:
            self.assertEqual(file.read(), "precious")
        self.program = INFO
        _, err = self.run_program("--recorder", f"{self.home}/mine", expect=1)
        self.assertIn("not a recorder's file", err)

    def test_command_line(self):
        self.program = TOP
        self.check_help("hmc-top")
        self.check_refusal([], "HMC_METRICS")
        self.check_refusal(["--interval", "soon"], "--interval 'soon'")
        self.check_refusal(["--interval", "1e300"], "--interval '1e300'")
        self.check_refusal(["node7"], "'node7': unix:PATH or HOST:PORT is expected")
        page, _ = self.run_program("--help-man")
        with open(os.path.join(os.path.dirname(__file__), "../../man/hmc-top.1"), encoding="utf-8") as file:
            self.assertEqual(page, file.read(), "hmc-top --help-man > man/hmc-top.1")


del sys.argv[2:4]
program.main(Observe)
