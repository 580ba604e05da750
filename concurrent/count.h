/* SPDX-License-Identifier: MIT */
/*
 * How many tasks are under way, counted by many without a locked instruction: is one left, once no
 * more come?
 *
 * Each carrier adds to a shard of its own; threads that have none share the last one.
 *
 *     submitter             a task at its end     who closes
 *     begun := + 1          ended := + 1          phase := CLOSED
 *     barrier_light         barrier_light         barrier_heavy
 *     phase = OPEN?         phase = DRAINING?     phase := DRAINING
 *                           fence                 barrier_heavy
 *                           ended = begun?        ended = begun?
 *
 * 1. A submitter that finds it OPEN has been counted in by the time it is DRAINING; any other
 *    is refused, and ends what it has begun.  So who sums, then, misses no beginning.  (One
 *    phase for both would not do: a task might sum while who closes is in his barrier.)
 * 2. Of the tasks that find it DRAINING at their end, each fences and then sums, so the last one finds
 *    nothing left; one that does not find it so is in the sum of who closes.  So somebody
 *    finds that nothing is left; perhaps several do.
 * 3. All ends are read before all beginnings: a sum is never too small, so nobody finds that too early.
 * 4. What is found may end the life of the counts while others, who have counted themselves out, still
 *    look at the phase: they say when they are gone, and count_await_gone waits for that.
 *
 * Tested by tests/model (future.c).
 */
#ifndef CONCURRENT_COUNT_H
#define CONCURRENT_COUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

typedef ATOMIC(uint64_t) count_number;

struct count_shard {
    CACHE_ALIGNED count_number begun;
    count_number ended;
    count_number gone; /* of those ended */
};

enum count_phase { COUNT_OPEN, COUNT_CLOSED, COUNT_DRAINING };

struct count {
    ATOMIC(uint32_t) phase; /* enum count_phase */
    uint32_t shards;        /* the last one is shared */
    struct count_shard *shard;
};

enum { COUNT_NO_CARRIER = UINT32_MAX };

static inline struct count_shard *count_shard(const struct count *c, uint32_t carrier)
{
    return &c->shard[carrier < c->shards - 1 ? carrier : c->shards - 1];
}

static inline void count_add(const struct count *c, const struct count_shard *shard, count_number *n)
{
    /* release: pairs with the sums, whose finder sees what was done before the end */
    if (LIKELY(shard < &c->shard[c->shards - 1]))
        atomic_store_release(n, atomic_load_relaxed(n) + 1); /* nobody else writes there */
    else
        atomic_fetch_add_acq_rel(n, 1);
}

/* One more begins.  False: it is closed; the caller ends it, and nothing must come of it. */
NODISCARD static inline bool count_begin(struct count *c, struct count_shard *shard)
{
    count_add(c, shard, &shard->begun);
    barrier_light(); /* count_close has the other half */
    return LIKELY(atomic_load_relaxed(&c->phase) == COUNT_OPEN);
}

static inline bool count_is_zero(const struct count *c)
{
    uint64_t ended = 0;
    uint64_t begun = 0;

    for (uint32_t i = 0; i < c->shards; i++)
        ended += atomic_load_acquire(&c->shard[i].ended);
    for (uint32_t i = 0; i < c->shards; i++)
        begun += atomic_load_acquire(&c->shard[i].begun);
    return begun == ended;
}

/* One has ended.  True: no more are to come, and this was the last.  count_go follows, before any switch. */
NODISCARD static inline bool count_end(struct count *c, struct count_shard *shard)
{
    count_add(c, shard, &shard->ended);
    barrier_light(); /* count_close has the other half */
    if (LIKELY(atomic_load_relaxed(&c->phase) != COUNT_DRAINING))
        return false;
    atomic_fence_seq_cst(); /* others may be ending, too: each has counted before it sums */
    return count_is_zero(c);
}

static inline void count_go(struct count *c, struct count_shard *shard)
{
    count_add(c, shard, &shard->gone); /* release: pairs with count_await_gone */
}

/* No more are to begin.  True: nothing is left; else the last, or who has closed it before, finds that. */
NODISCARD static inline bool count_close(struct count *c)
{
    uint32_t open = COUNT_OPEN;

    if (!atomic_cas_acq_rel(&c->phase, &open, COUNT_CLOSED))
        return false;
    barrier_heavy();                                 /* whoever has found it open has been counted in */
    atomic_store_relaxed(&c->phase, COUNT_DRAINING); /* between two fences, and who sees it fences, too */
    barrier_heavy();                                 /* whoever has not found it draining has been counted out */
    return count_is_zero(c);
}

static inline bool count_is_closed(const struct count *c)
{
    return atomic_load_acquire(&c->phase) != COUNT_OPEN;
}

/* Nothing is left: wait until nobody looks at the counts any more.  `pause` gives the CPU to somebody else. */
static inline void count_await_gone(const struct count *c, void (*pause)(void))
{
    for (uint32_t i = 0; i < c->shards; i++)
        while (atomic_load_acquire(&c->shard[i].gone) != atomic_load_relaxed(&c->shard[i].ended))
            pause();
}

#endif
