/* SPDX-License-Identifier: MIT */
/*
 * vthread_latch_t.  The last count is taken under the queue's lock, so that whoever finds it
 * there queues up in time.
 */
#include <errno.h>

#include <vthread/sync.h>

#include "sync/sync_internal.h"

struct latch {
    ATOMIC(uint32_t) count;
    uint32_t unused;
    struct wait_queue queue;
};

_Static_assert(sizeof(struct latch) == sizeof(vthread_latch_t), "what users embed");
_Static_assert(_Alignof(struct latch) <= _Alignof(vthread_latch_t), "what users embed");

static struct latch *latch_of(vthread_latch_t *latch)
{
    return (struct latch *)(void *)latch;
}

int vthread_latch_init(vthread_latch_t *latch, int count)
{
    if (latch == NULL || count < 0)
        return EINVAL;
    *latch = (vthread_latch_t)VTHREAD_LATCH_INITIALIZER(count);
    return 0;
}

int vthread_latch_destroy(vthread_latch_t *latch)
{
    return wait_queue_is_empty(&latch_of(latch)->queue) ? 0 : EBUSY;
}

/* The last, or too late. */
static NOINLINE void count_last(struct latch *l)
{
    struct granted granted = {0, 0};
    uint32_t one = 1;

    lock_acquire(&l->queue.lock);
    if (atomic_cas_acq_rel(&l->count, &one, 0)) /* pairs with the acquire in wait */
        wait_queue_grant_all(&l->queue, 0, &granted);
    lock_release(&l->queue.lock);
    wait_queue_wake(granted);
}

int vthread_latch_count_down(vthread_latch_t *latch)
{
    struct latch *l = latch_of(latch);
    uint32_t count = atomic_load_relaxed(&l->count);

    while (count > 1)
        if (atomic_cas_acq_rel(&l->count, &count, count - 1)) /* pairs with that of the last */
            return 0;
    if (count == 1)
        count_last(l);
    return 0;
}

static int wait(vthread_latch_t *latch, const char *call, int64_t deadline_ns)
{
    struct latch *l = latch_of(latch);
    int error;
    struct thread *self = waiting_self(0, &error);

    if (self == NULL)
        return error;
    if (atomic_load_acquire(&l->count) == 0) {
        wait_queue_let_go(&l->queue);
        return 0;
    }
    error = wait_refuse_private(call, l);
    if (error != 0)
        return error;
    lock_acquire(&l->queue.lock);
    if (atomic_load_acquire(&l->count) == 0) {
        lock_release(&l->queue.lock);
        return 0;
    }
    wait_queue_append(&l->queue, self, 0);
    lock_release(&l->queue.lock);
    error = wait_queue_wait(&l->queue, self, l, 0, deadline_ns);
    if (error != 0)
        lock_release(&l->queue.lock);
    return error;
}

int vthread_latch_wait(vthread_latch_t *latch)
{
    return wait(latch, "vthread_latch_wait", VTHREAD_FOREVER);
}

int vthread_latch_wait_until(vthread_latch_t *latch, int64_t deadline_ns)
{
    return wait(latch, "vthread_latch_wait_until", deadline_ns);
}

int vthread_latch_count(vthread_latch_t *latch)
{
    struct latch *l = latch_of(latch);
    uint32_t count = atomic_load_acquire(&l->count); /* pairs with those who count down */

    if (count == 0)
        wait_queue_let_go(&l->queue);
    return (int)count;
}
