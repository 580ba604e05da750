/* SPDX-License-Identifier: MIT */
/* vthread_lock_t: a mutex that its owner may lock again. */
#include <errno.h>

#include <vthread/sync.h>

#include "sync/sync_internal.h"

_Static_assert(sizeof(struct reentrant) == sizeof(vthread_lock_t), "what users embed");

int vthread_lock_init(vthread_lock_t *lock, const vthread_lock_params_t *params)
{
    if (lock == NULL || (params != NULL && !words_are_zero(params->reserved, LENGTH_OF(params->reserved))))
        return EINVAL;
    *lock = (vthread_lock_t)VTHREAD_LOCK_INITIALIZER;
    if (params != NULL && params->fair)
        atomic_init(&reentrant_of(lock)->mutex.word, MUTEX_FAIR);
    lock_order_forget(lock);
    return 0;
}

int vthread_lock_destroy(vthread_lock_t *lock)
{
    if (mutex_is_used(&reentrant_of(lock)->mutex))
        return EBUSY;
    lock_order_forget(lock);
    return 0;
}

/* The calling thread, if it is the owner. */
static struct thread *owner_self(struct reentrant *r)
{
    struct thread *self = thread_mounted();

    /* A platform thread that holds a lock has a record already, and thread_self finds it. */
    if (UNLIKELY(self == NULL) && (atomic_load_relaxed(&r->mutex.word) & MUTEX_OWNER) != 0)
        self = thread_self(NULL);
    return self != NULL && mutex_is_owner(&r->mutex, self) ? self : NULL;
}

static int hold_again(struct reentrant *r)
{
    if (r->again == UINT32_MAX - 1)
        return EAGAIN;
    r->again++;
    return 0;
}

int lock_acquire_reentrant(vthread_lock_t *lock, const char *call, uint64_t flags, int64_t deadline_ns)
{
    struct reentrant *r = reentrant_of(lock);
    struct thread *self = owner_self(r);

    if (self != NULL)
        return !(flags & WORD_DEAF) && wait_is_interrupted(self) ? EINTR : hold_again(r);
    return mutex_acquire(&r->mutex, call, flags, deadline_ns);
}

int vthread_lock_lock(vthread_lock_t *lock)
{
    struct reentrant *r = reentrant_of(lock);
    struct thread *self = thread_mounted();

    if (LIKELY(self != NULL) && LIKELY(lock_try_first(r, self)))
        return 0;
    return lock_acquire_reentrant(lock, "vthread_lock_lock", WORD_DEAF, VTHREAD_FOREVER);
}

int vthread_lock_trylock(vthread_lock_t *lock)
{
    struct reentrant *r = reentrant_of(lock);
    int error;
    struct thread *self = thread_self(&error);

    if (self == NULL)
        return error;
    if (mutex_is_owner(&r->mutex, self))
        return hold_again(r);
    if (!mutex_try_slow(&r->mutex, self))
        return EBUSY;
    lock_is_held(self, r);
    return 0;
}

int vthread_lock_lock_interruptible(vthread_lock_t *lock)
{
    return lock_acquire_reentrant(lock, "vthread_lock_lock_interruptible", 0, VTHREAD_FOREVER);
}

int vthread_lock_lock_until(vthread_lock_t *lock, int64_t deadline_ns)
{
    return lock_acquire_reentrant(lock, "vthread_lock_lock_until", 0, deadline_ns);
}

int vthread_lock_unlock(vthread_lock_t *lock)
{
    struct reentrant *r = reentrant_of(lock);
    struct thread *self = owner_self(r);

    if (UNLIKELY(self == NULL))
        return mutex_refuse_release(&r->mutex, "vthread_lock_unlock");
    if (r->again > 0) {
        r->again--;
    } else {
        lock_is_let_go(self, r);
        mutex_release(&r->mutex, self);
    }
    return 0;
}

bool vthread_lock_is_held(vthread_lock_t *lock)
{
    return owner_self(reentrant_of(lock)) != NULL;
}

uint32_t vthread_lock_hold_count(vthread_lock_t *lock)
{
    return owner_self(reentrant_of(lock)) != NULL ? reentrant_of(lock)->again + 1 : 0;
}

vthread_t vthread_lock_owner(vthread_lock_t *lock)
{
    uint32_t owner = atomic_load_relaxed(&reentrant_of(lock)->mutex.word) & MUTEX_OWNER;

    return owner != 0 ? thread_handle(&thread_table[owner]) : NULL;
}

/* ---- for conditions ---- */

void lock_release_wholly(vthread_lock_t *lock, struct thread *self, uint32_t *ret_again)
{
    struct reentrant *r = reentrant_of(lock);

    *ret_again = r->again;
    r->again = 0;
    lock_is_let_go(self, r);
    mutex_release(&r->mutex, self);
}

void lock_acquire_wholly(vthread_lock_t *lock, uint32_t again)
{
    mutex_acquire(&reentrant_of(lock)->mutex, "vthread_cond_wait_lock", WORD_DEAF, VTHREAD_FOREVER);
    reentrant_of(lock)->again = again;
}
