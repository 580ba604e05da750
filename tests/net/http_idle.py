#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""http_idle SERVER: 16,000 connections that do nothing, and one that does."""
import re, resource, sys, time

from http_support import Server, equal, run, skip, wait_until

CONNECTIONS = 16000
SPARE = 200  # descriptors for everything else
BYTES_EACH = 8192


def open_and_idle():
    clients = [server.connect() for _ in range(CONNECTIONS)]
    server.await_connections(CONNECTIONS)
    each = (server.rss_bytes() - rss) / CONNECTIONS
    print(f"{each:.0f} bytes each before the first request")

    for c in clients:  # all have been in use now
        c.send("GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")
    for c in clients:
        equal(c.answer().body, b"pong")
    each = (server.rss_bytes() - rss) / CONNECTIONS
    print(f"{each:.0f} bytes each after it")
    assert sanitized() or each < BYTES_EACH, each

    before = server.cpu_seconds()
    time.sleep(2)
    used = server.cpu_seconds() - before
    assert used < 0.5, f"{used} s of CPU in 2 s, for nothing"

    begun = time.monotonic()
    with server.connect() as c:
        for _ in range(1000):
            equal(c.get("/ping").body, b"pong")
    print(f"{(time.monotonic() - begun) * 1000:.0f} us for a ping beside them")
    for c in clients[::2]:  # half of them now, half when the server stops
        c.socket.close()
    server.await_connections(CONNECTIONS // 2)
    server.ask_to_stop()
    for c in clients[1::2]:
        assert c.ended()


def sanitized():
    """AddressSanitizer and its like keep memory of their own."""
    with open(sys.argv[1], "rb") as f:
        return re.search(rb"__[at]san_init", f.read()) is not None


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if hard < CONNECTIONS + SPARE:
    skip(f"the limit of open files is {hard}, and this needs {CONNECTIONS + SPARE}")
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
with Server(idle_ms=300_000) as server:
    equal(server.get("/ping").body, b"pong")
    rss = server.rss_bytes()
    run([open_and_idle])
