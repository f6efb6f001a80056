"""Checks that nothing in the tree is marked as unfinished, and that public headers and the library's messages are in plain
English: none of the phrases of the word table in CONTRIBUTING.md.

usage: words.py ROOT

Unfinished: looks at all text files that git knows or would know (tracked, or new and not ignored); outside git, at all
but build/. Phrases: looks at include/, comments as one line each, and at the names in it; at the strings of src/,
tools/, bench/, apps/, examples/ and python/; at the comments of these and of the tests; and at the documents and manual
pages, line by line.
"""

import pathlib
import re
import shutil
import subprocess
import sys

from report import finish

# Written in pieces, so that this file passes its own check.
WORDS = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "for" + " now"]
PATTERN = re.compile("|".join(rf"(?<![A-Za-z]){word}(?![A-Za-z])" for word in WORDS))

# What a reader stumbles over, and what to say in its place. CONTRIBUTING.md has the same as a table.
PHRASES = {
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer\b|more\b)": "is not a ...",
    r"\bwhoever\b": "the one who, anyone who",
    r"\banew\b": "again",
    r"\btold\b": "reported",
    r"\bunder way\b": "pending, in progress",
    r"\b(?:lent|lend|lends)\b": "registered",
    r"\b(?:gives?|given|giving) (?:it |them |\w+ )?out\b|\bhanded out\b": "return",
    r", for (?:it|they|he|she|there|this|that|these|those|we|who|HMC|what)\b": "because",
    r", for (?:the|a|an|its|their|no) \w+ (?:is|are|was|were|has|have|had|does|do|would|will|can|cannot|may|must)\b":
        "because",
}
COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
CODE_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|(//[^\n]*(?:\n[ \t]*//[^\n]*)*|/\*.*?\*/)', re.DOTALL)
SCRIPT_COMMENT = re.compile(r'(""".*?"""|(?:^|(?<=\s))#[^\n]*(?:\n[ \t]*#[^\n]*)*)', re.DOTALL)
JOINT = re.compile(r"\s*\n[ \t]*(?:\*(?!/)|//|#)?[ \t]*")
NAME = re.compile(r"\b[A-Za-z_]\w*\b")
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')

C_LIKE, SCRIPTS = {".c", ".cc", ".cpp", ".h", ".hpp"}, {".py", ".pyx", ".pxi", ".pyi"}
COMMENTED = ("src", "tests", "tools", "bench", "apps", "examples", "python")
SPEAKING = ("src", "tools", "bench", "apps", "examples", "python")

PURPOSE = re.compile(r", for (?:this|these|who|HMC|what)")

# Texts by others, and what names the phrases itself.
UNCHECKED = ("tests/compatibility/", "tests/layout/words.py")

# Texts by others, kept verbatim.
EXEMPT = ("LICENSE", "tests/compatibility/")


def tracked(root):
    if (root / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(["git", "-C", str(root), "-c", f"safe.directory={root}", "ls-files", "-z", "--cached",
                                 "--others", "--exclude-standard"], stdout=subprocess.PIPE, check=True)
        return sorted(name for name in listed.stdout.decode().split("\0") if name)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*")
                  if path.is_file() and path.relative_to(root).parts[0] not in {"build", ".git"})


def phrases_in(text):
    return [(match.group(0), better) for phrase, better in PHRASES.items() for match in re.finditer(phrase, text)]


def speaking(root):
    """The sources whose strings users read: not the tests, nor what speaks to others' programs in their words."""
    for folder in SPEAKING:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in C_LIKE | SCRIPTS and not path.stem.endswith("_test") and "compat" not in path.parts:
                yield path


def comments_of(path, text):
    """The comments of a source, each as one line, with the number of the line where it begins."""
    pattern = CODE_COMMENT if path.suffix in C_LIKE else SCRIPT_COMMENT
    for match in pattern.finditer(text):
        if match.group(1):
            yield text.count("\n", 0, match.start()) + 1, JOINT.sub(" ", match.group(1))


def check_comments(root, faults):
    """What programmers read. In comments ", for what" and the like also mean a purpose: only a person can say."""
    count = 0
    for folder in COMMENTED:
        for path in sorted((root / folder).rglob("*")):
            name = str(path.relative_to(root))
            if path.suffix not in C_LIKE | SCRIPTS | {".txt", ".cmake"} or name.startswith(UNCHECKED):
                continue
            count += 1
            for line, comment in comments_of(path, path.read_text(encoding="utf-8")):
                faults += [f"{name}:{line}: '{said.strip()}': {better}" for said, better in phrases_in(comment)
                           if not PURPOSE.fullmatch(said)]
    return count


def check_names(path, name, faults):
    """The public names: a word of the table stands in them between underscores."""
    for word in sorted(set(NAME.findall(path.read_text(encoding="utf-8")))):
        if "_" in word:
            faults += [f"{name}: {word}: {better}" for _, better in phrases_in(word.replace("_", " ").lower())]


def documents(root):
    """What users read. The word table itself and the history name the phrases."""
    yield from (root / name for name in ("README.md", "SECURITY.md"))
    for folder, pattern in (("docs", "*.md"), ("man", "*.[0-9]")):
        yield from sorted((root / folder).rglob(pattern))


def bare(match):
    """A string as it is ("tcp://..." has no comment in it); of a comment its line ends."""
    return match.group(0) if match.group(0)[0] == '"' else "\n" * match.group(0).count("\n")


def check_phrases(root, faults):
    count = 0
    for path in sorted((root / "include").rglob("*.h*")):
        count += 1
        check_names(path, path.relative_to(root), faults)
        text = re.sub(r"\n\s*\*? ?", " ", path.read_text(encoding="utf-8"))
        faults += [f"{path.relative_to(root)}: '{said.strip()}': {better}" for said, better in phrases_in(text)]
    for path in speaking(root):
        count += 1
        text = path.read_text(encoding="utf-8")
        if path.suffix in C_LIKE:
            text = re.sub(STRING.pattern + "|" + COMMENTS.pattern, bare, text, flags=re.DOTALL)
        for match in STRING.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            faults += [f"{path.relative_to(root)}:{line}: '{said.strip()}': {better}"
                       for said, better in phrases_in(match.group(1))]
    for path in documents(root):
        count += 1
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            faults += [f"{path.relative_to(root)}:{number}: '{said.strip()}': {better}" for said, better in phrases_in(line)]
    return count


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    faults = []
    count = 0
    for name in tracked(root):
        path = root / name
        if name.startswith(EXEMPT) or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        count += 1
        for number, line in enumerate(text.splitlines(), 1):
            match = PATTERN.search(line)
            if match:
                faults.append(f"{name}:{number}: {match.group(0)}: {line.strip()}")
    count += check_phrases(root, faults)
    count += check_comments(root, faults)
    finish(faults, count, "files")


main()
