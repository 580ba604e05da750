#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs Debian's tinyproxy, a server with a pthread for each connection, on virtual threads.

    tinyproxy.py LIBVTHREAD_POSIX

The proxy is as Debian ships it, with the library loaded before it and VTHREAD_POSIX_THREADS=1. It listens on the
loopback interface only, in front of a server that lives in this script; both go with the script.  Requests are held by
that server until all of them are there, so that they are all open at once, whatever the machine's speed.
"""
import asyncio
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

CONNECTIONS, CARRIERS = 500, 2
# main, the monitor, and what else the runtime has of its own, besides the carriers.
OTHER_OS_THREADS = 20  # two, and what a crowded machine has the monitor lend
BODY_BYTES = 20000
PATIENCE_SECONDS = 90
START_TRIES = 5
PR_SET_PDEATHSIG = 1


def skip(reason):
    print(f"skipped: {reason} (Debian: tinyproxy-bin)")
    sys.exit(77)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def body_of(path):
    line = f"{path} says: all is well\n".encode()
    return (line * (BODY_BYTES // len(line) + 1))[:BODY_BYTES]


class Upstream:
    """Answers a request when `gate` is open; with `half`, only its first half, and then waits to be killed."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.half = False
        self.waiting = 0
        self.writers = set()
        self.changed = asyncio.Condition()
        self.server = None
        self.port = 0
        self.grave = None

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        self.writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = body_of(head.split(b" ")[1].decode())
            async with self.changed:
                self.waiting += 1
                self.changed.notify_all()
            await self.gate.wait()
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            writer.write(body[: len(body) // 2] if self.half else body)
            await writer.drain()
            if self.half:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def await_waiting(self, n):
        async with self.changed:
            await self.changed.wait_for(lambda: self.waiting >= n)

    def kill(self):
        """Its number stays taken, by a socket that refuses."""
        self.server.close()
        self.grave = socket.socket()
        self.grave.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.grave.bind(("127.0.0.1", self.port))
        for writer in list(self.writers):
            writer.transport.abort()


async def fetch(port, upstream_port, path, got_some=None):
    """Status and body of one request, on a connection of its own; the body may be cut short."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    host = f"127.0.0.1:{upstream_port}"
    writer.write(f"GET http://{host}{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    data = b""
    try:
        while piece := await reader.read(65536):
            data += piece
            if got_some and len(data) > BODY_BYTES // 2:
                got_some()
                got_some = None
    except ConnectionError:
        pass
    writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def os_threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def is_listening(proxy, port):
    """False: it has ended instead."""
    while proxy.poll() is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        except ConnectionError:
            await asyncio.sleep(0.02)
    return False


async def start_proxy(library, folder):
    """It cannot choose a free port itself, so somebody else may be faster."""
    for _ in range(START_TRIES):
        port = free_port()
        config = os.path.join(folder, "tinyproxy.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"Port {port}\nListen 127.0.0.1\nMaxClients {2 * CONNECTIONS}\nTimeout 600\n"
                       f"LogFile \"{folder}/log\"\nLogLevel Warning\nAllow 127.0.0.1\n")
        proxy = subprocess.Popen(["tinyproxy", "-d", "-c", config], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, preexec_fn=die_with_parent,
                                 env={**os.environ, "LD_PRELOAD": library, "VTHREAD_POSIX_THREADS": "1",
                                      "VTHREAD_PARALLELISM": str(CARRIERS)})
        if await is_listening(proxy, port):
            return proxy, port
    raise AssertionError("the proxy does not start")


async def all_open_at_once(proxy, port, upstream):
    tasks = [asyncio.create_task(fetch(port, upstream.port, f"/page/{i}")) for i in range(CONNECTIONS)]
    await upstream.await_waiting(CONNECTIONS)
    threads = os_threads(proxy.pid)
    upstream.gate.set()
    for i, (status, body) in enumerate(await asyncio.gather(*tasks)):
        assert status == 200 and body == body_of(f"/page/{i}"), f"request {i}: status {status}, {len(body)} bytes"
    print(f"{CONNECTIONS} connections at once: {threads} OS threads, {CARRIERS} carriers")
    assert threads <= CARRIERS + OTHER_OS_THREADS, f"{threads} OS threads"


async def upstream_dies(port, upstream):
    """All have half of the answer, then the server goes: each client sees the end, and the proxy lives on."""
    some = asyncio.Semaphore(0)
    upstream.half = True
    tasks = [asyncio.create_task(fetch(port, upstream.port, f"/half/{i}", some.release)) for i in range(CONNECTIONS)]
    for _ in range(CONNECTIONS):
        await some.acquire()
    upstream.kill()
    for i, (status, body) in enumerate(await asyncio.gather(*tasks)):
        assert status == 200 and body_of(f"/half/{i}").startswith(body) and len(body) < BODY_BYTES, f"request {i}"
    status, _ = await fetch(port, upstream.port, "/nobody")
    assert status >= 500, f"status {status} without a server"
    upstream.half = False
    await upstream.start()
    for i in range(20):
        assert await fetch(port, upstream.port, f"/again/{i}") == (200, body_of(f"/again/{i}"))


async def check(library, folder):
    upstream = Upstream()
    await upstream.start()
    proxy, port = await start_proxy(library, folder)
    try:
        await all_open_at_once(proxy, port, upstream)
        await upstream_dies(port, upstream)
        proxy.terminate()
        assert await asyncio.to_thread(proxy.wait, PATIENCE_SECONDS) == 0, f"status {proxy.returncode}"
    finally:
        proxy.kill()
        proxy.wait()


def main(library=None):
    if not library or not shutil.which("tinyproxy"):
        skip("there is no tinyproxy")
    wanted = 4 * CONNECTIONS + 200
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < wanted:
        skip("too few descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with tempfile.TemporaryDirectory(prefix="tinyproxy-") as folder:
        try:
            asyncio.run(asyncio.wait_for(check(os.path.abspath(library), folder), PATIENCE_SECONDS))
        except BaseException:
            with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as log:
                print(log.read()[-2000:])
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
