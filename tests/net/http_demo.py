#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""http_demo DEMO: the demo's server shows its pages and ends on Ctrl-C."""
import http.client, re, signal, subprocess, sys, urllib.request

from http_support import PATIENCE, equal, run


def start(*options):
    return subprocess.Popen([sys.argv[1], "--serve", *options], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def pages(end):
    demo = start("--port", "0")
    try:
        url = re.match(r"http://127.0.0.1:\d+/", demo.stdout.readline())[0]
        for path, wanted in (("ping", b"^pong$"), ("sleep", b"^slept"), ("", b"Hello from virtual thread \\d+")):
            with urllib.request.urlopen(url + path, timeout=PATIENCE) as answer:
                body = answer.read()
                assert re.search(wanted, body), body
        demo.send_signal(end)
        equal(demo.wait(PATIENCE), 0)
    finally:
        demo.kill()


def until_interrupted():
    pages(signal.SIGINT)


def until_terminated():
    pages(signal.SIGTERM)


def port_in_use():
    first = start("--port", "0")
    try:
        port = re.search(r":(\d+)/", first.stdout.readline())[1]
        second = start("--port", port)
        said = second.communicate(timeout=PATIENCE)[1]
        assert second.returncode == 1 and "Address already in use" in said, (second.returncode, said)
    finally:
        first.kill()


def port_shared():
    """Each of two gets some of the connections; when one ends, the other gets all."""
    first = start("--port", "0", "--reuse-port")
    second = None
    try:
        port = int(re.search(r":(\d+)/", first.stdout.readline())[1])
        second = start("--port", str(port), "--reuse-port")
        assert f":{port}/" in second.stdout.readline()
        connections, here = [], 0
        while here == len(connections):  # all that are open are with the one that answers
            connections.append(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE))
            connections[-1].request("GET", "/")
            here = int(re.search(rb"<b>(\d+)</b> connections", connections[-1].getresponse().read())[1])
        for c in connections:
            c.close()
        first.send_signal(signal.SIGTERM)
        equal(first.wait(PATIENCE), 0)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=PATIENCE) as answer:
            equal(answer.read(), b"pong")
        second.send_signal(signal.SIGTERM)
        equal(second.wait(PATIENCE), 0)
    finally:
        first.kill()
        if second:
            second.kill()


run([until_interrupted, until_terminated, port_in_use, port_shared])
