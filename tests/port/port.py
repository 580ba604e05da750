#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs written for pthreads, ported by tools/from-pthreads.sed alone, say what they said before.

    port.py ROOT INCLUDE LIBRARY -- COMPILER...      INCLUDE: of the build;  LIBRARY: libvthread.so
"""
import os
import pathlib
import subprocess
import sys
import tempfile


def run(*command, **options):
    return subprocess.run([str(word) for word in command], text=True, capture_output=True, timeout=60, **options)


class Port:
    def __init__(self, root, include, library, compiler, folder):
        self.root, self.library, self.compiler, self.folder = root, library, compiler, pathlib.Path(folder)
        self.flags = ["-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", f"-I{root}/include", f"-I{include}"]

    def build(self, source, *options):
        program = self.folder / "program"
        built = run(*self.compiler, *self.flags, *options, source, "-o", program, self.library, "-pthread",
                    f"-Wl,-rpath,{self.library.parent}")
        return program if built.returncode == 0 else built.stderr

    def sed(self, source):
        ported = self.folder / "ported.c"
        ported.write_text(run("sed", "-E", "-f", self.root / "tools/from-pthreads.sed", source, check=True).stdout)
        return ported

    def outcome(self, source, *options, arguments=(), **settings):
        program = self.build(source, *options)
        if isinstance(program, str):
            sys.exit(f"{source} does not compile:\n{program}")
        done = run(program, *arguments, env={**os.environ, **settings})
        return done.returncode, done.stdout, done.stderr


def main(root, include, library, _, *compiler):
    root = pathlib.Path(root)
    with tempfile.TemporaryDirectory() as folder:
        port = Port(root, include, pathlib.Path(library), compiler, folder)
        programs = root / "tests/port/programs"
        for source, options, arguments in (
                (programs / "classic.c", [], []),
                (programs / "recursive.c", ["-DVTHREAD_RECURSIVE_MUTEXES"], []),
                (root / "examples/ported/walk_pthread.c", [], [root / "docs"])):
            original = port.outcome(source, arguments=arguments)
            assert original[0] == 0 and original[2] == "", original
            for settings in {}, {"VTHREAD_STRICT": "1"}, {"VTHREAD_PARALLELISM": "1"}:
                ported = port.outcome(port.sed(source), *options, arguments=arguments, **settings)
                assert ported == original, f"{source.name} {settings}: {ported}, before {original}"
            print(f"{source.name}: {original[1].strip()}")

        # Without the definition: not quietly, and not far.
        status, said, error = port.outcome(port.sed(programs / "recursive.c"))
        assert (status, said) == (1, "no recursive mutex\n") and "vthread_lock_t" in error, (status, said, error)
        print(f"refused: {error.strip()}")

        # What there is not, does not compile.
        for call in "pthread_cancel(pthread_self())", "pthread_kill(pthread_self(), 9)", "pthread_cleanup_pop(1)":
            source = pathlib.Path(folder) / "gone.c"
            source.write_text(f"#include <pthread.h>\nint main(void) {{ {call}; return 0; }}\n")
            assert isinstance(port.build(port.sed(source)), str), f"{call} compiles"
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
