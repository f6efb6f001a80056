"""Checks that the picture of the benchmarks and the table of docs/shmem.md are of one run: the same day, the same ratios.

    figures.py ROOT

The table has HMC's time by the peer's, the picture how many times as fast HMC is; both are rounded.
"""

import pathlib
import re
import sys
import time

# What the picture calls the lines of Open MPI's OSHMEM, and the table.
NAMES = {"8 B put, one way": "8 B put, one way", "8 B puts in a stream": "`shmem_long_p` in a stream", "fetch-add": "fetch-add",
         "barrier of two": "barrier of two", "sum of 1 MiB": "sum of 1 MiB"}
ROUNDED = 1.1


def main():
    docs = pathlib.Path(sys.argv[1]).resolve() / "docs"
    section = (docs / "shmem.md").read_text(encoding="utf-8").split("\n## Figures\n")[1].split("\n## ")[0]
    # The peer of such a row is a time alone: Open MPI's.
    table = {name: float(ratio) for name, ratio in re.findall(r"^\| (.+?) \| [^|]+ \| [\d.]+ [num]?s \| ([\d.]+) \|", section, re.M)}
    picture = (docs / "bench.svg").read_text(encoding="utf-8")
    bars = picture.split("as Open MPI OSHMEM")[1]
    faults = []
    for shown, name in NAMES.items():
        bar = re.search(r">%s</text>.*?class=\"value\">([\d.]+)" % re.escape(shown), bars, re.S)
        if bar is None or name not in table:
            faults.append(f"{shown}: it is not in {'the picture' if bar is None else 'the table'}")
        elif not 1 / ROUNDED < float(bar.group(1)) * table[name] < ROUNDED:
            faults.append(f"{shown}: {bar.group(1)} times as fast in the picture, a ratio of {table[name]} in the table")
    day = time.strptime(re.search(r"`bench/run[^`]*` on (\d+ \w+ \d+)", section).group(1), "%d %B %Y")
    if time.strftime("%Y-%m-%d", day) not in picture:
        faults.append("the picture is of another day than the table")
    print("\n".join(faults) if faults else f"{len(NAMES)} figures agree")
    sys.exit(1 if faults else 0)


main()
