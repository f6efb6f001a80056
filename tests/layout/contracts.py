"""Checks that the contract of every public C function stands before it in the form that tools read: a comment that begins
with /**, one \\param for each parameter in their order, \\return where it returns something, and nothing of these else.

These are the engine's (include/hmc) and SMEM's (include/smem/host). What SHMEM's calls do, their specification says.

usage: contracts.py INCLUDE_FOLDER
"""

import pathlib
import re
import sys

from report import finish

FUNCTION = re.compile(r"^(?:HMC|SMEM)_API\s+([^;{]*?)\b((?:hmc_|smem_)\w+)\s*\((?!\*)([^;]*)\);", re.MULTILINE)
COMMENT = re.compile(r"/\*\*\n(?: \*[^\n]*\n)+? \*/\n\Z")


def names_of(parameters):
    """The names in a list of parameters; a pointer to a function has its own in (*name)."""
    text = re.sub(r"\(\*(\w+)\)\([^)]*\)", r"\1", " ".join(parameters.split()))
    text = text.replace(" SMEM_TRANS_DEFAULT_FLAGS", "")
    return [] if text == "void" else [re.search(r"(\w+)(?:\[\w*\])?$", part.strip()).group(1) for part in text.split(",")]


def faults_of(name, returned, parameters, before):
    comment = COMMENT.search(before)
    if not comment:
        return [f"{name}: no comment /** ... */ right before it"]
    said = re.findall(r"^ \* \\param (\w+) \S", comment.group(0), re.MULTILINE)
    faults = []
    if said != names_of(parameters):
        faults.append(f"{name}: \\param {said}, and its parameters are {names_of(parameters)}")
    if bool(re.search(r"^ \* \\return \S", comment.group(0), re.MULTILINE)) == (returned.strip() == "void"):
        faults.append(f"{name}: it returns {returned.strip()}, and the comment does not say so")
    return faults


def main():
    faults = []
    count = 0
    include = pathlib.Path(sys.argv[1])
    for header in [*sorted((include / "hmc").glob("*.h")), *sorted((include / "smem/host").glob("*.h"))]:
        text = header.read_text(encoding="utf-8")
        for match in FUNCTION.finditer(text):
            count += 1
            faults += [f"{header.name}: {fault}" for fault in
                       faults_of(match.group(2), match.group(1), match.group(3), text[:match.start()])]
    finish(faults, count, "contracts")


main()
