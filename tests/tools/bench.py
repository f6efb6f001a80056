"""bench/run: one short round comes through, and its JSON holds what the table says.

usage: bench.py RUN BUILD_FOLDER
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

RUN, BUILD = sys.argv[1], sys.argv.pop(2)
sys.argv.pop(1)


class Bench(unittest.TestCase):
    def run_bench(self, *arguments, path=None, expect=0):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HMC_")}
        if path is not None:
            environment["PATH"] = path
        done = subprocess.run([sys.executable, RUN, *arguments], env=environment, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=850, check=False)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def test_table(self):
        """Without the peers, which take most of the time: their lines say so."""
        with tempfile.TemporaryDirectory(prefix="hmc-test-") as folder:
            file = os.path.join(folder, "figures.json")
            out, err = self.run_bench("--quick", "--rounds", "1", "--build", BUILD, "--json", file, path=folder)
            with open(file, encoding="utf-8") as text:
                figures = json.load(text)
        self.assertEqual(err, "")
        self.assertIn("processor", figures["machine"])
        for row in figures["rows"]:
            absent = any(name in row["peer"] for name in ("ucx_perftest", "iperf3", "Open MPI", "NIXL", "AES-128-GCM"))
            if "Mooncake" in row["peer"]:  # bench/smem installs its wheel, where it can
                absent = row["verdict"] == "absent"
            self.assertEqual(row["verdict"] == "absent", absent, row)
            if not absent:
                self.assertGreater(row["rounds"][0]["hmc"], 0)
                self.assertGreater(row["ratio"], 0)
                self.assertEqual(row["verdict"] != "", row["goal"] is not None)
        self.assertGreaterEqual(sum(row["goal"] is not None for row in figures["rows"]), 7)
        lines = out[out.index("peer or limit"):].splitlines()
        shown = [row["what"] for row in figures["rows"] if any(line.startswith(row["what"]) for line in lines)]
        self.assertEqual(len(shown), len(figures["rows"]))

    def test_mistyped(self):
        for arguments in (["--only", "rdma"], ["--rounds", "0"], ["--fast"]):
            self.run_bench(*arguments, expect=2)
        _, err = self.run_bench("--build", "/nowhere", expect=1)
        self.assertIn("build first", err)


unittest.main(verbosity=1)
