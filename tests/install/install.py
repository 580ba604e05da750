#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Installs to an empty directory, and builds the README's first program from there.

    install.py BUILD README.md LIBDIR PACKAGE --gc|--no-gc -- COMPILER...
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, text=True, **options)


FEATURES = """#include <vthread/version.h>
#if VTHREAD_HAS_NET != {net} || VTHREAD_HAS_GC != {gc} || VTHREAD_HAS_POSIX != {net}
#error version.h says something else than the build
#endif
#if defined __has_include && __has_include(<vthread/net.h>) != VTHREAD_HAS_NET
#error net.h
#endif
#if defined __has_include && __has_include(<vthread/gc.h>) != VTHREAD_HAS_GC
#error gc.h
#endif
"""


def main(build, readme, libdir, package, gc, _, *compiler):
    with tempfile.TemporaryDirectory() as destination:
        libraries = pathlib.Path(destination + libdir)
        program = pathlib.Path(destination) / "program.c"
        program.write_text(re.search(r"```c\n(.*?)```", pathlib.Path(readme).read_text(), re.DOTALL)[1])
        run("meson", "install", "-C", build, "--no-rebuild", "--destdir", destination, stdout=subprocess.DEVNULL)
        os.environ["PKG_CONFIG_PATH"] = str(libraries / "pkgconfig")
        os.environ["PKG_CONFIG_SYSROOT_DIR"] = destination

        # An empty directory: the headers say themselves what was left out.
        flags = run("pkg-config", "--cflags", package, capture_output=True).stdout.split()
        run(*compiler, "-std=c11", "-Wundef", "-Werror", "-fsyntax-only", "-x", "c", "-", *flags,
            input=FEATURES.format(net=int(package == "vthread-net"), gc=int(gc == "--gc")))

        for kind, options in ("shared", []), ("static", ["--static"]):
            flags = run("pkg-config", "--cflags", "--libs", *options, package, capture_output=True).stdout.split()
            if kind == "static":
                flags = [f"-l:lib{flag[2:]}.a" if flag == "-lvthread" else flag for flag in flags]
            executable = pathlib.Path(destination) / kind
            # all.h must be complete in what is installed, whatever was left out of the build.
            run(*compiler, "-std=c11", "-include", "vthread/all.h", program, "-o", executable, *flags)
            run(executable, env={**os.environ, "LD_LIBRARY_PATH": str(libraries)})
            print(f"{kind}: {' '.join(flags)}")

        if package == "vthread-net":  # then there is libvthread-posix, which pkg-config puts before the C library
            flags = run("pkg-config", "--cflags", "--libs", "vthread-posix", capture_output=True).stdout.split()
            executable = pathlib.Path(destination) / "posix"
            check = pathlib.Path(__file__).parent.parent / "posix/check.c"
            run(*compiler, "-std=c11", check, "-o", executable, *flags)
            run(executable, env={**os.environ, "LD_LIBRARY_PATH": str(libraries)})
            print(f"posix: {' '.join(flags)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
