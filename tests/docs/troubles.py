"""Checks docs/guides/troubleshooting.md against the source: each text that it lists is one that HMC prints.

    troubles.py ROOT

In the document "..." stands for what differs from case to case, as a conversion of printf does in the source.
"""

import pathlib
import re
import sys


def texts(root):
    """All string literals of the sources, joined where C joins them, with conversions as one sign."""
    found = []
    for folder in ("src", "tools", "include"):
        for path in [*(root / folder).rglob("*.[ch]"), *(root / folder).rglob("*.hpp")]:
            source = path.read_text(encoding="utf-8")
            for literal in re.findall(r'"(?:[^"\\\n]|\\.)*"(?:\s*(?:PRI\w+\s*)?"(?:[^"\\\n]|\\.)*")*', source):
                joined = "".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', literal)).replace('\\"', '"')
                found.append(re.sub(r"%[-+ 0#]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j)?[a-zA-Z]", "\0", joined))
    return "\n".join(found)


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    known = texts(root)
    faults, count = [], 0
    document = (root / "docs/guides/troubleshooting.md").read_text(encoding="utf-8")
    for entry in re.findall(r"^\| `([^`]+)` \|", document, re.M):
        count += 1
        for piece in entry.split("..."):
            piece = piece.strip()
            if len(piece) > 3 and piece not in known and piece not in known.replace("\0", ""):
                faults.append(f"nothing prints '{piece}' (of '{entry}')")
    if count < 20:
        faults.append(f"only {count} texts are listed")
    print("\n".join(faults) if faults else f"{count} texts are those of the source")
    sys.exit(1 if faults else 0)


main()
