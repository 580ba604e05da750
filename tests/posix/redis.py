#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs examples/redis_many, unmodified hiredis by the thousand, against a Redis server of its own.

    redis.py [REDIS_MANY]

The server is in a temporary directory, on a unix socket only, and goes with this script.
"""
import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

THREADS, ROUNDS, CARRIERS = 1000, 5, 2
START_SECONDS, RUN_SECONDS = 60, 100
# main, the monitor, and what else the runtime has of its own, besides the carriers.
OTHER_OS_THREADS = 4
PR_SET_PDEATHSIG = 1


def skip(reason):
    print(f"skipped: {reason} (Debian: redis-server, libhiredis-dev)")
    sys.exit(77)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(folder):
    socket = os.path.join(folder, "socket")
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", "",
                               "--maxclients", str(THREADS + 100)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              preexec_fn=die_with_parent)
    deadline = time.monotonic() + START_SECONDS
    while not os.path.exists(socket):
        assert server.poll() is None and time.monotonic() < deadline, "the server does not start"
        time.sleep(0.02)
    return server, socket


def check(program, socket, environment):
    done = subprocess.run([program, socket, str(THREADS), str(ROUNDS)], text=True, capture_output=True,
                          timeout=RUN_SECONDS, env={**os.environ, "VTHREAD_PARALLELISM": str(CARRIERS), **environment})
    print(environment, done.stdout, end="")
    assert done.returncode == 0, f"status {done.returncode}: {done.stdout}{done.stderr}"
    right, wanted, os_threads, carriers = map(int, re.findall(r"\d+", done.stdout))
    assert right == wanted == THREADS * ROUNDS, done.stdout
    assert carriers == CARRIERS and os_threads <= CARRIERS + OTHER_OS_THREADS, done.stdout


def main(program=None):
    if not program or not shutil.which("redis-server"):
        skip("there is no redis-server, or this build has no hiredis")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 2 * THREADS + 200:
        skip("too few descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * THREADS + 200, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server, socket = start(folder)
        try:
            for environment in {}, {"VTHREAD_STRICT": "1"}, {"VTHREAD_POSIX_MIGRATE": "1"}:
                check(os.path.abspath(program), socket, environment)
        finally:
            server.kill()
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
