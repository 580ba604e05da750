/* SPDX-License-Identifier: MIT */
/*
 * The run queue of one carrier: a growable FIFO ring, stolen from at the head.
 *
 * Roles: one owner (push, take), any number of thieves (one at a time, by the
 * lock).  FIFO for everybody: a LIFO end starves yielding threads.
 *
 * Source: the ring is ForkJoinPool's in async mode.  The owner's side is a
 * biased lock (Dice, Moir, Scherer: "Quickly Reacquirable Locks", with the
 * store-load fence moved to the thief by membarrier(2)), because a locked
 * instruction costs the owner more than all the rest of a take together, while
 * a thief takes half of the ring at a time and can afford a system call.
 *
 * Invariants
 *   1. head <= tail <= head + capacity; slots [head, tail) hold tasks.
 *   2. tail, and the array, are written by the owner only; head by whoever is
 *      inside: the owner while `owner_inside` is set and `thief_inside` was seen
 *      clear after that, or a thief that holds the lock, has set `thief_inside`
 *      and after a heavy barrier has seen `owner_inside` clear.
 *   3. the array is replaced by the owner with the lock held and no thief inside.
 *
 *   overlap      push   take   steal
 *   push          -      -      ok        (-: same thread)
 *   take                 -      excluded by 2
 *   steal                       excluded by the lock
 *
 * Why 2 excludes: the owner stores owner_inside, light barrier, loads
 * thief_inside; the thief stores thief_inside, heavy barrier, loads
 * owner_inside.  One of them sees the other (base/atomic.h).  If both do, the
 * owner steps back and waits for the lock, so somebody always goes on.
 *
 * A thief that meets an owner inside does not wait for it (the owner's OS thread
 * may have been preempted there): it reports RING_BUSY, and whoever asked looks
 * again later.  "Empty" means: at some instant during the call it was.
 *
 * Indices are 64 bits wide and never wrap.  Tested by tests/model (ring.c),
 * tests/unit and every stress test.
 */
#ifndef CARRIER_RING_H
#define CARRIER_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/futex.h"

#ifndef RING_INITIAL_CAPACITY
#define RING_INITIAL_CAPACITY 256u /* a power of two */
#endif

struct task;

struct ring {
    /* Owner. */
    ATOMIC(uint64_t) tail;
    ATOMIC(uint32_t) owner_inside;
    uint32_t capacity; /* read by thieves inside, changed under invariant 3 */
    struct task **slots;
    uint64_t trimmed_tail; /* when memory was given back last */

    /* Owner or thief, by invariant 2. */
    ATOMIC(uint64_t) head;

    /* Thieves. */
    CACHE_ALIGNED struct lock lock;
    ATOMIC(uint32_t) thief_inside;
};

enum ring_steal { RING_EMPTY = 0, RING_BUSY = -1 };

NODISCARD bool ring_init(struct ring *ring);
void ring_fini(struct ring *ring);

/* Owner: make room for `more` tasks.  False when out of memory; nothing is lost. */
NODISCARD COLD bool ring_grow(struct ring *ring, uint32_t more);

/* Owner: nothing is left of what may have been a long queue; give its memory back. */
void ring_trim(struct ring *ring);

/* A hint for anybody; exact for the owner when no thief is inside. */
static inline uint64_t ring_count(struct ring *ring)
{
    uint64_t head = atomic_load_acquire(&ring->head); /* pairs with ring_replace_oldest: then its tail too */
    uint64_t tail = atomic_load_acquire(&ring->tail);

    return tail > head ? tail - head : 0;
}

/* Owner.  Fails only when the ring is full and cannot grow. */
NODISCARD static inline bool ring_push(struct ring *ring, struct task *task)
{
    uint64_t tail = atomic_load_relaxed(&ring->tail); /* own */

    /* acquire: pairs with the release of head by a thief; the slot is ours again. */
    if (UNLIKELY(tail - atomic_load_acquire(&ring->head) >= ring->capacity) && !ring_grow(ring, 1))
        return false;
    ring->slots[tail & (ring->capacity - 1)] = task;
    atomic_store_release(&ring->tail, tail + 1); /* pairs with the acquire in ring_steal */
    return true;
}

COLD struct task *ring_take_slow(struct ring *ring);

/* Owner: go inside, unless a thief is; then stay outside and return false. */
static inline bool ring_enter(struct ring *ring)
{
    atomic_store_relaxed(&ring->owner_inside, 1);
    barrier_light(); /* pairs with the heavy barrier in ring_steal */
    if (LIKELY(atomic_load_acquire(&ring->thief_inside) == 0))
        return true;
    atomic_store_release(&ring->owner_inside, 0);
    return false;
}

static inline void ring_leave(struct ring *ring)
{
    atomic_store_release(&ring->owner_inside, 0);
}

/* Owner, inside: the oldest task, which stays; NULL: there is none. */
static inline struct task *ring_oldest(struct ring *ring)
{
    uint64_t head = atomic_load_relaxed(&ring->head);

    return head != atomic_load_relaxed(&ring->tail) ? ring->slots[head & (ring->capacity - 1)] : NULL;
}

/*
 * Owner, inside: take the oldest task off and put another one at the end.  As
 * long as the owner stays inside, no thief gets at it.
 */
static inline void ring_replace_oldest(struct ring *ring, struct task *task)
{
    uint64_t tail = atomic_load_relaxed(&ring->tail);

    /* The tail first: a ring that is never empty shall never look so, or somebody goes to sleep beside it. */
    ring->slots[tail & (ring->capacity - 1)] = task;
    atomic_store_release(&ring->tail, tail + 1);
    atomic_store_release(&ring->head, atomic_load_relaxed(&ring->head) + 1);
}

/* Owner: the oldest task, or NULL. */
static inline struct task *ring_take(struct ring *ring)
{
    struct task *task = NULL;
    uint64_t head;

    atomic_store_relaxed(&ring->owner_inside, 1);
    barrier_light(); /* pairs with the heavy barrier in ring_steal */
    /* acquire: pairs with the thief's release when it leaves; its head is visible. */
    if (UNLIKELY(atomic_load_acquire(&ring->thief_inside) != 0))
        return ring_take_slow(ring);
    head = atomic_load_relaxed(&ring->head);
    if (head != atomic_load_relaxed(&ring->tail)) {
        task = ring->slots[head & (ring->capacity - 1)];
        atomic_store_relaxed(&ring->head, head + 1);
    }
    /* release: a thief that sees us gone sees the new head too. */
    atomic_store_release(&ring->owner_inside, 0);
    return task;
}

/* The oldest task but one, for prefetching; a hint, owner only. */
static inline struct task *ring_peek(struct ring *ring, uint64_t ahead)
{
    uint64_t at = atomic_load_relaxed(&ring->head) + ahead;

    return at < atomic_load_relaxed(&ring->tail) ? ring->slots[at & (ring->capacity - 1)] : NULL;
}

/*
 * Thief: move up to half of the tasks, rounded up and at most max, to `into`,
 * oldest first.  Returns how many, RING_EMPTY or RING_BUSY.
 */
int ring_steal(struct ring *ring, struct task **into, uint32_t max);

#endif
