#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A layer may use itself and what lies beneath, and nothing else.

    layers.py includes ROOT         by the #include lines of the sources
    layers.py links NM ARCHIVE...   by the symbols that the layers' archives ask for
"""
import pathlib
import re
import subprocess
import sys

# layer: the layers it may use.  continuation and carrier are siblings.
BENEATH = {
    "base": set(),
    "continuation": {"base"},
    "carrier": {"base"},
    "vthread": {"base", "continuation", "carrier"},
    "sync": {"base", "continuation", "carrier", "vthread"},
    "concurrent": {"base", "continuation", "carrier", "vthread", "sync"},
    "observe": {"base", "continuation", "carrier", "vthread", "sync", "concurrent"},
    "gc": {"base", "continuation", "carrier", "vthread"},
    "net": {"base", "continuation", "carrier", "vthread"},
    # A library of its own, which uses what libvthread exports; of base only headers.
    "posix": {"base"},
}
# layer: the public headers it implements or speaks of; "*" is all of them.
PUBLIC = {
    "base": set(),
    "continuation": {"continuation.h"},
    "carrier": set(),
    "vthread": {"vthread.h", "local.h", "runtime.h", "version.h", "continuation.h"},
    "sync": {"vthread.h", "queue.h", "sync.h"},
    "concurrent": {"executor.h", "local.h", "pool.h", "scope.h", "sync.h", "vthread.h"},
    "observe": {"executor.h", "runtime.h", "scope.h", "sync.h", "version.h", "vthread.h"},
    "gc": {"gc.h", "vthread.h"},
    "net": {"*"},
    "posix": {"net.h", "local.h", "posix.h", "sync.h", "vthread.h"},
}
# Foreign libraries, each known to one layer only.
FOREIGN = {
    "event2/": {"net"},
    "event.h": {"net"},
    "gc.h": {"gc"},
    "gc/": {"gc"},
    "elfutils/": {"vthread"},
    "yajl/": {"observe"},
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)


def includes_of(path):
    text = path.read_text()
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match[1] == '"', match[2]


def check_layer_include(root, layer, quoted, name):
    """Returns what is wrong with the line, or None."""
    folder, _, rest = name.partition("/")
    if not quoted:
        if folder == "vthread":
            if rest not in PUBLIC[layer] and "*" not in PUBLIC[layer]:
                return f"{layer} may not use the public header {rest}"
        for prefix, allowed in FOREIGN.items():
            if name.startswith(prefix) and layer not in allowed:
                return f"{name} belongs to {', '.join(sorted(allowed))} only"
        return None
    if name.startswith("tests/model/"):  # the shim that base/atomic.h becomes under the explorer
        return None if layer == "base" else "only base/atomic.h knows the model explorer"
    if folder not in BENEATH:
        return "not a layer; quoted names start at the root of the project"
    if folder != layer and folder not in BENEATH[layer]:
        return f"{layer} may not use {folder}"
    if not (root / name).is_file():
        return "no such file"
    return None


def check_includes(root):
    errors = []
    public = {path.name.removesuffix(".in") for path in (root / "include/vthread").glob("*.h*")}
    for layer in BENEATH:
        for path in sorted((root / layer).rglob("*")):
            if path.suffix not in (".c", ".h", ".S"):
                continue
            for line, quoted, name in includes_of(path):
                wrong = check_layer_include(root, layer, quoted, name)
                if wrong:
                    errors.append(f"{path.relative_to(root)}:{line}: {name}: {wrong}")
    # vthread/ is also the prefix of the public headers: a name in both would hide the inner one.
    for path in (root / "vthread").glob("*.h"):
        if path.name in public:
            errors.append(f"vthread/{path.name}: a public header has this name; call it {path.stem}_internal.h")
    for path in (root / "include/vthread").glob("*.h"):
        for line, quoted, name in includes_of(path):
            if quoted or (name.startswith("vthread/") and name.partition("/")[2] not in public):
                errors.append(f"include/vthread/{path.name}:{line}: {name}: public headers use public ones, "
                              "by <vthread/NAME.h>")
    return errors


def symbols(nm, archive, *options):
    output = subprocess.run([nm, *options, archive], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in output.splitlines() if line.strip() and not line.endswith(":")}


def check_links(nm, archives):
    names = {pathlib.Path(archive).parent.name: archive for archive in archives}
    defined = {layer: symbols(nm, archive, "--defined-only", "--extern-only") for layer, archive in names.items()}
    errors = []
    for layer, archive in names.items():
        wanted = symbols(nm, archive, "--undefined-only") - defined[layer]
        for other in names:
            if other == layer or other in BENEATH[layer]:
                continue
            for symbol in sorted(wanted & defined[other]):
                errors.append(f"{layer} uses {symbol}, which {other} defines")
        for other in BENEATH[layer] & names.keys():
            for symbol in sorted(defined[layer] & defined[other]):
                errors.append(f"{symbol} is defined in {layer} and in {other}")
    return errors


def main(mode, *args):
    errors = check_includes(pathlib.Path(args[0])) if mode == "includes" else check_links(args[0], args[1:])
    print("\n".join(errors) or f"{mode}: every arrow points down")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
