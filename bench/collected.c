/* SPDX-License-Identifier: MIT */
/*
 * collected: what does the collector cost, those who use it and those who do not?
 *
 *     collection/100k, 1m    threads parked with 256 bytes of locals each: `pause` is a
 *                            collection, ms; `create` ns each until all are waiting
 *     collection_objects     each holds a collected object of 32 bytes that only it knows
 *     collection_none/1m     the same threads, and no collector: what `create` is to be compared with
 *     yield_collected        as yield, after the collector has begun
 */
#include <stdlib.h>

#include <vthread/gc.h>
#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

enum { LOCALS = 32 /* words */, COLLECTIONS = 5, OBJECT_BYTES = 32, YIELDERS = 1000 };

enum use { NO_COLLECTOR, NO_OBJECTS, AN_OBJECT_EACH };

static CACHE_ALIGNED ATOMIC(uint64_t) ready;
static CACHE_ALIGNED ATOMIC(bool) gate;

static void *with_locals(void *arg)
{
    volatile uint64_t locals[LOCALS];
    uint64_t seed = (uintptr_t)arg;

    locals[0] = seed;
    locals[LOCALS / 2] = ~seed;
    locals[LOCALS - 1] = seed + 1;
    atomic_fetch_add_relaxed(&ready, 1);
    while (!atomic_load_acquire(&gate))
        vthread_park();
    return locals[0] == seed && locals[LOCALS / 2] == ~seed && locals[LOCALS - 1] == seed + 1 ? arg : NULL;
}

static void *with_object(void *arg)
{
    uint64_t *object = vthread_gc_alloc(OBJECT_BYTES);
    void *value;

    if (object == NULL)
        return NULL;
    *object = (uintptr_t)arg;
    value = with_locals(arg);
    return *object == (uintptr_t)arg ? value : NULL;
}

static void begin_collector(const struct bench_run *run)
{
    bench_check(run, vthread_gc_register_thread() == 0);
}

static void collection(const struct bench_run *run)
{
    unsigned use = run->bench->parameter;
    vthread_t *threads = bench_alloc(run, run->count, sizeof *threads);
    uint64_t sum = 0; /* of what they return, all different */
    int64_t from;

    if (use != NO_COLLECTOR)
        begin_collector(run);
    from = bench_wall_ns();
    for (uint64_t i = 0; i < run->count; i++)
        bench_check(run, vthread_create(&threads[i], NULL, use == AN_OBJECT_EACH ? with_object : with_locals,
                                        (void *)(i + 1)) == 0);
    while (atomic_load_acquire(&ready) < run->count)
        vthread_sleep_ms(1);
    bench_sample(run, "create", (double)(bench_wall_ns() - from) / (double)run->count, "ns");
    for (int i = 0; i < COLLECTIONS && use != NO_COLLECTOR; i++) {
        from = bench_wall_ns();
        vthread_gc_collect();
        bench_sample(run, "pause", (double)(bench_wall_ns() - from) / 1e6, "ms");
    }
    atomic_store_release(&gate, true);
    for (uint64_t i = 0; i < run->count; i++)
        vthread_unpark(threads[i]);
    for (uint64_t i = 0; i < run->count; i++) {
        void *value;

        bench_check(run, vthread_join(threads[i], &value) == 0);
        sum += (uintptr_t)value;
    }
    bench_check(run, sum == run->count * (run->count + 1) / 2);
    free(threads);
}

static uint64_t yields_each;

static void *yields(void *arg)
{
    for (uint64_t k = 0; k < yields_each; k++)
        vthread_yield();
    return arg;
}

static void yield_once(const struct bench_run *run)
{
    vthread_t threads[YIELDERS];

    for (int i = 0; i < YIELDERS; i++)
        bench_check(run, vthread_create(&threads[i], NULL, yields, NULL) == 0);
    for (int i = 0; i < YIELDERS; i++)
        bench_check(run, vthread_join(threads[i], NULL) == 0);
}

static void yield_collected(const struct bench_run *run)
{
    begin_collector(run);
    yields_each = run->count;
    bench_repeat_per_op(run, YIELDERS * run->count, yield_once);
}

#define COLLECTION(NAME, COUNT, USE)                                                                                   \
    {                                                                                                                  \
        .name = NAME, .question = "threads parked with 256 bytes each; a collection", .run = collection,               \
        .count = COUNT, .quick = 3000, .reps = 3, .carriers = {2, 1}, .fresh = true, .parameter = USE                  \
    }

const struct bench bench_collected[] = {
    COLLECTION("collection/100k", 100000, NO_OBJECTS),
    COLLECTION("collection/1m", 1000000, NO_OBJECTS),
    COLLECTION("collection_objects/100k", 100000, AN_OBJECT_EACH),
    COLLECTION("collection_objects/1m", 1000000, AN_OBJECT_EACH),
    COLLECTION("collection_none/1m", 1000000, NO_COLLECTOR),
    {.name = "yield_collected",
     .question = "yields of each of 1,000 threads, the collector in use",
     .run = yield_collected,
     .count = 1000,
     .quick = 10,
     .reps = 11,
     .carriers = {1, 2}},
    {0},
};
