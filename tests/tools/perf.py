"""hmc-perf: both ends, all formats, what it refuses, and how it ends."""

import csv
import json
import os
import re
import signal
import subprocess
import time
import xml.dom.minidom

from program import ProgramTest, main

SHORT = ["--iterations", "50", "--warmup", "2"]
KEYS = ["transport", "op", "memory", "peer_memory", "bytes", "depth", "threads", "iterations", "seconds", "latency_us_median",
        "latency_us_p99", "gbytes_per_second", "operations_per_second", "verified", "mode", "cpu_seconds_per_gib", "ratio", "peers",
        "blocks", "own_memory"]


class Perf(ProgramTest):
    def measure(self, *arguments):
        out, err = self.run_program("--self", "--format", "json", *SHORT, *arguments)
        self.assertEqual(err, "")
        return [json.loads(line) for line in out.splitlines()]

    def serve(self, *arguments):
        """A server on a free port; answers (process, port)."""
        process = self.start("--bind", "127.0.0.1", "--port", "0", *arguments)
        line = process.stderr.readline()
        found = re.search(r"port (\d+)", line)
        self.assertTrue(found, line)
        return process, found.group(1)

    def finish(self, process, number=None):
        if number:
            process.send_signal(number)
        out, err = process.communicate(timeout=100)
        return process.returncode, out, err

    def test_help(self):
        self.check_help("hmc-perf")

    def test_all_routes(self):
        for transport in ("shm", "tcp"):
            for op in ("put", "get"):
                lines = self.measure("--transport", transport, "--op", op, "--size", "1,8,4K,100001", "--verify")
                self.assertEqual([line["bytes"] for line in lines], [1, 8, 4096, 100001])
                for line in lines:
                    self.assertEqual(list(line), KEYS)
                    self.assertEqual((line["transport"], line["op"], line["iterations"], line["verified"]),
                                     (transport, op, 50, True))
                    self.assertGreater(line["latency_us_median"], 0)
                    self.assertGreaterEqual(line["latency_us_p99"], line["latency_us_median"])
                    rate = line["iterations"] / line["seconds"]
                    self.assertAlmostEqual(line["operations_per_second"] / rate, 1, 2)
                    self.assertAlmostEqual(line["gbytes_per_second"] * 1e9 / (rate * line["bytes"]), 1, 1)

    def test_in_flight(self):
        for transport in ("shm", "tcp"):
            line, = self.measure("--transport", transport, "--size", "64K", "--depth", "4", "--threads", "3", "--verify")
            self.assertEqual((line["depth"], line["threads"], line["iterations"]), (4, 3, 150))
            self.assertIsNone(line["latency_us_median"])
            self.assertTrue(line["verified"])

    def test_both_ways_to_many(self):
        """Every slot has its peer and its direction, and every byte is right."""
        for transport in ("shm", "tcp"):
            line, = self.measure("--transport", transport, "--op", "mix", "--peers", "3", "--threads", "2", "--size", "100001",
                                 "--verify")
            self.assertEqual((line["op"], line["peers"], line["depth"], line["verified"]), ("mix", 3, 8, True))
        line, = self.measure("--op", "mix", "--peers", "5", "--size", "8")
        self.assertEqual(line["depth"], 10)
        servers = [self.serve("--once"), self.serve("--once")]
        out, _ = self.run_program(*(f"127.0.0.1:{port}" for _, port in servers), "--size", "4K", "--verify", "--format",
                                  "json", *SHORT)
        self.assertEqual(json.loads(out)["peers"], 2)
        for server, _ in servers:
            self.assertEqual(self.finish(server)[0], 0)

    def test_own_memory_and_one_processor(self):
        for transport in ("shm", "tcp"):
            for op in ("put", "get"):
                line, = self.measure("--transport", transport, "--op", op, "--own-memory", "--processor",
                                     str(min(os.sched_getaffinity(0))), "--size", "70000", "--verify")
                self.assertEqual((line["own_memory"], line["verified"]), (True, True))

    def test_blocks(self):
        for name, total in (("deepseek", 61 * 144 << 10), ("llama-8b", 2 << 20), ("llama-70b", 5 << 20)):
            line, = self.measure("--blocks", name, "--iterations", "2", "--verify", "--op", "mix", "--depth", "2")
            self.assertEqual((line["blocks"], line["bytes"], line["verified"]), (name, total, True))

    def test_progress(self):
        """A bar on a terminal, which the row wipes off; nothing of it elsewhere."""
        command = f"{self.program} --self --size 8,16 --iterations 20"
        done = subprocess.run(["script", "-qec", command, "/dev/null"], env={**self.environment, "TERM": "xterm"},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=100, check=True)
        self.assertRegex(done.stdout, "━.* 2 of 2: 16 B[\r\n]\x1b\\[Kshm")
        out, err = self.run_program("--self", "--size", "8,16", *SHORT)
        self.assertNotIn("━", out + err)

    def test_device_memory(self):
        line, = self.measure("--memory", "sim:0", "--peer-memory", "sim:1", "--size", "1M", "--op", "get", "--verify")
        self.assertEqual((line["memory"], line["peer_memory"]), ("sim:0", "sim:1"))
        line, = self.measure("--memory", "sim", "--device", "1", "--size", "8", "--bandwidth", "--verify")
        self.assertEqual((line["memory"], line["peer_memory"], line["depth"]), ("sim:1", "cpu", 8))

    def test_time(self):
        out, _ = self.run_program("--self", "--size", "8", "--seconds", "0.2", "--format", "json")
        self.assertGreaterEqual(json.loads(out)["seconds"], 0.19)
        self.assertLess(json.loads(out)["seconds"], 5)  # a busy machine comes back late; without --seconds it is reported, too

    def test_text_and_csv(self):
        out, _ = self.run_program("--self", "--size", "8,16", *SHORT)
        first, header, *rows = out.splitlines()
        self.assertRegex(first, r"^connected in [0-9.]+ ms; the first transfer took [0-9.]+ us$")
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        self.assertEqual(header.split()[:4], ["transport", "op", "memory", "bytes"])
        self.assertEqual(len(rows), 2)
        self.assertIn("cpu -> cpu", rows[0])
        out, _ = self.run_program("--self", "--size", "8,16", "--format", "csv", "--bandwidth", *SHORT)
        rows = list(csv.DictReader(out.splitlines()))
        self.assertEqual(list(rows[0]), KEYS)
        self.assertEqual([row["bytes"] for row in rows], ["8", "16"])
        self.assertEqual(rows[0]["latency_us_median"], "")

    def test_modes(self):
        """Every byte arrives in each mode, by each transport, both ways; and the time has all steps in it."""
        for mode in ("uhm", "g2h2g", "serial"):
            for transport in ("shm", "tcp"):
                for op in ("put", "get"):
                    chunk = ["--chunk", "1000"] if mode == "serial" else []
                    lines = self.measure("--mode", mode, "--transport", transport, "--op", op, "--size", "1,5000,100001",
                                         "--iterations", "3", "--verify", *chunk)
                    self.assertEqual([line["bytes"] for line in lines], [1, 5000, 100001])
                    for line in lines:
                        self.assertEqual(list(line), KEYS)
                        self.assertEqual((line["mode"], line["transport"], line["op"], line["verified"]),
                                         (mode, transport, op, True))
                        self.assertEqual((line["memory"], line["peer_memory"]), ("sim:0", "sim:1"))

    def test_mode_takes_its_steps(self):
        """With a device that takes 20 ms for a copy, a staged transfer takes two copies per piece."""
        def median(*arguments):
            out, _ = self.run_program("--self", "--format", "json", "--iterations", "1", "--warmup", "0", "--size", "2000",
                                      "--transport", "tcp", *arguments, HMC_SIM_LATENCY="20ms")
            return json.loads(out)["latency_us_median"] / 1000
        self.assertGreaterEqual(median("--mode", "g2h2g"), 40)
        self.assertGreaterEqual(median("--mode", "serial", "--chunk", "1000"), 80)

    def test_mode_in_text_and_csv(self):
        out, _ = self.run_program("--self", "--mode", "g2h2g", "--size", "8", "--verify", *SHORT)
        _, header, row = out.splitlines()
        self.assertEqual(header.split()[:2], ["mode", "transport"])
        self.assertEqual(row.split()[:2], ["g2h2g", "shm"])
        self.assertLessEqual(max(len(header), len(row)), 80)
        out, _ = self.run_program("--self", "--mode", "serial", "--iterations", "2", "--format", "csv")
        rows = list(csv.DictReader(out.splitlines()))
        self.assertEqual([(row["mode"], row["bytes"]) for row in rows],
                         [("serial", str(size << 10)) for size in (64, 1024, 4096, 16384)])

    def test_help_fits(self):
        self.assertLessEqual(max(map(len, self.run_program("--help")[0].splitlines())), 80)

    def test_host_and_port(self):
        """One spelling for all: HOST:PORT, by name."""
        server = self.start("--bind", "127.0.0.1", "--port", "0", "--once")
        port = re.search(r"port (\d+)", server.stderr.readline())
        out, _ = self.run_program("--size", "8", "--format", "json", *SHORT, f"localhost:{port.group(1)}")
        self.assertEqual(json.loads(out)["bytes"], 8)

    def test_plot_and_compare(self):
        """One command makes the figure of the modes; a former run gives ratios and dashed lines."""
        picture, before = f"{self.home}/modes.svg", f"{self.home}/before.json"
        out, _ = self.run_program("--self", "--mode", "all", "--size", "64K,1M", "--plot", picture, "--format", "json", *SHORT)
        with open(before, "w", encoding="ascii") as file:
            file.write(out)
        with open(picture, encoding="utf-8") as file:
            text = file.read()
        xml.dom.minidom.parseString(text)
        for mode in ("uhm", "g2h2g", "serial"):
            self.assertIn(f">{mode}</text>", text)
        out, _ = self.run_program("--self", "--mode", "all", "--size", "64K,1M", "--plot", picture, "--compare", before,
                                  "--format", "json", *SHORT)
        for line in map(json.loads, out.splitlines()):
            self.assertGreater(line["ratio"], 0)
            self.assertGreater(line["cpu_seconds_per_gib"], 0)
        with open(picture, encoding="utf-8") as file:
            self.assertIn("(before)", file.read())
        self.run_program("--self", "--size", "8", "--compare", picture, *SHORT, expect=1)
        self.check_refusal(["--mode", "all", "HOST"], "--self")
        out, _ = self.run_program("--self", "--mode", "all", "--size", "64K", "--format", "csv", *SHORT)
        self.assertEqual(out.count("transport,op"), 1, out) # all modes make one table

    def test_a_mistyped_variable_is_named_once(self):
        _, err = self.run_program("--self", "--size", "8", *SHORT, "--peers", "2", HMC_TIMOUT="5s", HMC_SPINN="1us")
        self.assertEqual(err.count("did you mean HMC_TIMEOUT?"), 1, err)
        self.assertEqual(err.count("did you mean HMC_SPIN?"), 1, err)

    def test_a_picture_as_png(self):
        """By the converter where there is one; without it, and for other names, nothing is measured."""
        words = ("--self", "--size", "8", *SHORT)
        self.check_refusal(["--plot", "figure.pdf", *words], ".svg or .png")
        self.check_refusal(["--plot", "figure", *words], ".svg or .png")
        _, err = self.run_program(*words, "--plot", f"{self.home}/figure.png", expect=2, PATH=self.home)
        self.assertIn("librsvg2-bin", err)
        with open(f"{self.home}/rsvg-convert", "w", encoding="ascii") as file:
            file.write('#!/bin/sh\n[ "$2" = --output ] && exec /bin/cat > "$3"\n')
        os.chmod(f"{self.home}/rsvg-convert", 0o755)
        self.run_program(*words, "--plot", f"{self.home}/figure.png", PATH=self.home)
        xml.dom.minidom.parse(f"{self.home}/figure.png")
        with open(f"{self.home}/rsvg-convert", "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 1\n")
        self.run_program(*words, "--plot", f"{self.home}/figure.png", PATH=self.home, expect=1)

    def test_mode_of_hardware(self):
        """Works where the machine has it; else says what is missing, and what helps. Never by anything else."""
        for mode, transport, memory in (("rdma_cpu", "rdma", "cpu"), ("ucx", "ucx", "sim:0")):
            for end in (["--self"], ["--bind", "127.0.0.1", "--port", "0", "--once"]):
                measured = ["--format", "json", "--size", "1M", "--iterations", "3"] if end[0] == "--self" else []
                process = self.start("--mode", mode, *end, *measured)
                if end[0] != "--self":
                    line = process.stderr.readline()
                    if "port" in line:
                        self.finish(process, signal.SIGINT)
                        continue
                    self.assertRegex(line, f"^hmc-perf: mode {mode} cannot run here: .+; it takes ")
                code, out, err = self.finish(process)
                if code == 0:
                    line = json.loads(out.splitlines()[0])
                    self.assertEqual((line["mode"], line["transport"], line["memory"]), (mode, transport, memory))
                    continue
                self.assertEqual((code, out), (1, ""))
                if end[0] == "--self":
                    self.assertRegex(err, f"^hmc-perf: mode {mode} cannot run here: .+; it takes .+ at both ends")
                    self.assertEqual(len(err.splitlines()), 1)

    def test_mode_of_two_programs(self):
        server, port = self.serve("--mode", "g2h2g", "--region", "1M")
        try:
            for mode in ("g2h2g", "uhm", "serial"): # one after the other: the server knows them all
                out, _ = self.run_program("127.0.0.1", "--port", port, "--mode", mode, "--size", "100000", "--verify",
                                          "--format", "json", *SHORT)
                self.assertEqual(json.loads(out)["mode"], mode)
            clients = [self.start("127.0.0.1", "--port", port, "--mode", "g2h2g", "--size", "1000", "--format", "json", *SHORT)
                       for _ in range(3)]
            for client in clients:
                self.assertEqual(self.finish(client)[0], 0)
            _, err = self.run_program("127.0.0.1", "--port", port, "--mode", "g2h2g", "--size", "2M", expect=1)
            self.assertIn("--region", err)
        finally:
            self.finish(server, signal.SIGINT)

    def test_mode_and_other_memory(self):
        server, port = self.serve()
        try:
            _, err = self.run_program("127.0.0.1", "--port", port, "--mode", "serial", "--size", "8", expect=1)
            self.assertIn("the server offers cpu memory", err)
            self.assertIn("--mode serial", err)
        finally:
            self.finish(server, signal.SIGINT)

    def test_mode_and_server_lost(self):
        server, port = self.serve("--mode", "g2h2g")
        client = self.start("127.0.0.1", "--port", port, "--mode", "g2h2g", "--size", "8", "--seconds", "30")
        self.assertIn("connected", client.stdout.readline())
        self.assertIn("mode", client.stdout.readline())
        time.sleep(0.3)
        self.finish(server, signal.SIGKILL)
        code, _, err = self.finish(client)
        self.assertEqual(code, 1, err)
        self.assertIn("put of 8 bytes: ", err)

    def test_two_programs(self):
        server, port = self.serve("--once", "--memory", "sim", "--region", "1M")
        out, _ = self.run_program("localhost", "--port", port, "--size", "4K", "--verify", "--format", "json", *SHORT)
        self.assertEqual(json.loads(out)["peer_memory"], "sim:0")
        code, out, err = self.finish(server) # by itself
        self.assertEqual((code, out), (0, ""))
        self.assertIn("client: ", err)
        self.assertIn("left: ", err)

    def test_server_interrupted(self):
        server, port = self.serve()
        for _ in range(2): # not --once: it stays
            self.run_program("127.0.0.1", "--port", port, "--size", "8", *SHORT)
        code, out, _ = self.finish(server, signal.SIGINT)
        self.assertEqual((code, out), (0, ""))

    def test_client_interrupted(self):
        for arguments in (["--latency"], ["--bandwidth", "--threads", "2"]):
            client = self.start("--self", "--size", "8,16", "--seconds", "30", *arguments)
            self.assertIn("connected", client.stdout.readline())
            self.assertIn("transport", client.stdout.readline())
            time.sleep(0.3)
            code, _, err = self.finish(client, signal.SIGINT)
            self.assertEqual(code, 130, err)
            self.assertEqual(err, "hmc-perf: interrupted\n")

    def test_server_lost(self):
        server, port = self.serve()
        client = self.start("127.0.0.1", "--transport", "tcp", "--port", port, "--size", "8", "--seconds", "30")
        self.assertIn("connected", client.stdout.readline())
        self.assertIn("transport", client.stdout.readline())
        time.sleep(0.3)
        self.finish(server, signal.SIGKILL)
        code, _, err = self.finish(client)
        self.assertEqual(code, 1, err)
        self.assertIn("put of 8 bytes", err)

    def test_region_too_small(self):
        server, port = self.serve("--region", "4K")
        try:
            _, err = self.run_program("127.0.0.1", "--port", port, "--size", "8K", *SHORT, expect=1)
            self.assertIn("4 KiB", err)
            self.assertIn("--region", err)
            _, err = self.run_program("127.0.0.1", "--port", port, "--size", "4K", "--depth", "2", "--verify", *SHORT, expect=1)
            self.assertIn("--region", err)
            self.run_program("127.0.0.1", "--port", port, "--size", "4K", "--depth", "2", *SHORT)
        finally:
            self.finish(server, signal.SIGINT)

    def test_other_secret(self):
        server, port = self.serve()
        try:
            _, err = self.run_program("127.0.0.1", "--port", port, "--size", "8", expect=1, HMC_SECRET="quite another secret")
            self.assertRegex(err, "(?i)secret")
        finally:
            self.finish(server, signal.SIGINT)

    def test_nobody_there(self):
        _, err = self.run_program("127.0.0.1", "--port", "1", expect=1)
        self.assertIn("127.0.0.1:1", err)
        self.assertIn("start hmc-perf there", err)
        _, err = self.run_program("no.such.host.invalid", expect=1)
        self.assertIn("no.such.host.invalid", err)

    def test_port_in_use(self):
        server, port = self.serve()
        try:
            _, err = self.run_program("--bind", "127.0.0.1", "--port", port, expect=1)
            self.assertIn(f"127.0.0.1:{port}", err)
            self.assertIn("--port 0", err)
        finally:
            self.finish(server, signal.SIGINT)

    def test_required_transport(self):
        for transport in ("rdma", "ucx"):
            done = subprocess.run([self.program, "--self", "--transport", transport, "--size", "8", *SHORT],
                                  env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0: # it says why, by name; on a machine that has it, it works
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stderr, f"(?i){transport}")

    def test_unknown_device(self):
        _, err = self.run_program("--self", "--memory", "sim:7", "--size", "8", *SHORT, expect=1)
        self.assertIn("7", err)
        out, err = self.run_program("--self", "--peer-memory", "sim:7", "--size", "8", *SHORT, expect=1)
        self.assertEqual(out, "")
        self.assertIn("the server's region", err)

    def test_more_than_there_is(self):
        """The system would grant it, and end some process once it is used."""
        for arguments in (["--size", "4096T"], ["--size", "8", "--region", "4096T"]):
            out, err = self.run_program("--self", "--iterations", "1", *arguments, expect=1)
            self.assertEqual(out, "")
            self.assertRegex(err, r"[\d.]+ TiB of memory is needed in all, and this host has [\d.]+ [GMT]iB")

    def test_mistyped(self):
        self.check_refusal(["--sise", "8"], "unknown option '--sise'; did you mean '--size'?")
        self.check_refusal(["--se"], "'--se' is ambiguous")
        self.check_refusal(["--self", "--size", "8Q"], "--size '8Q'", "8..64M")
        self.check_refusal(["--self", "--size"], "'--size' needs a value")
        self.check_refusal(["--self", "--size", "0"], "above 0")
        self.check_refusal(["--self", "--op", "push"], "--op 'push'", "put, get or mix")
        self.check_refusal(["--self", "--transport", "ib"], "--transport 'ib'", "shm")
        self.check_refusal(["--self", "--memory", "tape"], "--memory 'tape'", "nvidia")
        self.check_refusal(["--self", "--depth", "0"], "--depth '0'", "1 to")
        self.check_refusal(["--self", "--seconds", "-1"], "--seconds '-1'")
        self.check_refusal(["--self", "--format", "xml"], "--format 'xml'")
        self.check_refusal(["--self", "--latency", "--depth", "4"], "--latency")
        self.check_refusal(["--self", "--mode", "fast"], "--mode 'fast'", "rdma_cpu", "g2h2g")
        self.check_refusal(["--self", "--mode", "g2h2g", "--depth", "2"], "one transfer at a time")
        self.check_refusal(["--self", "--mode", "serial", "--threads", "2"], "one transfer at a time")
        self.check_refusal(["--self", "--mode", "uhm", "--memory", "cpu"], "between device memory")
        self.check_refusal(["--self", "--mode", "rdma_cpu", "--peer-memory", "sim"], "between host memory")
        self.check_refusal(["--self", "--mode", "ucx", "--transport", "tcp"], "goes by ucx")
        self.check_refusal(["--self", "--mode", "g2h2g", "--chunk", "4K"], "--mode serial")
        self.check_refusal(["--self", "--mode", "serial", "--chunk", "0"], "--chunk '0'")
        self.check_refusal(["--self", "HOST"], "leave 'HOST' out")
        self.check_refusal(["--size", "8"], "add a HOST or --self")
        self.check_refusal(["HOST", "--peer-memory", "sim"], "--self")
        self.check_refusal(["HOST", "--once"], "--once is for the server")
        self.check_refusal(["--self", "--latency", "--op", "mix"], "one operation at a time")
        self.check_refusal(["--self", "--peers", "4", "--op", "mix", "--depth", "7"], "at least 8")
        self.check_refusal(["HOST", "--peers", "2"], "name several HOSTs")
        self.check_refusal(["--self", "--mode", "g2h2g", "--peers", "2"], "to one server")
        self.check_refusal(["--self", "--own-memory", "--memory", "sim"], "--own-memory is host memory")
        self.check_refusal(["--self", "--blocks", "gpt"], "--blocks 'gpt'", "deepseek")
        self.check_refusal(["--self", "--blocks", "deepseek", "--size", "8"], "leave --size out")
        self.check_refusal(["--self", "--processor", "0,"], "--processor '0,'")
        self.check_refusal(["-x"], "unknown option '-x'")
        self.check_refusal(["-s"], "'-s' needs a value")
        self.check_refusal(["--self", "--plot", "/nowhere/a.svg"], "No such file or directory")


main(Perf)
