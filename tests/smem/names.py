"""Every name of the SMEM interface is declared, shown by the library where it is a function, and used by a test.

usage: names.py ROOT READELF LIBRARY
"""

import pathlib
import re
import subprocess
import sys

INLINE = {"smem_set_ssl_option"}  # in C++, over smem_set_conf_store_tls_files


def main():
    root, readelf, library = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    listed = [word for line in (root / "tests/smem/names.txt").read_text(encoding="utf-8").splitlines()
              if not line.startswith("#") for word in line.split()]
    declared = "\n".join(path.read_text(encoding="utf-8") for folder in ("smem/host", "hybm")
                         for path in (root / "include" / folder).glob("*.h"))
    used = "\n".join(path.read_text(encoding="utf-8") for path in (root / "tests/smem").rglob("*.c*")
                     if path.suffix in {".c", ".cpp"})
    symbols = subprocess.run([readelf, "--wide", "--dyn-syms", library], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
    shown = set(re.findall(r"\b((?:smem|hybm)_\w+)@@SMEM_1", symbols))
    faults = []
    for name in listed:
        word = re.compile(rf"\b{name}\b")
        if not word.search(declared):
            faults.append(f"{name} is not declared")
        if not word.search(used):
            faults.append(f"{name} is used by no test")
        if re.search(rf"(?m)^\S.*\b{name}\(", declared) and name.startswith(("smem_", "hybm_")) and name not in shown | INLINE:
            faults.append(f"{name} is not shown by the library")
    declared += (root / "include/smem/device/smem_shm_device.h").read_text(encoding="utf-8")
    strays = [name for name in shown if name not in declared]
    faults += [f"{name} is shown, but not declared" for name in strays]
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(listed)} names")


main()
