"""Checks that docs/settings.md has every setting of the library's table, as the table has it.

usage: settings.py ROOT HMC_INFO [--write]

--write puts the table into the page; run it after a change of a setting. Variables that the source reads without the
table are faults, too. The faces are libraries of their own: what they read is on their own pages.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

from report import finish

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"
OTHERS = {"HOME", "XDG_RUNTIME_DIR", "CTRL_TRANSPORT", "UCX_SOCKADDR_TLS_PRIORITY"}  # the system's, the first HMC's, UCX's


def settings(program):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HMC_")}
    said = subprocess.run([program, "--json"], stdout=subprocess.PIPE, check=True, env=environment).stdout
    return json.loads(said)["settings"]


def table(rows):
    lines = ["| Variable | Takes | Default | What it does |", "| --- | --- | --- | --- |"]
    for row in rows:
        default = f"`{row['default']}`" if row["default"] else "none"
        lines.append(f"| `{row['name']}` | {row['kind']} | {default} | {row['documentation'].replace('|', ' or ')} |")
    return "\n".join(lines)


FACES = ("shmem", "smem")


def strays(root, known):
    for path in sorted((root / "src").rglob("*.[ch]")):
        if path.name.endswith("_test.c"):
            continue
        face = path.relative_to(root / "src").parts[0]
        if face in FACES:
            page = (root / "docs" / f"{face}.md").read_text(encoding="utf-8")
            for name in re.findall(r'getenv\("([A-Z_]+)"\)', path.read_text(encoding="utf-8")):
                if f"`{name}`" not in page:
                    yield f"{path.relative_to(root)}: reads {name}, which is not in docs/{face}.md"
            continue
        for name in re.findall(r'getenv\("([A-Z_]+)"\)', path.read_text(encoding="utf-8")):
            if name not in known | OTHERS:
                yield f"{path.relative_to(root)}: reads {name}, which is not in the table of src/base/settings.h"


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    page = root / "docs" / "settings.md"
    rows = settings(sys.argv[2])
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    present, _, after = rest.partition(END)
    wanted = f"\n{table(rows)}\n"
    if sys.argv[3:] == ["--write"]:
        page.write_text(f"{before}{BEGIN}{wanted}{END}{after}", encoding="utf-8")
        present = wanted
    faults = [f"docs/settings.md: not in the table: {line}" for line in present.splitlines() if line not in wanted]
    faults += [f"docs/settings.md: missing: {line}" for line in wanted.splitlines() if line not in present]
    if not faults and present != wanted:
        faults.append("docs/settings.md: the table is in another order")
    if faults:
        faults.append(f"put it right by: python3 tests/layout/settings.py . {sys.argv[2]} --write")
    faults += strays(root, {row["name"] for row in rows})
    finish(faults, len(rows), "settings")


main()
