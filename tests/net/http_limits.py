#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""http_limits SERVER: out of descriptors, and stopping while there is work."""
import time

from http_support import Server, equal, run, wait_until

PING = "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


def out_of_descriptors():
    """Neither does the server die nor does it spin; those in excess wait, and are served in the end."""
    with Server(descriptors=64) as server:
        clients = [server.connect() for _ in range(200)]
        for c in clients:
            c.send(PING)
        equal(clients[0].answer().body, b"pong")
        wait_until(lambda: server.descriptors() >= 64, "the descriptors are used up")
        before = server.cpu_seconds()
        time.sleep(2)
        used = server.cpu_seconds() - before
        assert used < 1, f"{used} s of CPU in 2 s without anything to do"
        clients[0].socket.close()
        for c in clients[1:]:
            equal(c.answer().body, b"pong")
            c.socket.close()
        equal(server.get("/ping").body, b"pong")


def stopping():
    """The idle see the end, those who wait get their answers, nobody else gets in."""
    with Server() as server:
        idle = [server.connect() for _ in range(50)]
        for c in idle:
            equal(c.get("/ping").body, b"pong")
        busy = [server.connect() for _ in range(50)]
        for c in busy:
            c.send("GET /sleep?500 HTTP/1.1\r\nHost: h\r\n\r\n")
        half = server.connect()
        half.send(PING[:10])
        wait_until(lambda: server.stats()[2] >= 100, "all requests have arrived")
        server.ask_to_stop()
        for c in idle + [half]:
            assert c.ended()
        for c in busy:
            equal(c.answer().body, b"slept")
            assert c.ended()
        server.stop()
        try:
            server.connect()
            raise AssertionError("it still listens")
        except ConnectionRefusedError:
            pass


def stopping_those_who_will_not():
    """What takes longer than the server's patience is interrupted."""
    with Server() as server:
        c, reader = server.connect(), server.connect()
        c.send("GET /sleep?600000 HTTP/1.1\r\nHost: h\r\n\r\n")
        reader.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n" * 10)  # and does not read
        wait_until(lambda: server.stats()[2] >= 2, "both requests have arrived")
        server.ask_to_stop()
        equal(c.answer().status, 503)
        server.stop()


run([out_of_descriptors, stopping, stopping_those_who_will_not])
