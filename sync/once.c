/* SPDX-License-Identifier: MIT */
/* vthread_once. */
#include <errno.h>

#include <vthread/sync.h>

#include "sync/sync_internal.h"

#define DONE UINT32_MAX

struct once {
    ATOMIC(uint32_t) state; /* 0, the index of the thread that runs it, DONE; written under the queue's lock */
    uint32_t unused;
    struct wait_queue queue;
};

_Static_assert(sizeof(struct once) == sizeof(vthread_once_t), "what users embed");
_Static_assert(_Alignof(struct once) <= _Alignof(vthread_once_t), "what users embed");

static void run(struct once *o, void (*fn)(void))
{
    struct granted granted = {0, 0};

    fn();
    lock_acquire(&o->queue.lock);
    atomic_store_release(&o->state, DONE); /* pairs with the acquire in vthread_once */
    wait_queue_grant_all(&o->queue, 0, &granted);
    lock_release(&o->queue.lock);
    wait_queue_wake(granted);
}

static NOINLINE int run_or_wait(struct once *o, void (*fn)(void))
{
    int error;
    struct thread *self = thread_self(&error);
    uint32_t state;

    if (self == NULL)
        return lock_result(error, WORD_DEAF, VTHREAD_FOREVER);
    lock_acquire(&o->queue.lock);
    state = atomic_load_relaxed(&o->state);
    if (state == 0)
        atomic_store_relaxed(&o->state, thread_index(self));
    else if (state != DONE && state != thread_index(self) && !stack_is_private(o))
        wait_queue_append(&o->queue, self, 0);
    lock_release(&o->queue.lock);
    if (state == DONE)
        return 0;
    if (state == 0) {
        run(o, fn);
        return 0;
    }
    if (state == thread_index(self)) {
        misuse("vthread_once", "called from the function that it runs (%p), and would wait for itself", (void *)o);
        return EDEADLK;
    }
    error = wait_refuse_private("vthread_once", o);
    if (error == 0)
        error = wait_queue_wait(&o->queue, self, o, WORD_DEAF, VTHREAD_FOREVER);
    return lock_result(error, WORD_DEAF, VTHREAD_FOREVER);
}

int vthread_once(vthread_once_t *once, void (*fn)(void))
{
    struct once *o = (struct once *)(void *)once;

    if (fn == NULL)
        return EINVAL;
    if (LIKELY(atomic_load_acquire(&o->state) == DONE))
        return 0;
    return run_or_wait(o, fn);
}
