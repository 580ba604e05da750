#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs examples/worker, several of them, against a Redis server of its own; some are killed, and so is the server.

    worker.py [WORKER]

Nothing here depends on how long anything takes: each step waits for what the one before must bring about.
"""
import collections
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from redis_server import Server, begin, die_with_parent, wait_until  # noqa: E402

JOBS, JOB_MS, AT_ONCE = 3000, 20, 20
MIN_IDLE_MS = 300
FOR_EVER = 1 << 20  # deliveries: none is given up; milliseconds: longer than the test
STREAM, RESULTS, DEAD, GROUP = "jobs", "jobs:results", "jobs:dead", "workers"


class Worker:
    def __init__(self, program, server, **options):
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self.process = subprocess.Popen([program, "--redis", server.path, *words, STREAM], text=True,
                                        stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        said = self.process.stdout.readline()
        assert said.endswith(f" takes jobs from {STREAM}\n"), said
        self.name = said.split(" ")[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """As a service manager does.  How many jobs it has done, and how many not."""
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate()[0]
        assert self.process.returncode == 0, f"status {self.process.returncode}: {said}"
        return tuple(map(int, re.fullmatch(r"(\d+) jobs done, (\d+) not\n", said).groups()))


def add_jobs(redis, jobs):
    """Their numbers, which Redis gives them."""
    for fields in jobs:
        redis.send("XADD", STREAM, "*", *fields)
    return [redis.reply() for _ in jobs]


def await_results(redis, n):
    wait_until(lambda: redis("HLEN", RESULTS) >= n, f"{n} results")


def pending_of(redis, worker):
    """The numbers of the jobs that were given to it, and that it has not done."""
    return {row[0] for row in redis("XPENDING", STREAM, GROUP, "-", "+", JOBS, worker.name)}


def members(redis):
    return [row[1] for row in redis("XINFO", "CONSUMERS", STREAM, GROUP)]


def results(redis):
    """By number: text, worker, how many it ran at once."""
    flat = redis("HGETALL", RESULTS)
    return {number: value.split("|") for number, value in zip(flat[::2], flat[1::2])}


def add_good_jobs(redis, n, wanted):
    """And what must come of them."""
    texts = [f"job {len(wanted) + i}" for i in range(n)]
    for number, text in zip(add_jobs(redis, [("text", text, "ms", JOB_MS) for text in texts]), texts):
        wanted[number] = text[::-1]


def kill_in_the_middle(redis, worker, wanted):
    """What it had; which is not nothing.  Should all be done before one gets at it, there are more."""
    while True:
        worker.process.send_signal(signal.SIGSTOP)
        os.waitpid(worker.process.pid, os.WUNTRACED)  # it has stopped
        for _ in range(3):
            redis("PING")  # what it has sent before has been read after that
        left = pending_of(redis, worker)
        if left:
            worker.process.kill()
            worker.process.wait()
            return left
        worker.process.send_signal(signal.SIGCONT)
        add_good_jobs(redis, JOBS // 10, wanted)


def none_is_lost(program, server):
    def worker():
        return Worker(program, server, jobs=AT_ONCE, min_idle=MIN_IDLE_MS, deliveries=FOR_EVER)

    with server.client() as redis:
        wanted = {}
        add_good_jobs(redis, JOBS, wanted)
        with worker() as first, worker() as second, worker() as third:
            await_results(redis, JOBS // 6)
            left = kill_in_the_middle(redis, first, wanted)
            with worker() as fourth:
                await_results(redis, JOBS // 3)
                _, failed = second.stop()
                assert failed == 0 and pending_of(redis, second) == set()
                assert second.name not in members(redis)
                await_results(redis, JOBS // 2)
                server.kill()
                server.start()
                rest(server, wanted, first, left, [third, fourth])


def rest(server, wanted, dead, left, living):
    with server.client() as redis:
        wait_until(lambda: redis("XLEN", STREAM) == 0, "all jobs are done", *[w.process for w in living])
        for worker in living:
            worker.stop()
        equal(redis("XPENDING", STREAM, GROUP)[0], 0)
        equal(redis("XLEN", DEAD), 0)
        equal(members(redis), [dead.name])
        found = results(redis)
    equal({number: text for number, (text, _, _) in found.items()}, wanted)
    most = max(int(at_once) for _, _, at_once in found.values())
    assert most <= AT_ONCE, most
    assert all(found[number][1] != dead.name for number in left)
    print(f"{len(wanted)} jobs, {len(left)} of them claimed from the dead, {most} at once:",
          dict(collections.Counter(name for _, name, _ in found.values())))


def equal(a, b):
    assert a == b, f"{a!r} is not {b!r}"


def who_fails_is_given_up(program, server):
    """And a job that takes long stays with its worker, until that has to leave."""
    with server.client() as redis, Worker(program, server, min_idle=MIN_IDLE_MS, deliveries=3, stop=1) as worker:
        long, *bad = add_jobs(redis, [("text", "long", "ms", FOR_EVER)] + [("ms", "1")] * 5)
        wait_until(lambda: redis("XLEN", DEAD) == len(bad), "they are given up", worker.process)
        told = [dict(zip(fields[::2], fields[1::2])) for _, fields in redis("XRANGE", DEAD, "-", "+")]
        equal(sorted((t["job"], t["deliveries"], t["ms"]) for t in told), [(number, "3", "1") for number in sorted(bad)])

        def look():
            [[number, name, idle_ms, deliveries]] = redis("XPENDING", STREAM, GROUP, "-", "+", 10)
            equal((number, name, deliveries), (long, worker.name, 1))
            return idle_ms
        before = [look()]

        def is_kept():
            before.append(look())
            return before[-1] < before[-2]
        wait_until(is_kept, "it is said that the long one still runs", worker.process)
        [beside] = add_jobs(redis, [("text", "ab")])
        await_results(redis, 1)
        equal(results(redis), {beside: ["ba", worker.name, "2"]})  # at once: the long one runs, too
        equal(worker.stop(), (1, 3 * len(bad) + 1))
        look()  # it is still there, for others
        print(f"{len(bad)} jobs that always fail were given up")


def main(program=None):
    begin(program, 4096)
    program = os.path.abspath(program)
    for check, options in ((none_is_lost, ["--appendonly", "yes", "--appendfsync", "always"]), (who_fails_is_given_up, [])):
        with tempfile.TemporaryDirectory(prefix="worker-") as folder, Server(folder, *options) as server:
            check(program, server)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
