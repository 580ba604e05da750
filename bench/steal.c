/* SPDX-License-Identifier: MIT */
/*
 * steal: what does it cost to move work from one carrier to another?
 *
 *     steal/ring   a thief empties a run queue whose owner is elsewhere; ns for each task
 *     steal/run    one carrier gets all the work (threads that compute for a
 *                  microsecond or so) and the others must fetch it: wall time for each
 *                  thread, and how many were taken
 */
#include <stdlib.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "bench/bench.h"
#include "carrier/ring.h"
#include "carrier/task.h"

enum {
    STEAL_MAX = 256, /* as a carrier does */
    SPIN_TURNS = 1000,
};

static struct ring queue;
static struct task *tasks;

static void ring_once(const struct bench_run *run)
{
    struct task *taken[STEAL_MAX];
    uint64_t total = 0;
    int n;

    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, ring_push(&queue, &tasks[i]));
    while ((n = ring_steal(&queue, taken, STEAL_MAX)) > 0) {
        bench_check(run, taken[0] == &tasks[total] && taken[n - 1] == &tasks[total + (unsigned)n - 1]);
        total += (unsigned)n;
    }
    bench_check(run, n == RING_EMPTY && total == run->count);
}

/* What the pushes cost is in it, and small. */
static void steal_ring(const struct bench_run *run)
{
    barrier_init();
    bench_check(run, ring_init(&queue));
    tasks = bench_alloc(run, run->count, sizeof *tasks);
    bench_repeat_per_op(run, run->count, ring_once);
    ring_fini(&queue);
    free(tasks);
}

static void *compute(void *arg)
{
    uint64_t x = (uintptr_t)arg;

    for (int i = 0; i < SPIN_TURNS; i++)
        x = x * 6364136223846793005u + 1442695040888963407u;
    bench_escape(x);
    return arg;
}

static void run_once(const struct bench_run *run)
{
    vthread_t *threads = bench_alloc(run, run->count, sizeof *threads);
    vthread_runtime_stats_t before;
    vthread_runtime_stats_t after;
    uint64_t sum = 0;

    vthread_runtime_stats(&before);
    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, vthread_create(&threads[i], NULL, compute, (void *)i) == 0);
    for (uint64_t i = 0; i < run->count; i++) {
        void *value;

        bench_check(run, vthread_join(threads[i], &value) == 0);
        sum += (uintptr_t)value;
    }
    bench_check(run, sum == run->count * (run->count - 1) / 2);
    vthread_runtime_stats(&after);
    bench_sample(run, "stolen", (double)(after.steals - before.steals), "threads");
    free(threads);
}

static void steal_run(const struct bench_run *run)
{
    bench_repeat_per_op(run, run->count, run_once);
}

const struct bench bench_steal[] = {
    {
        .name = "steal/ring",
        .question = "tasks that a thief takes out of a run queue; by tasks",
        .run = steal_ring,
        .count = 100000,
        .quick = 1000,
        .reps = 20,
    },
    {
        .name = "steal/run",
        .question = "threads made on one carrier that compute for a microsecond; by threads",
        .run = steal_run,
        .count = 100000,
        .quick = 500,
        .reps = 5,
        .carriers = {2, 1},
    },
    {0},
};
