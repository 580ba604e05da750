#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs examples/pg_many, libpq's blocking calls on virtual threads, against a PostgreSQL server of its own.

    pg_many.py FOLDER_OF_TESTS/net [PG_MANY]

The server is the one of tests/net/postgres.py.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import postgres  # noqa: E402  (the one in tests/net)

THREADS, CONNECTIONS, CARRIERS = 2000, 50, 2
OTHER_OS_THREADS, RUN_SECONDS = 20, 100  # two, and what a crowded machine has the monitor lend


def main(program=None):
    if not program:
        postgres.skip("this build has no libpq")
    postgres.CONNECTIONS = CONNECTIONS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with tempfile.TemporaryDirectory(prefix="pg_many-") as folder, postgres.Server(folder) as server:
        server.await_start()
        for environment in {}, {"VTHREAD_STRICT": "1"}:
            conninfo = f"host={server.folder} user=postgres dbname=postgres"
            done = subprocess.run([os.path.abspath(program), conninfo, str(THREADS), str(CONNECTIONS)], text=True,
                                  capture_output=True, timeout=RUN_SECONDS,
                                  env={**os.environ, "VTHREAD_PARALLELISM": str(CARRIERS), **environment})
            print(environment, done.stdout, end="")
            assert done.returncode == 0, f"status {done.returncode}: {done.stdout}{done.stderr}{server.said()}"
            right, wanted, os_threads, carriers, _ = map(int, re.findall(r"\d+", done.stdout))
            assert right == wanted == THREADS, done.stdout
            assert carriers == CARRIERS and os_threads <= CARRIERS + OTHER_OS_THREADS, done.stdout
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[2:]))
