/* SPDX-License-Identifier: MIT */
/*
 * A queue of threads that wait for something, embedded in the object they wait for.
 *
 * Eight bytes: a lock, which also guards what the object decides together with
 * its queue, and the index of the oldest waiter.  The links are in a column
 * beside the thread records, so that nobody allocates in order to block, and
 * nothing lies in a frame: a thread waits in one queue at a time.
 *
 * Roles
 *   waiter   with the lock: wait_queue_append; after releasing it: wait_queue_wait
 *   granter  with the lock: wait_queue_grant, which moves waiters into a chain;
 *            after releasing it: wait_queue_wake
 *
 * States of a waiter's node
 *   QUEUED   -> GRANTED   granter, with the lock: off the queue, into his chain
 *   GRANTED  -> WAIT_OVER granter, without the lock: the node is the waiter's again
 *   QUEUED   -> (gone)    waiter that gives up, with the lock
 *
 * 1. A wait is over for exactly one reason.  Once GRANTED it has been granted, even
 *    if a deadline or an interrupt wakes the thread first.
 * 2. A granter touches the object for the last time when he releases the lock, and the
 *    node when he stores WAIT_OVER.  So a thread that was granted need not touch the
 *    object any more, and may free it: it waits for WAIT_OVER, in the rare case that
 *    something else has woken it before.
 * 3. The granter wakes by the number of the wait: the thread may be gone by then,
 *    and the wake fails (vthread/word.h).
 *
 * Others than waiters, who see without the lock what a granter has done (that a
 * semaphore has permits, say), and may free the object on the strength of that, call
 * wait_queue_let_go first: see there.
 *
 * Tested by tests/model (mutex.c) and tests/stress (sync_a_lot.c).
 */
#ifndef SYNC_WAIT_QUEUE_H
#define SYNC_WAIT_QUEUE_H

#include <sched.h>
#include <time.h>

#include "base/futex.h"
#include "vthread/thread.h"

enum { LOOKS = 100 }; /* at what somebody is about to change, before giving him the CPU */

/* Between the looks at what another thread changes within a few instructions, if it has a CPU.  i: 1, 2 ... */
static inline void before_next_look(int i)
{
    static const struct timespec a_little = {.tv_nsec = 50000};

    cpu_pause();
    if (i % LOOKS == 0)
        sched_yield();
    if (UNLIKELY(i % (LOOKS * LOOKS) == 0))
        nanosleep(&a_little, NULL); /* we may have the CPU by a priority that he has not */
}

struct wait_queue {
    struct lock lock;
    ATOMIC(uint32_t) first; /* index of the oldest; 0: nobody; written under the lock */
};

/* Who has been granted, and is to be woken: a chain of indices through the nodes.  All zero: nobody. */
struct granted {
    uint32_t first;
    uint32_t last;
};

/* A look without the lock may be past when it is returned. */
static inline bool wait_queue_is_empty(struct wait_queue *q)
{
    return atomic_load_relaxed(&q->first) == 0;
}

/* With the lock: index of the oldest waiter, and of the one after another; 0: there is none. */
static inline uint32_t wait_queue_first(struct wait_queue *q)
{
    return atomic_load_relaxed(&q->first);
}

static inline uint32_t wait_queue_after(struct wait_queue *q, uint32_t index)
{
    uint32_t next = thread_waiters[index].next;

    return next != atomic_load_relaxed(&q->first) ? next : 0;
}

/* With the lock: what the waiter wants, as it said when it queued up. */
static inline uint32_t wait_queue_amount(uint32_t index)
{
    return thread_waiters[index].amount;
}

/* With the lock: queue up, last or first.  amount is the object's own. */
void wait_queue_append(struct wait_queue *q, struct thread *self, uint32_t amount);
void wait_queue_prepend(struct wait_queue *q, struct thread *self, uint32_t amount);

/*
 * With the lock: move the oldest waiter, or everybody, from the queue to the end of the
 * chain.  They find `given` in wait_queue_given.  wait_queue_wake follows, without the lock.
 */
void wait_queue_grant(struct wait_queue *q, uint32_t given, struct granted *granted);
void wait_queue_grant_all(struct wait_queue *q, uint32_t given, struct granted *granted);
/* list: append those to be run there rather than push them; or NULL. */
void wait_queue_wake_chain(struct granted granted, struct task_list *list);

static inline void wait_queue_wake(struct granted granted)
{
    if (granted.first != 0)
        wait_queue_wake_chain(granted, NULL);
}

/*
 * Without the lock, after having queued up: wait until granted (0), or until
 * the deadline (ETIMEDOUT) or an interrupt (EINTR, the flag cleared) came first.
 * Then the thread is in the queue no longer, and *the lock is held*: the caller
 * sees to what its place in the queue has meant to others, and releases it.
 * flags: WORD_DEAF or 0.
 */
MAY_SWITCH
int wait_queue_wait(struct wait_queue *q, struct thread *self, void *object, uint64_t flags, int64_t deadline_ns);

/* The same, for what an owner keeps from others (enum wait_kind). */
MAY_SWITCH
int wait_queue_wait_blocked(struct wait_queue *q, struct thread *self, void *object, enum wait_kind kind,
                            uint64_t flags, int64_t deadline_ns);

/* After having been granted. */
static inline uint32_t wait_queue_given(struct thread *self)
{
    return thread_waiters[thread_index(self)].amount;
}

/*
 * Before a return after which the caller may free the object: whoever made visible,
 * with the lock held, what allows that, has released the lock.  The caller has seen it
 * with an acquire, and so sees the lock held if it still is.
 */
static inline void wait_queue_let_go(struct wait_queue *q)
{
    if (UNLIKELY(atomic_load_acquire(&q->lock.word) != 0)) { /* pairs with lock_release */
        lock_acquire(&q->lock);
        lock_release(&q->lock);
    }
}

/* For blocking calls that can be interrupted: has it been already?  Clears the flag then. */
static inline bool wait_is_interrupted(struct thread *self)
{
    return UNLIKELY(atomic_load_acquire(&self->word) & WORD_INTERRUPTED) &&
           (word_clear(&self->word, WORD_INTERRUPTED) & WORD_INTERRUPTED);
}

/* EFAULT, and said so, if the object lies in the calling virtual thread's own stack; else 0. */
int wait_refuse_private(const char *call, const void *object);

#endif
