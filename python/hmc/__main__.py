"""python -m hmc TOOL [OPTION]...: the tools of HMC, which the package brings along. `python -m hmc info` is `hmc-info`."""

import difflib
import os
import shutil
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))

# As users call them: (the program, what it is for).
TOOLS = {
    "info": ("hmc-info", "what this machine has: memories, devices, connection types, settings"),
    "doctor": ("hmc-doctor", "what is wrong with it, or with the way to another one, and what to do"),
    "perf": ("hmc-perf", "how fast it is: between two programs, here or on two hosts"),
    "top": ("hmc-top", "what programs that run move at the moment"),
    "store": ("hmc-store", "a store of keys, counters and barriers, and its client"),
    "run": ("hmcrun", "start the ranks of a program on this host"),
    "demo": ("hmc-demo", "send a file between two accelerators, and check what arrived"),
}


def usage():
    lines = ["Usage: python -m hmc TOOL [OPTION]...", "       python -m hmc --version", ""]
    lines += ["  %-8s%s (%s)" % (word, purpose, program) for word, (program, purpose) in TOOLS.items()]
    lines += ["", "`python -m hmc TOOL --help` has the options of each. Installed by pip, the tools are commands under their own names, too.",
              "`python -m hmc.compat` is for programs written for NIXL or Mooncake."]
    return "\n".join(lines)


def find(program):
    """The package's own program; where it has none, as in Debian's package, the system's."""
    own = os.path.join(FOLDER, "bin", program)
    if os.access(own, os.X_OK):
        return own
    for folder in os.get_exec_path():
        path = shutil.which(program, path=folder)
        if path and _is_binary(path):
            return path
    return None


def _is_binary(path):
    """Not pip's script of the same name, which leads back to here."""
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def start(word, arguments):
    """Becomes that tool: signals and the exit status are its own."""
    program = TOOLS[word][0]
    path = find(program)
    if path is None:
        sys.exit("python -m hmc: %s is neither in %s nor in a folder of PATH: install the package again, or HMC's tools"
                 % (program, os.path.join(FOLDER, "bin")))
    sys.stdout.flush()
    os.execv(path, [program, *arguments])


def command():
    """What pip installs as hmc-info, hmc-perf and so on."""
    name = os.path.basename(sys.argv[0])
    start(next(word for word, (program, _) in TOOLS.items() if program == name), sys.argv[1:])


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    word = arguments[0]
    if word in ("-h", "--help", "help"):
        print(usage())
        return 0
    if word in ("-V", "--version"):
        from . import _engine
        print("hmc %s, library %s, python %s" % (_engine.version(), os.path.join(FOLDER, "lib"), sys.version.split()[0]))
        return 0
    if word not in TOOLS:
        near = difflib.get_close_matches(word, TOOLS, 1)
        print("python -m hmc: there is no tool %r%s\n%s" % (word, "; did you mean %r?" % near[0] if near else "",
                                                            "`python -m hmc --help` lists them all."), file=sys.stderr)
        return 2
    return start(word, arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
