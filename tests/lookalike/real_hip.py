"""AMD's own runtime: HMC opens it and finds the calls that it must have. Where there is a device, it is listed; where there
is none, the reason is the runtime's own answer, not a missing symbol; and the rest works either way.

usage: real_hip.py HMC_INFO LIBRARY
"""

import os
import re
import subprocess
import sys


def main():
    info, library = sys.argv[1:3]
    done = subprocess.run([info], env={**os.environ, "HMC_HIP_LIBRARY": library}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=200)
    text = " ".join(done.stdout.split())
    amd = re.search(r" amd (no: hipGetDeviceCount: hipErrorNoDevice|\d+ device)", text)
    if done.returncode or not amd or not re.search(r" cpu 1 device", text) or not re.search(r" sim 2 devices", text):
        sys.exit("status %d:\n%s" % (done.returncode, done.stdout))
    print(amd.group(1))


main()
