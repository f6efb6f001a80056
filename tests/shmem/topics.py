"""Compiles a program, or all of a folder, by oshcc, as users do, and runs each as jobs of several sizes and over tcp.

usage: topics.py FOLDER_OR_FILE TOOLS NUMBER... [--list FILE]

--list: every example of the specification that the file names has a program here, which makes the calls of the example.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

EXAMPLES = 56  # of the specification, in C
TYPES = ("float double longdouble char schar short int long longlong ptrdiff uchar ushort uint ulong ulonglong size int8 int16 "
         "int32 int64 uint8 uint16 uint32 uint64").split()


def run(command, environment):
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=250, check=False)
    return f"{command} ended with {done.returncode}:\n{done.stdout}" if done.returncode else ""


def text_of(source):
    return re.sub(r"/\*.*?\*/", "", source.read_text(encoding="utf-8"), flags=re.DOTALL)


def pattern_of(call):
    """A call of that routine, for any type where the list leaves the type out."""
    if call.startswith("pshmem_"):
        return rf"\b{call}\("
    context = "ctx_" if call.startswith("ctx_") else ""
    return rf"\bshmem_{context}(?:(?:{'|'.join(TYPES)})_)?{call[len(context):]}\("


def missing(place, names):
    """What examples of the list have no program, or none that makes their calls."""
    faults, seen = [], set()
    for line in pathlib.Path(names).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        example, program, *calls = line.split()
        seen.add(example)
        source = place / f"{program}.c"
        text = text_of(source) + text_of(place / "topic.h") if source.exists() else ""
        faults += [f"{example}: {source} does not call {call}" for call in calls or ["anything"]
                   if not re.search(pattern_of(call), text)]
    if len(seen) < EXAMPLES:
        faults.append(f"{names} has {len(seen)} examples: the specification has {EXAMPLES}")
    return faults


def main():
    arguments, names = sys.argv[1:], None
    if "--list" in arguments:
        names = arguments.pop(arguments.index("--list") + 1)
        arguments.remove("--list")
    place, tools, numbers = pathlib.Path(arguments[0]), arguments[1], arguments[2:]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HMC_", "SHMEM_"))}
    environment["SHMEM_SYMMETRIC_SIZE"] = "64M"
    faults = missing(place, names) if names else []
    programs = sorted(place.glob("*.c")) if place.is_dir() else [place]
    with tempfile.TemporaryDirectory(prefix="hmc-test-topics-") as out:
        environment["HOME"] = out
        for source in programs:
            program = f"{out}/{source.stem}"
            fault = run([f"{tools}/oshcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-O2",
                         str(source), "-o", program], environment)
            if fault:
                faults.append(fault)
                continue
            for n in numbers:
                faults.append(run([f"{tools}/oshrun", "-n", n, program], environment))
            faults.append(run([f"{tools}/oshrun", "-n", "2", program], dict(environment, HMC_TRANSPORTS="tcp")))
    faults = [fault for fault in faults if fault]
    if faults or not programs:
        sys.exit("\n".join(faults) or f"there is no program in {place}")
    print(f"{len(programs)} programs do what they should, with {', '.join(numbers)} PEs")


main()
