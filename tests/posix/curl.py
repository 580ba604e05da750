#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs examples/curl_many, libcurl and OpenSSL as they are, against an nginx of its own, by HTTP and HTTPS.

    curl.py [CURL_MANY]

The server is in a temporary directory, on two free ports of 127.0.0.1, and goes with this script.
"""
import ctypes
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

THREADS, TIMES, CARRIERS, OTHER_OS_THREADS = 200, 2, 2, 20  # two, and what a crowded machine has the monitor lend
START_SECONDS, RUN_SECONDS = 60, 100
PR_SET_PDEATHSIG = 1

CONFIGURATION = """daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 2000; }}
http {{
    access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
        ssl_certificate {folder}/certificate; ssl_certificate_key {folder}/key;
        location / {{ return 200 "hello\\n"; }}
    }}
}}
"""


def skip(reason):
    print(f"skipped: {reason} (Debian: nginx-light, openssl, libcurl4-openssl-dev)")
    sys.exit(77)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def start(folder):
    plain, tls = free_ports()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{folder}/key", "-out",
                    f"{folder}/certificate"], check=True, capture_output=True)
    with open(f"{folder}/configuration", "w") as file:
        file.write(CONFIGURATION.format(folder=folder, plain=plain, tls=tls))
    server = subprocess.Popen(["nginx", "-p", folder, "-c", f"{folder}/configuration"], stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    deadline = time.monotonic() + START_SECONDS
    while not answers(tls):
        assert server.poll() is None and time.monotonic() < deadline, "the server does not start"
        time.sleep(0.02)
    return server, plain, tls


def check(program, url, certificate, environment):
    done = subprocess.run([program, url, str(THREADS), str(TIMES), certificate], text=True, capture_output=True,
                          timeout=RUN_SECONDS, env={**os.environ, "VTHREAD_PARALLELISM": str(CARRIERS), **environment})
    print(url, environment, done.stdout, end="")
    assert done.returncode == 0, f"status {done.returncode}: {done.stdout}{done.stderr}"
    right, wanted, os_threads, carriers = map(int, re.findall(r"\d+", done.stdout))
    assert right == wanted == THREADS * TIMES, done.stdout
    assert carriers == CARRIERS and os_threads <= CARRIERS + OTHER_OS_THREADS, done.stdout


def main(program=None):
    if not program or not shutil.which("nginx") or not shutil.which("openssl"):
        skip("there is no nginx, no openssl, or this build has no libcurl")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        server, plain, tls = start(folder)
        try:
            for environment in {}, {"VTHREAD_STRICT": "1"}:
                for url in f"http://127.0.0.1:{plain}/", f"https://127.0.0.1:{tls}/":
                    check(os.path.abspath(program), url, f"{folder}/certificate", environment)
        finally:
            server.kill()
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
