# SPDX-License-Identifier: MIT
"""What the HTTP tests share: the server under test, raw clients, and running the cases of a file."""
import os, resource, socket, struct, subprocess, sys, time, traceback

# Deadlines in the tests are generous: the machine may be slow, and the build a sanitizer's.
PATIENCE = 30
SKIP = 77


def start(command, **options):
    """A server that says "port N" first: its process and port."""
    process = subprocess.Popen([str(word) for word in command], text=True, stdout=subprocess.PIPE, **options)
    line = process.stdout.readline().split()
    assert line[:1] == ["port"], f"{command[0]} did not start"
    return process, int(line[1])


class Proxy:
    """The reverse proxy, in front of what listens on a port; `with` checks that it ends well."""

    def __init__(self, program, upstream, **options):
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process, self.port = start([program, *words, "127.0.0.1:0", f"127.0.0.1:{upstream}"])

    def __enter__(self):
        return self

    def __exit__(self, kind, failure, _):
        if kind is None or (kind is SystemExit and failure.code == 0):
            self.stop()
        else:
            self.process.kill()
            self.process.wait()

    def stop(self):
        if self.process.returncode is None:
            self.process.terminate()
            self.process.stdout.read()
            equal(self.process.wait(PATIENCE), 0)

    def connect(self):
        return Client(self.port)

    def get(self, path):
        with self.connect() as c:
            return c.get(path)

    def rss_bytes(self):
        return rss_bytes(self.process)


def rss_bytes(process):
    with open(f"/proc/{process.pid}/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


class Server:
    """http_test_server with its limits; `with` checks that it ends well."""

    def __init__(self, head=0, body=0, idle_ms=0, request_ms=0, descriptors=None):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        self.process, self.port = start([sys.argv[1], head, body, idle_ms, request_ms], stdin=subprocess.PIPE,
                                        preexec_fn=limit if descriptors else None)

    def __enter__(self):
        return self

    def __exit__(self, kind, failure, _):
        if kind is None or (kind is SystemExit and failure.code == 0):
            self.stop()
        else:
            self.process.kill()
            self.process.wait()

    def ask_to_stop(self):
        self.process.stdin.close()

    def stop(self):
        if self.process.returncode is not None:
            return
        if not self.process.stdin.closed:
            self.ask_to_stop()
        said = self.process.stdout.read()
        status = self.process.wait(PATIENCE)
        assert status == 0 and said == "stopped\n", f"the server ended with {status}, saying {said!r}"

    def connect(self):
        return Client(self.port)

    def get(self, path):
        with self.connect() as c:
            return c.get(path)

    def stats(self):
        """Connections, accepted, requests, virtual threads alive."""
        return [int(n) for n in self.get("/stats").body.split()]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        return rss_bytes(self.process)

    def await_connections(self, n):
        """Until n are open, besides the one that asks, and no other threads live but the one that accepts."""
        wait_until(lambda: (self.stats()[0], self.stats()[3]) == (n + 1, n + 2), f"{n} connections are open")


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:60]!r}"


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def send_as_far_as_possible(self, data):
        """The server may have had enough, and close."""
        try:
            self.send(data)
        except OSError:
            pass

    def more(self):
        data = self.socket.recv(1 << 16)
        self.pending += data
        return data != b""

    def answer(self, head_only=False):
        while b"\r\n\r\n" not in self.pending:
            if not self.more():
                raise AssertionError(f"the connection ended after {self.pending!r}")
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        fields = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        length = 0 if head_only or status == "100" else int(fields["content-length"])
        while len(self.pending) < length:
            if not self.more():
                raise AssertionError(f"the connection ended inside a body, at {len(self.pending)} of {length}")
        body, self.pending = self.pending[:length], self.pending[length:]
        return Answer(int(status), fields, body)

    def request(self, method, path, body=None, fields=""):
        if body is not None:
            fields += f"Content-Length: {len(body)}\r\n"
        self.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode() + (body or b""))
        return self.answer(head_only=method == "HEAD")

    def get(self, path):
        return self.request("GET", path)

    def ended(self):
        """Nothing more comes: the end, or a reset."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            pass
        return self.pending == b""

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "not in time: " + what
        time.sleep(0.02)


def equal(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


def skip(why):
    print("skipped:", why)
    sys.exit(SKIP)


def run(cases):
    """Each case is a function; all run, and the exit status tells whether all passed."""
    failed = 0
    for case in cases:
        begun = time.monotonic()
        try:
            case()
            print(f"ok {case.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {case.__name__}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)
