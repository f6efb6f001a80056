"""Checks that programs built against an earlier release run with this library: everything that the release's list in
tests/layout/abi/ says must still be so. What is new may come on top: functions, values of enumerations, and fields behind
the last one of a struct that begins with its size.

usage: abi.py ABIDW LIBRARY LIST... [--write LIST]

The list is what abidw (libabigail) reads from the library's debug information, one line for each function, for each field
of a public struct, for the size of each struct that cannot grow, and for each value of an enumeration. Sizes and offsets
are in bits. --write puts the list of this library into a file, for a new release.
"""

import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from report import finish

class Corpus:
    """What abidw says, with a text for each type."""

    def __init__(self, root):
        self.root = root
        self.types = {node.get("id"): node for node in root.iter() if node.get("id")}

    def text(self, number):
        """A type as C would write it, more or less."""
        node = self.types.get(number)
        if node is None:
            return "..."
        if node.tag == "pointer-type-def":
            return self.text(node.get("type-id")) + " *"
        if node.tag == "qualified-type-def":
            return self.text(node.get("type-id")) + "".join(f" {word}" for word in ("const", "volatile")
                                                            if node.get(word) == "yes")
        if node.tag == "array-type-def":
            sizes = "".join(f"[{part.get('length')}]" for part in node.iter("subrange"))
            return self.text(node.get("type-id")) + sizes
        if node.tag == "function-type":
            return self.signature(node)
        kind = {"class-decl": "struct ", "union-decl": "union ", "enum-decl": "enum "}.get(node.tag, "")
        return kind + node.get("name", "")

    def signature(self, node):
        parameters = ", ".join(self.text(part.get("type-id")) for part in node.iter("parameter"))
        returned = node.find("return")
        return f"{self.text(returned.get('type-id')) if returned is not None else 'void'} ({parameters})"


def lines_of_struct(corpus, node):
    name = node.get("name")
    fields = [(int(member.get("layout-offset-in-bits")), member.find("var-decl")) for member in node.iter("data-member")]
    fields = [(offset, field.get("name"), corpus.text(field.get("type-id"))) for offset, field in fields]
    grows = bool(fields) and fields[0][1:] == ("size", "size_t")
    lines = [f"field {name}.{field} at {offset}: {kind}" for offset, field, kind in fields]
    return lines if grows else [f"struct {name}: {node.get('size-in-bits')} bits", *lines]


def is_public(node):
    """hmc_queue is opaque to programs, and begins in its own header with nothing that they see."""
    return node.get("name", "").startswith("hmc_") and node.get("name") not in OPAQUE


OPAQUE = {"hmc_batch", "hmc_context", "hmc_control", "hmc_lease", "hmc_mapping", "hmc_peer", "hmc_queue", "hmc_region",
          "hmc_remote", "hmc_request", "hmc_store", "hmc_store_lease", "hmc_store_server", "hmc_store_watch",
          "hmc_region_slot"}


def describe(abidw, library):
    said = subprocess.run([abidw, "--no-show-locs", "--no-corpus-path", library], stdout=subprocess.PIPE, check=True).stdout
    corpus = Corpus(ElementTree.fromstring(said))
    # By name: where a caller's declaration came first, abidw does not connect the function with its symbol.
    versions = {node.get("name"): node.get("version") for node in corpus.root.iter("elf-symbol")}
    lines = set()
    for node in corpus.root.iter():
        name = node.get("name", "")
        if node.tag == "function-decl" and name.startswith("hmc_") and name in versions:
            lines.add(f"function {name}@@{versions[name]}: {corpus.signature(node)}")
        elif node.tag == "class-decl" and is_public(node) and node.get("is-declaration-only") != "yes":
            lines.update(lines_of_struct(corpus, node))
        elif node.tag == "enum-decl":
            lines.update(f"value {part.get('name')}: {part.get('value')}" for part in node.iter("enumerator")
                         if part.get("name").startswith("HMC_"))
    missing = [name for name in versions if name.startswith("hmc_") and
               not any(line.startswith(f"function {name}@@") for line in lines)]
    if missing:
        sys.exit(f"abidw says nothing of {', '.join(sorted(missing))}")
    return sorted(lines)


def main():
    abidw, library, lists = sys.argv[1], sys.argv[2], sys.argv[3:]
    lines = describe(abidw, library)
    if lists[0] == "--write":
        pathlib.Path(lists[1]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return
    faults = []
    count = 0
    for path in lists:
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            count += 1
            if line not in lines:
                faults.append(f"{pathlib.Path(path).name}: no longer so: {line}")
    finish(faults, count, "lines")


main()
