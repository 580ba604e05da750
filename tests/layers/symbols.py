#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What libvthread.so exports: the names in symbols.txt, each declared in a public header.

    symbols.py LIBRARY ROOT --net|--no-net --gc|--no-gc [--update]

Names that only a build with `net` or `gc` has are marked so in the list.  --update rewrites the list
from a library built with both; its diff belongs to the change that adds or removes the names.
"""
import pathlib
import re
import subprocess
import sys

HEADER = """\
# Symbols that libvthread.so exports; "net" and "gc" mark those of a build with these only.
# Rewritten by: ninja -C build update-symbols
"""


def exported(library):
    output = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in output.splitlines() if line.strip()}


def declared(root):
    """Public name: the header that first speaks of it."""
    names = {}
    for path in sorted((root / "include/vthread").glob("*.h")):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
        for name in re.findall(r"\bvthread_\w+", code):
            if path.name != "net.h" or name not in names:
                names.setdefault(name, path.name)
    return names


def needed_by(header):
    return {"net.h": "net", "os.h": "net", "gc.h": "gc"}.get(header)


def main(library, root, net, gc, *options):
    root = pathlib.Path(root)
    path = root / "tests/layers/symbols.txt"
    found = exported(library)
    headers = declared(root)
    errors = [f"{name}: exported names begin with vthread_" for name in sorted(found) if not name.startswith("vthread_")]
    errors += [f"{name}: exported, but no public header declares it" for name in sorted(found - headers.keys())]

    if "--update" in options:
        rows = [" ".join(filter(None, (name, needed_by(headers.get(name))))) for name in sorted(found)]
        path.write_text(HEADER + "".join(row + "\n" for row in rows))
    rows = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    listed = {row[0] for row in rows if not row[1:] or "--" + row[1] in (net, gc)}
    errors += [f"{name}: exported, but not in the list" for name in sorted(found - listed)]
    errors += [f"{name}: in the list, but not exported" for name in sorted(listed - found)]
    print("\n".join(errors) or f"{len(found)} names")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
