# SPDX-License-Identifier: MIT
"""A Redis server of the test's own: in a folder of its own, on a unix socket only; it goes with the test."""
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

PATIENCE = 60  # seconds; for what has gone wrong
PR_SET_PDEATHSIG = 1


def skip(reason):
    print(f"skipped: {reason} (Debian: redis-server, libhiredis-dev)")
    sys.exit(77)


def begin(program, descriptors):
    """Skip the test where it cannot run, and be allowed so many descriptors."""
    if not program or not shutil.which("redis-server"):
        skip("there is no redis-server, or this build has no hiredis")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        skip("too few descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # by way of every __exit__


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition, what, *processes):
    """Until that is so, and not beyond the end of a process that it needs."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        for process in processes:
            assert process.poll() is None, f"{what}: a process has ended, with status {process.returncode}"
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


class Refused(Exception):
    pass


class Client:
    """Redis' protocol, as much of it as is needed."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, *words):
        words = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis has gone")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise Refused(rest)
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2].decode()
        return [self.reply() for _ in range(int(rest))]

    def __call__(self, *words):
        self.send(*words)
        return self.reply()


class Server:
    def __init__(self, folder, *options):
        self.folder, self.options, self.process = folder, options, None
        self.path = os.path.join(folder, "socket")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def is_there(self):
        try:
            with Client(self.path) as client:
                return client("PING") == "PONG"
        except (OSError, Refused):
            return False

    def start(self):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", self.path, "--dir", self.folder, "--save", "",
                 *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        wait_until(self.is_there, "the server starts", self.process)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def client(self):
        return Client(self.path)
