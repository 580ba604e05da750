/* SPDX-License-Identifier: MIT */
/*
 * ring: what does it cost to hand something on, when 1,000 threads stand in a
 * ring and only one of them has it?
 */
#include <stdlib.h>

#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

enum { THREADS = 1000 };

struct node {
    CACHE_ALIGNED ATOMIC(bool) has;
    vthread_t thread;
};

static struct node nodes[THREADS];
static uint64_t laps;
static uint64_t hops; /* whoever has the token adds one */

static void *member(void *arg)
{
    struct node *me = arg;
    struct node *next = me + 1 < nodes + THREADS ? me + 1 : nodes;

    for (uint64_t lap = 0; lap < laps; lap++) {
        while (!atomic_load_acquire(&me->has))
            vthread_park();
        atomic_store_relaxed(&me->has, false);
        hops++;
        atomic_store_release(&next->has, true);
        vthread_unpark(next->thread);
    }
    return NULL;
}

static void once(const struct bench_run *run)
{
    hops = 0;
    atomic_store_relaxed(&nodes[0].has, true);
    for (int i = 0; i < THREADS; i++)
        bench_check(run, vthread_new(&nodes[i].thread, NULL, member, &nodes[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        bench_check(run, vthread_start(nodes[i].thread) == 0);
    for (int i = 0; i < THREADS; i++)
        bench_check(run, vthread_join(nodes[i].thread, NULL) == 0);
    bench_check(run, hops == THREADS * laps);
    atomic_store_relaxed(&nodes[0].has, false); /* the token came round once more */
}

static void ring(const struct bench_run *run)
{
    laps = run->count;
    bench_repeat_per_op(run, THREADS * laps, once);
}

const struct bench bench_ring[] = {
    {
        .name = "ring",
        .question = "laps of a token through 1,000 threads; by hops",
        .run = ring,
        .count = 1000,
        .quick = 5,
        .reps = 5,
        .carriers = {2, 1},
    },
    {0},
};
