/* SPDX-License-Identifier: MIT */
/*
 * spawn_join, spawn_hot: what does it cost to create and join a thread that does
 * nothing?  A million first created, then joined; and in batches of 100, whose
 * records and stacks are still in the cache.
 */
#include <stdlib.h>

#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

enum { BATCH = 100 };

static void *nothing(void *arg)
{
    return arg;
}

/* Each hands back what it was given, so the sum tells that every one ran, and once. */
static uint64_t create_and_join(const struct bench_run *run, vthread_t *threads, uint64_t from, uint64_t count)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < count; i++)
        bench_check(run, vthread_create(&threads[i], NULL, nothing, (void *)(from + i)) == 0);
    for (uint64_t i = 0; i < count; i++) {
        void *value;

        bench_check(run, vthread_join(threads[i], &value) == 0);
        sum += (uint64_t)value;
    }
    return sum;
}

static void join_once(const struct bench_run *run)
{
    vthread_t *threads = bench_alloc(run, run->count, sizeof *threads);
    uint64_t sum = create_and_join(run, threads, 0, run->count);

    bench_check(run, sum == run->count * (run->count - 1) / 2);
    free(threads);
}

static void hot_once(const struct bench_run *run)
{
    vthread_t *threads = bench_alloc(run, BATCH, sizeof *threads);
    uint64_t count = run->count / BATCH * BATCH;
    uint64_t sum = 0;

    for (uint64_t from = 0; from < count; from += BATCH)
        sum += create_and_join(run, threads, from, BATCH);
    bench_check(run, sum == count * (count - 1) / 2);
    free(threads);
}

static void spawn_join(const struct bench_run *run)
{
    bench_repeat_per_op(run, run->count, join_once);
}

static void spawn_hot(const struct bench_run *run)
{
    bench_repeat_per_op(run, run->count / BATCH * BATCH, hot_once);
}

const struct bench bench_spawn[] = {
    {
        .name = "spawn_join",
        .question = "threads created, then joined; by threads",
        .run = spawn_join,
        .count = 1000000,
        .quick = 2000,
        .reps = 5,
        .carriers = {2, 1},
    },
    {
        .name = "spawn_hot",
        .question = "the same in batches of 100",
        .run = spawn_hot,
        .count = 1000000,
        .quick = 2000,
        .reps = 5,
        .carriers = {2, 1},
    },
    {0},
};
