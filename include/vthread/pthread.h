/* SPDX-License-Identifier: MIT */
/*
 * What a pthreads program still needs after pthread_ has become vthread_ in it.
 *
 *     sed -E -f tools/from-pthreads.sed program.c > ported.c
 *
 * This replaces the names and <pthread.h>; docs/from-pthreads.md has the table of what stays the
 * same, and what a person must look at.  All here is inline: there is nothing new to link with.
 *
 * The same as in pthreads, unless said otherwise:
 *   - results are 0 or a positive error; calls of sem_ too, which in POSIX set errno;
 *   - a struct timespec is an absolute time, on CLOCK_REALTIME unless the name or the
 *     attributes say CLOCK_MONOTONIC.  It becomes a deadline when the call begins: setting the clock
 *     of the system later does not move it.
 *
 * Different, and not to be seen by a compiler:
 *   - calls with a deadline, cond_wait and sem_wait return EINTR when the thread is interrupted
 *     (vthread_interrupt), which nothing does but the program, and vthread_runtime_shutdown.
 *   - A thread's stack is private (<vthread/vthread.h>), main's is not.  A program whose threads
 *     hand each other pointers to locals is run with VTHREAD_STACK=dedicated.
 *
 * Not here, and so not to be compiled: pthread_cancel, pthread_kill and pthread_cleanup_push
 * (interrupt the thread, and let it return), pthread_key_ (<vthread/local.h>), robust and process-shared
 * objects, priorities.  What only asks for these gives ENOTSUP.
 *
 * Recursive mutexes.  A vthread_mutex_t is none: vthread_mutex_init says so, with EINVAL.  Either make
 * those a vthread_lock_t; or define VTHREAD_RECURSIVE_MUTEXES before this header is first
 * included, in all files that share mutexes: then a vthread_mutex_t *is* a vthread_lock_t, recursive
 * whatever its type says, and so are those that the calls for conditions take.
 */
#ifndef VTHREAD_PTHREAD_H
#define VTHREAD_PTHREAD_H

#include <errno.h>
#include <string.h>
#include <time.h>

#include <vthread/sync.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- names for the same ---- */

#define VTHREAD_ONCE_INIT VTHREAD_ONCE_INITIALIZER

enum {
    VTHREAD_CREATE_JOINABLE = 0,
    VTHREAD_CREATE_DETACHED = 1,
    VTHREAD_PROCESS_PRIVATE = 0,
    VTHREAD_PROCESS_SHARED = 1,
    VTHREAD_SCOPE_SYSTEM = 0,
    VTHREAD_SCOPE_PROCESS = 1,
    VTHREAD_INHERIT_SCHED = 0,
    VTHREAD_EXPLICIT_SCHED = 1,
    VTHREAD_PRIO_NONE = 0,
    VTHREAD_MUTEX_STALLED = 0,
    VTHREAD_BARRIER_SERIAL_THREAD = -1,
};

#ifdef VTHREAD_RECURSIVE_MUTEXES
#define VTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP VTHREAD_LOCK_INITIALIZER
#undef VTHREAD_MUTEX_INITIALIZER
#define VTHREAD_MUTEX_INITIALIZER VTHREAD_LOCK_INITIALIZER
#define vthread_mutex_t vthread_lock_t
#define vthread_mutex_init(mutex, attr) vthread_lock_init(mutex, vthread_mutexattr_to_params(attr))
#define vthread_mutex_destroy vthread_lock_destroy
#define vthread_mutex_lock vthread_lock_lock
#define vthread_mutex_trylock vthread_lock_trylock
#define vthread_mutex_lock_interruptible vthread_lock_lock_interruptible
#define vthread_mutex_lock_until vthread_lock_lock_until
#define vthread_mutex_unlock vthread_lock_unlock
#define vthread_cond_wait vthread_cond_wait_lock
#define vthread_cond_wait_until vthread_cond_wait_lock_until

static inline const vthread_lock_params_t *vthread_mutexattr_to_params(const vthread_mutexattr_t *attr)
{
    (void)attr; /* of any type */
    return NULL;
}
#endif

/* ---- time ---- */

/* Is it a time, and a clock that one can wait by? */
static inline bool vthread_timespec_is_valid(int clock, const struct timespec *ts)
{
    return ts != NULL && ts->tv_nsec >= 0 && ts->tv_nsec < 1000000000 && (clock == 0 || clock == 1);
}

/*
 * The deadline at an absolute time.  clock: CLOCK_REALTIME or CLOCK_MONOTONIC.  Saturates; what
 * is no valid time, or on another clock, has passed (VTHREAD_NOW).
 */
static inline int64_t vthread_until_timespec(int clock, const struct timespec *ts)
{
    struct timespec now = {0, 0};
    int64_t seconds, ns;

    if (!vthread_timespec_is_valid(clock, ts))
        return VTHREAD_NOW;
    seconds = ts->tv_sec;
    ns = ts->tv_nsec;
    if (clock == 0) { /* CLOCK_REALTIME, whose name a strictly conforming C11 program does not see */
        timespec_get(&now, TIME_UTC);
        ns -= now.tv_nsec;
        if (seconds < 0)
            return VTHREAD_NOW;
        seconds -= now.tv_sec;
    }
    if (seconds >= INT64_MAX / 1000000000)
        return VTHREAD_FOREVER;
    if (seconds <= -(INT64_MAX / 1000000000))
        return VTHREAD_NOW;
    ns += seconds * 1000000000;
    return clock == 0 ? vthread_after_ns(ns) : ns;
}

/* ---- threads ---- */

static inline int vthread_attr_init(vthread_attr_t *attr)
{
    memset(attr, 0, sizeof *attr);
    return 0;
}

static inline int vthread_attr_destroy(vthread_attr_t *attr)
{
    (void)attr;
    return 0;
}

static inline int vthread_attr_setdetachstate(vthread_attr_t *attr, int state)
{
    if (state != VTHREAD_CREATE_JOINABLE && state != VTHREAD_CREATE_DETACHED)
        return EINVAL;
    attr->detached = state == VTHREAD_CREATE_DETACHED;
    return 0;
}

static inline int vthread_attr_getdetachstate(const vthread_attr_t *attr, int *ret_state)
{
    *ret_state = attr->detached ? VTHREAD_CREATE_DETACHED : VTHREAD_CREATE_JOINABLE;
    return 0;
}

/*
 * Shared stacks have 1 MiB (VTHREAD_STACK_BYTES) and cost what is in use: for less than that
 * there is nothing to do.  For more the thread gets a dedicated stack of that size.
 */
#define VTHREAD_SHARED_STACK_BYTES ((size_t)1 << 20)

static inline int vthread_attr_setstacksize(vthread_attr_t *attr, size_t bytes)
{
    if (bytes < 16384) /* PTHREAD_STACK_MIN */
        return EINVAL;
    if (bytes > VTHREAD_SHARED_STACK_BYTES)
        attr->stack = VTHREAD_STACK_DEDICATED;
    attr->stack_bytes = attr->stack == VTHREAD_STACK_DEDICATED ? bytes : 0;
    return 0;
}

static inline int vthread_attr_getstacksize(const vthread_attr_t *attr, size_t *ret_bytes)
{
    *ret_bytes = attr->stack_bytes != 0 ? attr->stack_bytes : VTHREAD_SHARED_STACK_BYTES;
    return 0;
}

/* Every stack has a guard; its size is not for you to choose. */
static inline int vthread_attr_setguardsize(vthread_attr_t *attr, size_t bytes)
{
    (void)attr;
    (void)bytes;
    return 0;
}

/* Memory for the stack cannot be brought along. */
static inline int vthread_attr_setstack(vthread_attr_t *attr, void *address, size_t bytes)
{
    (void)attr;
    (void)address;
    (void)bytes;
    return ENOTSUP;
}

/* Virtual threads compete among themselves, without priorities.  SYSTEM, which Linux has only, is let through. */
static inline int vthread_attr_setscope(vthread_attr_t *attr, int scope)
{
    (void)attr;
    return scope == VTHREAD_SCOPE_SYSTEM || scope == VTHREAD_SCOPE_PROCESS ? 0 : EINVAL;
}

static inline int vthread_attr_setinheritsched(vthread_attr_t *attr, int inherit)
{
    (void)attr;
    return inherit == VTHREAD_INHERIT_SCHED ? 0 : ENOTSUP;
}

/* policy: SCHED_OTHER, which is 0. */
static inline int vthread_attr_setschedpolicy(vthread_attr_t *attr, int policy)
{
    (void)attr;
    return policy == 0 ? 0 : ENOTSUP;
}

static inline int vthread_setname_np(vthread_t thread, const char *name)
{
    return vthread_setname(thread, name);
}

static inline int vthread_getname_np(vthread_t thread, char *buffer, size_t size)
{
    return vthread_name(thread, buffer, size);
}

static inline int vthread_timedjoin_np(vthread_t thread, void **ret_value, const struct timespec *ts)
{
    return vthread_timespec_is_valid(0, ts) ? vthread_join_until(thread, ret_value, vthread_until_timespec(0, ts))
                                            : EINVAL;
}

/* EBUSY: it has not ended. */
static inline int vthread_tryjoin_np(vthread_t thread, void **ret_value)
{
    int error = vthread_join_until(thread, ret_value, VTHREAD_NOW);

    return error == ETIMEDOUT ? EBUSY : error;
}

/* ---- mutexes ---- */

static inline int vthread_mutexattr_init(vthread_mutexattr_t *attr)
{
    memset(attr, 0, sizeof *attr);
    return 0;
}

static inline int vthread_mutexattr_destroy(vthread_mutexattr_t *attr)
{
    (void)attr;
    return 0;
}

/* VTHREAD_MUTEX_RECURSIVE is refused by vthread_mutex_init, unless mutexes are reentrant locks: see above. */
static inline int vthread_mutexattr_settype(vthread_mutexattr_t *attr, int type)
{
    if (type < VTHREAD_MUTEX_NORMAL || type > VTHREAD_MUTEX_ERRORCHECK)
        return EINVAL;
    attr->type = (uintptr_t)type;
    return 0;
}

static inline int vthread_mutexattr_gettype(const vthread_mutexattr_t *attr, int *ret_type)
{
    *ret_type = (int)attr->type;
    return 0;
}

static inline int vthread_mutexattr_setpshared(vthread_mutexattr_t *attr, int pshared)
{
    (void)attr;
    return pshared == VTHREAD_PROCESS_PRIVATE ? 0 : ENOTSUP;
}

static inline int vthread_mutexattr_setprotocol(vthread_mutexattr_t *attr, int protocol)
{
    (void)attr;
    return protocol == VTHREAD_PRIO_NONE ? 0 : ENOTSUP;
}

static inline int vthread_mutexattr_setrobust(vthread_mutexattr_t *attr, int robust)
{
    (void)attr;
    return robust == VTHREAD_MUTEX_STALLED ? 0 : ENOTSUP;
}

static inline int vthread_mutex_clocklock(vthread_mutex_t *mutex, int clock, const struct timespec *ts)
{
    return vthread_timespec_is_valid(clock, ts) ? vthread_mutex_lock_until(mutex, vthread_until_timespec(clock, ts))
                                                : EINVAL;
}

static inline int vthread_mutex_timedlock(vthread_mutex_t *mutex, const struct timespec *ts)
{
    return vthread_mutex_clocklock(mutex, 0, ts);
}

/* Spinning beside threads that one's own carrier is to run would be in vain: a spin lock is a mutex. */
typedef vthread_mutex_t vthread_spinlock_t;

static inline int vthread_spin_init(vthread_spinlock_t *spin, int pshared)
{
    return pshared == VTHREAD_PROCESS_PRIVATE ? vthread_mutex_init(spin, NULL) : ENOTSUP;
}

static inline int vthread_spin_destroy(vthread_spinlock_t *spin)
{
    return vthread_mutex_destroy(spin);
}

static inline int vthread_spin_lock(vthread_spinlock_t *spin)
{
    return vthread_mutex_lock(spin);
}

static inline int vthread_spin_trylock(vthread_spinlock_t *spin)
{
    return vthread_mutex_trylock(spin);
}

static inline int vthread_spin_unlock(vthread_spinlock_t *spin)
{
    return vthread_mutex_unlock(spin);
}

/* ---- conditions ---- */

static inline int vthread_condattr_init(vthread_condattr_t *attr)
{
    memset(attr, 0, sizeof *attr);
    return 0;
}

static inline int vthread_condattr_destroy(vthread_condattr_t *attr)
{
    (void)attr;
    return 0;
}

static inline int vthread_condattr_setclock(vthread_condattr_t *attr, int clock)
{
    if (clock != 0 && clock != 1)
        return EINVAL;
    attr->clock = (uintptr_t)clock;
    return 0;
}

static inline int vthread_condattr_setpshared(vthread_condattr_t *attr, int pshared)
{
    (void)attr;
    return pshared == VTHREAD_PROCESS_PRIVATE ? 0 : ENOTSUP;
}

static inline int vthread_cond_clockwait(vthread_cond_t *cond, vthread_mutex_t *mutex, int clock,
                                         const struct timespec *ts)
{
    return vthread_timespec_is_valid(clock, ts)
               ? vthread_cond_wait_until(cond, mutex, vthread_until_timespec(clock, ts))
               : EINVAL;
}

/* By the clock of the condition's attributes. */
static inline int vthread_cond_timedwait(vthread_cond_t *cond, vthread_mutex_t *mutex, const struct timespec *ts)
{
    return vthread_cond_clockwait(cond, mutex, (int)cond->opaque[2], ts);
}

/* ---- readers and a writer ---- */

static inline int vthread_rwlockattr_init(vthread_rwlockattr_t *attr)
{
    memset(attr, 0, sizeof *attr);
    return 0;
}

static inline int vthread_rwlockattr_destroy(vthread_rwlockattr_t *attr)
{
    (void)attr;
    return 0;
}

static inline int vthread_rwlockattr_setpshared(vthread_rwlockattr_t *attr, int pshared)
{
    (void)attr;
    return pshared == VTHREAD_PROCESS_PRIVATE ? 0 : ENOTSUP;
}

static inline int vthread_rwlock_clockrdlock(vthread_rwlock_t *rwlock, int clock, const struct timespec *ts)
{
    return vthread_timespec_is_valid(clock, ts) ? vthread_rwlock_rdlock_until(rwlock, vthread_until_timespec(clock, ts))
                                                : EINVAL;
}

static inline int vthread_rwlock_clockwrlock(vthread_rwlock_t *rwlock, int clock, const struct timespec *ts)
{
    return vthread_timespec_is_valid(clock, ts) ? vthread_rwlock_wrlock_until(rwlock, vthread_until_timespec(clock, ts))
                                                : EINVAL;
}

static inline int vthread_rwlock_timedrdlock(vthread_rwlock_t *rwlock, const struct timespec *ts)
{
    return vthread_rwlock_clockrdlock(rwlock, 0, ts);
}

static inline int vthread_rwlock_timedwrlock(vthread_rwlock_t *rwlock, const struct timespec *ts)
{
    return vthread_rwlock_clockwrlock(rwlock, 0, ts);
}

/* ---- barriers ---- */

/*
 * pthread_barrier_wait: VTHREAD_BARRIER_SERIAL_THREAD for one of them (the last to come), 0 for the
 * others, or an error.  (vthread_barrier_wait itself returns the arrival index.)  Attributes there are none:
 * vthread_barrier_init takes the number alone.
 */
static inline int vthread_barrier_wait_serial(vthread_barrier_t *barrier)
{
    int index = vthread_barrier_wait(barrier);

    if (index < 0)
        return -index;
    return index == 0 ? VTHREAD_BARRIER_SERIAL_THREAD : 0;
}

/* ---- POSIX semaphores: errors are returned; sem_init(&s, 0, n) is vthread_sem_init(&s, n, NULL) ---- */

static inline int vthread_sem_wait(vthread_sem_t *sem)
{
    return vthread_sem_acquire(sem, 1);
}

static inline int vthread_sem_trywait(vthread_sem_t *sem)
{
    return vthread_sem_tryacquire(sem, 1);
}

static inline int vthread_sem_timedwait(vthread_sem_t *sem, const struct timespec *ts)
{
    return vthread_timespec_is_valid(0, ts) ? vthread_sem_acquire_until(sem, 1, vthread_until_timespec(0, ts)) : EINVAL;
}

static inline int vthread_sem_post(vthread_sem_t *sem)
{
    return vthread_sem_release(sem, 1);
}

static inline int vthread_sem_getvalue(vthread_sem_t *sem, int *ret_value)
{
    *ret_value = vthread_sem_available(sem);
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif
