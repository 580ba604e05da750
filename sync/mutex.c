/* SPDX-License-Identifier: MIT */
#include "sync/mutex.h"

#include <errno.h>

#include "base/clock.h"
#include "base/panic.h"
#include "sync/sync_internal.h"

enum {
    HAND_OVER_NS = 1000 * 1000,
    SPINS = 20, /* looks at an owner that is running, before queueing up */
};

/* With the queue's lock. */
static void change_flags_locked(struct mutex *m, uint32_t set, uint32_t clear)
{
    atomic_store_relaxed(&m->flags, (atomic_load_relaxed(&m->flags) & ~clear) | set);
}

void mutex_hand_over(struct mutex *m)
{
    struct granted granted = {NULL, 0};

    lock_acquire(&m->queue.lock);
    if (!wait_queue_is_empty(&m->queue))
        granted = wait_queue_grant(&m->queue, wait_queue_first(&m->queue));
    change_flags_locked(m, 0, MUTEX_HAND_OVER);
    /* release: pairs with the acquire of the next owner, be it by a CAS or by looking who it is. */
    atomic_store_release(&m->owner, granted.thread != NULL ? thread_index(granted.thread) : 0);
    lock_release(&m->queue.lock);
    wait_queue_wake(granted);
}

void mutex_wake_next(struct mutex *m)
{
    struct granted granted = {NULL, 0};

    lock_acquire(&m->queue.lock);
    /* If somebody has come along meanwhile, it is for his release to wake the next. */
    if (!wait_queue_is_empty(&m->queue) && !(atomic_load_relaxed(&m->flags) & MUTEX_WOKEN) &&
        atomic_load_relaxed(&m->owner) == 0) {
        change_flags_locked(m, MUTEX_WOKEN, 0);
        granted = wait_queue_grant(&m->queue, wait_queue_first(&m->queue));
    }
    lock_release(&m->queue.lock);
    wait_queue_wake(granted);
}

static void clear_woken(struct mutex *m)
{
    lock_acquire(&m->queue.lock);
    change_flags_locked(m, 0, MUTEX_WOKEN);
    lock_release(&m->queue.lock);
}

/* Sections are short: an owner that is on a CPU will be through before we had left ours. */
static bool spin(struct mutex *m, struct thread *self)
{
    for (int i = 0; i < SPINS && atomic_load_relaxed(&pool.parallelism) > 1; i++) {
        uint32_t owner = atomic_load_relaxed(&m->owner);

        if (owner == 0) {
            if (mutex_try(m, self))
                return true;
        } else if (atomic_load_relaxed(&thread_table[owner].phase) != VTHREAD_RUNNING) {
            return false;
        }
        cpu_pause();
    }
    return false;
}

/* W1 */
static void queue_up(struct mutex *m, struct thread *self, bool woken, bool starving)
{
    lock_acquire(&m->queue.lock);
    if (woken) {
        wait_queue_prepend(&m->queue, self, 0);
        change_flags_locked(m, starving ? MUTEX_HAND_OVER : 0, MUTEX_WOKEN);
    } else {
        wait_queue_append(&m->queue, self, 0);
    }
    lock_release(&m->queue.lock);
}

/* It was free after all (W3). */
static void leave_queue(struct mutex *m, struct thread *self)
{
    lock_acquire(&m->queue.lock);
    if (wait_queue_withdraw(&m->queue, self))
        change_flags_locked(m, 0, MUTEX_WOKEN); /* we had been woken: that is what we are here for */
    lock_release(&m->queue.lock);
    thread_wait_cancel(self);
}

int mutex_acquire_slow(struct mutex *m, struct thread *self, uint64_t flags, int64_t deadline_ns)
{
    bool fair = atomic_load_relaxed(&m->flags) & MUTEX_FAIR;
    int64_t since_ns = 0;
    bool woken = false;

    for (;;) {
        int error;

        if (!fair && spin(m, self)) {
            if (woken)
                clear_woken(m);
            return 0;
        }
        if (since_ns == 0)
            since_ns = clock_monotonic_ns();
        queue_up(m, self, woken, woken && clock_monotonic_ns() - since_ns > HAND_OVER_NS);
        barrier_heavy(); /* W2 */
        if (mutex_try(m, self)) { /* W3 */
            leave_queue(m, self);
            return 0;
        }
        error = wait_queue_wait(&m->queue, self, m, flags, deadline_ns);
        if (error != 0)
            return error;
        /* acquire: pairs with the release of the one who has handed it over */
        if (atomic_load_acquire(&m->owner) == thread_index(self))
            return 0;
        woken = true;
        if (mutex_try(m, self)) {
            clear_woken(m);
            return 0;
        }
    }
}

/* ---- vthread_mutex_t ---- */

_Static_assert(sizeof(struct mutex) == sizeof(vthread_mutex_t), "what users embed");
_Static_assert(_Alignof(struct mutex) <= _Alignof(vthread_mutex_t), "what users embed");

static struct mutex *mutex_of(vthread_mutex_t *mutex)
{
    return (struct mutex *)(void *)mutex;
}

int vthread_mutex_init(vthread_mutex_t *mutex, const vthread_mutexattr_t *attr)
{
    if (mutex == NULL || (attr != NULL && !words_are_zero(attr->reserved, LENGTH_OF(attr->reserved))))
        return EINVAL;
    *mutex = (vthread_mutex_t)VTHREAD_MUTEX_INITIALIZER;
    return 0;
}

bool mutex_is_used(struct mutex *m)
{
    return atomic_load_relaxed(&m->owner) != 0 || !wait_queue_is_empty(&m->queue);
}

int vthread_mutex_destroy(vthread_mutex_t *mutex)
{
    return mutex_is_used(mutex_of(mutex)) ? EBUSY : 0;
}

int mutex_acquire(struct mutex *m, const char *call, uint64_t flags, int64_t deadline_ns)
{
    int error;
    struct thread *self = thread_self(&error);

    if (self != NULL && !(flags & WORD_DEAF) && wait_is_interrupted(self))
        return EINTR;
    if (self != NULL && mutex_try(m, self))
        return 0;
    if (self != NULL && mutex_is_owner(m, self)) {
        misuse(call, "the calling thread holds the lock (%p) already, and would wait for itself; unlock it first, or "
                     "use a vthread_lock_t, which may be locked again", (void *)m);
        return EDEADLK;
    }
    if (self != NULL)
        error = wait_refuse_private(call, m);
    if (error == 0)
        error = mutex_acquire_slow(m, self, flags, deadline_ns);
    if (UNLIKELY(error != 0) && (flags & WORD_DEAF) && deadline_ns == INT64_MAX)
        panic("a lock that must be waited for, and cannot be (vthread/sync.h): nobody would notice that it is not held");
    return error;
}

int vthread_mutex_lock(vthread_mutex_t *mutex)
{
    struct thread *self = thread_mounted();

    if (LIKELY(self != NULL) && LIKELY(mutex_try(mutex_of(mutex), self)))
        return 0;
    return mutex_acquire(mutex_of(mutex), "vthread_mutex_lock", WORD_DEAF, VTHREAD_FOREVER);
}

int vthread_mutex_trylock(vthread_mutex_t *mutex)
{
    int error;
    struct thread *self = thread_self(&error);

    if (self == NULL)
        return error;
    return mutex_try(mutex_of(mutex), self) ? 0 : EBUSY;
}

int vthread_mutex_lock_interruptible(vthread_mutex_t *mutex)
{
    return mutex_acquire(mutex_of(mutex), "vthread_mutex_lock_interruptible", 0, VTHREAD_FOREVER);
}

int vthread_mutex_lock_until(vthread_mutex_t *mutex, int64_t deadline_ns)
{
    return mutex_acquire(mutex_of(mutex), "vthread_mutex_lock_until", 0, deadline_ns);
}

COLD int mutex_refuse_release(struct mutex *m, const char *call)
{
    misuse(call, "the calling thread does not hold the lock (%p); only the thread that locked it may unlock it",
           (void *)m);
    return EPERM;
}

int vthread_mutex_unlock(vthread_mutex_t *mutex)
{
    struct mutex *m = mutex_of(mutex);
    struct thread *self = thread_mounted();

    if (UNLIKELY(self == NULL))
        self = thread_self(NULL);
    if (UNLIKELY(self == NULL) || UNLIKELY(!mutex_is_owner(m, self)))
        return mutex_refuse_release(m, "vthread_mutex_unlock");
    mutex_release(m);
    return 0;
}
