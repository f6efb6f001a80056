"""Makes the reference of the C API out of the public headers, by way of Doxygen (see scripts/docs).

    reference.py filter HEADER             prints the header with its comments in the form that Doxygen reads
    reference.py man XML OUT VERSION       a manual page per function (OUT/man3) and one per header (OUT/man7)
    reference.py site XML OUT              the sources of the site: pages per header, the documents and the start page

Headers are written with plain comments; the comment right before a declaration belongs to it.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent

# A line of a comment that begins with one of these begins a paragraph; so does an error or a parameter.
LABEL = re.compile(r"^(Completion|Ownership|Threads|Blocking|Errors|Order|Results|HMC_[A-Z_]+|[a-z_]+): ")
RESULT = re.compile(r"^((HMC|SM)_[A-Z_]+|NULL)$")   # what a line of results may begin with, apart from its text


# ---- the filter

def escape(line):
    """Doxygen must not take for markup what is text: <, @, # and backslashes outside of `code`."""
    pieces = line.split("`")
    for index in range(0, len(pieces), 2):
        pieces[index] = re.sub(r"(?<!\w)\\(?!(?:param|return|note)\b)|[<>@#%]", lambda found: "\\" + found.group(),
                               pieces[index])
    return "`".join(pieces)


def paragraphs(text):
    """A comment's lines, with an empty line before each labelled one."""
    lines = []
    for line in text.split("\n"):
        bare = re.sub(r"^\s*\*? ?", "", line)
        if LABEL.match(bare) and lines and lines[-1].strip(" *"):
            lines.append(" *")
        lines.append(escape(line))
    return "\n".join(lines)


def filtered(text):
    """The header as Doxygen should see it. Comments at the left margin or before a member become /** ... */."""
    text = re.sub(r"^/\* ?-{4,}.*\n", "\n", text, flags=re.M)
    head = re.match(r"/\*(.*?)\*/", text, re.S)
    result = ["/** \\file\n" + paragraphs(" * " + head.group(1).lstrip("*").strip()) + "\n */"]
    at = head.end()
    for comment in re.compile(r"/\*(.*?)\*/", re.S).finditer(text, at):
        line = text[at:comment.start()].rsplit("\n", 1)[-1]
        result.append(text[at:comment.start()])
        at = comment.end()
        body = comment.group(1)
        if line.strip() and not text[at:at + 1].strip():
            result.append("/**<" + paragraphs(body) + "*/")
        elif not line.strip():
            result.append("/**" + paragraphs(body.lstrip("*")) + "*/")
        else:
            result.append(comment.group(0))
    result.append(text[at:])
    return "".join(result)


# ---- what Doxygen found

class Text:
    """A description as Doxygen has it, written as Markdown or for man."""

    def __init__(self, for_man):
        self.man = for_man

    def plain(self, text):
        if not self.man:
            return re.sub(r"([*_<])", r"\\\1", text or "")
        return (text or "").replace("\\", "\\e").replace("-", "\\-")

    def inline(self, node):
        out = self.plain(node.text)
        for child in node:
            inner = self.inline(child)
            if child.tag == "computeroutput":
                raw = "".join(child.itertext())
                out += f"\\fB{self.plain(raw)}\\fP" if self.man else f"`{raw}`"
            elif child.tag in ("bold", "emphasis"):
                out += f"\\fI{inner}\\fP" if self.man else f"*{inner}*"
            elif child.tag == "linebreak":
                out += "\n"
            elif child.tag in ("parameterlist", "simplesect", "itemizedlist", "orderedlist", "verbatim", "programlisting"):
                pass
            else:
                out += inner
            out += self.plain(child.tail)
        return out

    def blocks(self, node):
        """(kind, text or rows) of the parts of a description."""
        for para in node.iter("para") if node is not None else ():
            said = re.sub(r"\s+", " ", self.inline(para)).strip()
            if said and para not in self.skipped:
                yield "text", said
            for child in para:
                if child.tag == "parameterlist":
                    rows = []
                    for item in child.iter("parameteritem"):
                        name = "".join("".join(each.itertext()) for each in item.iter("parametername"))
                        rows.append((name, self.row(item.find("parameterdescription"))))
                    yield "parameters", rows
                elif child.tag == "simplesect":
                    yield child.get("kind"), [self.row(child)]
                elif child.tag in ("itemizedlist", "orderedlist"):
                    yield "list", [self.row(item) for item in child.findall("listitem")]
                elif child.tag in ("verbatim", "programlisting"):
                    yield "code", "".join(child.itertext())

    def row(self, node):
        texts = []
        for para in node.iter("para"):
            texts.append(re.sub(r"\s+", " ", self.inline(para)).strip())
        return " ".join(texts)

    def describe(self, member):
        """The blocks of a member's brief and detailed description, parameters and returns merged into lists."""
        self.skipped = set()
        for name in ("briefdescription", "detaileddescription"):
            node = member.find(name)
            if node is None:
                continue
            for para in node.iter("para"):
                for child in para:
                    if child.tag in ("parameterlist", "simplesect", "itemizedlist", "orderedlist"):
                        self.skipped.update(child.iter("para"))
        parts, parameters, returns = [], [], []
        for name in ("briefdescription", "detaileddescription"):
            for kind, value in self.blocks(member.find(name)):
                match = re.match(r"([A-Z]+_[A-Z_\\]+|[a-z_\\]+): (.*)", value) if kind == "text" else None
                if kind == "parameters":
                    parameters += value
                elif kind == "return":
                    word, _, rest = value[0].partition(" ")
                    term = word.replace("\\", "").rstrip(":")
                    returns.append((term, rest) if RESULT.match(term) else ("", value[0]))
                elif match and re.match(r"(HMC|SM)", match.group(1)):
                    returns.append((match.group(1).replace("\\", ""), match.group(2)))
                elif match and match.group(1).replace("\\", "") in names_of(member):
                    parameters.append((match.group(1).replace("\\", ""), match.group(2)))
                else:
                    parts.append((kind, value))
        return parts, parameters, returns


def names_of(member):
    return {each.text for each in member.iter("declname")}


def prototype(member):
    kind = "".join(member.find("type").itertext()).strip()
    head = f"{kind} {member.find('name').text}(".replace("* ", "*")
    arguments = []
    for parameter in member.findall("param"):
        declared = "".join(parameter.find("type").itertext())
        name = parameter.find("declname")
        array = parameter.find("array")
        if name is not None:
            declared += ("" if declared.endswith("*") else " ") + name.text
        arguments.append(declared + (array.text if array is not None else ""))
    line = head + (", ".join(arguments) or "void") + ");"
    return line if len(line) <= 78 else head + "\n    " + ",\n    ".join(arguments) + ");"


class Header:
    def __init__(self, compound, folder):
        self.node = compound
        location = compound.find("location").get("file")
        self.include = re.sub(r"^.*include/", "", location)
        self.page = self.include[:-2].replace("/", "-")
        self.functions = [each for each in compound.iter("memberdef") if each.get("kind") == "function"
                          and each.get("static") == "no" and re.match(r"(hmc|smem)_", each.find("name").text)]
        self.macros = [each for each in compound.iter("memberdef") if each.get("kind") == "define"
                       and has_text(each)]
        self.enums = [each for each in compound.iter("memberdef") if each.get("kind") == "enum"]
        self.structs = [ET.parse(folder / f"{each.get('refid')}.xml").getroot().find("compounddef")
                        for each in compound.findall("innerclass")]


def has_text(member):
    return any("".join(member.find(name).itertext()).strip() for name in ("briefdescription", "detaileddescription"))


def headers(folder):
    found = []
    for path in sorted(folder.glob("*_8h.xml")):
        compound = ET.parse(path).getroot().find("compounddef")
        found.append(Header(compound, folder))
    if not found:
        sys.exit(f"reference: {folder} holds no headers; run scripts/docs")
    return sorted(found, key=lambda header: header.include)


# ---- manual pages

def man_blocks(parts):
    lines = []
    for kind, value in parts:
        if kind == "code":
            lines += [".PP", ".nf", value.rstrip().replace("\\", "\\e"), ".fi"]
        elif kind == "list":
            for item in value:
                lines += [".IP \\(bu 2", item]
        elif kind == "text":
            lines += [".PP", value]
        else:
            lines += [".PP", " ".join(value)]
    return [guard(line) for line in lines]


def guard(line):
    """A line of text that begins with a dot or an apostrophe would be a command."""
    return line if re.match(r"\.(PP|nf|fi|IP|TP|SH|SS|TH)\b", line) else re.sub(r"^([.'])", r"\\&\1", line)


def first_sentence(parts):
    for kind, value in parts:
        if kind == "text":
            return re.split(r"(?<=[a-z0-9)])[.:;](?: |$)", value)[0].rstrip(".")
    return ""


def man_rows(title, rows):
    lines = [f".SH {title}"] if rows else []
    for name, said in rows:
        lines += [".TP", f".B {name}", guard(said or "Done.")] if name else [".PP", guard(said)]
    return lines


def write_man(folder, out, version):
    text = Text(True)
    for section in ("man3", "man7"):
        (out / section).mkdir(parents=True, exist_ok=True)
    for header in headers(folder):
        see = f".BR {header.page} (7)"
        names = []
        for member in header.functions:
            name = member.find("name").text
            parts, parameters, returns = text.describe(member)
            names.append((name, first_sentence(parts)))
            lines = [f'.TH {name} 3 "" "HMC {version}" "HMC manual"', ".SH NAME",
                     f"{name} \\- {first_sentence(parts) or header.include}", ".SH SYNOPSIS", ".nf",
                     f".B #include <{header.include}>", ".PP", prototype(member).replace("\\", "\\e"), ".fi"]
            if parts:
                lines += [".SH DESCRIPTION", *man_blocks(parts)[1:]]
            lines += man_rows("PARAMETERS", parameters) + man_rows("RETURN VALUE", returns)
            lines += [".SH SEE ALSO", see]
            (out / "man3" / f"{name}.3").write_text("\n".join(lines) + "\n", encoding="utf-8")
        parts, _, _ = text.describe(header.node)
        lines = [f'.TH {header.page} 7 "" "HMC {version}" "HMC manual"', ".SH NAME",
                 f"{header.page} \\- {first_sentence(parts)}", ".SH SYNOPSIS", f".B #include <{header.include}>",
                 ".SH DESCRIPTION", *man_blocks(parts)[1:]]
        for struct in header.structs:
            rows = [(each.find("name").text, " ".join(value if isinstance(value, str) else " ".join(value)
                     for _, value in text.describe(each)[0])) for each in struct.iter("memberdef")]
            lines += [f".SH {struct.find('compoundname').text}", *man_blocks(text.describe(struct)[0])[1:]]
            lines += man_rows("", [row for row in rows if row[1]])[1:]
        if names:
            lines.append(".SH FUNCTIONS")
            for name, said in names:
                lines += [".TP", f".BR {name} (3)", guard(said or name)]
        (out / "man7" / f"{header.page}.7").write_text("\n".join(lines) + "\n", encoding="utf-8")


# ---- the site

def site_blocks(parts):
    for kind, value in parts:
        if kind == "code":
            yield f"```c\n{value.rstrip()}\n```\n"
        elif kind == "list":
            yield "\n".join(f"* {item}" for item in value) + "\n"
        elif kind == "text":
            yield re.sub(r"^(Completion|Ownership|Threads|Blocking|Errors|Order|Results):", r"**\1:**", value) + "\n"
        else:
            yield " ".join(value) + "\n"


def site_table(title, rows):
    if not rows:
        return ""
    body = "".join(f"| {f'`{name}`' if name else ''} | {said.replace('|', chr(92) + '|')} |\n" for name, said in rows)
    return f"| {title} | |\n| --- | --- |\n{body}\n"


def write_header(header):
    text = Text(False)
    out = [f"# {header.include}\n", *site_blocks(text.describe(header.node)[0])]
    out.append(f"```c\n#include <{header.include}>\n```\n")
    for member in header.functions:
        parts, parameters, returns = text.describe(member)
        out += [f"## {member.find('name').text}\n", f"```c\n{prototype(member)}\n```\n", *site_blocks(parts)]
        out += [site_table("Parameter", parameters), site_table("Returns", returns)]
    for struct in header.structs:
        rows = [(each.find("name").text, " ".join(value if isinstance(value, str) else " ".join(value)
                 for _, value in text.describe(each)[0])) for each in struct.iter("memberdef")]
        out += [f"## {struct.find('compoundname').text}\n", *site_blocks(text.describe(struct)[0])]
        out.append(site_table("Field", rows))
    for enum in header.enums:
        name = enum.find("name").text
        rows = [(each.find("name").text, " ".join(str(value) for _, value in text.describe(each)[0]))
                for each in enum.findall("enumvalue")]
        if name or any(said for _, said in rows):
            out += [f"## {name or 'Constants'}\n", *site_blocks(text.describe(enum)[0]), site_table("Value", rows)]
    for macro in header.macros:
        out += [f"## {macro.find('name').text}\n", *site_blocks(text.describe(macro)[0])]
    return "\n".join(out)


CONFIG = """site_name: HMC
site_description: Moves bytes between any two memories
docs_dir: source
site_dir: site
use_directory_urls: false
theme:
  name: material
  font: false
  palette:
    - media: "(prefers-color-scheme: light)"
      scheme: default
      primary: indigo
    - media: "(prefers-color-scheme: dark)"
      scheme: slate
      primary: indigo
  features: [navigation.tabs, navigation.indexes, content.code.copy, toc.follow]
markdown_extensions: [tables, attr_list, pymdownx.superfences, pymdownx.highlight, {pymdownx.tabbed: {alternate_style: true}}]
plugins: [search]
validation: {links: {not_found: warn, anchors: info, unrecognized_links: info}, nav: {omitted_files: warn}}
nav:
"""

# Chapters of the site: the documents of docs/ by their file names, in the order in which one reads them.
CHAPTERS = [
    ("Guides", ["two-hosts", "containers", "systemd", "slurm", "tensors", "tuning", "troubleshooting"]),
    ("Faces", ["python", "shmem", "smem", "nixl", "compatibility"]),
    ("Networks and devices", ["rdma", "ucx", "gpu"]),
]


def localised(text, pages):
    """Links to files that the site does not have become their names; those to documents lead to their pages."""
    def replace(found):
        label, target, anchor = found.group(1), found.group(2), found.group(3) or ""
        name = pathlib.PurePosixPath(target).name
        if re.match(r"[a-z]+:", target) or target == "":
            return found.group(0)
        if target.endswith("examples/README.md"):
            return f"[{label}](examples.md{anchor})"
        if name in pages or name.endswith(".svg"):
            return f"[{label}]({name}{anchor})"
        return label
    return re.sub(r"\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)", replace, text)


def write_site(folder, out):
    (out / "reference").mkdir(parents=True, exist_ok=True)
    documents = {path.name: path for path in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md",
                                              ROOT / "CHANGELOG.md", *ROOT.glob("SECURITY.md")]}
    documents["examples.md"] = ROOT / "examples/README.md"
    for name, path in documents.items():
        (out / name).write_text(localised(path.read_text(encoding="utf-8"), set(documents)), encoding="utf-8")
    for picture in (ROOT / "docs").rglob("*.svg"):
        (out / picture.name).write_bytes(picture.read_bytes())
    nav = ["  - Start: index.md\n"]
    placed = {"index.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples.md", "architecture.md"}
    for title, names in CHAPTERS:
        present = [f"{name}.md" for name in names if f"{name}.md" in documents]
        placed.update(present)
        if present:
            nav.append(f"  - {title}:\n" + "".join(f"      - {name}\n" for name in present))
    rest = [name for name in sorted(documents) if name not in placed]
    nav.append("  - More:\n      - examples.md\n" + "".join(f"      - {name}\n" for name in rest))
    nav.append("  - Reference:\n")
    for header in headers(folder):
        (out / "reference" / f"{header.page}.md").write_text(write_header(header), encoding="utf-8")
        nav.append(f"      - {header.include}: reference/{header.page}.md\n")
    house = ["architecture.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
    nav.append("  - The house:\n" + "".join(f"      - {name}\n" for name in house if name in documents))
    (out.parent / "mkdocs.yml").write_text(CONFIG + "".join(nav), encoding="utf-8")


def main():
    what, *arguments = sys.argv[1:]
    if what == "filter":
        sys.stdout.write(filtered(pathlib.Path(arguments[0]).read_text(encoding="utf-8")))
    elif what == "man":
        write_man(pathlib.Path(arguments[0]), pathlib.Path(arguments[1]), arguments[2])
    elif what == "site":
        write_site(pathlib.Path(arguments[0]), pathlib.Path(arguments[1]))
    else:
        sys.exit(__doc__)


main()
