/* SPDX-License-Identifier: MIT */
/*
 * dump: what does a thread dump of many parked threads cost, in time and memory?
 *
 * To /dev/null, with stacks and their symbols.  `first` is the first dump of the process, which loads the debug
 * information of all that it meets; `next` are those after it.  `memory` is the peak of resident memory during the
 * first, beyond what there was before.
 *
 * `late` is the longest time that a thread found itself late by that wakes up every millisecond meanwhile: on a machine
 * with a CPU to spare, it shows whether anybody is stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

enum { SETTLE_MS = 500 };

static CACHE_ALIGNED ATOMIC(uint64_t) ready;
static CACHE_ALIGNED ATOMIC(bool) gate;
static ATOMIC(int64_t) late_ns; /* the worst since somebody has set it to 0 */

static void *wait_at_gate(void *arg)
{
    atomic_fetch_add_relaxed(&ready, 1);
    while (!atomic_load_acquire(&gate))
        vthread_park();
    return arg;
}

static void *keep_time(void *arg)
{
    while (!atomic_load_acquire(&gate)) {
        int64_t due = bench_wall_ns() + 1000000;
        int64_t late;

        vthread_sleep_ms(1);
        late = bench_wall_ns() - due;
        if (late > atomic_load_relaxed(&late_ns))
            atomic_store_relaxed(&late_ns, late);
    }
    return arg;
}

/* The peak of resident memory since the last call. */
static int64_t peak_bytes(void)
{
    int64_t kilobytes = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "re");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kilobytes = atoll(line + 6);
    if (f != NULL)
        fclose(f);
    f = fopen("/proc/self/clear_refs", "we");
    if (f != NULL) {
        fputs("5", f);
        fclose(f);
    }
    return kilobytes * 1024;
}

static double dump_seconds(const struct bench_run *run, int fd)
{
    int64_t from = bench_wall_ns();
    int error = vthread_dump(fd, (vthread_dump_format_t)run->bench->parameter);

    if (error == ENOTSUP)
        bench_give_up(run, "built without JSON");
    bench_check(run, error == 0);
    return (double)(bench_wall_ns() - from) / 1e9;
}

static void dump(const struct bench_run *run)
{
    vthread_t *threads = bench_alloc(run, run->count, sizeof *threads);
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    vthread_t timekeeper;
    int64_t before;
    double first;

    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, vthread_create(&threads[i], NULL, wait_at_gate, NULL) == 0);
    while (atomic_load_acquire(&ready) < run->count)
        vthread_sleep_ms(1);
    vthread_sleep_ms(run->quick ? 10 : SETTLE_MS);
    bench_check(run, vthread_create(&timekeeper, NULL, keep_time, NULL) == 0);
    peak_bytes();
    before = bench_rss_bytes();
    first = dump_seconds(run, fd);
    bench_sample(run, "first", first, "s");
    bench_sample(run, "memory", (double)(peak_bytes() - before) / 1e6, "MB");
    bench_sample(run, "next", dump_seconds(run, fd), "s");
    bench_sample(run, "late", (double)atomic_load_relaxed(&late_ns) / 1e6, "ms");
    atomic_store_relaxed(&late_ns, 0);
    vthread_sleep_ns((int64_t)(first * 1e9));
    bench_sample(run, "late_without", (double)atomic_load_relaxed(&late_ns) / 1e6, "ms");
    atomic_store_release(&gate, true);
    bench_check(run, vthread_join(timekeeper, NULL) == 0);
    for (uint64_t i = 0; i < run->count; i++)
        vthread_unpark(threads[i]);
    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, vthread_join(threads[i], NULL) == 0);
    close(fd);
    free(threads);
}

#define DUMP(NAME, COUNT, FORMAT)                                                                                      \
    {                                                                                                                  \
        .name = NAME, .question = "a dump of threads that wait; s, MB beyond", .run = dump, .count = COUNT,            \
        .quick = 1000, .reps = 3, .carriers = {2}, .fresh = true, .parameter = FORMAT                                  \
    }

const struct bench bench_dump[] = {
    DUMP("dump/100k", 100000, VTHREAD_DUMP_JSON),
    DUMP("dump_text/100k", 100000, VTHREAD_DUMP_TEXT),
    DUMP("dump/1m", 1000000, VTHREAD_DUMP_JSON),
    {0},
};
