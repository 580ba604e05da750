/* SPDX-License-Identifier: MIT */
/*
 * The mutex that the other locks are made of.
 *
 * Roles: any number of threads acquire; the owner releases.
 *
 * Uncontended it costs one locked instruction: acquiring is a CAS of `owner`,
 * releasing a plain store of 0 followed by a look whether somebody waits.  The
 * store-load fence that this needs is the waiter's: it queues up, does the heavy
 * half of the asymmetric barrier (base/atomic.h), and tries once more.
 *
 *     owner, releasing                       waiter
 *     R1 owner = 0                           W1 queue up
 *     R2 barrier_light()                     W2 barrier_heavy()
 *     R3 somebody queued, nobody woken?      W3 owner == 0?  take it
 *        wake the oldest                     W4 sleep
 *
 * If R3 does not see W1, W3 sees R1.
 *
 * Released, it is anybody's: the one woken competes with those who come along
 * (they are on a CPU already), and goes back to the head of the queue if it
 * loses.  One at a time is WOKEN.  When the oldest has lost so for HAND_OVER_NS, or
 * the lock is fair, the owner hands it over instead: nobody starves (after Go's
 * sync.Mutex).  A WOKEN waiter that gives up passes the role on: after clearing WOKEN it
 * looks, as R3 does, with a heavy barrier before.
 *
 * `flags` and the queue are changed under the queue's lock; flags is read without it.
 * Tested by tests/model (mutex.c) and tests/stress.
 */
#ifndef SYNC_MUTEX_H
#define SYNC_MUTEX_H

#include "sync/wait_queue.h"

enum mutex_flag {
    MUTEX_WOKEN = 1 << 0,     /* a former waiter is about to try; wake nobody else */
    MUTEX_HAND_OVER = 1 << 1, /* to the oldest waiter, who has waited for too long */
    MUTEX_FAIR = 1 << 2,      /* for good: first come, first served */
};

struct mutex {
    ATOMIC(uint32_t) owner; /* index of its thread; 0: free */
    ATOMIC(uint32_t) flags;
    struct wait_queue queue;
};

/* flags: WORD_DEAF or 0.  0, ETIMEDOUT or EINTR.  The caller is not the owner. */
MAY_SWITCH int mutex_acquire_slow(struct mutex *m, struct thread *self, uint64_t flags, int64_t deadline_ns);

/* The halves of a release that are not inline: the mutex is still the caller's / has been released (R3). */
void mutex_hand_over(struct mutex *m);
void mutex_wake_next(struct mutex *m);

static inline bool mutex_is_owner(struct mutex *m, struct thread *self)
{
    return atomic_load_relaxed(&m->owner) == thread_index(self); /* our own writes */
}

static inline bool mutex_try(struct mutex *m, struct thread *self)
{
    uint32_t free = 0;

    return atomic_cas_acq_rel(&m->owner, &free, thread_index(self));
}

/* The owner's. */
static inline void mutex_release(struct mutex *m)
{
    if (UNLIKELY(atomic_load_relaxed(&m->flags) & (MUTEX_HAND_OVER | MUTEX_FAIR))) {
        mutex_hand_over(m);
        return;
    }
    atomic_store_release(&m->owner, 0); /* pairs with the acquire of the next owner */
    barrier_light();                    /* R2 */
    if (UNLIKELY(!wait_queue_is_empty(&m->queue)) && !(atomic_load_relaxed(&m->flags) & MUTEX_WOKEN))
        mutex_wake_next(m);
}

#endif
