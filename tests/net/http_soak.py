#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""http_soak DEMO SECONDS: the demo's server at full load for that long, and its memory stays flat.

In rounds of half a minute: wrk with a thousand connections, and beside it clients that post, that leave in the
middle of a request, and that have the server compute. After each round nobody is connected, and memory,
descriptors and OS threads are counted. The second half must need no more than the first did."""
import os, re, socket, struct, subprocess, sys, threading, time

from http_support import PATIENCE, equal

ROUND_SECONDS, CONNECTIONS = 30, 1000
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


def count(directory):
    return len(os.listdir(directory))


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read())[1]) * 1024


def connect(port):
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def leave_in_the_middle(port):
    with connect(port) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)) # resets
        s.sendall(POST % 100000 + b"x" * 5000)


def post(port):
    body = os.urandom(100000)
    with connect(port) as s:
        s.sendall(POST % len(body) + body)
        received = b""
        while not received.endswith(body):
            part = s.recv(1 << 16)
            assert part, "the answer ended early"
            received += part


def compute(port):
    with connect(port) as s:
        s.sendall(b"GET /compute HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")


class Others(threading.Thread):
    """Clients beside wrk's; joined, it raises what went wrong."""

    def __init__(self, port, end):
        super().__init__()
        self.port, self.end, self.failure, self.clients = port, end, None, 0

    def run(self):
        try:
            compute(self.port)
            while self.clients == 0 or time.monotonic() < self.end:
                leave_in_the_middle(self.port)
                post(self.port)
                self.clients += 2
                time.sleep(0.01)
        except Exception as failure: # for the main thread
            self.failure = failure

    def finish(self):
        self.join()
        if self.failure:
            raise self.failure
        return self.clients


def one_round(demo, port, seconds, idle_descriptors):
    others = Others(port, time.monotonic() + seconds)
    others.start()
    said = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s",
                           f"http://127.0.0.1:{port}/ping"], stdout=subprocess.PIPE, text=True, check=True).stdout
    clients = others.finish()
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    until = time.monotonic() + PATIENCE
    while count(f"/proc/{demo.pid}/fd") > idle_descriptors:
        assert time.monotonic() < until, "connections are left, and nobody is connected"
        time.sleep(0.1)
    return int(re.search(r"(\d+) requests in", said)[1]), clients


def main():
    demo = subprocess.Popen([sys.argv[1], "--serve", "--port", "0"], text=True, stdout=subprocess.PIPE)
    samples = []
    requests = clients = 0
    try:
        port = int(re.search(r":(\d+)/", demo.stdout.readline())[1])
        connect(port).close()
        time.sleep(1)
        idle_descriptors = count(f"/proc/{demo.pid}/fd")
        end = time.monotonic() + int(sys.argv[2])
        while time.monotonic() < end or len(samples) < 4:
            done = one_round(demo, port, min(ROUND_SECONDS, max(int(sys.argv[2]) // 4, 1)), idle_descriptors)
            requests += done[0]
            clients += done[1]
            samples.append(anonymous_bytes(demo.pid))
            print(f"{requests} requests, {clients} other clients; {samples[-1] / 1e6:.2f} MB, "
                  f"{count(f'/proc/{demo.pid}/task')} OS threads", flush=True)
        half = len(samples) // 2
        first, second = max(samples[:half]), max(samples[half:])
        assert second <= first * 1.02 + 100_000, f"memory grows: {samples}"
        demo.terminate()
        equal(demo.wait(PATIENCE), 0)
    finally:
        demo.kill()


main()
