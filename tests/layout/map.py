"""Checks that the symbol map names every function of the public headers, each once, under the node of the release that
brought it, and nothing else.

usage: map.py MAP INCLUDE_FOLDER VERSION [--write]

--write puts names that are new into the node of this version, at the end of the map; it takes none away.
"""

import pathlib
import re
import sys

from report import finish

DECLARATION = re.compile(r"^HMC_API\b[^;{]*?\b(hmc_\w+)\s*\(", re.MULTILINE)
NODE = re.compile(r"^(HMC_\d+\.\d+) \{\nglobal:\n(.*?)^(?:local:\n  \*;\n)?\}(?: HMC_\d+\.\d+)?;$", re.MULTILINE | re.DOTALL)


def declared_in(include):
    """The functions of libhmc.so; the faces are libraries of their own, with maps of their own."""
    names = set()
    for header in sorted([include / "hmc.h", *(include / "hmc").rglob("*.h")]):
        names.update(DECLARATION.findall(header.read_text(encoding="utf-8")))
    return names


def nodes_of(text):
    return {node: re.findall(r"^  (\S+);$", body, re.MULTILINE) for node, body in NODE.findall(text)}


def write(path, text, node, names):
    """Puts names into a node in the order of the alphabet; a node that is new follows the others."""
    nodes = nodes_of(text)
    if node not in nodes:
        last = list(nodes)[-1]
        text = text.replace("/* For the library's own", f"{node} {{\nglobal:\n}} {last};\n\n/* For the library's own")
    all_names = sorted(set(nodes.get(node, [])) | names)
    head, rest = text.split(f"{node} {{\nglobal:\n", 1)
    end = re.search(r"^(?:local:|\})", rest, re.MULTILINE).start()
    body = "".join(f"  {name};\n" for name in all_names)
    path.write_text(f"{head}{node} {{\nglobal:\n{body}{rest[end:]}", encoding="utf-8")


def main():
    path, include, version = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    text = path.read_text(encoding="utf-8")
    node = "HMC_" + ".".join(version.split(".")[:2])
    declared, nodes = declared_in(include), nodes_of(text)
    listed = [name for names in nodes.values() for name in names]
    if "--write" in sys.argv:
        write(path, text, node, declared - set(listed))
        return
    faults = [f"{name} is declared in the headers, and no node of the map has it" for name in sorted(declared - set(listed))]
    faults += [f"{name} is in the map, and no header declares it" for name in sorted(set(listed) - declared)]
    faults += [f"{name} is in the map twice" for name in sorted({name for name in listed if listed.count(name) > 1})]
    faults += [f"node {name}: its names are not in the order of the alphabet" for name, names in nodes.items()
               if names != sorted(names)]
    if node not in nodes:
        faults.append(f"the map has no node {node} for this version")
    finish(faults, len(listed), "names of the map")


main()
