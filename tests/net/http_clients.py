#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""http_clients SERVER: curl and wrk."""
import os, re, shutil, subprocess, tempfile

from http_support import PATIENCE, Server, equal, run, skip


def command(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
    equal((words[0], done.returncode, done.stderr if done.returncode else b""), (words[0], 0, b""))
    return done.stdout


def curl(*words):
    return command("curl", "--silent", "--show-error", "--noproxy", "*", *words)


def curl_gets():
    equal(curl(url + "/ping"), b"pong")
    equal(curl("--http1.0", url + "/ping"), b"pong")
    equal(curl(url + "/ping", url + "/ping", url + "/ping"), b"pong" * 3)
    assert b"Content-Length: 4" in curl("--head", url + "/ping")
    equal(curl("--output", "/dev/null", "--write-out", "%{http_code}", url + "/none"), b"404")
    equal(len(curl(url + "/big")), 8 << 20)


def curl_reuses_its_connection():
    equal(curl("--write-out", " %{num_connects} ", *[url + "/ping"] * 3), b"pong 1 pong 0 pong 0 ")


def curl_uploads():
    with tempfile.NamedTemporaryFile() as f:
        f.write(os.urandom(900_000))
        f.flush()
        with open(f.name, "rb") as again:
            wanted = again.read()
        equal(curl("--data-binary", "@" + f.name, url + "/echo"), wanted)
        equal(curl("--header", "Expect: 100-continue", "--data-binary", "@" + f.name, url + "/echo"), wanted)
        equal(curl("--upload-file", f.name, "--header", "Transfer-Encoding: chunked", url + "/echo"), wanted)


def curl_in_parallel():
    """Each takes half a second, and all of them not much more."""
    equal(curl("--parallel", "--parallel-max", "40", *[url + "/sleep?500"] * 40), b"slept" * 40)


def wrk(connections, path):
    text = command("wrk", "-t2", f"-c{connections}", "-d2s", "--timeout", "20s", url + path).decode()
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    return int(re.search(r"(\d+) requests in", text)[1])


def wrk_pings():
    for connections in (2, 64, 1000):
        assert wrk(connections, "/ping") > 100


def wrk_waits():
    assert wrk(500, "/sleep?20") > 500


def nothing_is_left():
    server.await_connections(0)


cases = [curl_gets, curl_reuses_its_connection, curl_uploads, curl_in_parallel, wrk_pings, wrk_waits]
lacking = [tool for tool in ("curl", "wrk") if not shutil.which(tool)]
if lacking:
    skip("not installed: " + ", ".join(lacking))
with Server() as server:
    url = f"http://127.0.0.1:{server.port}"
    run(cases + [nothing_is_left])
