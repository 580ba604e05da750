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
 *            losses     of those woken, of late, less their wins: 0 to 3
 *
 * Uncontended it is a CAS from 0 to the owner's index, and a plain store back (4).
 *
 * Released, it is anybody's: the one woken competes with those who come along
 * (they are on a CPU already), and goes back to the head of the queue if it
 * loses.  Once one is woken the word says nothing of the queue any more: the same CAS each way
 * for those who barge.  When the oldest has lost so for HAND_OVER_NS, or
 * the lock is fair, the owner hands it over instead: nobody starves (after Go's
 * sync.Mutex).
 *
 * Where newcomers win anyway, to have another carrier run those who are woken would only have two
 * CPUs pull at the word.  So while some of them lose, they are kept by the carrier
 * that releases (carrier_keep): a mutex that is wanted all the time stays on one CPU, with the threads that want it.
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
 * 3. A release with nobody queued ends with the store that frees the word.  So a mutex may
 *    be freed by the one who got it last, as long as nobody waits: an object may be
 *    guarded by a mutex in itself, and freed by whoever drops the last reference.  (Who is
 *    woken takes the queue's lock before its call returns, after the release that woke it.)
 * 4. While there is an owner, others change the word with the queue's lock only, and by CAS; the owner
 *    frees it by a plain store, if it has just seen its index alone there.  The store would take away a
 *    QUEUED of a moment ago.  So who has set QUEUED looks whether the owner was about to do that
 *    (THREAD_RELEASING), and waits until it has; then looks again:
 *
 *        owner                            who has set QUEUED, with the queue's lock
 *        held |= RELEASING                word: QUEUED, by a CAS that sees the owner
 *        barrier_light()                  barrier_heavy()
 *        word is our index alone?         wait while the owner's held has RELEASING
 *        then word := 0                   word: has QUEUED still?  Then the owner will see it.
 *        held &= ~RELEASING
 *
 *    If the owner has not seen QUEUED, then by the asymmetric pair the other one sees RELEASING, and
 *    after it the store.  The owner is in there for a few instructions, and touches nothing
 *    but its own record after the store; so 3 holds without a flag in the mutex.
 *    The price is a membarrier(2) where there was nobody in the queue before; that of a
 *    releasing CAS was 8 of 20 ns each time.
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
    uint32_t woken : 15;
    uint32_t in_place : 15;
    uint32_t losses : 2;
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

/* If the word is the index of the thread, and nothing else: free it, which is `counted` (1 or 0) of those it holds. */
static inline bool mutex_release_at_once(struct mutex *m, struct thread *self, unsigned counted)
{
    uint8_t held = atomic_load_relaxed(&self->held);
    bool alone;

    atomic_store_relaxed(&self->held, held | THREAD_RELEASING);
    barrier_light(); /* pairs with the heavy one in is_announced_locked */
    alone = atomic_load_relaxed(&m->word) == thread_index(self);
    if (LIKELY(alone))
        atomic_store_release(&m->word, 0); /* pairs with the CAS of the next owner */
    held = (uint8_t)((held - (alone ? counted : 0)) & ~THREAD_RELEASING);
    atomic_store_release(&self->held, held); /* pairs with the acquire in is_announced_locked: the word first */
    return alone;
}

/* The owner's. */
static inline void mutex_release(struct mutex *m, struct thread *self)
{
    if (UNLIKELY(!mutex_release_at_once(m, self, 0)))
        mutex_release_slow(m);
}

#endif
