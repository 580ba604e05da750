/* SPDX-License-Identifier: MIT */
/*
 * executor: what does it cost to submit a task that does nothing, and to get its result?  In
 * batches of 100, by one thread; beside spawn_hot, which creates and joins threads in the same way.
 */
#include <stdlib.h>

#include <vthread/executor.h>

#include "bench/bench.h"

enum { BATCH = 100 };

static void *nothing(void *arg)
{
    return arg;
}

/* Each hands back what it was given, so the sum tells that every one ran, and once. */
static uint64_t submit_and_get(const struct bench_run *run, vthread_executor_t *ex, uint64_t from)
{
    vthread_future_t *futures[BATCH];
    uint64_t sum = 0;

    for (uint64_t i = 0; i < BATCH; i++)
        bench_check(run, vthread_executor_submit(ex, nothing, (void *)(from + i), &futures[i]) == 0);
    for (uint64_t i = 0; i < BATCH; i++) {
        void *value;

        bench_check(run, vthread_future_get(futures[i], &value) == 0);
        sum += (uint64_t)value;
    }
    for (uint64_t i = 0; i < BATCH; i++)
        vthread_future_free(futures[i]);
    return sum;
}

static void executor_once(const struct bench_run *run)
{
    uint64_t count = run->count / BATCH * BATCH;
    vthread_executor_t *ex;
    uint64_t sum = 0;

    bench_check(run, vthread_executor_new_per_task(&ex, NULL) == 0);
    for (uint64_t from = 0; from < count; from += BATCH)
        sum += submit_and_get(run, ex, from);
    bench_check(run, sum == count * (count - 1) / 2);
    bench_check(run, vthread_executor_free(ex) == 0);
}

static void executor(const struct bench_run *run)
{
    bench_repeat_per_op(run, run->count / BATCH * BATCH, executor_once);
}

const struct bench bench_executor[] = {
    {
        .name = "executor",
        .question = "tasks submitted to an executor, and their futures got and freed, in batches of 100; by tasks",
        .run = executor,
        .count = 1000000,
        .quick = 2000,
        .reps = 5,
        .carriers = {2, 1},
    },
    {0},
};
