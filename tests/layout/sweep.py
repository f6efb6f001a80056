"""Checks that what killed tests left is removed once it is old, and nothing else.

usage: sweep.py SWEEP
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from report import finish

LEFT = ("hmc-test-old-a1b2c3", "hmc-test-d4e5f6")
KEPT = ("hmc-test-young-a1b2c3", "hmc-other-a1b2c3", "hmc-test-file")


def main():
    faults = []
    with tempfile.TemporaryDirectory(prefix="hmc-test-sweep-") as name:
        folder = pathlib.Path(name)
        for entry in LEFT + KEPT[:2]:
            (folder / entry).mkdir()
            (folder / entry / "content").write_text("x", encoding="utf-8")
        (folder / KEPT[2]).write_text("x", encoding="utf-8")
        long_ago = time.time() - 2 * 3600
        for entry in LEFT + KEPT[1:]:
            os.utime(folder / entry, (long_ago, long_ago))
        subprocess.run([sys.argv[1], name], check=True)
        found = {entry.name for entry in folder.iterdir()}
        faults += [f"{entry} is still there" for entry in LEFT if entry in found]
        faults += [f"{entry} was removed" for entry in KEPT if entry not in found]
    finish(faults, len(LEFT + KEPT), "entries")


main()
