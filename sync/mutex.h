/* SPDX-License-Identifier: MIT */
/*
 * The mutex that the other locks are made of.
 *
 * Roles: any number of threads acquire; the owner releases.
 *
 *     word   owner's index, 26 bits, 0: free
 *            QUEUED     the release is to look at the queue
 *            HAND_OVER  and to pass it to the oldest waiter, who has lost for too long
 *            FAIR       every release is; for good
 *     under the queue's lock
 *            woken      so many former waiters are about to try
 *            in_place   so many in the queue keep their stack while they wait
 *            barged     the last one woken lost against a newcomer
 *
 * Uncontended it is a CAS each way, between 0 and the owner's index.
 *
 * Released, it is anybody's: the one woken competes with those who come along
 * (they are on a CPU already), and goes back to the head of the queue if it
 * loses.  Once one is woken the word says nothing of the queue any more: the same CAS each way
 * for those who barge.  When the oldest has lost so for HAND_OVER_NS, or
 * the lock is fair, the owner hands it over instead: nobody starves (after Go's
 * sync.Mutex).
 *
 * Where newcomers win anyway, to wake another carrier for the next try would only have two
 * CPUs pull at the word.  So who is woken to try after one who lost is left to the carrier
 * that releases, until the monitor finds it waiting there (carrier_push_quietly).
 *
 * Invariants
 * 1. Somebody queued and no owner: somebody is woken.  Somebody queued, an owner, and nobody woken: the
 *    word has QUEUED.  So a release that sees QUEUED wakes, unless one is woken; who is woken sets
 *    QUEUED if it leaves others, or itself, in the queue; and who queues up sets it by a CAS that sees an
 *    owner, whose release is yet to come.
 *    But those woken before may be unable to run until one who waits in place has had his turn (their stack is
 *    in use by him, in a blocking section): while there are such in the queue, every release that sees QUEUED
 *    wakes one of them, with those before him.
 * 2. QUEUED, HAND_OVER: set with the queue's lock; cleared with it, by the owner.  So an
 *    owner who holds that lock, and has QUEUED, is alone with the word.
 * 3. A release with nobody queued ends with the CAS that frees the word.  So a mutex may
 *    be freed by the one who got it last, as long as nobody waits: an object may be
 *    guarded by a mutex in itself, and freed by whoever drops the last reference.  (Who is
 *    woken takes the queue's lock before its call returns, after the release that woke it.)
 *
 * A plain store in place of the releasing CAS, with the fence put on the waiter's
 * side (base/atomic.h), is faster by a locked instruction; but then the release looks at
 * the queue after others can have taken and freed the mutex, and every wait costs a
 * membarrier(2), several times what the switch itself does.
 *
 * Tested by tests/model (mutex.c) and tests/stress (sync_a_lot.c).
 */
#ifndef SYNC_MUTEX_H
#define SYNC_MUTEX_H

#include "sync/wait_queue.h"

#define MUTEX_OWNER ((1u << 26) - 1)
#define MUTEX_QUEUED (1u << 29)
#define MUTEX_HAND_OVER (1u << 30)
#define MUTEX_FAIR (1u << 31)

struct mutex {
    ATOMIC(uint32_t) word;
    /* Under the queue's lock. */
    uint32_t woken : 16;
    uint32_t in_place : 15;
    uint32_t barged : 1;
    struct wait_queue queue;
};

/* flags: WORD_DEAF or 0.  0, ETIMEDOUT or EINTR.  The caller is not the owner. */
MAY_SWITCH
int mutex_acquire_slow(struct mutex *m, struct thread *self, uint64_t flags, int64_t deadline_ns);

/*
 * The same for locks of ours, which are held for a few dozen instructions and never over a wait, so that
 * the owner is always running.  They are not handed over (to a thread that may have to wait for its
 * stack), and who must wait in place does not queue up, but looks again and again.
 */
MAY_SWITCH
void mutex_acquire_ours_slow(struct mutex *m, struct thread *self);
NOINLINE void mutex_release_slow(struct mutex *m);
/* If there is no owner just now, whatever else the word says. */
bool mutex_try_slow(struct mutex *m, struct thread *self);

static inline bool mutex_is_owner(struct mutex *m, struct thread *self)
{
    return (atomic_load_relaxed(&m->word) & MUTEX_OWNER) == thread_index(self); /* our own writes */
}

static inline bool mutex_try(struct mutex *m, struct thread *self)
{
    uint32_t free = 0;

    return atomic_cas_acq_rel(&m->word, &free, thread_index(self)); /* pairs with that of the owner before */
}

/* The owner's. */
static inline void mutex_release(struct mutex *m, struct thread *self)
{
    uint32_t mine = thread_index(self);

    if (UNLIKELY(!atomic_cas_acq_rel(&m->word, &mine, 0)))
        mutex_release_slow(m);
}

#endif
