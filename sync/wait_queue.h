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
 *   granter  with the lock: wait_queue_grant; after releasing it: wait_queue_wake
 *
 * The wait is over for exactly one reason.  A granter takes the waiter off the
 * queue under the lock, and from then on the wait has been granted, even if a
 * deadline or an interrupt wakes the thread first: it sees that in its node.  One
 * that gives up takes itself off under the lock, if it is still there.
 *
 * The granter wakes after it has released the lock, by the number of the wait:
 * the thread may be gone by then, and the wake fails (vthread/word.h).
 */
#ifndef SYNC_WAIT_QUEUE_H
#define SYNC_WAIT_QUEUE_H

#include "base/futex.h"
#include "vthread/thread.h"

struct wait_queue {
    struct lock lock;
    ATOMIC(uint32_t) first; /* index of the oldest; 0: nobody; written under the lock */
};

/* Who has been granted, and is to be woken. */
struct granted {
    struct thread *thread; /* NULL: nobody */
    uint32_t number;
};

static inline bool wait_queue_is_empty(struct wait_queue *q)
{
    return atomic_load_relaxed(&q->first) == 0;
}

static inline struct thread *wait_queue_first(struct wait_queue *q)
{
    uint32_t first = atomic_load_relaxed(&q->first);

    return first != 0 ? &thread_table[first] : NULL;
}

/* With the lock: queue up, last or first.  amount is the object's own. */
void wait_queue_append(struct wait_queue *q, struct thread *self, uint32_t amount);
void wait_queue_prepend(struct wait_queue *q, struct thread *self, uint32_t amount);

/* With the lock: take somebody off, granted; it must be woken once the lock has been released. */
struct granted wait_queue_grant(struct wait_queue *q, struct thread *t);

/* Without the lock. */
static inline void wait_queue_wake(struct granted granted)
{
    if (granted.thread != NULL)
        thread_wake(granted.thread, granted.number, 0, NULL);
}

/*
 * With the lock: the thread that queued up does not wait after all.  Returns true
 * if it has been granted meanwhile.  thread_wait_cancel follows, without the lock.
 */
bool wait_queue_withdraw(struct wait_queue *q, struct thread *self);

/* Grant everybody who waits now, and wake them.  Takes and releases the lock itself. */
void wait_queue_grant_all(struct wait_queue *q);

/*
 * Without the lock, after having queued up: wait until granted (0), or until
 * the deadline (ETIMEDOUT) or an interrupt (EINTR, the flag cleared) came first; then the
 * thread is in the queue no longer.  flags: WORD_DEAF or 0.
 */
MAY_SWITCH int wait_queue_wait(struct wait_queue *q, struct thread *self, void *object, uint64_t flags,
                               int64_t deadline_ns);

/* For blocking calls that can be interrupted: has it been already?  Clears the flag then. */
static inline bool wait_is_interrupted(struct thread *self)
{
    return UNLIKELY(atomic_load_acquire(&self->word) & WORD_INTERRUPTED) &&
           (word_clear(&self->word, WORD_INTERRUPTED) & WORD_INTERRUPTED);
}

/* EFAULT, and said so, if the object lies in the calling virtual thread's own stack; else 0. */
int wait_refuse_private(const char *call, const void *object);

#endif
