"""Checks the commits since a fixed day: first lines, bodies, merges, and how much one changes at a time.

usage: history.py ROOT [--since DAY]      looks at the commits of HEAD that were made on that day or later
       history.py --self-test             makes a repository with faults and sees that each is found

A shallow clone or one without tags will do: the rules hold for the commits that are there. The parents of the oldest
ones are missing, so that all of their tree looks new; their size is not counted. Outside git there is nothing to check.
"""

import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from report import finish

SINCE = "2026-11-29T00:00:00Z"
FIRST_LINE_MOST = 72
LINES_MOST = 500

# What is not written by hand, or is text and not code.
NOT_CODE = re.compile(r"\.(md|svg|txt|json|run|seed|bin)$|^(LICENSE|docs/|man/|tests/compatibility/|tests/fuzz/corpus/)")

# First words that are not commands, by their form or by what they are.
NO_COMMAND = re.compile(r"(?i)(the|an?|one|this|that|some|now|no|not|all|more|new|its?|we|\w+ing|\w+ed|"
                        r"(add|fixe|make|remove|use|change|move|update|give|let|say|allow|keep|check|test)s)$")
COMMANDS = {"bring", "embed", "exceed", "feed", "need", "ping", "proceed", "seed", "shed", "shred", "speed", "spring",
            "string", "succeed"}


def git(root, *words):
    done = subprocess.run(["git", "-C", str(root), "-c", "safe.directory=*", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"git {' '.join(words)}: {done.stderr.decode()}")
    return done.stdout.decode("utf-8", "replace")


def shape(lines):
    """What is left of lines whose names and line breaks do not matter."""
    return re.sub(r"\s+", "", re.sub(r"\w+", "x", " ".join(lines)))


def changed_lines(root, commit):
    """Lines of code that a commit writes or removes. What it removes in one place and adds in another is moved, and
    where only names differ it is renamed: neither counts."""
    added, removed = collections.Counter(), collections.Counter()
    hunk = {"+": [], "-": []}
    code = False

    def end_hunk():
        if shape(hunk["+"]) != shape(hunk["-"]):
            added.update(hunk["+"])
            removed.update(hunk["-"])
        hunk["+"], hunk["-"] = [], []

    for line in git(root, "show", "--format=", "-M", "-C", "--unified=0", "--no-color", commit).splitlines():
        if line.startswith("diff --git "):
            end_hunk()
            code = not NOT_CODE.search(line.rsplit(" b/", 1)[-1])
        elif line.startswith("@@ "):
            end_hunk()
        elif code and line[:1] in hunk and not line.startswith(("+++ ", "--- ")):
            hunk[line[0]].append(line[1:].strip())
    end_hunk()
    return sum((added - removed).values()) + sum((removed - added).values())


def faults_of(root, commit, shallow):
    parents, _, message = git(root, "show", "-s", "--format=%P%n%B", commit).partition("\n")
    lines = message.rstrip().split("\n")
    first = lines[0]
    if len(parents.split()) > 1:
        yield "it is a merge; rebase instead"
        return
    if len(first) > FIRST_LINE_MOST:
        yield f"its first line has {len(first)} characters, more than {FIRST_LINE_MOST}"
    word = re.match(r"\w*", re.sub(r"^[\w./, -]{1,24}: ", "", first)).group()
    if not word or NO_COMMAND.match(word) and word.lower() not in COMMANDS:
        yield f"its first line does not begin with a command (Add, Fix, ...), but with '{word}'"
    if len(lines) > 1 and lines[1].strip():
        yield "an empty line is missing after the first one"
    if not any(line.strip() and not re.match(r"[\w-]+: \S", line) for line in lines[2:]):
        yield "it has no body that says why"
    if commit not in shallow:
        count = changed_lines(root, commit)
        if count > LINES_MOST:
            yield f"it changes {count} lines of code, more than {LINES_MOST}; split it, or move in a commit of its own"


def check(root, since):
    if not (root / ".git").exists() or not shutil.which("git"):
        return [], 0
    shallow_file = root / git(root, "rev-parse", "--git-path", "shallow").strip()
    shallow = set(shallow_file.read_text(encoding="ascii").split()) if shallow_file.exists() else set()
    faults = []
    commits = git(root, "rev-list", f"--since={since}", "HEAD").split()
    for commit in commits:
        first = git(root, "show", "-s", "--format=%h %s", commit).strip()
        faults += [f"{first}: {fault}" for fault in faults_of(root, commit, shallow)]
    return faults, len(commits)


# ---- the test of the check itself

BODY = "\n\nBecause it was needed.\n"
SAMPLES = [  # first line and body, lines of the file, what must be found
    ("Add a file" + BODY, ["line %d" % i for i in range(400)], None),
    ("tools: say what is missing" + BODY, ["one"], None),
    ("Process what comes in" + BODY, ["two"], None),
    ("Added a file" + BODY, ["three"], "does not begin with a command"),
    ("Fixing a fault" + BODY, ["four"], "does not begin with a command"),
    ("core: the queue" + BODY, ["five"], "does not begin with a command"),
    ("Add a file whose first line is longer than anybody would want to read in a list" + BODY, ["six"], "characters"),
    ("Add a file", ["seven"], "no body"),
    ("Add a file\n\nSigned-off-by: A B <a@b>\n", ["eight"], "no body"),
    ("Add a file\nthat does much" + BODY, ["nine"], "an empty line is missing"),
    ("Write it all" + BODY, ["new %d" % i for i in range(501)], "lines of code"),
    ("Negate it all" + BODY, ["!new %d" % i for i in range(501)], "lines of code"),
    ("Write it again" + BODY, ["new %d" % i for i in range(501)], "lines of code"),
    ("Turn it round" + BODY, ["new %d" % i for i in reversed(range(501))], None),
    ("Rename it all" + BODY, ["fresh %d" % i for i in reversed(range(501))], None),
]


def self_test():
    with tempfile.TemporaryDirectory(prefix="hmc-test-history-") as name:
        root = pathlib.Path(name) / "full"
        root.mkdir()
        for words in (["init", "-q", "-b", "main"], ["config", "user.name", "A"], ["config", "user.email", "a@b"]):
            git(root, *words)
        for message, lines, expected in SAMPLES:
            (root / "file.c").write_text("\n".join(lines) + "\n", encoding="utf-8")
            git(root, "add", "file.c")
            git(root, "commit", "-q", "-m", message)
            found = list(faults_of(root, "HEAD", set()))
            if expected is None and found or expected and not any(expected in fault for fault in found):
                sys.exit(f"{message!r} should give {expected}, and gives {found}")
        git(root, "checkout", "-q", "-b", "side", "HEAD~1")
        (root / "other.c").write_text("x\n", encoding="utf-8")
        git(root, "add", "other.c")
        git(root, "commit", "-q", "-m", "Add another file" + BODY)
        git(root, "merge", "-q", "--no-edit", "main")
        if not any("merge" in fault for fault in faults_of(root, "HEAD", set())):
            sys.exit("a merge is not found")
        git(root, "checkout", "-q", "main")
        shallow = pathlib.Path(name) / "shallow"
        git(pathlib.Path(name), "clone", "-q", "--depth", "2", f"file://{root}", str(shallow))
        faults, count = check(shallow, "2000-01-01")
        if count != 2 or faults:
            sys.exit(f"of a shallow clone with 2 commits {count} were looked at: {faults}")
        if check(root, "2000-01-01")[1] != len(SAMPLES) or check(root, "2099-01-01")[1] != 0:
            sys.exit("--since is not heeded")
    print(f"{len(SAMPLES)} samples, a merge and a shallow clone")


def main():
    if sys.argv[1] == "--self-test":
        self_test()
        return
    since = sys.argv[3] if sys.argv[2:3] == ["--since"] else SINCE
    faults, count = check(pathlib.Path(sys.argv[1]).resolve(), since)
    if count == 0:
        print(f"no commits since {since}")
        return
    finish(faults, count, "commits")


main()
