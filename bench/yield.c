/* SPDX-License-Identifier: MIT */
/*
 * yield: what does a yield cost when so many threads do nothing else, and does
 * each get its turn?
 *
 *     yield         1,000 threads; wall time for each yield
 *     yield/10k...  more than the stacks and caches hold
 *     yield_fair    how many yields the foremost is ahead of the hindmost; timed
 *                   apart, for counting costs more than yielding
 */
#include <stdlib.h>

#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

static uint64_t yields_each;
static ATOMIC(uint64_t) total;

static void *yields(void *arg)
{
    uint64_t k = 0;

    (void)arg;
    for (; k < yields_each; k++)
        vthread_yield();
    atomic_fetch_add_relaxed(&total, k);
    return NULL;
}

static void run_all(const struct bench_run *run, uint64_t count, void *(*fn)(void *arg))
{
    vthread_t *threads = bench_alloc(run, count, sizeof *threads);

    for (uint64_t i = 0; i < count; i++)
        bench_check(run, vthread_create(&threads[i], NULL, fn, NULL) == 0);
    for (uint64_t i = 0; i < count; i++)
        bench_check(run, vthread_join(threads[i], NULL) == 0);
    free(threads);
}

static void yield_once(const struct bench_run *run)
{
    atomic_store_relaxed(&total, 0);
    run_all(run, run->bench->parameter, yields);
    bench_check(run, atomic_load_relaxed(&total) == run->bench->parameter * run->count);
}

static void yield(const struct bench_run *run)
{
    yields_each = run->count;
    bench_repeat_per_op(run, run->bench->parameter * run->count, yield_once);
}

/* ---- fairness ---- */

static uint64_t thread_count;
static ATOMIC(uint64_t) started;
static ATOMIC(uint64_t) foremost; /* most yields that any thread has done */
static ATOMIC(uint64_t) * done;   /* done[k]: threads that have done k yields */
static uint64_t *lead;            /* lead[k]: of the foremost, when the last thread did its k-th */

static void *yields_and_counts(void *arg)
{
    (void)arg;
    atomic_fetch_add_seq_cst(&started, 1);
    while (atomic_load_seq_cst(&started) < thread_count)
        vthread_yield();
    for (uint64_t k = 1; k <= yields_each; k++) {
        uint64_t most = atomic_load_relaxed(&foremost);

        vthread_yield();
        while (k > most && !atomic_cas_relaxed(&foremost, &most, k))
            ;
        if (atomic_fetch_add_seq_cst(&done[k], 1) + 1 == thread_count) /* the hindmost was at k - 1 until now */
            lead[k] = atomic_load_relaxed(&foremost) - (k - 1);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void yield_fair(const struct bench_run *run)
{
    thread_count = run->bench->parameter;
    yields_each = run->count;
    done = bench_alloc(run, yields_each + 1, sizeof *done);
    lead = bench_alloc(run, yields_each + 1, sizeof *lead);
    run_all(run, thread_count, yields_and_counts);
    for (uint64_t k = 1; k <= yields_each; k++)
        bench_check(run, atomic_load_relaxed(&done[k]) == thread_count && lead[k] >= 1);
    qsort(lead + 1, yields_each, sizeof *lead, by_value);
    bench_sample(run, "lead_typical", (double)lead[1 + yields_each / 2], "yields");
    bench_sample(run, "lead_p99", (double)lead[1 + yields_each * 99 / 100], "yields");
    bench_sample(run, "lead_most", (double)lead[yields_each], "yields");
    free(done);
    free(lead);
}

const struct bench bench_yield[] = {
    {
        .name = "yield",
        .question = "yields of each of 1,000 threads; by yields",
        .run = yield,
        .count = 10000,
        .quick = 20,
        .reps = 5,
        .carriers = {2, 1},
        .parameter = 1000,
    },
    {
        .name = "yield/10k",
        .question = "the same of 10,000",
        .run = yield,
        .count = 1000,
        .quick = 2,
        .reps = 5,
        .carriers = {2, 1},
        .parameter = 10000,
    },
    {
        .name = "yield/100k",
        .question = "the same of 100,000",
        .run = yield,
        .count = 100,
        .quick = 2,
        .reps = 5,
        .carriers = {2, 1},
        .parameter = 100000,
    },
    {
        .name = "yield/1m",
        .question = "the same of 1,000,000",
        .run = yield,
        .count = 20,
        .quick = 1,
        .reps = 3,
        .carriers = {2, 1},
        .parameter = 1000000,
    },
    {
        .name = "yield_fair",
        .question = "how many yields the foremost of 1,000 threads is ahead of the hindmost",
        .run = yield_fair,
        .count = 10000,
        .quick = 20,
        .reps = 3,
        .carriers = {2, 1},
        .fresh = true,
        .parameter = 1000,
    },
    {0},
};
