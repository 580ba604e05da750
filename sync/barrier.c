/* SPDX-License-Identifier: MIT */
/*
 * vthread_barrier_t.  All is decided under the queue's lock: whoever gives up is still in the
 * queue then, so the round he came for has neither ended nor been broken, and he breaks it.
 */
#include <errno.h>

#include <vthread/sync.h>

#include "sync/sync_internal.h"

#define BROKEN (1u << 31)

struct barrier {
    uint32_t parties;
    ATOMIC(uint32_t) arrived; /* of this round; or BROKEN; written under the queue's lock */
    struct wait_queue queue;
};

_Static_assert(sizeof(struct barrier) == sizeof(vthread_barrier_t), "what users embed");
_Static_assert(_Alignof(struct barrier) <= _Alignof(vthread_barrier_t), "what users embed");

enum { GIVEN_A_PASS, GIVEN_UP };

static struct barrier *barrier_of(vthread_barrier_t *barrier)
{
    return (struct barrier *)(void *)barrier;
}

int vthread_barrier_init(vthread_barrier_t *barrier, int parties)
{
    if (barrier == NULL || parties <= 0)
        return EINVAL;
    *barrier = (vthread_barrier_t)VTHREAD_BARRIER_INITIALIZER(parties);
    return 0;
}

int vthread_barrier_destroy(vthread_barrier_t *barrier)
{
    return wait_queue_is_empty(&barrier_of(barrier)->queue) ? 0 : EBUSY;
}

/* With the lock, which it releases: the round is over for those who wait. */
static void end_round(struct barrier *b, uint32_t arrived, uint32_t given)
{
    struct granted granted = {0, 0};

    atomic_store_relaxed(&b->arrived, arrived);
    wait_queue_grant_all(&b->queue, given, &granted);
    lock_release(&b->queue.lock);
    wait_queue_wake(granted);
}

/* With the lock, which it releases. */
static int arrive(struct barrier *b, struct thread *self, int64_t deadline_ns)
{
    uint32_t arrived = atomic_load_relaxed(&b->arrived);
    int index;
    int error;

    if (arrived == BROKEN) {
        lock_release(&b->queue.lock);
        return -ECANCELED;
    }
    if (wait_is_interrupted(self)) {
        end_round(b, BROKEN, GIVEN_UP);
        return -EINTR;
    }
    index = (int)(b->parties - ++arrived); /* once granted, we do not look at the barrier any more */
    if (index == 0) {
        end_round(b, 0, GIVEN_A_PASS);
        return 0;
    }
    atomic_store_relaxed(&b->arrived, arrived);
    wait_queue_append(&b->queue, self, 0);
    lock_release(&b->queue.lock);
    error = wait_queue_wait(&b->queue, self, b, 0, deadline_ns);
    if (error != 0) {
        end_round(b, BROKEN, GIVEN_UP);
        return -error;
    }
    return wait_queue_given(self) == GIVEN_A_PASS ? index : -ECANCELED;
}

static int wait(vthread_barrier_t *barrier, const char *call, int64_t deadline_ns)
{
    struct barrier *b = barrier_of(barrier);
    int error;
    struct thread *self = thread_self(&error);

    if (self == NULL)
        return -error;
    if (b->parties == 0)
        return -EINVAL;
    error = wait_refuse_private(call, b);
    if (error != 0)
        return -error;
    lock_acquire(&b->queue.lock);
    return arrive(b, self, deadline_ns);
}

int vthread_barrier_wait(vthread_barrier_t *barrier)
{
    return wait(barrier, "vthread_barrier_wait", VTHREAD_FOREVER);
}

int vthread_barrier_wait_until(vthread_barrier_t *barrier, int64_t deadline_ns)
{
    return wait(barrier, "vthread_barrier_wait_until", deadline_ns);
}

bool vthread_barrier_is_broken(vthread_barrier_t *barrier)
{
    return atomic_load_relaxed(&barrier_of(barrier)->arrived) == BROKEN;
}

int vthread_barrier_reset(vthread_barrier_t *barrier)
{
    struct barrier *b = barrier_of(barrier);

    lock_acquire(&b->queue.lock);
    end_round(b, 0, GIVEN_UP);
    return 0;
}
