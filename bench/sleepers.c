/* SPDX-License-Identifier: MIT */
/*
 * sleepers: how long do a million threads take that each sleep between nothing
 * and a second, and how much CPU time?  One second is the least there can be.
 */
#include <stdlib.h>

#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

static ATOMIC(uint64_t) slept;

static void *sleeper(void *arg)
{
    if (vthread_sleep_ns((int64_t)(intptr_t)arg) == 0)
        atomic_fetch_add_relaxed(&slept, 1);
    return NULL;
}

static void once(const struct bench_run *run)
{
    vthread_t *threads = bench_alloc(run, run->count, sizeof *threads);

    atomic_store_relaxed(&slept, 0);
    for (uint64_t i = 0; i < run->count; i++) {
        int64_t ns = (int64_t)((double)(bench_splitmix(i) >> 11) / (double)((uint64_t)1 << 53) * 1e9);

        bench_check(run, vthread_create(&threads[i], NULL, sleeper, (void *)(intptr_t)ns) == 0);
    }
    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, vthread_join(threads[i], NULL) == 0);
    bench_check(run, atomic_load_relaxed(&slept) == run->count);
    free(threads);
}

static void sleepers(const struct bench_run *run)
{
    bench_repeat_whole(run, once);
}

const struct bench bench_sleepers[] = {
    {
        .name = "sleepers",
        .question = "threads that sleep a random time below a second",
        .run = sleepers,
        .count = 1000000,
        .quick = 1000,
        .reps = 4,
        .carriers = {2, 1},
    },
    {0},
};
