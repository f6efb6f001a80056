"""Adds a transport to a copy of the tree as CONTRIBUTING.md says, and lists what had to be touched outside its folder.

usage: toy_transport.py ROOT CMAKE CC CXX

The toy says that it has no device here. It must show up wherever transports are listed: in hmc-info with its reason, in
HMC_TRANSPORTS, in the text of an error. More than four files touched is a fault.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MOST = 4

TOY = """/* A transport that never works, to see what adding one takes. */
#include "../transport.h"

#include <stdio.h>

static hmc_status_t toy_probe(char *reason, size_t size) {
  snprintf(reason, size, "no toy device");
  return HMC_UNSUPPORT;
}

const hmci_transport_ops_t hmci_transport_toy = {
    .type = HMC_CONNECTION_TOY,
    .name = "toy",
    .probe = toy_probe,
};
"""

# File, what stands there, and what is put before it.
EDITS = [
    ("include/hmc/context.h", '  X(UCX, 2, "ucx")', '  X(TOY, 5, "toy") \\\n'),
    ("src/transport/list.h", '  MODULE(ucx, UCX,', "  BUILT_IN(toy, TOY) \\\n"),
]


def run(*command, **settings):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False, **settings)
    return done.returncode, done.stdout


def must(*command, **settings):
    status, said = run(*command, **settings)
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{said}ended with {status}")
    return said


def main():
    root, cmake, cc, cxx = pathlib.Path(sys.argv[1]).resolve(), *sys.argv[2:5]
    with tempfile.TemporaryDirectory(prefix="hmc-test-toy-") as name:
        tree, build = pathlib.Path(name) / "tree", pathlib.Path(name) / "build"
        tree.mkdir()
        for part in ("CMakeLists.txt", "cmake", "include", "src", "tools", "man"):
            copy = shutil.copytree if (root / part).is_dir() else shutil.copy
            copy(root / part, tree / part)
        touched = set()
        for file, place, addition in EDITS:
            text = (tree / file).read_text(encoding="utf-8")
            if text.count(place) != 1:
                sys.exit(f"{file} has {text.count(place)} times '{place}'")
            (tree / file).write_text(text.replace(place, addition + place), encoding="utf-8")
            touched.add(file)
        (tree / "src/transport/toy").mkdir()
        (tree / "src/transport/toy/toy.c").write_text(TOY, encoding="utf-8")
        must(cmake, "-S", tree, "-B", build, "-G", "Ninja", "-DHMC_TESTS=OFF", "-DHMC_VERBS=OFF", "-DHMC_UCX=OFF",
             f"-DCMAKE_C_COMPILER={cc}", f"-DCMAKE_CXX_COMPILER={cxx}", "-DCMAKE_BUILD_TYPE=Debug",
             "-DCMAKE_C_FLAGS_DEBUG=-O0", "-DHMC_WERROR=ON")
        must(cmake, "--build", build, "-j", "2", "--target", "hmc-info")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HMC_")}
        environment["HOME"] = name
        faults = []
        said = must(build / "tools/hmc-info", env=environment)
        if "toy" not in said or "no toy device" not in said:
            faults.append(f"hmc-info does not show it:\n{said}")
        said = must(build / "tools/hmc-info", env=dict(environment, HMC_TRANSPORTS="toy,tcp"))
        if "no toy device" not in said:
            faults.append(f"HMC_TRANSPORTS does not take it:\n{said}")
        _, said = run(build / "tools/hmc-info", env=dict(environment, HMC_TRANSPORTS="none"))
        if "toy" not in said.split("none of", 1)[-1].split("\n")[0]:
            faults.append(f"the error does not list it:\n{said}")
        if len(touched) > MOST:
            faults.append(f"{len(touched)} files were touched")
    if faults:
        sys.exit("\n".join(faults))
    print("touched outside of src/transport/toy: " + ", ".join(sorted(touched)))


main()
