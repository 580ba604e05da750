#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kills a Redis server in which hundreds of virtual threads wait through hiredis, and starts it again.

    redis_killed.py [REDIS_KILLED]
"""
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from redis_server import PATIENCE, Server, begin, die_with_parent, wait_until  # noqa: E402

THREADS, CARRIERS, OTHER_OS_THREADS = 500, 2, 20  # two, and what a crowded machine has the monitor lend


def blocked(redis):
    return int(re.search(r"blocked_clients:(\d+)", redis("INFO", "clients")).group(1))


def check(program, server, environment):
    with subprocess.Popen([program, server.path, str(THREADS)], text=True, stdout=subprocess.PIPE,
                          preexec_fn=die_with_parent,
                          env={**os.environ, "VTHREAD_PARALLELISM": str(CARRIERS), **environment}) as process:
        try:
            with server.client() as redis:
                wait_until(lambda: blocked(redis) == THREADS, "all wait", process)
            server.kill()
            server.start()
            with server.client() as redis:
                wait_until(lambda: blocked(redis) == THREADS, "all wait again", process)
                for i in range(THREADS):
                    redis("RPUSH", f"list:{i}", i)
            said = process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
    print(environment, said, end="")
    assert process.returncode == 0, f"status {process.returncode}: {said}"
    lost, answered, os_threads, carriers = map(int, re.findall(r"\d+", said))
    assert lost == answered == THREADS, said
    assert carriers == CARRIERS and os_threads <= CARRIERS + OTHER_OS_THREADS, said


def main(program=None):
    begin(program, 4 * THREADS)
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, Server(folder) as server:
        for environment in {}, {"VTHREAD_STRICT": "1"}, {"VTHREAD_POSIX_MIGRATE": "1"}:
            check(os.path.abspath(program), server, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
