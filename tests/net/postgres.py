#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs examples/pg_pool against a PostgreSQL server of its own: in a temporary directory, on a unix socket only.

    postgres.py [PG_POOL]

Whatever happens, the server goes with this script.
"""
import ctypes
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

THREADS, CONNECTIONS, BREAKS_EVERY = 300, 10, 50
START_SECONDS, RUN_SECONDS = 60, 60
PR_SET_PDEATHSIG = 1


def skip(reason):
    print(f"skipped: {reason} (Debian: postgresql, libpq-dev)")
    sys.exit(77)


def find(name):
    """Debian keeps the server's programs out of the PATH."""
    here = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4]))
    return here[-1] if here else shutil.which(name) or skip(f"there is no {name}")


def owner():
    """Options of subprocess: the server refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in "postgres", "nobody":
        try:
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        except KeyError:
            pass
    return skip("neither postgres nor nobody is a user here")


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


class Server:
    def __init__(self, folder):
        self.folder, self.data, self.log = folder, os.path.join(folder, "data"), os.path.join(folder, "log")
        self.run_as, self.process = owner(), None
        if self.run_as:
            os.chown(folder, self.run_as["user"], self.run_as["group"])

    def __enter__(self):
        made = subprocess.run([find("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale",
                               "-E", "UTF8"], cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=START_SECONDS, **self.run_as)
        assert made.returncode == 0, made.stdout
        settings = {"listen_addresses": "", "unix_socket_directories": self.folder, "fsync": "off",
                    "shared_buffers": "16MB", "max_connections": CONNECTIONS + 10, "autovacuum": "off"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [find("postgres"), "-D", self.data, *(f"--{name}={value}" for name, value in settings.items())],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent, **self.run_as)
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.send_signal(signal.SIGQUIT)  # at once
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def said(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def await_start(self):
        deadline = time.monotonic() + START_SECONDS
        while "ready to accept connections" not in self.said():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.02)


def check(program, server, environment):
    conninfo = f"host={server.folder} user=postgres dbname=postgres"
    done = subprocess.run([program, conninfo, str(THREADS), str(CONNECTIONS)], text=True, capture_output=True,
                          timeout=RUN_SECONDS, env={**os.environ, **environment})
    print(environment, done.stdout, end="")
    assert done.returncode == 0, f"status {done.returncode}: {done.stdout}{done.stderr}{server.said()}"
    right, failed, broken, connections, at_once, _ = map(int, re.findall(r"\d+", done.stdout))
    assert (right, failed, broken) == (THREADS, 0, THREADS // BREAKS_EVERY), done.stdout
    # Each that was broken made room for another; and what waits for the server does not keep the others from asking it.
    assert broken < connections <= broken + CONNECTIONS, done.stdout
    assert 1 < at_once <= CONNECTIONS, done.stdout


def main(program=None):
    if not program:
        skip("this build has no libpq")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # by way of every __exit__
    with tempfile.TemporaryDirectory(prefix="pg_pool-") as folder, Server(folder) as server:
        server.await_start()
        for environment in {}, {"VTHREAD_PARALLELISM": "1"}, {"VTHREAD_STRICT": "1"}, {"VTHREAD_FORCE_MIGRATE": "1"}:
            check(os.path.abspath(program), server, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
