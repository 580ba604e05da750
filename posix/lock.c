/* SPDX-License-Identifier: MIT */
/*
 * Locks of the C library, whose owner is an OS thread.
 *
 * A virtual thread that holds one is pinned until it lets go: it would come back on an OS thread that does not own
 * the lock, and meanwhile the next thread on its carrier would pass for the owner.  What an OS thread holds is
 * noted in a thread-local variable, for as long as it is more than nothing the OS thread is the virtual
 * thread's alone.
 *
 * One that is taken is waited for apart from the stack: its owner may be a stack-mate.
 */
#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include "posix/apart.h"

enum { HELD_MAX = 64 };

/* Of the virtual thread `owner`; out of date if another asks. */
static _Thread_local struct {
    vthread_t owner;
    unsigned count;
    const void *locks[HELD_MAX];
} held;

/* None of these waits, and none is inlined: the variable's address is used before anything else happens. */

static NOINLINE void hold(const void *lock)
{
    vthread_t self = vthread_self_virtual();

    if (held.owner != self) {
        held.owner = self;
        held.count = 0; /* it has ended, and its pins with it */
    }
    if (held.count == HELD_MAX || (held.count == 0 && vthread_pin("an OS lock is held") != 0))
        return;
    held.locks[held.count++] = lock;
}

static NOINLINE void let_go(const void *lock)
{
    unsigned i = held.count;

    if (held.owner != vthread_self_virtual())
        return;
    while (i > 0 && held.locks[i - 1] != lock)
        i--;
    if (i == 0)
        return; /* somebody else's, or one more than we can count */
    for (held.count--; i - 1 < held.count; i++)
        held.locks[i - 1] = held.locks[i];
    if (held.count == 0)
        vthread_unpin();
}

/* ---- mutexes ---- */

static int locked(pthread_mutex_t *mutex, int error)
{
    if (error == 0 || error == EOWNERDEAD)
        hold(mutex);
    return error;
}

struct waiting {
    pthread_mutex_t *mutex;
    pthread_cond_t *condition;
    clockid_t clock;
    enum { BY_ANY, BY_TIME, BY_CLOCK } limit;
    struct timespec until;
    int error;
};

static void wait_apart(void *(*fn)(void *waiting), struct waiting *w)
{
    if (apart_is_near(w->mutex) || apart_is_near(w->condition))
        apart_call_here(fn, w);
    else
        apart_call(fn, w, sizeof *w);
}

static void *lock_blocking(void *arg)
{
    struct waiting *w = arg;

    switch (w->limit) {
    case BY_ANY:
        w->error = REAL(pthread_mutex_lock)(w->mutex);
        break;
    case BY_TIME:
        w->error = REAL(pthread_mutex_timedlock)(w->mutex, &w->until);
        break;
    case BY_CLOCK:
        w->error = REAL(pthread_mutex_clocklock)(w->mutex, w->clock, &w->until);
        break;
    }
    return NULL;
}

static int lock(struct waiting w)
{
    w.error = REAL(pthread_mutex_trylock)(w.mutex);
    if (w.error == EBUSY)
        wait_apart(lock_blocking, &w);
    return locked(w.mutex, w.error);
}

HOOK int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    return IS_VIRTUAL() ? lock((struct waiting){.mutex = mutex}) : REAL(pthread_mutex_lock)(mutex);
}

HOOK int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    int error = REAL(pthread_mutex_trylock)(mutex);

    return IS_VIRTUAL() ? locked(mutex, error) : error;
}

HOOK int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    if (!IS_VIRTUAL())
        return REAL(pthread_mutex_timedlock)(mutex, until);
    return lock((struct waiting){.mutex = mutex, .limit = BY_TIME, .until = *until});
}

HOOK int pthread_mutex_clocklock(pthread_mutex_t *restrict mutex, clockid_t clock,
                                 const struct timespec *restrict until)
{
    if (!IS_VIRTUAL())
        return REAL(pthread_mutex_clocklock)(mutex, clock, until);
    return lock((struct waiting){.mutex = mutex, .limit = BY_CLOCK, .clock = clock, .until = *until});
}

HOOK int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    int error = REAL(pthread_mutex_unlock)(mutex);

    if (error == 0 && IS_VIRTUAL())
        let_go(mutex);
    return error;
}

/* ---- conditions: the mutex is held before and after, so the pin stays ---- */

static void *condition_blocking(void *arg)
{
    struct waiting *w = arg;

    switch (w->limit) {
    case BY_ANY:
        w->error = REAL(pthread_cond_wait)(w->condition, w->mutex);
        break;
    case BY_TIME:
        w->error = REAL(pthread_cond_timedwait)(w->condition, w->mutex, &w->until);
        break;
    case BY_CLOCK:
        w->error = REAL(pthread_cond_clockwait)(w->condition, w->mutex, w->clock, &w->until);
        break;
    }
    return NULL;
}

static int wait_for(struct waiting w)
{
    wait_apart(condition_blocking, &w);
    return w.error;
}

HOOK int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex)
{
    return IS_VIRTUAL() ? wait_for((struct waiting){.mutex = mutex, .condition = condition})
                        : REAL(pthread_cond_wait)(condition, mutex);
}

HOOK int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                                const struct timespec *restrict until)
{
    if (!IS_VIRTUAL())
        return REAL(pthread_cond_timedwait)(condition, mutex, until);
    return wait_for((struct waiting){.mutex = mutex, .condition = condition, .limit = BY_TIME, .until = *until});
}

HOOK int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
                                const struct timespec *restrict until)
{
    if (!IS_VIRTUAL())
        return REAL(pthread_cond_clockwait)(condition, mutex, clock, until);
    return wait_for(
        (struct waiting){.mutex = mutex, .condition = condition, .limit = BY_CLOCK, .clock = clock, .until = *until});
}

/* ---- others: nobody is pinned for these, who may be let go by anybody, but they are waited for in the same way ----
 */

static void *read_lock_blocking(void *arg)
{
    return (void *)(intptr_t)REAL(pthread_rwlock_rdlock)(arg);
}

static void *write_lock_blocking(void *arg)
{
    return (void *)(intptr_t)REAL(pthread_rwlock_wrlock)(arg);
}

static void *semaphore_blocking(void *arg)
{
    return (void *)(intptr_t)RESULT(REAL(sem_wait)(arg));
}

static void *barrier_blocking(void *arg)
{
    return (void *)(intptr_t)REAL(pthread_barrier_wait)(arg);
}

/* An argument in the thread's own stack keeps that. */
static int call_apart(void *(*fn)(void *object), void *object)
{
    return (int)(intptr_t)vthread_blocking_call_apart(fn, object);
}

HOOK int pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    int error;

    if (!IS_VIRTUAL())
        return REAL(pthread_rwlock_rdlock)(lock);
    error = REAL(pthread_rwlock_tryrdlock)(lock);
    return error == EBUSY ? call_apart(read_lock_blocking, lock) : error;
}

HOOK int pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    int error;

    if (!IS_VIRTUAL())
        return REAL(pthread_rwlock_wrlock)(lock);
    error = REAL(pthread_rwlock_trywrlock)(lock);
    return error == EBUSY ? call_apart(write_lock_blocking, lock) : error;
}

HOOK int sem_wait(sem_t *semaphore)
{
    if (!IS_VIRTUAL())
        return REAL(sem_wait)(semaphore);
    if (REAL(sem_trywait)(semaphore) == 0)
        return 0;
    return (int)posix_result(call_apart(semaphore_blocking, semaphore));
}

HOOK int pthread_barrier_wait(pthread_barrier_t *barrier)
{
    return IS_VIRTUAL() ? call_apart(barrier_blocking, barrier) : REAL(pthread_barrier_wait)(barrier);
}

/*
 * Whoever calls it second blocks its OS thread until the first is through, who must not be among those that would
 * go on on that very OS thread.
 */
HOOK int pthread_once(pthread_once_t *once, void (*fn)(void))
{
    bool pinned = IS_VIRTUAL() && vthread_pin("pthread_once") == 0;
    int error = REAL(pthread_once)(once, fn);

    if (pinned)
        vthread_unpin();
    return error;
}

/* ---- stdio ---- */

static void *flockfile_blocking(void *arg)
{
    REAL(flockfile)(arg);
    return NULL;
}

HOOK void flockfile(FILE *file)
{
    if (!IS_VIRTUAL()) {
        REAL(flockfile)(file);
        return;
    }
    if (REAL(ftrylockfile)(file) != 0)
        call_apart(flockfile_blocking, file);
    hold(file);
}

HOOK int ftrylockfile(FILE *file)
{
    int error = REAL(ftrylockfile)(file);

    if (error == 0 && IS_VIRTUAL())
        hold(file);
    return error;
}

HOOK void funlockfile(FILE *file)
{
    REAL(funlockfile)(file);
    if (IS_VIRTUAL())
        let_go(file);
}

/* ---- the signal mask ---- */

/* The carrier's mask before the virtual thread that is pinned by it (mask.owner) changed it. */
static _Thread_local struct {
    vthread_t owner;
    sigset_t before;
} mask;

static NOINLINE int set_mask(int how, const sigset_t *set, sigset_t *ret_old)
{
    vthread_t self = vthread_self_virtual();
    sigset_t old;
    sigset_t now;
    int error;

    /* The kernel's sets are shorter, and are compared as they are. */
    memset(&old, 0, sizeof old);
    memset(&now, 0, sizeof now);
    error = REAL(pthread_sigmask)(how, set, &old);
    if (error != 0)
        return error;
    if (ret_old != NULL)
        *ret_old = old;
    REAL(pthread_sigmask)(SIG_SETMASK, NULL, &now);
    if (mask.owner != self) {
        if (memcmp(&old, &now, sizeof now) != 0 && vthread_pin("the signal mask is changed") == 0) {
            mask.owner = self;
            mask.before = old;
        }
    } else if (memcmp(&mask.before, &now, sizeof now) == 0) {
        mask.owner = NULL;
        vthread_unpin();
    }
    return 0;
}

HOOK int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    return IS_VIRTUAL() && set != NULL ? set_mask(how, set, old) : REAL(pthread_sigmask)(how, set, old);
}

HOOK int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    int error;

    if (!IS_VIRTUAL() || set == NULL)
        return REAL(sigprocmask)(how, set, old);
    error = set_mask(how, set, old);
    return error != 0 ? posix_fail(error) : 0;
}
