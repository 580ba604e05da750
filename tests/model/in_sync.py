#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The operations of base/atomic.h and of tests/model/model_atomic.h are the same."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
DEFINED = re.compile(r'^(?:#define |ALWAYS_INLINE \w+ |void )((?:atomic|barrier|cpu)_\w+)\(', re.MULTILINE)


def operations(text):
    return set(DEFINED.findall(text))


real = (root / 'base/atomic.h').read_text().split('#else', 1)[1]
expected = operations(real) - {'atomic_init'}
model = operations((root / 'tests/model/model_atomic.h').read_text())

for name in sorted(expected ^ model):
    print(f'{name}: in {"base/atomic.h" if name in expected else "tests/model/model_atomic.h"} only')
sys.exit(expected != model)
