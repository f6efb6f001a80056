"""The manual page of a program is what its table of options makes, and shells can complete those options.

usage: man.py PROGRAM PAGE [WORD]

WORD: what follows the program's name, as in "hmc-perf pool", whose page is hmc-perf-pool.
"""

import re
import subprocess
import sys


def said(program, *words):
    return subprocess.run([program, *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def completion_faults(program, names):
    """bash and fish offer every option that --help shows, and bash takes what it gets."""
    faults = []
    for shell, before in (("bash", "--"), ("zsh", "--"), ("fish", "-l ")):
        text = said(program, "--completion", shell)
        faults += [f"{shell} is not offered --{name}" for name in names if before + name not in text]
    done = subprocess.run(["bash", "-c", f"{said(program, '--completion', 'bash')}\nCOMP_WORDS=(x --ver) COMP_CWORD=1\n"
                           f"_{program.rsplit('/', 1)[-1]}; echo ${{COMPREPLY[@]}}"], stdout=subprocess.PIPE, text=True,
                          check=True)
    if "--version" not in done.stdout.split():
        faults.append(f"bash completes --ver to: {done.stdout}")
    return faults


def main():
    program, page, *words = sys.argv[1:]
    faults = []
    with open(page, encoding="utf-8") as file:
        if file.read() != said(program, *words, "--help-man"):
            faults.append(f"the page is not what --help-man prints: {' '.join([program, *words])} --help-man > {page}")
    names = re.findall(r"(?m)^ +(?:-\w, +)?--([a-z-]+)", said(program, *words, "--help"))
    warned = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", page], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, check=False).stdout
    if warned:
        faults.append(warned)
    if len(names) < 3:
        faults.append("no options were found")
    if not words:
        faults += completion_faults(program, names)
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(names)} options")


main()
