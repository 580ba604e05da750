#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The version in version.h is the one that meson.build installs.   version.py ROOT VERSION"""
import pathlib
import re
import sys


def main(root, version):
    text = (pathlib.Path(root) / "include/vthread/version.h").read_text()
    parts = [re.search(rf"#define\s+VTHREAD_VERSION_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    found = ".".join(part[1] if part else "?" for part in parts)
    print(f"version.h says {found}, meson.build {version}")
    return 0 if found == version else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
