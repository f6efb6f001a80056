"""Builds the documents and looks at what came out: a page of the manual per function that the library shows, which
groff formats without a warning, and a site whose links lead somewhere.

    site.py ROOT man|all
"""

import html.parser
import pathlib
import re
import subprocess
import sys


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def manual_faults(root, out):
    declared = set()
    for header in [*(root / "include/hmc").glob("*.h"), *(root / "include/smem/host").glob("*.h")]:
        text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.S)
        text = re.sub(r"^#(.*\\\n)*.*$", "", text, flags=re.M)
        declared.update(re.findall(r"\b((?:hmc|smem)_\w+)\(", "\n".join(
            line for line in re.findall(r"^(?:HMC_API|SMEM_API)[^;]*;", text, flags=re.M))))
    pages = {page.stem for page in (out / "man3").glob("*.3")}
    faults = [f"{name} has no page" for name in sorted(declared - pages)]
    for page in sorted([*out.glob("man3/*.3"), *out.glob("man7/*.7")]):
        said = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", str(page)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, universal_newlines=True).stdout
        if said:
            faults.append(said.strip())
        results = re.search(r"^\.SH RETURN VALUE\n(.*?)^\.SH", page.read_text(encoding="utf-8"), re.M | re.S)
        for term in re.findall(r"^\.B (.*)", results.group(1), re.M) if results else ():
            if not re.fullmatch(r"(HMC|SM)_[A-Z_]+|NULL", term):
                faults.append(f"{page.name}: {term} is not a result")
        if not re.search(r"^\S+ \\- \S", page.read_text(encoding="utf-8"), re.M):
            faults.append(f"{page.name} does not say in a line what it is")
    return faults, len(declared)


def site_faults(out):
    faults = []
    pages = sorted(out.rglob("*.html"))
    for page in pages:
        links = Links()
        links.feed(page.read_text(encoding="utf-8"))
        for link in links.found:
            target = link.split("#")[0].split("?")[0]
            if target and not re.match(r"[a-z]+:|/", target) and not (page.parent / target).exists():
                faults.append(f"{page.relative_to(out)}: {link} leads nowhere")
    for name in ("index.html", "reference/hmc-operation.html", "troubleshooting.html", "picture.svg", "bench.svg"):
        if not (out / name).exists():
            faults.append(f"{name} is missing")
    return faults


def main():
    root, what = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    done = subprocess.run([str(root / "scripts/docs"), *(["man"] if what == "man" else [])], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, universal_newlines=True)
    if done.returncode != 0 or re.search(r"warning", done.stdout, re.I):
        sys.exit(f"scripts/docs ended with {done.returncode}:\n{done.stdout}")
    faults, count = manual_faults(root, root / "build/docs/man")
    if what == "all":
        faults += site_faults(root / "build/docs/site")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{count} functions have their page")


main()
