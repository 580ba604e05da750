/* SPDX-License-Identifier: MIT */
/*
 * A server's process: its begin, where it runs, what it used, and its end.
 *
 * It is forked before the runtime starts, and dies with the row's process, however that ends.  A failure in the server
 * goes to the parent of both as any failure of the row does.
 */
#include "bench/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vthread/runtime.h>

enum {
    START_MS = 20000,
    DEATH_MS = 200, /* from a process's closing of its sockets to its end */
};

/* ---- CPUs ---- */

/* The n-th of those that this process may use. */
static int nth_cpu(const cpu_set_t *allowed, unsigned n)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, allowed) && n-- == 0)
            return cpu;
    return -1;
}

bool server_can_pin(unsigned carriers)
{
    cpu_set_t allowed;

    return sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > (int)carriers;
}

void server_pin(const struct bench_run *run, unsigned first, unsigned count)
{
    cpu_set_t allowed;
    cpu_set_t wanted;

    CPU_ZERO(&wanted);
    bench_check(run, sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    for (unsigned i = 0; i < count; i++)
        CPU_SET(nth_cpu(&allowed, first + i), &wanted);
    bench_check(run, sched_setaffinity(0, sizeof wanted, &wanted) == 0);
}

/* ---- in the server ---- */

int server_port(const struct bench_run *run, int listener)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;

    bench_check(run, getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.sin_port);
}

void server_ready(const struct bench_run *run, int ready, int port)
{
    bench_check(run, write(ready, &port, sizeof port) == (ssize_t)sizeof port);
    close(ready);
}

NORETURN static void server_process(const struct bench_run *run, const struct service *service, bool pinned, int ready)
{
    vthread_runtime_params_t params = {.parallelism = service->carriers};

    if (pinned)
        server_pin(run, 0, service->carriers > 0 ? service->carriers : 1);
    if (service->carriers > 0)
        bench_check(run, vthread_runtime_configure(&params) == 0);
    service->serve(run, ready);
    bench_give_up(run, "%s: it has ended", service->name);
}

/* ---- outside ---- */

void server_fail(const struct bench_run *run, const struct server *server, const char *what, int error)
{
    const char *name = server->service->name;
    int status = 0;
    pid_t ended = 0;

    for (int ms = 0; ms < DEATH_MS && (ended = waitpid(server->pid, &status, WNOHANG)) == 0; ms++)
        usleep(1000);
    if (ended == server->pid && WIFSIGNALED(status))
        bench_give_up(run, "%s: %s; signal %d killed the server", name, what, WTERMSIG(status));
    if (ended == server->pid)
        bench_give_up(run, "%s: %s; the server ended with status %d", name, what, WEXITSTATUS(status));
    bench_give_up(run, "%s: %s: %s", name, what, error != 0 ? strerror(error) : "it closed the connection");
}

/* Its port, or the end of this row. */
static int await_ready(const struct bench_run *run, const struct server *server, int ready)
{
    struct pollfd readable = {.fd = ready, .events = POLLIN};
    int port;

    if (poll(&readable, 1, START_MS) != 1)
        server_fail(run, server, "it does not start", ETIMEDOUT);
    if (read(ready, &port, sizeof port) != (ssize_t)sizeof port)
        server_fail(run, server, "it does not start", ECHILD);
    return port;
}

void server_start(const struct bench_run *run, struct server *server, const struct service *service, bool pinned)
{
    pid_t parent = getpid();
    int ends[2];

    server->service = service;
    bench_check(run, pipe(ends) == 0);
    server->pid = fork();
    bench_check(run, server->pid >= 0);
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        close(ends[0]);
        server_process(run, service, pinned, ends[1]);
    }
    close(ends[1]);
    server->port = await_ready(run, server, ends[0]);
    close(ends[0]);
    bench_check(run, clock_getcpuclockid(server->pid, &server->cpu_clock) == 0);
}

void server_stop(const struct bench_run *run, struct server *server)
{
    int status;

    bench_check(run, waitpid(server->pid, &status, WNOHANG) == 0); /* it has lasted */
    kill(server->pid, SIGKILL);
    bench_check(run, waitpid(server->pid, &status, 0) == server->pid);
}

int64_t server_cpu_ns(const struct server *server)
{
    struct timespec t = {0};

    clock_gettime(server->cpu_clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
