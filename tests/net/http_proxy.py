#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""http_proxy SERVER PROXY: the reverse proxy before servers that do as they like, and clients that do, too."""
import socket
import sys
import threading
import time

from http_support import PATIENCE, Proxy, Server, equal, run, wait_until

GET = "GET /{} HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Upstream:
    """A server made of a function, which gets each connection, a thread each; remembers what the requests were."""

    def __init__(self, behave):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heads, self.connections, self.behave = [], 0, behave
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                connection = self.listener.accept()[0]
                connection.settimeout(PATIENCE)
                self.connections += 1
                threading.Thread(target=self.serve, args=[connection], daemon=True).start()
        except OSError:
            pass

    def serve(self, connection):
        with connection:
            try:
                self.behave(self, connection)
            except OSError:
                pass

    def head(self, connection):
        """The next request's; None at the end."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return None
            data += byte
        self.heads.append(data.decode())
        return data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def answering(*answers):
    """To each request the next of these, the last for ever."""
    def behave(upstream, connection):
        while upstream.head(connection):
            connection.sendall(answers[min(len(upstream.heads), len(answers)) - 1])
    return behave


def closing_after(answer):
    def behave(upstream, connection):
        upstream.head(connection)
        connection.sendall(answer)
    return behave


def before(upstream, **options):
    return Proxy(sys.argv[2], upstream.port, **options)


def what_goes_on():
    """Fields of the connection stay behind; the others, and who asked, go on."""
    answer = b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nX-A: b\r\nConnection: x-c\r\nX-C: d\r\n\r\nok"
    with Upstream(answering(answer)) as upstream, before(upstream) as proxy, proxy.connect() as c:
        a = c.request("GET", "/a?b", None, "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\nX-Yours: 2\r\n")
        equal((a.status, a.body, a.fields), (200, b"ok", {"content-length": "2", "x-a": "b"}))
        lines = upstream.heads[0].split("\r\n")
        equal(lines, ["GET /a?b HTTP/1.1", "Host: localhost", "X-Yours: 2", "Via: 1.1 vthread-proxy",
                      "X-Forwarded-For: 127.0.0.1", "", ""])


def framing_is_the_proxys():
    """Nothing that the client says of the connection changes where its body ends."""
    with Upstream(answering(OK)) as upstream, before(upstream) as proxy:
        with proxy.connect() as c:
            c.send("POST / HTTP/1.1\r\nHost: h\r\nConnection: Content-Length\r\nContent-Length: 0\r\n\r\n")
            equal(c.answer().body, b"ok")
            assert "Content-Length: 0" in upstream.heads[0]
        for fields in ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 3\r\nContent-Length: 4\r\n",
                       "Content-Length: -1\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"):
            with proxy.connect() as c:
                c.send("POST / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n0\r\n\r\n")
                assert c.answer().status in (400, 501), fields
                assert c.ended()
        equal(len(upstream.heads), 1)


def answers_without_a_length():
    """In chunks for those who know them, to the end of the connection for others."""
    body = b"x" * 100000
    with Upstream(closing_after(b"HTTP/1.1 200 OK\r\n\r\n" + body)) as upstream, before(upstream) as proxy:
        with proxy.connect() as c:
            c.send(GET.format("a") + GET.format("b"))
            for _ in range(2):
                while b"0\r\n\r\n" not in c.pending:
                    assert c.more()
                one, c.pending = c.pending.split(b"0\r\n\r\n", 1)
                assert b"Transfer-Encoding: chunked" in one and one.count(b"x") == len(body)
        with proxy.connect() as c:
            c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            while c.more():
                pass
            equal(c.pending.split(b"\r\n\r\n", 1)[1], body)
            assert b"Connection: close" in c.pending


def chunks_for_those_who_do_not_know_them():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    with Upstream(answering(chunked)) as upstream, before(upstream) as proxy, proxy.connect() as c:
        c.send("GET / HTTP/1.0\r\n\r\n")
        while c.more():
            pass
        equal(c.pending, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde")


def answers_without_a_body():
    none = b"HTTP/1.1 204 No Content\r\n\r\n"
    same = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
    with Upstream(answering(none, same, head, early, OK)) as upstream, before(upstream) as proxy, proxy.connect() as c:
        for method, status in (("GET", 204), ("GET", 304), ("HEAD", 200), ("GET", 200), ("GET", 200)):
            c.send(f"{method} / HTTP/1.1\r\nHost: h\r\n\r\n")
            equal(c.answer(head_only=method == "HEAD" or status > 200).status, status) if status != 204 else c.more()
            if status == 204:
                assert c.pending.startswith(b"HTTP/1.1 204")
                c.pending = b""
        equal(upstream.connections, 1)


def connections_are_kept():
    """So many clients, so few connections; each client gets its own answer."""
    with Server() as server, Proxy(sys.argv[2], server.port, connections=3) as proxy:
        clients = [proxy.connect() for _ in range(60)]
        for number, c in enumerate(clients):
            for _ in range(2):
                body = f"client {number}"
                c.send(f"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        for number, c in enumerate(clients):
            for _ in range(2):
                equal(c.answer().body, f"client {number}".encode())
            c.socket.close()
        equal(server.stats()[1], 4)  # accepted, ours included


def a_connection_that_has_ended():
    """The server closes after each answer without a word: the next request goes by another."""
    with Upstream(closing_after(OK)) as upstream, before(upstream) as proxy, proxy.connect() as c:
        for _ in range(50):
            equal(c.get("/").body, b"ok")
        equal(len(upstream.heads), 50)


def nobody_upstream():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Proxy(sys.argv[2], port) as proxy:
        equal(proxy.get("/").status, 502)


def nonsense_from_upstream():
    for nonsense in (b"", b"hello\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                     b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40000):
        with Upstream(closing_after(nonsense)) as upstream, before(upstream) as proxy:
            equal((nonsense[:30], proxy.get("/").status), (nonsense[:30], 502))


def half_an_answer():
    """What was promised cannot be kept, and the client sees that."""
    for half in (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
                 b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
        with Upstream(closing_after(half)) as upstream, before(upstream) as proxy, proxy.connect() as c:
            c.send(GET.format(""))
            while c.more():
                pass
            assert b"half" in c.pending and not c.pending.endswith(b"0\r\n\r\n"), c.pending


def slow_upstream():
    def behave(upstream, connection):
        upstream.head(connection)
        connection.recv(1)
    with Upstream(behave) as upstream, before(upstream, patience=200) as proxy:
        equal(proxy.get("/").status, 504)


def all_connections_are_busy():
    go_on = threading.Event()

    def behave(upstream, connection):
        upstream.head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not go_on.wait(0.05):  # slow, but never too slow
            connection.sendall(b"1\r\nx\r\n")
    with Upstream(behave) as upstream, before(upstream, connections=1, patience=1000) as proxy, proxy.connect() as c:
        c.send(GET.format(""))
        wait_until(lambda: upstream.heads, "the first request is there")
        equal(proxy.get("/").status, 503)
        equal(len(upstream.heads), 1)
        go_on.set()


def refused_before_it_is_heard():
    """The server answers a large request without reading it, and closes."""
    refusal = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def behave(upstream, connection):
        upstream.head(connection)
        connection.sendall(refusal)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    with Upstream(behave) as upstream, before(upstream) as proxy, proxy.connect() as c:
        c.send_as_far_as_possible(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\n" + b"x" * 8000000)
        equal(c.answer().status, 413)


def large_bodies_take_no_memory():
    size = 64 << 20

    def behave(upstream, connection):
        upstream.head(connection)
        received = 0
        while received < size:
            received += len(connection.recv(1 << 20))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            connection.sendall(b"y" * (1 << 20))
    with Upstream(behave) as upstream, before(upstream) as proxy, proxy.connect() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")
        for _ in range(size >> 20):
            c.send(b"x" * (1 << 20))
        time.sleep(0.2)  # it must wait for us meanwhile, rather than read on
        total = -len("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
        while total < size:
            assert c.more()
            total += len(c.pending)
            c.pending = b""
        equal(total, size)
        assert proxy.rss_bytes() < 48 << 20, proxy.rss_bytes()


def bad_requests():
    with Upstream(answering(OK)) as upstream, before(upstream, patience=300) as proxy:
        for text, status in (("nonsense\r\n\r\n", 400), ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
                             ("GET / HTTP/1.1\r\nX: " + "x" * 100000, 431), ("GET / HTTP/1.1\r\nHost", 408),
                             ("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 405),
                             ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
                             ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", 408)):
            with proxy.connect() as c:
                c.send_as_far_as_possible(text)
                equal((text[:40], c.answer().status), (text[:40], status))
                assert c.ended()
        equal(proxy.get("/").body, b"ok")


def clients_that_leave():
    with Server() as server, Proxy(sys.argv[2], server.port, connections=4, patience=2000) as proxy:
        for _ in range(20):
            c = proxy.connect()
            c.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
            c.more()
            c.reset()
            c = proxy.connect()
            c.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhalf")
            c.reset()
        equal(proxy.get("/ping").body, b"pong")


def stops_when_all_is_answered():
    with Server() as server:
        proxy = Proxy(sys.argv[2], server.port)
        with proxy.connect() as busy, proxy.connect() as idle:
            busy.send("GET /sleep?700 HTTP/1.1\r\nHost: h\r\n\r\n")
            equal(idle.get("/ping").body, b"pong")
            wait_until(lambda: server.stats()[2] >= 3, "the request is there")
            idle.socket.close()
            proxy.process.terminate()
            a = busy.answer()
            equal((a.body, a.fields["connection"]), (b"slept", "close"))
        equal(proxy.process.wait(PATIENCE), 0)


def stops_in_the_middle_if_it_takes_too_long():
    with Server() as server:
        proxy = Proxy(sys.argv[2], server.port, stop=100)
        with proxy.connect() as busy, proxy.connect() as idle:
            busy.send("GET /sleep?9000 HTTP/1.1\r\nHost: h\r\n\r\n")
            equal(idle.get("/ping").body, b"pong")
            proxy.process.terminate()
            equal(proxy.process.wait(PATIENCE), 0)


run([what_goes_on, framing_is_the_proxys, answers_without_a_length, chunks_for_those_who_do_not_know_them,
     answers_without_a_body, connections_are_kept, a_connection_that_has_ended, nobody_upstream,
     nonsense_from_upstream, half_an_answer, slow_upstream, all_connections_are_busy, refused_before_it_is_heard,
     large_bodies_take_no_memory, bad_requests, clients_that_leave, stops_when_all_is_answered,
     stops_in_the_middle_if_it_takes_too_long])
