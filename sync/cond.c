/* SPDX-License-Identifier: MIT */
/*
 * vthread_cond_t: a queue.  A waiter queues up while it holds its lock, so whoever
 * signals under that lock afterwards finds it there.
 */
#include <errno.h>
#include <time.h>

#include <vthread/sync.h>

#include "sync/sync_internal.h"

struct cond {
    struct wait_queue queue;
    uint32_t clock; /* looked at by vthread_cond_timedwait only */
    uint32_t unused;
};

_Static_assert(sizeof(struct cond) == sizeof(vthread_cond_t), "what users embed");
_Static_assert(offsetof(struct cond, clock) == 2 * sizeof(uint32_t), "where <vthread/pthread.h> looks");

static struct cond *cond_of(vthread_cond_t *cond)
{
    return (struct cond *)(void *)cond;
}

int vthread_cond_init(vthread_cond_t *cond, const vthread_condattr_t *attr)
{
    if (cond == NULL ||
        (attr != NULL && (attr->clock > CLOCK_MONOTONIC || !words_are_zero(attr->reserved, LENGTH_OF(attr->reserved)))))
        return EINVAL;
    *cond = (vthread_cond_t)VTHREAD_COND_INITIALIZER;
    cond_of(cond)->clock = attr != NULL ? (uint32_t)attr->clock : CLOCK_REALTIME;
    return 0;
}

int vthread_cond_destroy(vthread_cond_t *cond)
{
    return wait_queue_is_empty(&cond_of(cond)->queue) ? 0 : EBUSY;
}

/* Whichever lock goes with the wait. */
struct guard {
    struct mutex *mutex;
    vthread_lock_t *lock;
    uint32_t again;
};

static bool is_held(struct guard *guard, struct thread *self)
{
    return guard->mutex != NULL ? mutex_is_owner(guard->mutex, self) : vthread_lock_is_held(guard->lock);
}

static void release(struct guard *guard, struct thread *self)
{
    if (guard->mutex != NULL) {
        lock_is_let_go(self, guard->mutex);
        mutex_release(guard->mutex, self);
    } else {
        lock_release_wholly(guard->lock, self, &guard->again);
    }
}

static void acquire_again(struct guard *guard)
{
    if (guard->mutex != NULL)
        mutex_acquire(guard->mutex, "vthread_cond_wait", WORD_DEAF, VTHREAD_FOREVER);
    else
        lock_acquire_wholly(guard->lock, guard->again);
}

static int wait(vthread_cond_t *cond, struct guard *guard, const char *call, uint64_t flags, int64_t deadline_ns)
{
    struct wait_queue *q = &cond_of(cond)->queue;
    int error;
    struct thread *self = thread_self(&error);

    if (self == NULL)
        return error;
    if (!is_held(guard, self)) {
        misuse(call, "the calling thread does not hold the lock; lock it before the condition is looked at");
        return EPERM;
    }
    error = wait_refuse_private(call, cond);
    if (error != 0)
        return error;
    if (!(flags & WORD_DEAF) && wait_is_interrupted(self))
        return EINTR;
    lock_acquire(&q->lock);
    wait_queue_append(q, self, 0);
    lock_release(&q->lock);
    release(guard, self);
    error = wait_queue_wait(q, self, cond, flags, deadline_ns);
    if (error != 0)
        lock_release(&q->lock);
    acquire_again(guard);
    return error;
}

static int wait_mutex(vthread_cond_t *cond, vthread_mutex_t *mutex, const char *call, uint64_t flags,
                      int64_t deadline_ns)
{
    struct guard guard = {.mutex = (struct mutex *)(void *)mutex};

    return wait(cond, &guard, call, flags, deadline_ns);
}

int vthread_cond_wait(vthread_cond_t *cond, vthread_mutex_t *mutex)
{
    return wait_mutex(cond, mutex, "vthread_cond_wait", 0, VTHREAD_FOREVER);
}

int vthread_cond_wait_until(vthread_cond_t *cond, vthread_mutex_t *mutex, int64_t deadline_ns)
{
    return wait_mutex(cond, mutex, "vthread_cond_wait_until", 0, deadline_ns);
}

int vthread_cond_wait_uninterruptible(vthread_cond_t *cond, vthread_mutex_t *mutex)
{
    return wait_mutex(cond, mutex, "vthread_cond_wait_uninterruptible", WORD_DEAF, VTHREAD_FOREVER);
}

int cond_wait_lock(vthread_cond_t *cond, vthread_lock_t *lock, const char *call, int64_t deadline_ns)
{
    struct guard guard = {.lock = lock};

    return wait(cond, &guard, call, 0, deadline_ns);
}

int vthread_cond_wait_lock(vthread_cond_t *cond, vthread_lock_t *lock)
{
    return cond_wait_lock(cond, lock, "vthread_cond_wait_lock", VTHREAD_FOREVER);
}

int vthread_cond_wait_lock_until(vthread_cond_t *cond, vthread_lock_t *lock, int64_t deadline_ns)
{
    return cond_wait_lock(cond, lock, "vthread_cond_wait_lock_until", deadline_ns);
}

/* Wake the oldest, or all. */
static int signal(vthread_cond_t *cond, bool all)
{
    struct wait_queue *q = &cond_of(cond)->queue;
    struct granted granted = {0, 0};

    /* Nobody there: a waiter to be found has queued up before its lock was released. */
    if (wait_queue_is_empty(q))
        return 0;
    lock_acquire(&q->lock);
    if (all)
        wait_queue_grant_all(q, 0, &granted);
    else if (!wait_queue_is_empty(q))
        wait_queue_grant(q, 0, &granted);
    lock_release(&q->lock);
    wait_queue_wake(granted);
    return 0;
}

int vthread_cond_signal(vthread_cond_t *cond)
{
    return signal(cond, false);
}

int vthread_cond_broadcast(vthread_cond_t *cond)
{
    return signal(cond, true);
}
