"""Runs the pool of a KV cache, on a terminal and without one, and checks what it says.

usage: kv_pool.py PROGRAM...
"""

import os
import pty
import re
import subprocess
import sys
import tempfile

SAYS = r"(\d+) blocks written, (\d+) read and verified, 0 wrong, (\d+) copies to a member that was gone"


def on_terminal(command, environment):
    """What the program writes to a terminal, and its exit status."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=theirs) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            text += part
        os.close(ours)
        return process.wait(timeout=250), text.decode()


def main():
    command = [*sys.argv[1:], "2"]
    with tempfile.TemporaryDirectory(prefix="hmc-test-kv-pool-") as home:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HMC_")}
        environment["HOME"] = home
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=250)
        found = re.match(SAYS, done.stdout)
        if done.returncode != 0 or not found or "0" in found.group(1, 2):
            sys.exit(f"it ended with {done.returncode} and printed:\n{done.stdout}")
        status, text = on_terminal(command, environment)
        if status != 0 or not re.search(SAYS, text) or text.count("visitor") < 2 or "\033[" not in text:
            sys.exit(f"on a terminal it ended with {status} and printed:\n{text}")
        picture = re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", text[: re.search(SAYS, text).start()])
        widest = max(len(line.rstrip("\r")) for line in picture.split("\n"))
        if widest > 79:
            sys.exit(f"a line of the picture has {widest} columns, not 79:\n{text}")
        print(done.stdout, end="")


main()
