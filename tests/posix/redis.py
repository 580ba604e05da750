#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs examples/redis_many, unmodified hiredis by the thousand, against a Redis server of its own.

    redis.py [REDIS_MANY]
"""
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from redis_server import Server, begin  # noqa: E402

CARRIERS, RUN_SECONDS = 2, 100
# main, the monitor, and what else the runtime has of its own, besides the carriers.
OTHER_OS_THREADS = 20  # two, and what a crowded machine has the monitor lend
# Ten thousand connections are as many descriptors here, and as many in the server.
DESCRIPTORS, MANY, FEWER, ROUNDS = 12000, 10000, 1000, 5


def check(program, server, threads, environment):
    done = subprocess.run([program, server.path, str(threads), str(ROUNDS)], text=True, capture_output=True,
                          timeout=RUN_SECONDS, env={**os.environ, "VTHREAD_PARALLELISM": str(CARRIERS), **environment})
    print(environment, done.stdout, end="")
    assert done.returncode == 0, f"status {done.returncode}: {done.stdout}{done.stderr}"
    right, wanted, os_threads, carriers, _ = map(int, re.findall(r"\d+", done.stdout))
    assert right == wanted == threads * ROUNDS, done.stdout
    assert carriers == CARRIERS and os_threads <= CARRIERS + OTHER_OS_THREADS, done.stdout


def main(program=None):
    begin(program, DESCRIPTORS)
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, \
            Server(folder, "--maxclients", str(MANY + 100)) as server:
        for threads, environment in ((MANY, {}), (FEWER, {"VTHREAD_STRICT": "1"}), (FEWER, {"VTHREAD_POSIX_MIGRATE": "1"})):
            check(os.path.abspath(program), server, threads, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
