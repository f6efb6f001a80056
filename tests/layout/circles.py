"""Checks that the files of a folder of src/ call each other in one direction: a file that calls another, which calls it
back, perhaps by way of further ones, is in a circle and cannot be read or tested by itself.

usage: circles.py NM BUILD ROOT

What calls what is read from the symbols of the object files. LIMITS has the folders that have circles today, with the
number of files in them: more is a fault. Where there are fewer the limit goes down, which the output asks for. Headers
must not include each other in a circle at all.
"""

import pathlib
import re
import subprocess
import sys

from report import finish

# Files in circles. Never raise one: split what is called from what calls.
LIMITS = {
    "base": 3,
    "ctrl": 5,
    "ctrl/etcd": 4,
    "nixl": 2,
    "transport/shm": 5,
    "transport/stream": 6,
    "transport/ucx": 5,
}

OBJECT = re.compile(r"(.*?)/?CMakeFiles/[^/]+\.dir/(.+)\.o")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def circles(graph):
    """The nodes that reach themselves by others, as sets (Tarjan's algorithm, without recursion)."""
    index, low, path, on_path, found = {}, {}, [], set(), []
    for start in graph:
        if start in index:
            continue
        work = [(start, iter(graph[start]))]
        index[start] = low[start] = len(index)
        path.append(start)
        on_path.add(start)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    path.append(target)
                    on_path.add(target)
                    work.append((target, iter(graph[target])))
                    break
                if target in on_path:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = set()
                    while node not in group:
                        group.add(path.pop())
                    on_path -= group
                    if len(group) > 1:
                        found.append(group)
    return found


def objects(build, root):
    """The objects of src/, one for each source that exists: a build folder keeps those of sources that are gone."""
    found = {}
    for path in sorted(build.rglob("*.o")):
        match = OBJECT.fullmatch(str(path.relative_to(build)))
        if not match:
            continue
        source = pathlib.Path(match.group(1), match.group(2))
        if source.parts[0] == "src" and (root / source).is_file() and not source.stem.endswith(("_test", "_fixture")):
            found.setdefault(source, path)
    return found


def symbols(nm, path):
    """What an object defines for others, and what it needs of them."""
    defined, needed = set(), set()
    said = subprocess.run([nm, str(path)], stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    for line in said.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] == "U":
            needed.add(fields[1])
        elif len(fields) == 3 and fields[1] in "TDBRC":
            defined.add(fields[2])
    return defined, needed


def calls(nm, found):
    """Which sources of the same folder each source calls."""
    known = {source: symbols(nm, path) for source, path in found.items()}
    home = {}
    for source, (defined, _) in known.items():
        for name in defined:
            home.setdefault((source.parent, name), source)
    return {source: {home[source.parent, name] for name in needed if (source.parent, name) in home} - {source}
            for source, (_, needed) in known.items()}


def check_calls(nm, build, root, faults):
    found = objects(build, root)
    count = {}
    for group in circles(calls(nm, found)):
        folder = str(min(group).parent.relative_to("src"))
        count.setdefault(folder, []).extend(sorted(source.stem for source in group))
    for folder in sorted(set(count) | set(LIMITS)):
        now, limit = len(count.get(folder, [])), LIMITS.get(folder, 0)
        if now > limit:
            faults.append(f"src/{folder}: {now} files call each other in circles, not {limit}: {count[folder]}")
        elif now < limit and any(str(source.parent) == f"src/{folder}" for source in found):
            print(f"src/{folder}: {now} files are in circles: lower the limit of {limit} in circles.py")
    return len(found)


def check_headers(root, faults):
    headers = sorted((root / "src").rglob("*.h"))
    graph = {}
    for path in headers:
        named = INCLUDE.findall(path.read_text(encoding="utf-8"))
        beside = {(folder / name).resolve() for name in named for folder in (root / "src", path.parent)}
        graph[path.resolve()] = beside & {header.resolve() for header in headers}
    for group in circles(graph):
        faults.append(f"headers include each other: {sorted(str(path.relative_to(root)) for path in group)}")
    return len(headers)


def main():
    nm, build, root = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(sys.argv[3]).resolve()
    faults = []
    count = check_calls(nm, build, root, faults)
    if not count:
        sys.exit("found no objects of src/")
    finish(faults, count + check_headers(root, faults), "sources and headers")


main()
