#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The programs of examples/ported: the form with pthreads and the one with virtual threads do the same.

    examples.py walk|chat|crawl PROGRAM [SITE]
"""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

PATIENCE = 60


def run(*command):
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE, timeout=PATIENCE)
    assert done.returncode == 0, f"{command} ended with {done.returncode}"
    return done.stdout


def walk(program):
    with tempfile.TemporaryDirectory() as root:
        directories, files, size = 1, 0, 0
        for i in range(30):
            folder = pathlib.Path(root, *(str(i) * n for n in range(1, 2 + i % 6)), "leaf")
            folder.mkdir(parents=True)
            directories += 2 + i % 6
            for j in range(20):
                text = "line\n" * (i * j)
                (folder / f"{j}.txt").write_text(text)
                files, size = files + 1, size + len(text)
        os.symlink(root, pathlib.Path(root, "round"))  # not followed
        said = run(program, root)
        wanted = f"{directories} directories, {files} files, {size} bytes, {size // 5} lines\n"
        assert said == wanted, f"{said!r}, and not {wanted!r}"


class Client:
    def __init__(self, port, receive_bytes=None):
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", port))
        self.lines = self.socket.makefile("rb")

    def say(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def close(self):
        self.lines.close()
        self.socket.close()

    def hears(self, text):
        line = self.lines.readline()
        assert line == text.encode() + b"\n", f"{line!r}, and not {text!r}"


def chat(program):
    server = subprocess.Popen([program, "0"], text=True, stdout=subprocess.PIPE)
    try:
        port = int(server.stdout.readline().split()[1])
        clients = [Client(port) for _ in range(30)]
        # A line is heard by those who are there already: until everybody is, somebody says so.
        for client in clients[1:]:
            client.socket.settimeout(0.05)
            while True:
                clients[0].say("there?")
                try:
                    client.hears("there?")
                    break
                except TimeoutError:
                    client.lines = client.socket.makefile("rb")
            client.socket.settimeout(PATIENCE)
        clients[0].say("all here")
        for client in clients[1:]:
            while client.lines.readline() != b"all here\n":
                pass
        for number, speaker in enumerate(clients):
            speaker.say(f"I am {number}")
            for client in clients:
                if client is not speaker:
                    client.hears(f"I am {number}")

        # One that leaves in the middle of a line, and one that never reads.
        leaver, deaf = Client(port), Client(port, receive_bytes=4096)
        leaver.socket.sendall(b"half a li")
        leaver.close()
        deaf.say("I do not listen")
        for client in clients:
            client.hears("I do not listen")
        speaker, *listeners = clients[:3]
        for client in clients[3:]:
            client.close()
        for number in range(4000):  # a megabyte; more than the deaf one's queue and buffers take
            text = f"{number} " + "x" * 240
            speaker.say(text)
            for client in listeners:
                client.hears(text)
        rest = b""
        try:
            while chunk := deaf.socket.recv(65536):
                rest += chunk
        except ConnectionResetError:
            pass
        assert b"\n3999 " not in rest, "the deaf one was not sent away"
        newcomer = Client(port)
        newcomer.say("is anybody here?")
        for client in [speaker, *listeners]:
            client.hears("is anybody here?")
        assert server.poll() is None
    finally:
        server.kill()
        server.wait()


def crawl(program, site):
    pages = 300
    server = subprocess.Popen([site, str(pages)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        port = server.stdout.readline().split()[1]
        said = run(program, port if "pthread" in program else f"127.0.0.1:{port}")
        told, _ = server.communicate("", PATIENCE)
    finally:
        server.kill()
        server.wait()
    # "/" and "/page?0" are the same to the site, not to a crawler.
    found, _, failures = (int(part.split()[0]) for part in said.split(", "))
    requests, connections = (int(part.split()[0]) for part in told.split(", "))
    assert (found, failures, requests) == (pages + 1, 0, pages + 1), (said, told)
    assert 2 <= connections <= 8, told
    print(said, told)


if __name__ == "__main__":
    globals()[sys.argv[1]](*map(os.path.abspath, sys.argv[2:]))
