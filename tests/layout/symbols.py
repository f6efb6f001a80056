"""Checks what the shared library shows: hmc_* with its version, all that the headers declare, and hmci_* for its modules
under a version of their own; that it needs no library that a machine may lack, a vendor's or an adapter's; and that it
can be loaded late, by a program whose other libraries have used up the room for variables of threads.

usage: symbols.py READELF LIBRARY INCLUDE_FOLDER
"""

import pathlib
import re
import subprocess
import sys

from report import finish

# What the library may be linked with: the C library's parts, OpenSSL, and a sanitizer's run time. Vendors' libraries, those
# of adapters, and what only some programs ask for are opened at run time.
EVERYWHERE = ("libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "ld-linux", "libgcc_s.so", "libssl.so",
              "libcrypto.so", "libasan.so", "libubsan.so", "libtsan.so")
DECLARATION = re.compile(r"^HMC_API\b[^;]*?\b(hmc_\w+)\s*\(", re.MULTILINE)


def main():
    readelf, library, include = sys.argv[1:4]
    listed = subprocess.run([readelf, "--wide", "--dyn-syms", library], stdout=subprocess.PIPE, universal_newlines=True,
                            check=True)
    faults = []
    shown = set()
    for line in listed.stdout.splitlines():
        words = line.split()
        # number: value size type binding visibility section name
        if len(words) < 8 or not words[0].rstrip(":").isdigit() or words[6] == "UND":
            continue
        name, _, version = words[7].partition("@@")
        if words[6] == "ABS" and re.fullmatch(r"HMC_(\d+\.\d+|PRIVATE)", name):
            continue
        if name.startswith("hmci_") and version == "HMC_PRIVATE":
            continue
        shown.add(name)
        if not name.startswith("hmc_"):
            faults.append(f"{name} is shown, and is no public name")
        elif not re.fullmatch(r"HMC_\d+\.\d+", version):
            faults.append(f"{name} has no symbol version")

    needed = subprocess.run([readelf, "--wide", "--dynamic", library], stdout=subprocess.PIPE, universal_newlines=True,
                            check=True).stdout
    faults += [f"{name} is needed, which not every machine has" for name in re.findall(r"\(NEEDED\).*\[(\S+)\]", needed)
               if not name.startswith(EVERYWHERE)]

    if "STATIC_TLS" in needed:
        faults.append("the library wants a place in the static block of thread-local variables: an initial-exec variable")

    declared = set()
    for header in sorted(pathlib.Path(include).rglob("*.h")):
        declared.update(DECLARATION.findall(header.read_text(encoding="utf-8")))
    faults += [f"{name} is declared in the headers, but the library has none" for name in sorted(declared - shown)]
    strays = sorted(name for name in shown - declared if name.startswith("hmc_"))
    faults += [f"{name} is shown, but no header declares it" for name in strays]
    finish(faults, len(shown), "symbols")


main()
