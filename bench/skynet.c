/* SPDX-License-Identifier: MIT */
/*
 * skynet: a thread starts ten, each of those ten, down to a million leaves, and
 * the leaves' numbers are added up on the way back.  1,111,111 threads.
 */
#include <stdlib.h>

#include <vthread/vthread.h>

#include "bench/bench.h"

enum { CHILDREN = 10 };

/* Number of the first leaf below, and how many: both fit into the argument. */
static void *pack(uint64_t first, uint64_t leaves)
{
    return (void *)(uintptr_t)(first << 32 | leaves);
}

static void *node(void *arg)
{
    uint64_t first = (uintptr_t)arg >> 32;
    uint64_t leaves = (uint32_t)(uintptr_t)arg;
    vthread_t children[CHILDREN];
    uint64_t sum = 0;

    if (leaves == 1)
        return (void *)(uintptr_t)first;
    leaves /= CHILDREN;
    for (uint64_t i = 0; i < CHILDREN; i++)
        if (vthread_create(&children[i], NULL, node, pack(first + i * leaves, leaves)) != 0)
            abort();
    for (int i = 0; i < CHILDREN; i++) {
        void *value;

        if (vthread_join(children[i], &value) != 0)
            abort();
        sum += (uintptr_t)value;
    }
    return (void *)(uintptr_t)sum;
}

static void once(const struct bench_run *run)
{
    vthread_t root;
    void *sum;

    bench_check(run, vthread_create(&root, NULL, node, pack(0, run->count)) == 0);
    bench_check(run, vthread_join(root, &sum) == 0);
    bench_check(run, (uintptr_t)sum == run->count * (run->count - 1) / 2);
}

static void skynet(const struct bench_run *run)
{
    uint64_t leaves = 1;

    while (leaves < run->count)
        leaves *= CHILDREN;
    bench_check(run, leaves == run->count); /* --count takes powers of ten */
    bench_repeat_whole(run, once);
}

const struct bench bench_skynet[] = {
    {
        .name = "skynet",
        .question = "leaves (a power of ten) of a tree of threads",
        .run = skynet,
        .count = 1000000,
        .quick = 1000,
        .reps = 5,
        .carriers = {2, 1},
    },
    {0},
};
