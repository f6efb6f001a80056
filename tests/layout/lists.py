"""Compares the lists that other languages have to write again with the ones of the C headers.

usage: lists.py ROOT

A status or a type of connection that is new in C has to be named in C++ and Python too, and in the table by which the test
suites know a transport. Values of statuses are the same everywhere; the types of connection have historical values of
their own in C++ and Python.
"""

import pathlib
import re
import sys

from report import finish

# The list, its header, and who has to have its names: a file, and what the names are found by.
LISTS = [
    ("HMC_STATUS_LIST", "include/hmc/status.h", [
        ("python/hmc/enums.py", r"class status_t.*?(?=\nclass |\Z)"),
    ]),
    ("HMC_CONNECTION_LIST", "include/hmc/context.h", [
        ("python/hmc/enums.py", r"class ConnType.*?(?=\nclass |\Z)"),
        ("include/hmc/cpp/connection_type.hpp", r"enum class ConnType.*?\};"),
        ("include/hmc/cpp/connection_type.hpp", r"connection_type\(ConnType.*?\n\}"),
        ("tests/harness/environment.c", r"\} transports\[\] = \{.*?\n\};"),
    ]),
]
CHOSEN_BY_HMC = {"AUTO"}
SAME_VALUES = {("HMC_STATUS_LIST", "python/hmc/enums.py")}


def entries(text, name):
    """{NAME: value} of a list in a header."""
    body = re.search(rf"#define {name}\(X\)((?:.*\\\n)*.*\n)", text).group(1)
    return {found[0]: int(found[1]) for found in re.findall(r"X\((\w+), (\d+),", body)}


def problems(root):
    for name, header, followers in LISTS:
        wanted = entries((root / header).read_text(), name)
        for path, pattern in followers:
            found = re.search(pattern, (root / path).read_text(), re.S)
            if not found:
                yield f"{path}: nothing there looks like {pattern}"
                continue
            for entry, value in wanted.items():
                if entry in CHOSEN_BY_HMC and path.startswith("tests/"):
                    continue
                if not re.search(rf"(\b|_){entry}\b", found.group()):
                    yield f"{path}: {entry} of {name} ({header}) is missing in '{found.group().splitlines()[0]}'"
                elif (name, path) in SAME_VALUES and not re.search(rf"\b{entry} = {value}\b", found.group()):
                    yield f"{path}: {entry} is {value} in {header}"


if __name__ == "__main__":
    finish(list(problems(pathlib.Path(sys.argv[1]))), sum(len(followers) for _, _, followers in LISTS), "lists")
