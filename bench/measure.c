/* SPDX-License-Identifier: MIT */
/*
 * What benchmarks measure with; runs in the child, mostly on a virtual thread.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t bench_wall_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t bench_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* A small file of /proc; no stdio, whose buffer would count as memory. */
static void slurp(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buffer, size - 1) : -1;

    buffer[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

int64_t bench_rss_bytes(void)
{
    char text[256];
    char *resident;

    slurp("/proc/self/statm", text, sizeof text);
    strtoll(text, &resident, 10);
    return strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE);
}

int64_t bench_pte_bytes(void)
{
    static const char name[] = "VmPTE:";
    char text[4096];
    char *line;

    slurp("/proc/self/status", text, sizeof text);
    line = strstr(text, name);
    return line != NULL ? strtoll(line + strlen(name), NULL, 10) * 1024 : 0;
}

void bench_sample(const struct bench_run *run, const char *metric, double value, const char *unit)
{
    dprintf(run->out, "%s %.9g %s\n", metric, value, unit);
}

void bench_fail(const struct bench_run *run, const char *what, const char *file, int line)
{
    dprintf(run->out, "! %s:%d: not so: %s\n", file, line, what);
    _exit(1);
}

void bench_give_up(const struct bench_run *run, const char *format, ...)
{
    char why[200];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    dprintf(run->out, "! %s\n", why);
    _exit(1);
}

void *bench_alloc(const struct bench_run *run, uint64_t count, size_t bytes)
{
    void *p = calloc(count, bytes);

    bench_check(run, p != NULL);
    return p;
}

static void repeat(const struct bench_run *run, double wall_unit, double cpu_unit, const char *const names[3],
                   void (*once)(const struct bench_run *run))
{
    for (unsigned i = 0; i < run->warm + run->reps; i++) {
        int64_t cpu = bench_cpu_ns();
        int64_t wall = bench_wall_ns();

        once(run);
        wall = bench_wall_ns() - wall;
        cpu = bench_cpu_ns() - cpu;
        if (i < run->warm)
            continue;
        bench_sample(run, names[0], (double)wall / wall_unit, names[2]);
        bench_sample(run, names[1], (double)cpu / cpu_unit, names[2]);
    }
}

void bench_repeat_per_op(const struct bench_run *run, uint64_t ops, void (*once)(const struct bench_run *run))
{
    static const char *const names[] = {"ns_per_op", "cpu_ns_per_op", "ns"};

    repeat(run, (double)ops, (double)ops, names, once);
}

void bench_repeat_whole(const struct bench_run *run, void (*once)(const struct bench_run *run))
{
    static const char *const names[] = {"wall", "cpu", "ms"};

    repeat(run, 1e6, 1e6, names, once);
}

uint64_t bench_splitmix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
