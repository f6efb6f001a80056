"""Checks that the compiler warns of a status that is not read, in C and with the C++ classes, and that HMC_IGNORE silences it.

usage: unread.py INCLUDE_FOLDER C_COMPILER CXX_COMPILER
"""

import re
import subprocess
import sys

from report import finish

LOSE = "hmc_put(0, 0, 0, 0, 0);"
# A line each: what is lost, and whether the compiler has to say so.
C = [("#include <hmc.h>", False), ("void lose(void);", False), ("void lose(void) {", False), (LOSE, True),
     ("HMC_IGNORE(hmc_put(0, 0, 0, 0, 0));", False), ("}", False)]
CXX = [("#include <hmc.h>", False), ("void lose(hmc::Communicator &comm) {", False), (LOSE, True),
       ('comm.connectTo("127.0.0.1", 2025);', True), ('comm.initServer("127.0.0.1", 2025);', True),
       ("HMC_IGNORE(hmc_put(0, 0, 0, 0, 0));", False), ("}", False)]


def faults_of(compiler, language, standard, include, lines):
    program = "\n".join(line for line, _ in lines) + "\n"
    done = subprocess.run([compiler, "-x", language, f"-std={standard}", "-c", "-o", "/dev/null", f"-I{include}", "-"],
                          input=program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    if done.returncode != 0:
        return [f"as {standard}: {done.stdout}"]
    warned = {int(number) for number in re.findall(r"^<stdin>:(\d+):.*\[-Wunused-", done.stdout, re.MULTILINE)}
    return [f"{line} as {standard}: {'no' if wanted else 'a'} warning\n{done.stdout}"
            for number, (line, wanted) in enumerate(lines, 1) if (number in warned) != wanted]


def main():
    include, c_compiler, cxx_compiler = sys.argv[1:4]
    faults = faults_of(c_compiler, "c", "c11", include, C) + faults_of(cxx_compiler, "c++", "c++14", include, CXX)
    finish(faults, len(C) + len(CXX), "lines")


main()
