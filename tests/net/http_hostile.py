#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""http_hostile SERVER [SEED]: clients that send garbage, too much, too slowly, or go away."""
import random, sys, time

from http_support import Server, equal, run, wait_until

HEAD, BODY, IDLE_MS, REQUEST_MS = 4096, 10000, 1500, 1000
PING = "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


def refused(data, *statuses):
    """One answer with one of the statuses, and the end."""
    with server.connect() as c:
        c.send_as_far_as_possible(data)
        a = c.answer()
        assert a.status in statuses and a.fields["connection"] == "close", f"{data[:60]!r}: {a}"
        assert c.ended()


def garbage():
    refused("\x00" * 100, 400)
    refused("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "x" * 500, 400)  # TLS
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505)
    refused("GET /ping HTTP/2.0\r\nHost: h\r\n\r\n", 505)
    refused("GET /\r\n\r\n", 400, 505)
    refused("GET /ping HTTP/1.1\r\n\r\n", 400)  # no Host
    refused("GET /ping HTTP/1.1\r\nHost h\r\n\r\n", 400)
    refused("GET /ping HTTP/1.1\r\nHost : h\r\n\r\n", 400)
    refused("GET /ping HTTP/1.1\rXHost: h\r\n\r\n", 400)  # a CR alone ends no line
    refused("GET /ping HTTP/1.1\r\nHost: h\r\nA:\r\r\nB: c \n\r\n", 400)
    refused("GET /ping HTTP/1.1\r\nHost: h\r\n\rX", 400)
    refused("GET /pi ng HTTP/1.1\r\nHost: h\r\n\r\n", 400)
    refused("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 405)
    refused("\r\n" * 10000, 400, 414, 431)


def garbage_after_a_request():
    with server.connect() as c:
        c.send(PING + "\x01\x02\x03\r\n\r\n")
        equal([c.answer().status, c.answer().status], [200, 400])
        assert c.ended()


def bodies_that_lie():
    post = "POST /echo HTTP/1.1\r\nHost: h\r\n"
    refused(post + "Content-Length: -1\r\n\r\n", 400)
    refused(post + "Content-Length: 5x\r\n\r\nhello", 400)
    refused(post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400)
    refused(post + "Content-Length: 99999999999999999999999\r\n\r\n", 400, 413)
    refused(post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400)
    refused(post + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400)
    refused(post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400, 413)


def random_garbage():
    rnd = random.Random(seed)
    for _ in range(200):
        data = bytearray(PING.encode() * 2)
        for _ in range(rnd.randrange(1, 10)):
            data[rnd.randrange(len(data))] = rnd.randrange(256)
        with server.connect() as c:
            c.send_as_far_as_possible(bytes(data))
            try:
                c.half_close()
            except OSError:
                pass
            while not c.ended():  # answers of any kind, then the end
                c.pending = b""


def too_large():
    refused("GET /" + "x" * 100000 + " HTTP/1.1\r\n", 414)
    refused("GET /ping HTTP/1.1\r\nHost: h\r\nX: " + "x" * 100000, 431)
    refused("GET /ping HTTP/1.1\r\nHost: h\r\n" + "X: y\r\n" * 20000, 431)
    refused(f"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {BODY + 1}\r\n\r\n" + "x" * (BODY + 1), 413)
    chunk = "3e8\r\n" + "x" * 1000 + "\r\n"
    refused("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 1000, 413)
    refused("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;" + "x" * 100000, 431)


def just_not_too_large():
    with server.connect() as c:
        equal(c.request("POST", "/echo", b"x" * BODY).body, b"x" * BODY)
        equal(c.request("GET", "/ping", None, "X: " + "x" * (HEAD - 100) + "\r\n").body, b"pong")


def slow():
    """Byte by byte is fine, but not for ever."""
    begun = time.monotonic()
    with server.connect() as c:
        c.socket.settimeout(0.05)
        try:
            for byte in "GET /ping HTTP/1.1\r\nHost: h\r\nX: " + "x" * 1000:
                c.send(byte)
                try:
                    if not c.more():
                        break
                except TimeoutError:
                    pass
                if c.pending:
                    break
        except OSError:
            pass
        c.socket.settimeout(30)
        equal(c.answer().status, 408)
        assert c.ended()
    assert time.monotonic() - begun > REQUEST_MS / 1000 * 0.9


def slow_body():
    with server.connect() as c:
        c.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhello")
        equal(c.answer().status, 408)
        assert c.ended()


def idle():
    """Closed without a word."""
    begun = time.monotonic()
    with server.connect() as fresh, server.connect() as used:
        equal(used.get("/ping").body, b"pong")
        assert fresh.ended() and used.ended()
    assert time.monotonic() - begun > IDLE_MS / 1000 * 0.9


def never_reads():
    """What it asked for is 80 MB; the server gives up."""
    clients = [server.connect() for _ in range(20)]
    for c in clients:
        c.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n" * 10)
    server.await_connections(0)
    for c in clients:
        c.socket.close()


def half_a_request_and_the_end():
    for data in ("", "G", PING[:-2], "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhello"):
        with server.connect() as c:
            c.send(data)
            c.half_close()
            assert c.ended()


def resets():
    rnd = random.Random(seed)
    requests = (PING, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n", "GET /sleep?50 HTTP/1.1\r\nHost: h\r\n\r\n",
                "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n\r\n" + "x" * 9999)
    for _ in range(300):
        data = rnd.choice(requests) * rnd.randrange(1, 4)
        c = server.connect()
        c.send_as_far_as_possible(data[:rnd.randrange(len(data) + 1)])
        if rnd.random() < 0.3:
            time.sleep(rnd.random() * 0.01)
        c.reset()


def still_well():
    server.await_connections(0)
    assert server.stats()[1] > 500
    wait_until(lambda: server.descriptors() <= descriptors, "the descriptors are given back")


seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
print("seed", seed)
with Server(HEAD, BODY, IDLE_MS, REQUEST_MS) as server:
    equal(server.get("/ping").body, b"pong")
    descriptors = server.descriptors() + 1  # one more may be in use just then
    run([garbage, garbage_after_a_request, bodies_that_lie, random_garbage, too_large, just_not_too_large, slow,
         slow_body, idle, never_reads, half_a_request_and_the_end, resets, still_well])
