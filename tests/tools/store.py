"""hmc-store: serving, the commands of a client, a kill and a restart with a journal, and wrong command lines."""

import os
import pathlib
import signal
import socket
import sys
import time

from program import ProgramTest, main

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402


class Store(ProgramTest):
    def serve(self, *options):
        process = self.start(*options)
        url = process.stdout.readline().strip()
        self.assertRegex(url, r"^tcp://127\.0\.0\.1:\d+$")
        return process, url

    def expect_late(self, url, words, *command):
        """Nothing comes in time; on a busy machine that may be over before the server has answered the client at all."""
        for timeout in ("1", "8", "60"):
            _, err = self.run_program("--at", url, "--timeout", timeout, *command, expect=1)
            if "is away" not in err:
                break
        self.assertIn(words, err)

    def test_help(self):
        self.check_help("hmc-store")

    def test_commands(self):
        server, url = self.serve()
        self.run_program("--at", url, "set", "a/1", "one")
        self.run_program("--at", url, "set", "a/2", "two")
        self.assertEqual(self.run_program("--at", url, "get", "a/1")[0], "one\n")
        self.assertEqual(self.run_program("--at", url, "wait", "a/2")[0], "two\n")
        self.assertEqual(self.run_program("--at", url, "add", "n", "-4")[0], "-4\n")
        self.assertEqual(self.run_program("--at", url, "list", "a/")[0], "a/1\tone\na/2\ttwo\n")
        self.run_program("--at", url, "delete", "a/1")
        _, err = self.run_program("--at", url, "get", "a/1", expect=1)
        self.assertIn("a/1", err)
        self.run_program("--at", url, "barrier", "b", "1")
        self.expect_late(url, "not all have come to the barrier in time", "barrier", "b", "2")
        self.expect_late(url, "nobody has set the key in time", "wait", "missing")
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=60), 0)

    def test_watch(self):
        server, url = self.serve()
        watch = self.start("--at", url, "watch", "w/")
        self.assertEqual(watch.stdout.readline(), "synced\n")
        self.run_program("--at", url, "set", "w/1", "one")
        self.assertEqual(watch.stdout.readline(), "put\tw/1\tone\n")
        self.run_program("--at", url, "delete", "w/1")
        self.assertEqual(watch.stdout.readline(), "delete\tw/1\t\n")
        watch.send_signal(signal.SIGINT)
        self.assertEqual(watch.wait(timeout=60), 130)
        server.kill()

    def test_killed_and_restarted(self):
        journal = os.path.join(self.home, "journal")
        port = str(free_port())  # which nobody gets while it is away
        server, url = self.serve("--journal", journal, "--port", port)
        self.run_program("--at", url, "set", "k", "kept")
        server.kill()
        server.wait()
        self.assertEqual(os.stat(journal).st_mode & 0o777, 0o600)
        server, url = self.serve("--journal", journal, "--port", port)
        self.assertEqual(self.run_program("--at", url, "get", "k")[0], "kept\n")
        _, err = self.run_program("--journal", journal, expect=1)
        self.assertIn("another server", err)
        server.kill()

    def test_nobody_is_there(self):
        _, err = self.run_program("--at", "tcp://127.0.0.1:1", "--timeout", "0.2", "list", expect=1)
        self.assertIn("away", err)
        began = time.monotonic()    # less than a millisecond is short too, and not the usual 30 s
        self.run_program("--at", "tcp://127.0.0.1:1", "--timeout", "0.0001", "list", expect=1)
        self.assertLess(time.monotonic() - began, 25)

    def test_says_what_it_waits_for(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        client = self.start("--at", f"tcp://127.0.0.1:{port}", "list")
        line = client.stderr.readline()
        self.assertIn(f"waiting, up to --timeout: the store at 127.0.0.1:{port} is away: nobody listens", line)
        self.start("--port", str(port))
        self.assertEqual(client.wait(timeout=60), 0)

    def test_something_else_is_there(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            _, err = self.run_program("--at", url, "--timeout", "0.2", "list", expect=1)
        self.assertIn("not another program", err)

    def test_a_port_in_use(self):
        _, url = self.serve()
        _, err = self.run_program("--port", url.rsplit(":", 1)[1], expect=1)
        self.assertIn("--port 0", err)

    def test_wrong_command_lines(self):
        self.check_refusal(["list"], "--at")
        self.check_refusal(["--at", "tcp://127.0.0.1:1", "lst"], "lst")
        self.check_refusal(["--at", "tcp://127.0.0.1:1"], "goes with a command")
        self.check_refusal(["--at", "tcp://127.0.0.1:1", "get"], "'get KEY' is expected")
        self.check_refusal(["--at", "tcp://127.0.0.1:1", "set", "key"], "'set KEY VALUE' is expected")
        self.check_refusal(["--at", "tcp://127.0.0.1:1", "add", "key", "one"], "add 'one'")  # before it looks for the store
        self.check_refusal(["--at", "tcp://127.0.0.1:1", "barrier", "key", "0"], "barrier '0'")
        self.check_refusal(["--port", "70000"], "--port '70000'", "65535")
        self.check_refusal(["--grace", "soon"], "--grace 'soon'")
        self.check_refusal(["--timeout", "0"], "--timeout '0'")
        self.check_refusal(["--timeout", "1e10"], "at most 1e9")
        self.check_refusal(["--clients", "0"], "--clients '0'")
        self.check_refusal(["--memory", "3"], "--memory '3'", "from 4K to 64T")
        self.check_refusal(["--jornal", "x"], "--jornal")


main(Store)
