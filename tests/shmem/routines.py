"""Checks that every routine of OpenSHMEM 1.6 (routines.txt) is there with its prototype: in C as a function that the
library exports under both names, in C11 and C++ under its generic name for each type; and that a test calls it.

usage: routines.py ROUTINES LIBRARY READELF INCLUDE C_COMPILER CXX_COMPILER sanitizer=[NAME] TEST...

TEST: the programs that check what the routines do.
"""

import re
import subprocess
import sys
import tempfile

REAL = [("float", "float"), ("double", "double"), ("longdouble", "long double")]
SIGNED = [("char", "char"), ("schar", "signed char"), ("short", "short"), ("int", "int"), ("long", "long"),
          ("longlong", "long long"), ("ptrdiff", "ptrdiff_t")]
FIXED = [(f"{sign}int{bits}", f"{sign}int{bits}_t") for sign in ("", "u") for bits in (8, 16, 32, 64)]
BITWISE = [("uchar", "unsigned char"), ("ushort", "unsigned short"), ("uint", "unsigned int"),
           ("ulong", "unsigned long"), ("ulonglong", "unsigned long long"), *FIXED, ("size", "size_t")]
COMPLEX = [("complexd", "double _Complex"), ("complexf", "float _Complex")]
AMO = [("int", "int"), ("long", "long"), ("longlong", "long long"), ("uint", "unsigned int"),
       ("ulong", "unsigned long"), ("ulonglong", "unsigned long long"), ("int32", "int32_t"), ("int64", "int64_t"),
       ("uint32", "uint32_t"), ("uint64", "uint64_t"), ("size", "size_t"), ("ptrdiff", "ptrdiff_t")]
OLD_INTEGER = [("short", "short"), ("int", "int"), ("long", "long"), ("longlong", "long long")]
OLD_AMO = OLD_INTEGER[1:]
TABLES = {
    "rma": REAL + SIGNED + BITWISE,
    "red_bit": BITWISE,
    "red_num": REAL + SIGNED + BITWISE + COMPLEX,
    "amo": AMO,
    "ext": [("float", "float"), ("double", "double")] + AMO,
    "bit": [entry for entry in AMO if entry[0] not in ("int", "long", "longlong", "size", "ptrdiff")],
    "sync": [("short", "short"), ("ushort", "unsigned short")] + AMO,
    "old_ext": [("float", "float"), ("double", "double")] + OLD_AMO,
    "old_amo": OLD_AMO,
    "old_wait": OLD_INTEGER,
    "old_int": OLD_INTEGER,
    "old_ord": OLD_INTEGER + REAL,
    "old_num": OLD_INTEGER + REAL + COMPLEX,
}
SIZES = ["8", "16", "32", "64", "128"]

# Exceptions by the specification's own text: the older ones return nothing, ours says whether it worked.
RETURNS = {"shmem_finalize": "int"}


def read(path):
    for line in open(path, encoding="utf-8"):
        if line.startswith("#") or not line.strip():
            continue
        table, kind, prototype = line.strip().split(" ", 2)
        match = re.fullmatch(r"(.*?)(\w+)\((.*)\)", prototype)
        yield table, kind, match.group(1).strip(), match.group(2), match.group(3)


def expand(table, returns, name, parameters):
    """The routine once per type or size: (return type, name, parameters)."""
    if table != "-":
        for type_name, c_type in TABLES[table]:
            yield tuple(re.sub(r"\bTYPE\b", c_type, re.sub(r"TYPENAME", type_name, text))
                        for text in (returns, name, parameters))
    elif "SIZE" in re.sub(r"PE_size|SYNC_SIZE", "", name):
        for bits in SIZES:
            yield returns, name.replace("SIZE", bits), parameters
    else:
        yield returns, name, parameters


def split_parameters(text):
    """(type, name) of each parameter."""
    if text in ("void", ""):
        return []
    pairs = []
    for parameter in text.split(","):
        if parameter.strip() == "...":
            pairs.append(("...", ""))
            continue
        match = re.fullmatch(r"(.*?)(\w+)", parameter.strip())
        pairs.append((match.group(1).strip(), match.group(2)))
    return pairs


def plain_program(routines):
    """Each function's address goes to a pointer of exactly the type that the specification says."""
    lines = ["#include <shmem.h>", "int main(void) {", "  int count = 0;"]
    for returns, name, parameters in routines:
        types = ", ".join(kind for kind, _ in split_parameters(parameters)) or "void"
        returns = RETURNS.get(name, returns)
        lines.append(f"  {{ {returns} (*volatile pointer)({types}) = ({name}); count += pointer != 0; }}")
        if name != "shmem_global_exit":
            lines.append(f"  {{ {returns} (*volatile pointer)({types}) = p{name}; count += pointer != 0; }}")
    return "\n".join([*lines, "  return count == 0;", "}", ""])


def generic_program(routines):
    """Each generic name is called with arguments of exactly the types that the specification says; never run."""
    lines = ["#include <shmem.h>", "int unused(int run);", "int unused(int run) {", "  if (!run) return 0;"]
    for number, (returns, name, parameters) in enumerate(routines):
        pairs = split_parameters(parameters)
        # The last pointer level is declared as a variable; no value is needed where nothing runs.
        declared = " ".join(f"static {kind.replace('const ', '')} a{number}_{word};" for kind, word in pairs)
        call = f"{name}({', '.join(f'a{number}_{word}' for _, word in pairs)})"
        keep = call if returns == "void" else f"{returns} got = {call}; (void)got"
        lines.append(f"  {{ {declared} {keep}; }}")
    return "\n".join([*lines, "  return 1;", "}", "int main(void) { return unused(0); }", ""])


def compile_and_run(compiler, language, standard, program, include, library, what, run):
    with tempfile.TemporaryDirectory(prefix="hmc-test-routines-") as folder:
        folder_of_library = library.rpartition("/")[0]
        command = [compiler, "-x", language, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-O0", f"-I{include}", "-",
                   "-o", f"{folder}/program", "-x", "none", library, f"{folder_of_library}/libhmc.so",
                   f"-Wl,-rpath,{folder_of_library}"]
        if not run:
            command = command[:command.index("-o")] + ["-c", "-o", f"{folder}/object"]
        done = subprocess.run(command, input=program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True, check=False)
        if done.returncode:
            sys.exit(f"{what}:\n{done.stdout[:4000]}")
        if run and subprocess.run([f"{folder}/program"], check=False).returncode:
            sys.exit(f"{what}: the program failed")


def symbols(readelf, file):
    """What a file shows, by name: the address. And the names that it uses of others."""
    listed = subprocess.run([readelf, "--wide", "--dyn-syms", file], stdout=subprocess.PIPE, universal_newlines=True,
                            check=True).stdout
    rows = [line.split() for line in listed.splitlines() if len(line.split()) >= 8]
    names = [(row[7].partition("@")[0], row) for row in rows]
    return ({name: row[1] for name, row in names if row[6] != "UND"}, {name for name, row in names if row[6] == "UND"})


def main():
    path, library, readelf, include, c_compiler, cxx_compiler = sys.argv[1:7]
    is_sanitized, tests = sys.argv[7] != "sanitizer=", sys.argv[8:]  # a sanitized library needs a sanitized program
    plain, generic = [], []
    for table, kind, returns, name, parameters in read(path):
        (plain if kind == "c" else generic).extend(expand(table, returns, name, parameters))
    generic = [entry for entry in generic if entry[1] != "shmem_global_exit"]
    shown, _ = symbols(readelf, library)
    missing = [name for _, name, _ in plain if name not in shown or shown[name] != shown.get("p" + name)]
    if missing:
        sys.exit(f"not exported, or not the same function under its profiling name: {' '.join(missing)}")
    called = set().union(*(symbols(readelf, test)[1] for test in tests))
    untested = [name for _, name, _ in plain if name not in called]
    if untested:
        sys.exit(f"no test calls: {' '.join(untested)}")
    if len(plain) < 1800 or len(generic) < 1500:
        sys.exit(f"the list has {len(plain)} functions and {len(generic)} generic calls: it is cut off")
    compile_and_run(c_compiler, "c", "c11", plain_program(plain), include, library, "prototypes", not is_sanitized)
    compile_and_run(c_compiler, "c", "c11", generic_program(generic), include, library, "generic names of C11", False)
    overloads = [entry for entry in generic if "_Complex" not in entry[2]]
    compile_and_run(cxx_compiler, "c++", "c++14", generic_program(overloads), include, library, "overloads of C++", False)
    print(f"checked {len(plain)} functions, their profiling names and tests, and {len(generic)} generic calls")


main()
