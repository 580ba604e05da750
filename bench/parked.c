/* SPDX-License-Identifier: MIT */
/*
 * parked: what does a thread that waits cost, in memory, to be made, to be woken?
 *
 * Resident memory is read before the first is created and a second after the
 * last has parked; the array of handles is part of it.  `rss` is bytes each,
 * `create` ns each until all are waiting, `wake` ns each until all have been
 * woken, have ended and were joined, `pte` the page tables (which RSS leaves out).
 *
 *     parked/10k ... parked/10m   nothing but the wait
 *     parked/10k_few              with 64 stacks of their own instead of the usual number
 *     parked_locals               with 256 bytes of live locals
 *     parked_deep                 40 calls deep; `frames` is what the frames measure,
 *                                 `beyond` what a thread costs more than that
 */
#include <stdlib.h>

#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

enum {
    LOCALS = 32, /* words */
    DEPTH = 40,
    DEEP_LOCALS = 8,
    SETTLE_MS = 1000,
};

static CACHE_ALIGNED ATOMIC(uint64_t) ready;
static CACHE_ALIGNED ATOMIC(bool) gate;
static ATOMIC(uint64_t) frame_bytes;

static inline void wait_at_gate(void)
{
    atomic_fetch_add_relaxed(&ready, 1);
    while (!atomic_load_acquire(&gate))
        vthread_park();
}

static void *bare(void *arg)
{
    wait_at_gate();
    return arg;
}

/* Volatile, and looked at here and there, so that the frame holds them and not a register more than bare's. */
static void *with_locals(void *arg)
{
    volatile uint64_t locals[LOCALS];
    uint64_t seed = (uintptr_t)arg;

    locals[0] = seed;
    locals[LOCALS / 2] = ~seed;
    locals[LOCALS - 1] = seed + 1;
    wait_at_gate();
    return locals[0] == seed && locals[LOCALS / 2] == ~seed && locals[LOCALS - 1] == seed + 1 ? arg : NULL;
}

NOINLINE static uint64_t descend(uint64_t depth, const char *outermost)
{
    uint64_t locals[DEEP_LOCALS];
    uint64_t below;

    for (uint64_t i = 0; i < DEEP_LOCALS; i++)
        locals[i] = depth;
    bench_escape(locals);
    if (depth == 0) {
        atomic_store_relaxed(&frame_bytes, (uint64_t)(outermost - (char *)__builtin_frame_address(0)));
        wait_at_gate();
        below = 0;
    } else {
        below = descend(depth - 1, outermost);
    }
    bench_escape(locals);
    return below + locals[depth % DEEP_LOCALS];
}

static void *deep(void *arg)
{
    return descend(DEPTH, __builtin_frame_address(0)) == DEPTH * (DEPTH + 1) / 2 ? arg : NULL;
}

static void sample_memory(const struct bench_run *run, int64_t rss, int64_t pte)
{
    double each = (double)rss / (double)run->count;
    double frames = (double)atomic_load_relaxed(&frame_bytes);

    bench_sample(run, "rss", each, "B");
    if (frames > 0) {
        bench_sample(run, "frames", frames, "B");
        bench_sample(run, "beyond", each - frames, "B");
    }
    bench_sample(run, "pte", (double)pte / (double)run->count, "B");
}

static void parked(const struct bench_run *run)
{
    static void *(*const bodies[])(void *arg) = {bare, with_locals, deep};
    int64_t rss = bench_rss_bytes();
    int64_t pte = bench_pte_bytes();
    vthread_t *threads = bench_alloc(run, run->count, sizeof *threads);
    int64_t from = bench_wall_ns();
    uint64_t sum = 0; /* of what they return, all different */

    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, vthread_create(&threads[i], NULL, bodies[run->bench->parameter], (void *)(i + 1)) == 0);
    while (atomic_load_acquire(&ready) < run->count)
        vthread_sleep_ms(1);
    bench_sample(run, "create", (double)(bench_wall_ns() - from) / (double)run->count, "ns");
    vthread_sleep_ms(run->quick ? 10 : SETTLE_MS);
    sample_memory(run, bench_rss_bytes() - rss, bench_pte_bytes() - pte);

    from = bench_wall_ns();
    atomic_store_release(&gate, true);
    for (uint64_t i = 0; i < run->count; i++)
        vthread_unpark(threads[i]);
    for (uint64_t i = 0; i < run->count; i++) {
        void *value;

        bench_check(run, vthread_join(threads[i], &value) == 0);
        sum += (uintptr_t)value;
    }
    bench_sample(run, "wake", (double)(bench_wall_ns() - from) / (double)run->count, "ns");
    bench_check(run, atomic_load_relaxed(&ready) == run->count && sum == run->count * (run->count + 1) / 2);
    free(threads);
}

#define PARKED(NAME, COUNT, REPS, ...)                                                                                 \
    {                                                                                                                  \
        .name = NAME, .question = "threads that wait; bytes and ns each", .run = parked, .count = COUNT,               \
        .quick = 3000, .reps = REPS, .carriers = {2, 1}, .fresh = true, __VA_ARGS__                                    \
    }

const struct bench bench_parked[] = {
    PARKED("parked/10k", 10000, 5, .parameter = 0),        PARKED("parked/10k_few", 10000, 5, .sole_stacks = 64),
    PARKED("parked/100k", 100000, 3, .parameter = 0),      PARKED("parked/1m", 1000000, 3, .parameter = 0),
    PARKED("parked/10m", 10000000, 1, .parameter = 0),     PARKED("parked_locals/1m", 1000000, 3, .parameter = 1),
    PARKED("parked_deep/100k", 100000, 3, .parameter = 2), {0},
};
