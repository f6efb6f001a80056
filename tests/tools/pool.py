"""hmc-perf pool: every direction, single, as a batch and as the block list of a KV cache, and what it refuses."""

import json
import pathlib
import sys

from program import ProgramTest, main

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

TYPES = ["H2D", "D2H", "H2RD", "H2RH", "D2RH", "D2RD", "RH2D", "RH2H", "RD2D", "RD2H"]


class Pool(ProgramTest):
    def measure(self, *arguments):
        out, err = self.run_program("pool", "--format", "json", "--iterations", "5", "--verify", *arguments)
        self.assertEqual(err, "")
        return [json.loads(line) for line in out.splitlines()]

    def test_every_direction(self):
        lines = self.measure("--size", "300001")
        self.assertEqual([line["type"] for line in lines], TYPES)
        for line in lines:
            self.assertEqual((line["bytes"], line["pieces"], line["iterations"], line["verified"]), (300001, 1, 5, True))
            self.assertGreater(line["latency_us_median"], 0)

    def test_block_list_over_tcp(self):
        lines = self.measure("--kv", "--type", "h2rh,RD2H", "--op", "tcp", "--compare")
        self.assertEqual([line["type"] for line in lines], ["H2RH", "RD2H"])
        for line in lines:
            self.assertEqual((line["bytes"], line["pieces"], line["verified"]), (61 * (131072 + 16384), 122, True))
            self.assertGreater(line["of_hmc"], 0)

    def test_text(self):
        out, _ = self.run_program("pool", "--type", "H2RH", "--batch", "3", "--size", "4K", "--iterations", "5", "--verify")
        self.assertRegex(out, r"H2RH +12288 +3 .* verified")

    def test_members_started_by_hand(self):
        url = "tcp://127.0.0.1:%d" % free_port()
        common = ["pool", "--store", url, "--world", "3", "--type", "H2RH", "--iterations", "5", "--format", "json"]
        members = [self.start(*common, "--rank", str(rank)) for rank in range(3)]
        outs = [member.communicate(timeout=200) for member in members]
        self.assertEqual([member.returncode for member in members], [0, 0, 0], outs)
        self.assertEqual(json.loads(outs[0][0])["type"], "H2RH")

    def test_refusals(self):
        for arguments, words in ((["--type", "H2X"], "H2RH"), (["--size", "0"], "--size"), (["--op", "fast"], "tcp"),
                                 (["--rank", "0"], "--store"), (["--kv", "--batch", "2"], "--kv"), (["left"], "left"),
                                 (["--store", "tcp://127.0.0.1:4100", "--rank", "2"], "--world")):
            process = self.start("pool", *arguments)
            _, err = process.communicate(timeout=100)
            self.assertEqual(process.returncode, 2, err)
            self.assertIn(words, err)


main(Pool)
