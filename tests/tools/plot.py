"""bench/plot: a bar for each line that was measured, as long as it should be, and no picture of nothing.

usage: plot.py PLOT
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

PLOT = sys.argv.pop(1)


def row(section, what, peer, ratio, unit="ns"):
    return {"section": section, "what": what, "peer": peer, "ratio": ratio, "unit": unit, "rounds": [{"hmc": 1, "peer": 1}]}


class Plot(unittest.TestCase):
    def draw(self, *files, expect=0):
        """The texts and the widths of the bars, and what was said."""
        with tempfile.TemporaryDirectory(prefix="hmc-test-plot-") as folder:
            paths = []
            for number, rows in enumerate(files):
                paths.append(pathlib.Path(folder) / f"{number}.json")
                paths[-1].write_text(json.dumps({"machine": {"processor": "A & B", "processors": 2}, "rows": rows}),
                                     encoding="utf-8")
            picture = pathlib.Path(folder) / "picture.svg"
            done = subprocess.run([sys.executable, "-B", PLOT, "-o", picture, *paths], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(done.returncode, expect, done.stderr)
            if expect:
                return done.stderr
            tree = xml.dom.minidom.parseString(picture.read_text(encoding="utf-8"))
        texts = ["".join(node.data for node in text.childNodes) for text in tree.getElementsByTagName("text")]
        bars = [float(bar.getAttribute("width")) for bar in tree.getElementsByTagName("rect") if bar.hasAttribute("x")]
        return texts, bars

    def test_bars(self):
        texts, bars = self.draw([row("tcp", "put 8 B", "ucx_perftest ucp_put_lat x 2, tcp", 0.25),
                                 row("tcp", "put 1 MiB, 8 in flight", "ucx_perftest ucp_put_bw, tcp", 2, "GB/s"),
                                 row("tcp", "put 8 B", "polled sockets", 9),
                                 {**row("shm", "put 1 MiB, mean", "ucx_perftest", 1), "rounds": []}],
                                [row("shmem", "fetch-add", "Open MPI OSHMEM", 2)])
        for text in ("as UCX", "4.0×", "2.0×", "as Open MPI OSHMEM", "0.50×"):
            self.assertIn(text, texts)
        self.assertTrue(any(re.search(r"A & B, 2 processors, \d{4}-\d\d-\d\d, one round\. Made by", text) for text in texts), texts)
        self.assertEqual(len(bars), 3)
        self.assertAlmostEqual(bars[0], 2 * bars[1], delta=0.3)
        self.assertAlmostEqual(bars[1], bars[2], delta=0.3)

    def test_nothing(self):
        self.assertIn("none of the other libraries", self.draw([row("tcp", "put 8 B", "polled sockets", 9)], expect=1))


unittest.main()
