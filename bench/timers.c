/* SPDX-License-Identifier: MIT */
/*
 * timers: what do setting, cancelling and firing a timer cost, when so many are
 * set?  Deadlines are random; cancelled in the order they were set, as waits end
 * in no order of deadlines.
 */
#include <stdlib.h>

#include "bench/bench.h"
#include "carrier/timer.h"

enum { DUE_MAX = 128 };

static struct timer_heap heap;
static int64_t *deadlines;

static struct timer_heap *the_heap(uint32_t number)
{
    (void)number;
    return &heap;
}

static double insert_all(const struct bench_run *run)
{
    int64_t from = bench_wall_ns();

    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, timer_insert(&heap, deadlines[i], (uint32_t)i, (uint32_t)i));
    return (double)(bench_wall_ns() - from) / (double)run->count;
}

static double cancel_all(const struct bench_run *run)
{
    int64_t from = bench_wall_ns();

    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, timer_remove(the_heap, (uint32_t)i));
    return (double)(bench_wall_ns() - from) / (double)run->count;
}

static double fire_all(const struct bench_run *run)
{
    struct timer_entry due[DUE_MAX];
    int64_t from = bench_wall_ns();
    int64_t last = 0;
    uint64_t total = 0;

    for (uint32_t n; (n = timer_take_due(&heap, INT64_MAX - 1, due, DUE_MAX)) > 0; total += n)
        for (uint32_t i = 0; i < n; i++) {
            bench_check(run, due[i].deadline_ns >= last);
            last = due[i].deadline_ns;
        }
    bench_check(run, total == run->count);
    return (double)(bench_wall_ns() - from) / (double)run->count;
}

static void timers(const struct bench_run *run)
{
    timer_positions = bench_alloc(run, run->count, sizeof *timer_positions);
    deadlines = bench_alloc(run, run->count, sizeof *deadlines);
    timer_heap_init(&heap, 0);
    for (uint64_t i = 0; i < run->count; i++)
        deadlines[i] = (int64_t)(bench_splitmix(i) >> 34);
    for (unsigned i = 0; i < run->warm + run->reps; i++) {
        double inserted = insert_all(run);
        double cancelled = cancel_all(run);
        double fired;

        insert_all(run);
        fired = fire_all(run);
        bench_check(run, heap.count == 0);
        if (i < run->warm)
            continue;
        bench_sample(run, "insert", inserted, "ns");
        bench_sample(run, "cancel", cancelled, "ns");
        bench_sample(run, "fire", fired, "ns");
    }
    timer_heap_fini(&heap);
    free(timer_positions);
    free(deadlines);
}

const struct bench bench_timers[] = {
    {
        .name = "timers/1k",
        .question = "timers set at a time; by timers",
        .run = timers,
        .count = 1000,
        .quick = 100,
        .reps = 200,
    },
    {
        .name = "timers/1m",
        .question = "the same",
        .run = timers,
        .count = 1000000,
        .quick = 1000,
        .reps = 5,
    },
    {0},
};
