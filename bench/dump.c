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
 *
 * dump_running: is anybody stopped by a dump of threads that all run, some yielding, some sleeping, some computing?
 *
 * A gap is the time on a carrier between two looks at the clock that any of its threads takes; there are only
 * microseconds of work between two.  `stopped` is the longest gap without what the kernel says the carrier has waited
 * for a CPU in it (/proc/thread-self/schedstat, read every millisecond, and so too little by that much at most): time
 * in signal handlers, in locks, asleep.  Each is measured while nothing else happens (`quiet`), while an OS thread
 * computes that has nothing to do with the library and so only takes a CPU now and then (`beside`), and while dumps are
 * made, one after another (`dump`), for the same time: what the last is longer than the second is what the dumps do.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

/* ---- threads that run ---- */

enum { PERIOD_MS = 2000, WORK_STEPS = 2000, NAP_MS = 5, READ_EVERY_NS = 1000 * 1000 };

typedef ATOMIC(int64_t) atomic_ns;

static atomic_ns longest_ns;
static atomic_ns longest_stop_ns;
static ATOMIC(uint32_t) period; /* gaps across its change do not count */

static void note(atomic_ns *longest, int64_t gap_ns)
{
    int64_t seen = atomic_load_relaxed(longest);

    while (gap_ns > seen && !atomic_cas_acq_rel(longest, &seen, gap_ns))
        ;
}

/* For how long the calling OS thread has had to wait for a CPU; fd: its file. */
static int64_t delay_ns(int fd)
{
    char text[128] = "";
    const char *second;

    if (pread(fd, text, sizeof text - 1, 0) <= 0 || (second = strchr(text, ' ')) == NULL)
        return 0;
    return atoll(second);
}

/* It does not switch, so the carrier's own variables are at hand. */
static NOINLINE void look_at_clock(void)
{
    static _Thread_local struct {
        int64_t at_ns;
        int64_t read_ns;
        int64_t delay_ns; /* at read_ns */
        uint32_t period;
        int fd;
    } last;
    uint32_t now_period = atomic_load_relaxed(&period);
    int64_t now_ns = bench_wall_ns();
    int64_t gap_ns = now_ns - last.at_ns;

    if (last.fd == 0)
        last.fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (now_ns - last.read_ns > READ_EVERY_NS) {
        int64_t delay = delay_ns(last.fd);

        if (last.period == now_period)
            note(&longest_stop_ns, gap_ns - (delay - last.delay_ns));
        last.delay_ns = delay;
        last.read_ns = now_ns;
    }
    if (last.period == now_period)
        note(&longest_ns, gap_ns);
    last.at_ns = now_ns;
    last.period = now_period;
}

static void *run_on(void *arg)
{
    uintptr_t kind = (uintptr_t)arg % 3;

    atomic_fetch_add_relaxed(&ready, 1);
    while (!atomic_load_acquire(&gate)) {
        look_at_clock();
        if (kind == 1)
            vthread_sleep_ms(NAP_MS);
        for (volatile int i = 0; kind == 2 && i < WORK_STEPS; i++)
            ;
        look_at_clock();
        vthread_yield();
    }
    return NULL;
}

struct beside {
    const struct bench_run *run;
    int64_t until_ns;
    uint64_t dumps;
    bool dumping;
};

static void *do_beside(void *arg)
{
    struct beside *b = arg;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    while (bench_wall_ns() < b->until_ns) {
        if (b->dumping)
            bench_check(b->run, vthread_dump(fd, (vthread_dump_format_t)b->run->bench->parameter) == 0);
        b->dumps++;
    }
    close(fd);
    return NULL;
}

/* For a while; with an OS thread beside, or none. */
static void measure_gaps(const struct bench_run *run, const char *gap, const char *stop, bool beside, bool dumping)
{
    int64_t from_ns = bench_wall_ns();
    struct beside b = {run, from_ns + (run->quick ? 50 : PERIOD_MS) * (int64_t)1000000, 0, dumping};
    pthread_t thread;
    double seconds;

    atomic_fetch_add_relaxed(&period, 1);
    atomic_store_relaxed(&longest_ns, 0);
    atomic_store_relaxed(&longest_stop_ns, 0);
    bench_check(run, !beside || pthread_create(&thread, NULL, do_beside, &b) == 0);
    while (bench_wall_ns() < b.until_ns)
        vthread_sleep_ms(1);
    if (beside)
        pthread_join(thread, NULL);
    seconds = (double)(bench_wall_ns() - from_ns) / 1e9;
    bench_sample(run, gap, (double)atomic_load_relaxed(&longest_ns) / 1e6, "ms");
    bench_sample(run, stop, (double)atomic_load_relaxed(&longest_stop_ns) / 1e6, "ms");
    atomic_fetch_add_relaxed(&period, 1);
    if (dumping)
        bench_sample(run, "each", seconds / (double)b.dumps, "s");
}

static void dump_running(const struct bench_run *run)
{
    vthread_t *threads = bench_alloc(run, run->count, sizeof *threads);
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, vthread_create(&threads[i], NULL, run_on, (void *)(uintptr_t)i) == 0);
    while (atomic_load_acquire(&ready) < run->count)
        vthread_sleep_ms(1);
    dump_seconds(run, fd); /* loads debug information */
    measure_gaps(run, "quiet", "quiet_stopped", false, false);
    measure_gaps(run, "beside", "beside_stopped", true, false);
    measure_gaps(run, "dump", "dump_stopped", true, true);
    atomic_store_release(&gate, true);
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
    {.name = "dump_running/100k",
     .question = "does a dump stop threads that run? ms between two of their steps",
     .run = dump_running,
     .count = 100000,
     .quick = 300,
     .reps = 3,
     .carriers = {2},
     .fresh = true,
     .parameter = VTHREAD_DUMP_JSON},
    {0},
};
