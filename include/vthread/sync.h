/* SPDX-License-Identifier: MIT */
/*
 * Locks, conditions, semaphores and the like, for virtual and platform threads alike.
 *
 *     #include <vthread/sync.h>
 *
 *     static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
 *     static vthread_cond_t changed = VTHREAD_COND_INITIALIZER;
 *     static int jobs;
 *
 *     void add_job(void)
 *     {
 *         vthread_mutex_lock(&mutex);
 *         jobs++;
 *         vthread_cond_signal(&changed);
 *         vthread_mutex_unlock(&mutex);
 *     }
 *
 *     int take_job(void)
 *     {
 *         int error = 0;
 *
 *         vthread_mutex_lock(&mutex);
 *         while (jobs == 0 && error == 0)
 *             error = vthread_cond_wait(&changed, &mutex);
 *         if (error == 0)
 *             jobs--;
 *         vthread_mutex_unlock(&mutex);
 *         return error;
 *     }
 *
 * All types are embeddable: all-zero bytes are a good initial state, the same as their
 * _INITIALIZER; _init takes what zeros cannot say; _destroy is optional, frees nothing,
 * and returns EBUSY while somebody waits or holds.  Blocking allocates nothing.
 *
 * Every call may be made from virtual and platform threads.  Those marked "may switch"
 * may return on another carrier, even if they did not have to wait.
 *
 * What ends a wait, besides what it waits for:
 *     EINTR      the thread was interrupted, before the call or in it; clears the flag
 *     ETIMEDOUT  the deadline passed (the calls ending in _until; VTHREAD_NOW only tries)
 *     EFAULT     the object lies in the stack of the calling virtual thread, of the SHARED
 *                kind: nobody could ever wake it.  Allocate it, or make it static
 *     EDEADLK    on a carrier's own stack (in a callback of the runtime)
 * Never interrupted, as in pthreads and the JDK: vthread_mutex_lock, vthread_lock_lock,
 * vthread_rwlock_rdlock and _wrlock, vthread_monitor_enter, vthread_once.  They have
 * nobody who would look at their result: where they cannot wait at all (EFAULT,
 * EDEADLK), they end the program with a message.
 */
#ifndef VTHREAD_SYNC_H
#define VTHREAD_SYNC_H

#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- mutex ---- */

/*
 * A lock with one owner, not reentrant.  16 bytes; 10 ns to lock and unlock.
 *
 * Released, it goes to whoever comes first; one who has waited for more than a
 * millisecond is handed it: nobody starves.
 */
typedef struct vthread_mutex {
    uint32_t opaque[4];
} vthread_mutex_t;

#define VTHREAD_MUTEX_INITIALIZER                                                                                      \
    {                                                                                                                  \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }

/* Words must be zero (EINVAL). */
typedef struct vthread_mutexattr {
    uintptr_t reserved[4];
} vthread_mutexattr_t;

/* attr may be NULL.  0 or EINVAL. */
VTHREAD_API int vthread_mutex_init(vthread_mutex_t *mutex, const vthread_mutexattr_t *attr);
/* 0, or EBUSY: it is held, or somebody waits. */
VTHREAD_API int vthread_mutex_destroy(vthread_mutex_t *mutex);

/* 0, or EDEADLK: the caller owns it already.  Never interrupted.  May switch. */
VTHREAD_API int vthread_mutex_lock(vthread_mutex_t *mutex);
/* 0, or EBUSY.  Never waits. */
VTHREAD_API int vthread_mutex_trylock(vthread_mutex_t *mutex);
/* As _lock, but can be interrupted (EINTR), and has a deadline (ETIMEDOUT).  May switch. */
VTHREAD_API int vthread_mutex_lock_interruptible(vthread_mutex_t *mutex);
VTHREAD_API int vthread_mutex_lock_until(vthread_mutex_t *mutex, int64_t deadline_ns);
/* 0, or EPERM: the caller does not own it. */
VTHREAD_API int vthread_mutex_unlock(vthread_mutex_t *mutex);

/* ---- reentrant lock ---- */

/*
 * The same, but its owner may lock it again, and unlocks it as often (the JDK's
 * ReentrantLock).  A fair one goes to those who wait in the order of their coming.
 */
typedef struct vthread_lock {
    uint32_t opaque[6];
} vthread_lock_t;

#define VTHREAD_LOCK_INITIALIZER                                                                                       \
    {                                                                                                                  \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }

typedef struct vthread_lock_params {
    bool fair;
    uintptr_t reserved[4]; /* zero */
} vthread_lock_params_t;

VTHREAD_API int vthread_lock_init(vthread_lock_t *lock, const vthread_lock_params_t *params);
VTHREAD_API int vthread_lock_destroy(vthread_lock_t *lock);

/* 0, or EAGAIN: held 2^32 - 1 times already.  May switch. */
VTHREAD_API int vthread_lock_lock(vthread_lock_t *lock);
VTHREAD_API int vthread_lock_trylock(vthread_lock_t *lock);
VTHREAD_API int vthread_lock_lock_interruptible(vthread_lock_t *lock);
VTHREAD_API int vthread_lock_lock_until(vthread_lock_t *lock, int64_t deadline_ns);
VTHREAD_API int vthread_lock_unlock(vthread_lock_t *lock);

/* Does the calling thread hold it, and how many times? */
VTHREAD_API bool vthread_lock_is_held(vthread_lock_t *lock);
VTHREAD_API uint32_t vthread_lock_hold_count(vthread_lock_t *lock);
/* Who holds it just now; NULL: nobody.  For looking at, not for deciding. */
VTHREAD_API vthread_t vthread_lock_owner(vthread_lock_t *lock);

/* ---- condition ---- */

/*
 * Wait until somebody signals, with a mutex or a reentrant lock released meanwhile
 * and held again on every return, errors too.  May return early: loop on what you
 * wait for.  A signal is not lost to a waiter that gives up at the same moment.
 */
typedef struct vthread_cond {
    uint32_t opaque[4];
} vthread_cond_t;

#define VTHREAD_COND_INITIALIZER                                                                                       \
    {                                                                                                                  \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }

typedef struct vthread_condattr {
    uintptr_t reserved[4];
} vthread_condattr_t;

VTHREAD_API int vthread_cond_init(vthread_cond_t *cond, const vthread_condattr_t *attr);
VTHREAD_API int vthread_cond_destroy(vthread_cond_t *cond);

/* 0, EINTR, ETIMEDOUT, EFAULT, or EPERM: the caller does not own the mutex.  May switch. */
VTHREAD_API int vthread_cond_wait(vthread_cond_t *cond, vthread_mutex_t *mutex);
VTHREAD_API int vthread_cond_wait_until(vthread_cond_t *cond, vthread_mutex_t *mutex, int64_t deadline_ns);
VTHREAD_API int vthread_cond_wait_uninterruptible(vthread_cond_t *cond, vthread_mutex_t *mutex);
/* The same with a reentrant lock, released wholly however often it is held. */
VTHREAD_API int vthread_cond_wait_lock(vthread_cond_t *cond, vthread_lock_t *lock);
VTHREAD_API int vthread_cond_wait_lock_until(vthread_cond_t *cond, vthread_lock_t *lock, int64_t deadline_ns);

/* Wake the one that has waited longest, or all; nobody waiting: nothing.  0. */
VTHREAD_API int vthread_cond_signal(vthread_cond_t *cond);
VTHREAD_API int vthread_cond_broadcast(vthread_cond_t *cond);

#ifdef __cplusplus
}
#endif

#endif
