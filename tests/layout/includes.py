"""Checks every #include of the tree against the arrows of docs/architecture.md.

usage: includes.py ROOT

An include in quotes names a file of this tree and follows the arrows. One in angle brackets names the public headers,
the C library, or a vendor's library, and a vendor's headers stay in the folder that drives the vendor's hardware.
"""

import pathlib
import re
import sys

from report import finish

# Which rooms of src/ a room may include; every room may include itself.
ARROWS = {
    "base": set(),
    "memory": {"base"},
    "transport": {"base", "memory"},
    "ctrl": {"base"},
    "core": {"base", "memory", "transport", "ctrl"},
    "smem": set(),
    "shmem": set(),
    "nixl": set(),
}

# Headers of other libraries, by the start of their name, and the folders of src/ where they may appear.
VENDORS = {
    "openssl/": ["ctrl"],
    "infiniband/": ["transport/verbs"],
    "rdma/": ["transport/verbs"],
    "ucp/": ["transport/ucx"],
    "uct/": ["transport/ucx"],
    "ucs/": ["transport/ucx"],
    "cuda": ["memory/cuda"],
    "nvml": ["memory/cuda"],
    "hip/": ["memory/hip"],
    "hsa/": ["memory/hip"],
    "cnrt": ["memory/cnrt"],
    "cn_api": ["memory/cnrt"],
    "musa": ["memory/musa"],
    "acl/": ["memory/acl"],
    "hccl/": ["memory/acl"],
    "hwloc": ["core"],
    "pmix": ["ctrl"],
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>|(\S+))')


def includes_of(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2), match.group(3)


def sources(root, *folders):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".c", ".h", ".cpp", ".hpp"} and "compatibility" not in path.parts:
                yield path


def vendor_fault(name, folder):
    """Why a file of `folder` (below src/, or None elsewhere) may not include <name>; None where it may."""
    for start, homes in VENDORS.items():
        if name.startswith(start):
            if folder is None:
                return f"<{name}> belongs to a vendor: it stays in src/{homes[0]}"
            if not any(folder == home or folder.startswith(home + "/") for home in homes):
                return f"<{name}> stays in src/{', src/'.join(homes)}"
    return None


def room_fault(src, path, name):
    """Why `path`, a file of src/, may not include "name"; None where it may."""
    target = (path.parent / name).resolve()
    if not target.is_file():
        return f'"{name}" is no file beside it: includes in quotes are relative to their file'
    try:
        there = target.relative_to(src).parts
    except ValueError:
        return f'"{name}" lies outside src/: public headers are included as <hmc/...>'
    here = path.relative_to(src).parts
    if there[0] != here[0]:
        if there[0] not in ARROWS[here[0]]:
            return f'"{name}": there is no arrow from {here[0]} to {there[0]}'
        return None
    if len(here) > 2 and len(there) > 2 and here[1] != there[1] and here[0] in {"memory", "transport"}:
        # Backends know their table, not each other; a folder without a table of its own is code that they share.
        if is_backend(src, there[0], there[1]):
            return f'"{name}": the backend {here[1]} includes the backend {there[1]}'
    return None


def is_backend(src, room, folder):
    """True where a folder holds one of the tables that the room's header or registry lists."""
    table = re.compile(rf"\bhmci_{room}_{folder}\b")
    return any(table.search(path.read_text(encoding="utf-8")) for path in (src / room).glob("*.[ch]"))


def check_rooms(root, faults):
    src = root / "src"
    count = 0
    for path in sources(root, "src"):
        where = path.relative_to(src)
        if where.parts[0] not in ARROWS:
            faults.append(f"{path}: {where.parts[0]} is no room that the arrows know")
            continue
        for number, quoted, angled, other in includes_of(path):
            count += 1
            fault = None
            if quoted:
                fault = room_fault(src, path, quoted)
            elif angled:
                fault = vendor_fault(angled, str(where.parent))
            else:
                fault = f"#include {other}: a name that is computed cannot be checked"
            if fault:
                faults.append(f"{path.relative_to(root)}:{number}: {fault}")
    return count


def is_sibling(root, path, quoted):
    """Programs of the SMEM face have its folders themselves on their include path, so its headers name one another."""
    faces = (root / "include" / "smem", root / "include" / "hybm")
    return any(path.is_relative_to(face) for face in faces) and "/" not in quoted and (path.parent / quoted).is_file()


def check_public(root, faults):
    count = 0
    for path in sources(root, "include"):
        for number, quoted, angled, _ in includes_of(path):
            count += 1
            if quoted and is_sibling(root, path, quoted):
                continue
            fault = vendor_fault(angled, None) if angled else "a public header includes by <...> only"
            if fault is None and angled.startswith(("hmc", "smem", "hybm", "shmem")):
                fault = None if (root / "include" / angled).is_file() else f"<{angled}> is not in include/"
            if fault:
                faults.append(f"{path.relative_to(root)}:{number}: {fault}")
    return count


def check_users(root, faults):
    """Tools, examples and benchmarks are users like any other: the public headers, and files of their own folder."""
    count = 0
    for path in sources(root, "tools", "examples", "bench"):
        home = root / path.relative_to(root).parts[0]
        for number, quoted, _, _ in includes_of(path):
            count += 1
            if not quoted:
                continue
            target = (path.parent / quoted).resolve()
            if not target.is_file() or home not in target.parents:
                faults.append(f'{path.relative_to(root)}:{number}: "{quoted}" is not of {home.name}/: '
                              "only <hmc.h> and <hmc/...> are open to it")
    return count


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    faults = []
    count = check_rooms(root, faults) + check_public(root, faults) + check_users(root, faults)
    finish(faults, count, "includes")


main()
