"""Runs both ends of an example, and checks what they print.

usage: examples.py NAME PROGRAM
"""

import os
import re
import subprocess
import sys
import tempfile
import time

# What the owner says after its port, and what the other one says.
EXPECTED = {
    "put_get": (r"the board says: an answer\n", r"read: a question\n"),
    "batch": (r"column 7 adds up to 4950\n", r"gathered blocks 1 to 121\n"),
    "signal": (r"after 3 signals the last byte is 30\n", r"sent 3 times\n"),
    "notification": (r"(piece (\d) is in slot \2\n){4}the slots add up to 10\n", r"sent 4 pieces\n"),
    "leases": (r"page 2 holds 7 to 7, and 1 page was counted\nafter the revocation it holds 9 to 9\n",
               r"wrote a page; under the revoked lease: STALE\n"),
    "pipeline": (r"the tensor begins with 3 and ends with 4\n",
                 r"127\.0\.0\.1:\d+ \(pipeline on .*\) is reached by shm: (?s:.*)region 'tensor' \(16777216 B, sim 0\): "),
    "communicator": (r"received 42 B; the buffer says: hello\n", r"sent 42 B\n"),
}


def await_sleep(process):
    """Waits until its main thread sleeps: then it accepts. Who came and went before that would not be returned."""
    while process.poll() is None:
        with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as file:
            if file.read().rsplit(")", 1)[1].split()[0] == "S":
                return
        time.sleep(0.001)


def main():
    name, program = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="hmc-test-examples-") as home:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HMC_")}
        environment["HOME"] = home
        settings = {"env": environment, "stdout": subprocess.PIPE, "universal_newlines": True}
        with subprocess.Popen([program], **settings) as owner:
            try:
                port = re.fullmatch(r"waiting on port (\d+)\n", owner.stdout.readline())
                if not port:
                    sys.exit(f"{name}: the owner does not say its port")
                await_sleep(owner)
                other = subprocess.run([program, port.group(1)], timeout=250, check=False, **settings)
                said, _ = owner.communicate(timeout=100)
            finally:
                owner.kill()
        for end, status, text, pattern in (("owner", owner.returncode, said, EXPECTED[name][0]),
                                           ("other one", other.returncode, other.stdout, EXPECTED[name][1])):
            found = re.match(pattern, text)
            if status != 0 or not found:
                sys.exit(f"{name}: the {end} ended with {status} and printed:\n{text}")
        # Nobody is there any more: it says so, and ends.
        late = subprocess.run([program, port.group(1)], timeout=100, check=False, stderr=subprocess.PIPE, **settings)
        if late.returncode != 1 or ("NOT_FOUND" not in late.stderr and "Not Found" not in late.stderr):
            sys.exit(f"{name}: without an owner it ended with {late.returncode}: {late.stderr}")
        for wrong in ("board", "65536", "0", ""):
            mistyped = subprocess.run([program, wrong], timeout=100, check=False, stderr=subprocess.PIPE, **settings)
            if mistyped.returncode != 2 or f"'{wrong}' is not a port" not in mistyped.stderr:
                sys.exit(f"{name}: with the port '{wrong}' it ended with {mistyped.returncode}: {mistyped.stderr}")
    print(f"{name}: both ends did what they should")


main()
