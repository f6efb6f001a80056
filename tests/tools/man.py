"""The man page of a program and its --help name the same options, and the page's synopsis is of that program.

usage: man.py PROGRAM PAGE [WORD]

WORD: what follows the program's name, as in "hmc-perf pool", whose page is hmc-perf-pool.
"""

import re
import subprocess
import sys


def of_help(program, words):
    """The options of the lines that begin with one: {long name: letter or None}."""
    text = subprocess.run([program, *words, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    options = {name: letter or None for letter, name in re.findall(r"(?m)^ +(?:-(\w), +)?--([a-z-]+)", text)}
    for name in re.findall(r"[ ;(]--([a-z-]+) [A-Z]", text.split("Examples:")[0]): # in passing: "--chunk SIZE: 1M"
        options.setdefault(name, None)
    return options


def of_page(page):
    with open(page, encoding="utf-8") as file:
        text = file.read().replace("\\-", "-").replace("\\fI", "").replace("\\fR", "")
    heads = re.findall(r"(?m)^\.TP\n(.*)$", text.split(".SH OPTIONS")[1].split("\n.SH ")[0])
    options = {}
    for head in heads:
        name = re.search(r"--([a-z-]+)", head)
        letter = re.search(r"(?<![\w-])-(\w)\b", head)
        options[name.group(1)] = letter.group(1) if letter else None
    return options, text


def main():
    program, page, *words = sys.argv[1:]
    told, (written, text) = of_help(program, words), of_page(page)
    faults = [f"--{name}: --help has {told.get(name, 'none')!r}, the page {written.get(name, 'none')!r}"
              for name in sorted(set(told) | set(written)) if told.get(name, "none") != written.get(name, "none")]
    if not written or not told:
        faults.append("no options were found")
    name = "-".join([program.rsplit("/", 1)[-1], *words])
    if f"\n{name} -" not in text:
        faults.append(f"the page is not that of {name}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(written)} options agree")


main()
