#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check a Promela model with SPIN: it must hold, and each of its mutants must fail.

usage: run.py MODEL.pml [MUTANT...]      exit code 77: there is no spin here
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile


def check(model, define):
    with tempfile.TemporaryDirectory() as where:
        subprocess.run(['spin', '-a', *([f'-D{define}'] if define else []), model], cwd=where, check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run(['cc', '-O1', '-DSAFETY', '-DMEMLIM=1024', '-w', '-o', 'pan', 'pan.c'],
                       cwd=where, check=True)
        out = subprocess.run(['./pan', '-m100000'], cwd=where, check=True, capture_output=True, text=True).stdout
        complete = 'error: max search depth' not in out and 'out of memory' not in out
        if 'errors: 0' in out:
            return complete, out
        return False, out + subprocess.run(['spin', '-t', '-k', f'{model.name}.trail', '-p',
                                            *([f'-D{define}'] if define else []), model],
                                           cwd=where, capture_output=True, text=True).stdout


def main():
    model = pathlib.Path(sys.argv[1]).resolve()
    failed = False

    if shutil.which('spin') is None:
        print('SKIP: spin is not installed')
        return 77
    for define in [None, *sys.argv[2:]]:
        holds, out = check(model, define)
        expected = define is None
        print(f'{model.name}{" with " + define if define else ""}: {"holds" if holds else "fails"}'
              f'{"" if holds == expected else ", which is wrong"}')
        if holds != expected:
            failed = True
            print(out)
    return failed


sys.exit(main())
