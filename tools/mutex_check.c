/* SPDX-License-Identifier: MIT */
/*
 * To be loaded before a program: counts the pthread mutexes that each OS thread holds, so that libvthread sees
 * which virtual threads wait while they hold one.
 *
 *     LD_PRELOAD=libvthread-mutex-check.so VTHREAD_CHECK_MUTEXES=1 VTHREAD_TRACE_PINNED=full PROGRAM
 *
 * Sees calls of pthread_mutex_lock, _trylock, _timedlock, _clocklock and _unlock from everywhere but the C library
 * itself, whose own locks (of stdio, say) are not called by these names.  Not rwlocks, spin locks and semaphores.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <time.h>

enum { HELD_MAX = 64 };

/* Nothing here switches stacks, so the address is good as long as it is used. */
static _Thread_local struct {
    unsigned count;
    pthread_mutex_t *mutexes[HELD_MAX];
} held;

typedef int lock_fn(pthread_mutex_t *mutex);
typedef int timed_fn(pthread_mutex_t *mutex, const struct timespec *until);
typedef int clock_fn(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until);

/* Whoever looks finds the same. */
#define REAL(type, name)                                                                                               \
    ({                                                                                                                 \
        static type *found;                                                                                            \
        type *real = __atomic_load_n(&found, __ATOMIC_RELAXED);                                                        \
        if (real == NULL) {                                                                                            \
            *(void **)&real = dlsym(RTLD_NEXT, name);                                                                  \
            __atomic_store_n(&found, real, __ATOMIC_RELAXED);                                                          \
        }                                                                                                              \
        real;                                                                                                          \
    })

static int locked(pthread_mutex_t *mutex, int error)
{
    if ((error == 0 || error == EOWNERDEAD) && held.count < HELD_MAX)
        held.mutexes[held.count++] = mutex;
    return error;
}

static void unlocked(const pthread_mutex_t *mutex)
{
    unsigned i = held.count;

    while (i > 0 && held.mutexes[i - 1] != mutex)
        i--;
    if (i == 0)
        return; /* locked on another OS thread: the very mistake */
    for (held.count--; i - 1 < held.count; i++)
        held.mutexes[i - 1] = held.mutexes[i];
}

__attribute__((visibility("default"))) const void *vthread_os_mutex_held(void);

const void *vthread_os_mutex_held(void)
{
    return held.count > 0 ? held.mutexes[held.count - 1] : NULL;
}

__attribute__((visibility("default"))) int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    return locked(mutex, REAL(lock_fn, "pthread_mutex_lock")(mutex));
}

__attribute__((visibility("default"))) int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    return locked(mutex, REAL(lock_fn, "pthread_mutex_trylock")(mutex));
}

__attribute__((visibility("default"))) int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until)
{
    return locked(mutex, REAL(timed_fn, "pthread_mutex_timedlock")(mutex, until));
}

__attribute__((visibility("default"))) int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
                                                                   const struct timespec *until)
{
    return locked(mutex, REAL(clock_fn, "pthread_mutex_clocklock")(mutex, clock, until));
}

__attribute__((visibility("default"))) int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    int error = REAL(lock_fn, "pthread_mutex_unlock")(mutex);

    if (error == 0)
        unlocked(mutex);
    return error;
}
