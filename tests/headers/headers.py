#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles each public header alone.   headers.py ROOT BUILD c|c++ -- COMPILER..."""
import pathlib
import subprocess
import sys

STANDARD = {"c": "c11", "c++": "c++11"}
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Werror"]


def main(root, build, language, _, *compiler):
    include = [pathlib.Path(root) / "include", pathlib.Path(build) / "include"]  # features.h is generated
    headers = sorted(path.name for folder in include for path in (folder / "vthread").glob("*.h"))
    failed = [name for name in headers if subprocess.run(
        [*compiler, f"-std={STANDARD[language]}", *WARNINGS, *[f"-I{folder}" for folder in include], "-fsyntax-only", "-x", language, "-"],
        # Twice: the guard must hold.
        input=f"#include <vthread/{name}>\n" * 2 + "int main(void) { return 0; }\n", text=True).returncode != 0]
    print(f"{len(headers)} headers, {len(failed)} failed", *failed)
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
