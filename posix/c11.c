/* SPDX-License-Identifier: MIT */
/*
 * C11's names for mutexes, conditions and call_once, which in this C library are those of pthreads: the same objects
 * under other types, and never seen by the hooks of pthreads. (Keys are in posix/key.c.)
 */
#include <errno.h>
#include <threads.h>

#include "posix/line.h"
#include "posix/lock.h"

static int thrd_of(int error)
{
    switch (error) {
    case 0:
        return thrd_success;
    case EBUSY:
        return thrd_busy;
    case ETIMEDOUT:
        return thrd_timedout;
    case ENOMEM:
        return thrd_nomem;
    default:
        return thrd_error;
    }
}

static pthread_mutex_t *mutex_of(mtx_t *mutex)
{
    return (pthread_mutex_t *)(void *)mutex;
}

static pthread_cond_t *condition_of(cnd_t *condition)
{
    return (pthread_cond_t *)(void *)condition;
}

HOOK int mtx_lock(mtx_t *mutex)
{
    return IS_VIRTUAL() ? thrd_of(lock_mutex(mutex_of(mutex), VTHREAD_FOREVER)) : REAL(mtx_lock)(mutex);
}

HOOK int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? thrd_of(lock_mutex(mutex_of(mutex), lock_deadline_of(CLOCK_REALTIME, until)))
                        : REAL(mtx_timedlock)(mutex, until);
}

HOOK int mtx_trylock(mtx_t *mutex)
{
    if (!IS_VIRTUAL())
        return REAL(mtx_trylock)(mutex);
    return thrd_of(lock_taken(mutex_of(mutex), REAL(pthread_mutex_trylock)(mutex_of(mutex))));
}

HOOK int mtx_unlock(mtx_t *mutex)
{
    return thrd_of(lock_release(mutex_of(mutex)));
}

HOOK int cnd_wait(cnd_t *condition, mtx_t *mutex)
{
    return IS_VIRTUAL() ? thrd_of(lock_wait(condition_of(condition), mutex_of(mutex), VTHREAD_FOREVER))
                        : REAL(cnd_wait)(condition, mutex);
}

HOOK int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until)
{
    if (!IS_VIRTUAL())
        return REAL(cnd_timedwait)(condition, mutex, until);
    if (!lock_is_time(CLOCK_REALTIME, until))
        return thrd_error;
    return thrd_of(lock_wait(condition_of(condition), mutex_of(mutex), lock_deadline_of(CLOCK_REALTIME, until)));
}

HOOK int cnd_signal(cnd_t *condition)
{
    line_wake(condition, false);
    return REAL(cnd_signal)(condition);
}

HOOK int cnd_broadcast(cnd_t *condition)
{
    line_wake(condition, true);
    return REAL(cnd_broadcast)(condition);
}

HOOK void call_once(once_flag *flag, void (*fn)(void))
{
    if (IS_VIRTUAL())
        lock_once((pthread_once_t *)(void *)flag, fn);
    else
        REAL(call_once)(flag, fn);
}
