/* SPDX-License-Identifier: MIT */
/*
 * How many tasks are under way, counted by many without a locked instruction: is one left, once no
 * more come?
 *
 * Each carrier adds to a shard of its own; threads that have none share the last one.
 *
 *     submitter, and a task at its end       who closes
 *     begun or ended := + 1                  closed := true
 *     barrier_light                          barrier_heavy
 *     closed?                                all ended = all begun?
 *
 * 1. A submitter that does not find it closed is counted in time for whoever closes.  One that
 *    does is refused, and ends what it has begun.
 * 2. Of those who see it closed after their end, each fences and then sums, so the last finds
 *    nothing left; one that does not see it closed is in the sum of who closes.  So somebody
 *    finds that nothing is left; perhaps several do.
 * 3. All ends are read before all beginnings: a sum is never too small, so that nobody finds so too early.
 * 4. What is found may end the life of the counts while others, who have counted themselves out, still
 *    look whether it is closed: they say when they are gone, and count_await_gone waits for that.
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

struct count {
    ATOMIC(bool) closed;
    uint32_t shards; /* the last one is shared */
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
    return LIKELY(!atomic_load_relaxed(&c->closed));
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

/* One has ended.  True: it is closed, and this was the last.  count_go follows, before any switch. */
NODISCARD static inline bool count_end(struct count *c, struct count_shard *shard)
{
    count_add(c, shard, &shard->ended);
    barrier_light(); /* count_close has the other half */
    if (LIKELY(!atomic_load_relaxed(&c->closed)))
        return false;
    atomic_fence_seq_cst(); /* others may be ending, too: each has counted before it sums */
    return count_is_zero(c);
}

static inline void count_go(struct count *c, struct count_shard *shard)
{
    count_add(c, shard, &shard->gone); /* release: pairs with count_await_gone */
}

/* No more are to begin.  True: nothing is left. */
NODISCARD static inline bool count_close(struct count *c)
{
    atomic_store_release(&c->closed, true);
    barrier_heavy(); /* of those counted before, none is missed here; those counted later see it */
    return count_is_zero(c);
}

/* Nothing is left: wait until nobody looks at the counts any more.  `pause` gives the CPU to somebody else. */
static inline void count_await_gone(const struct count *c, void (*pause)(void))
{
    for (uint32_t i = 0; i < c->shards; i++)
        while (atomic_load_acquire(&c->shard[i].gone) != atomic_load_relaxed(&c->shard[i].ended))
            pause();
}

#endif
