#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""http_protocol SERVER [PROXY]: well-behaved clients get what HTTP/1.1 says; through the proxy, too."""
import sys
import time

from http_support import Proxy, Server, equal, run

PING = "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
PONG = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong"


def keep_alive():
    with server.connect() as c:
        for _ in range(50):
            a = c.get("/ping")
            equal((a.status, a.body, a.fields.get("connection")), (200, b"pong", None))


def pipelined():
    with server.connect() as c:
        for n in (2, 50, 1000):
            c.send(PING * n)
            wanted = PONG * n
            while len(c.pending) < len(wanted):
                assert c.more()
            equal(c.pending, wanted)
            c.pending = b""


def pipelined_bodies_and_a_slow_handler():
    with server.connect() as c:
        c.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none"
               "GET /sleep?100 HTTP/1.1\r\nHost: h\r\n\r\n"
               "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n" + PING)
        equal([c.answer().body for _ in range(4)], [b"one", b"slept", b"two", b"pong"])


def a_request_in_two_pieces_after_a_whole_one():
    for cut in range(1, len(PING)):
        with server.connect() as c:
            c.send(PING + PING[:cut])
            equal(c.answer().body, b"pong")
            c.send(PING[cut:])
            equal(c.answer().body, b"pong")


def many_at_once():
    clients = [server.connect() for _ in range(200)]
    for c in clients:
        c.send("GET /sleep?300 HTTP/1.1\r\nHost: h\r\n\r\n")
    for c in clients:
        equal(c.answer().body, b"slept")
    for c in clients:
        c.socket.close()


def head():
    with server.connect() as c:
        a = c.request("HEAD", "/ping")
        equal((a.status, a.fields["content-length"]), (200, "4"))
        equal(c.request("HEAD", "/no-such-page").status, 404)
        equal(c.request("HEAD", "/big").fields["content-length"], str(8 << 20))
        equal(c.get("/ping").body, b"pong")


def connection_close():
    with server.connect() as c:
        a = c.request("GET", "/ping", fields="Connection: close\r\n")
        equal((a.body, a.fields["connection"]), (b"pong", "close"))
        assert c.ended()


def version_1_0():
    with server.connect() as c:
        c.send("GET /ping HTTP/1.0\r\n\r\n")
        a = c.answer()
        equal((a.body, a.fields["connection"]), (b"pong", "close"))
        assert c.ended()
    with server.connect() as c:
        for _ in range(3):
            c.send("GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            a = c.answer()
            equal((a.body, a.fields["connection"]), (b"pong", "keep-alive"))


def bodies_of_every_size():
    with server.connect() as c:
        for size in (0, 1, 100, 511, 512, 513, 4096, 16384, 65535, 65536, 65537, 1 << 20):
            body = bytes(i * 7 & 255 for i in range(256)) * (size // 256 + 1)
            equal(c.request("POST", "/echo", body[:size]).body, body[:size])


def chunks():
    def chunk(data, extension=""):
        return f"{len(data):x}{extension}\r\n{data}\r\n"

    head = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as c:
        c.send(head + chunk("Hello, ") + chunk("chunks", ";name=value") + "0\r\nTrailer: x\r\n\r\n")
        equal(c.answer().body, b"Hello, chunks")
        c.send(head + "0\r\n\r\n")
        equal(c.answer().body, b"")
        # Far more framing than body: it must not pile up.
        data = [chr(ord("a") + i % 26) * (1 + i % 3) for i in range(20000)]
        c.send(head + "".join(chunk(d, ";" + "e" * 50) for d in data) + "0\r\n\r\n")
        equal(c.answer().body, "".join(data).encode())


def byte_by_byte():
    text = ("POST /echo?x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\nslow \r\n4\r\ndown\r\n0\r\n\r\n")
    with server.connect() as c:
        for byte in text + PING:
            c.send(byte)
            time.sleep(0.0005)
        equal([c.answer().body, c.answer().body], [b"slow down", b"pong"])


def what_the_handler_sees():
    with server.connect() as c:
        agent = "User-Agent: test (it)\r\n"
        equal(c.request("PUT", "/describe?a=b&c", b"body", agent).body, b"PUT|/describe|a=b&c|body|test (it)")
        equal(c.request("GET", "http://some.where/describe?q", None, agent).body, b"GET|/describe|q||test (it)")
        equal(c.request("GET", "/describe").body, b"GET|/describe|||")
        equal(c.request("GET", "/describe", None, "USER-agent:x\r\n").body, b"GET|/describe|||x")


def statuses():
    with server.connect() as c:
        for method, path, status in (("GET", "/no-such-page", 404), ("GET", "/pin", 404), ("GET", "/pingg", 404),
                                     ("POST", "/ping", 405), ("DELETE", "/ping", 405), ("OPTIONS", "*", 404),
                                     ("GET", "/nothing", 500), ("GET", "/ping", 200)):
            a = c.request(method, path)
            equal((method, path, a.status), (method, path, status))
            equal(a.fields.get("allow"), "GET, HEAD" if status == 405 else None)


def expect_continue():
    with server.connect() as c:
        c.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        equal(c.answer().status, 100)
        c.send("hello")
        equal(c.answer().body, b"hello")
        # Nothing to wait for: the body is here already.
        c.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nthere")
        equal(c.answer().body, b"there")


def upgrade_is_not_taken_up():
    with server.connect() as c:
        equal(c.request("GET", "/ping", None, "Connection: Upgrade\r\nUpgrade: h2c\r\n").body, b"pong")
        equal(c.get("/ping").body, b"pong")


def big_answers():
    with server.connect() as c:
        for _ in range(3):
            equal(len(c.get("/big").body), 8 << 20)
        c.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n" * 3 + PING)
        time.sleep(0.2)  # the server waits for us to read
        equal([len(c.answer().body) for _ in range(4)], [8 << 20] * 3 + [4])


def half_closed():
    with server.connect() as c:
        c.send(PING + "GET /sleep?200 HTTP/1.1\r\nHost: h\r\n\r\n" + PING)
        c.half_close()
        equal([c.answer().body for _ in range(3)], [b"pong", b"slept", b"pong"])
        assert c.ended()


def nothing_is_left():
    server.await_connections(0)


CASES = [keep_alive, pipelined, pipelined_bodies_and_a_slow_handler, a_request_in_two_pieces_after_a_whole_one,
         many_at_once, head, connection_close, version_1_0, bodies_of_every_size, chunks, byte_by_byte,
         what_the_handler_sees, statuses, expect_continue, upgrade_is_not_taken_up, big_answers, half_closed]

with Server() as server:
    if len(sys.argv) == 2:
        run(CASES + [nothing_is_left])
    with Proxy(sys.argv[2], server.port, connections=20) as server:
        run(CASES)
