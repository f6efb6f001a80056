"""Checks that nothing in the tree is marked as unfinished.

usage: words.py ROOT

Looks at all text files that git knows or would know (tracked, or new and not ignored); outside git, at all but build/.
"""

import pathlib
import re
import shutil
import subprocess
import sys

from report import finish

# Written in pieces, so that this file passes its own check.
WORDS = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "for" + " now"]
PATTERN = re.compile("|".join(rf"(?<![A-Za-z]){word}(?![A-Za-z])" for word in WORDS))

# Texts by others, kept verbatim.
EXEMPT = ("LICENSE", "tests/seeds/")


def tracked(root):
    if (root / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(["git", "-C", str(root), "-c", f"safe.directory={root}", "ls-files", "-z", "--cached",
                                 "--others", "--exclude-standard"], stdout=subprocess.PIPE, check=True)
        return sorted(name for name in listed.stdout.decode().split("\0") if name)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*")
                  if path.is_file() and path.relative_to(root).parts[0] not in {"build", ".git"})


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    faults = []
    count = 0
    for name in tracked(root):
        path = root / name
        if name.startswith(EXEMPT) or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        count += 1
        for number, line in enumerate(text.splitlines(), 1):
            match = PATTERN.search(line)
            if match:
                faults.append(f"{name}:{number}: {match.group(0)}: {line.strip()}")
    finish(faults, count, "files")


main()
