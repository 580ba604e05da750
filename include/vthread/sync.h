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
 * _INITIALIZER (a barrier alone needs one, or its _init); _init takes what zeros cannot
 * say; _destroy is optional, frees nothing, and returns EBUSY while somebody waits or
 * holds.  Blocking allocates nothing.
 *
 * The memory of an object may be freed once every call that waits has returned.  Calls that
 * only let others go on (unlock, signal, release, count_down ...) need not have: they are
 * through with the object when what they do can be seen.  So whoever gets a mutex last
 * may free what it is in, and whoever waits for a latch alone may free the latch.
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
 * EDEADLK; and where a platform thread's very first call of the library finds no memory, a
 * runtime that is shutting down, or itself in the child of a fork), they end the program
 * with a message.
 */
#ifndef VTHREAD_SYNC_H
#define VTHREAD_SYNC_H

#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- mutex ---- */

/*
 * A lock with one owner, not reentrant.  16 bytes; two locked instructions to lock and
 * unlock.
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

/* As in pthreads; but every mutex checks for errors, and none is recursive. */
typedef enum vthread_mutex_type {
    VTHREAD_MUTEX_NORMAL = 0,
    VTHREAD_MUTEX_RECURSIVE = 1, /* EINVAL: use a vthread_lock_t, or see <vthread/pthread.h> */
    VTHREAD_MUTEX_ERRORCHECK = 2,
    VTHREAD_MUTEX_DEFAULT = VTHREAD_MUTEX_NORMAL,
} vthread_mutex_type_t;

typedef struct vthread_mutexattr {
    uintptr_t type;        /* vthread_mutex_type_t */
    uintptr_t reserved[3]; /* zero */
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
    uintptr_t clock;       /* of vthread_cond_timedwait (<vthread/pthread.h>): CLOCK_REALTIME or CLOCK_MONOTONIC */
    uintptr_t reserved[3]; /* zero */
} vthread_condattr_t;

/* attr may be NULL.  0 or EINVAL. */
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

/* ---- readers and a writer ---- */

/*
 * Any number of threads hold it for reading, or one for writing.
 *
 * Those who wait get it in the order of their coming, readers in a row together: neither
 * do readers starve writers, nor the other way round.  So a thread that holds it for
 * reading must not ask for it once more: it might stand behind a writer who waits for
 * it.  Nor does it keep account of its readers, as the JDK's does.
 */
typedef struct vthread_rwlock {
    uint32_t opaque[4];
} vthread_rwlock_t;

#define VTHREAD_RWLOCK_INITIALIZER                                                                                     \
    {                                                                                                                  \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }

typedef struct vthread_rwlockattr {
    uintptr_t reserved[4]; /* zero */
} vthread_rwlockattr_t;

VTHREAD_API int vthread_rwlock_init(vthread_rwlock_t *rwlock, const vthread_rwlockattr_t *attr);
VTHREAD_API int vthread_rwlock_destroy(vthread_rwlock_t *rwlock);

/*
 * 0, EDEADLK (the caller holds it for writing), or EAGAIN (2^30 - 1 readers).  Never
 * interrupted, but for those that say so; the deadlines as with the mutex.  May switch.
 */
VTHREAD_API int vthread_rwlock_rdlock(vthread_rwlock_t *rwlock);
VTHREAD_API int vthread_rwlock_rdlock_interruptible(vthread_rwlock_t *rwlock);
VTHREAD_API int vthread_rwlock_rdlock_until(vthread_rwlock_t *rwlock, int64_t deadline_ns);
VTHREAD_API int vthread_rwlock_wrlock(vthread_rwlock_t *rwlock);
VTHREAD_API int vthread_rwlock_wrlock_interruptible(vthread_rwlock_t *rwlock);
VTHREAD_API int vthread_rwlock_wrlock_until(vthread_rwlock_t *rwlock, int64_t deadline_ns);

/* 0, EBUSY, or EAGAIN as above.  Never wait; for reading, before writers who wait. */
VTHREAD_API int vthread_rwlock_tryrdlock(vthread_rwlock_t *rwlock);
VTHREAD_API int vthread_rwlock_trywrlock(vthread_rwlock_t *rwlock);

/*
 * 0, or EPERM: nobody holds it, or another thread for writing.  (That another holds it
 * for reading, and the caller does not, cannot be seen.)
 */
VTHREAD_API int vthread_rwlock_unlock(vthread_rwlock_t *rwlock);

/* ---- semaphore ---- */

/*
 * A number of permits, taken and given back by anybody; at most 2^31 - 1.
 *
 * A release gives them to those who wait, in the order of their coming; one who wants
 * more than there are holds up those behind.  A newcomer takes what is there before
 * them, unless the semaphore is fair.
 *
 * All-zero: no permits, not fair.
 */
typedef struct vthread_sem {
    uint32_t opaque[4];
} vthread_sem_t;

/* n: permits, 0 or more. */
#define VTHREAD_SEM_INITIALIZER(n)                                                                                     \
    {                                                                                                                  \
        {                                                                                                              \
            (uint32_t)(n)                                                                                              \
        }                                                                                                              \
    }

typedef struct vthread_sem_params {
    bool fair;
    uintptr_t reserved[4]; /* zero */
} vthread_sem_params_t;

/* params may be NULL.  0, or EINVAL: negative, or the params are wrong. */
VTHREAD_API int vthread_sem_init(vthread_sem_t *sem, int permits, const vthread_sem_params_t *params);
VTHREAD_API int vthread_sem_destroy(vthread_sem_t *sem);

/*
 * Take n permits, all at once; wait until there are.  0, EINTR, ETIMEDOUT, EFAULT, EDEADLK,
 * or EINVAL: n is negative.  May switch.
 */
VTHREAD_API int vthread_sem_acquire(vthread_sem_t *sem, int n);
VTHREAD_API int vthread_sem_acquire_until(vthread_sem_t *sem, int n, int64_t deadline_ns);
VTHREAD_API int vthread_sem_acquire_uninterruptible(vthread_sem_t *sem, int n);
/* 0, EAGAIN (not so many), or EINVAL.  Never waits, and does not care who does. */
VTHREAD_API int vthread_sem_tryacquire(vthread_sem_t *sem, int n);

/* 0, EINVAL (negative), or EOVERFLOW: there would be too many; then none was added. */
VTHREAD_API int vthread_sem_release(vthread_sem_t *sem, int n);

/* Take all that are there, and return how many. */
VTHREAD_API int vthread_sem_drain(vthread_sem_t *sem);
/* How many there are just now. */
VTHREAD_API int vthread_sem_available(vthread_sem_t *sem);

/* ---- latch ---- */

/*
 * A count that goes down to 0, once; threads wait for that (the JDK's CountDownLatch).
 * All-zero: open.
 */
typedef struct vthread_latch {
    uint32_t opaque[4];
} vthread_latch_t;

/* n: the count, 0 or more. */
#define VTHREAD_LATCH_INITIALIZER(n)                                                                                   \
    {                                                                                                                  \
        {                                                                                                              \
            (uint32_t)(n)                                                                                              \
        }                                                                                                              \
    }

/* 0, or EINVAL: negative. */
VTHREAD_API int vthread_latch_init(vthread_latch_t *latch, int count);
VTHREAD_API int vthread_latch_destroy(vthread_latch_t *latch);

/* One less; at 0 it stays.  Returns 0.  Ordering: what the caller did before is visible to those who have waited. */
VTHREAD_API int vthread_latch_count_down(vthread_latch_t *latch);

/* Wait until the count is 0.  0, EINTR, ETIMEDOUT, EFAULT or EDEADLK.  May switch. */
VTHREAD_API int vthread_latch_wait(vthread_latch_t *latch);
VTHREAD_API int vthread_latch_wait_until(vthread_latch_t *latch, int64_t deadline_ns);

VTHREAD_API int vthread_latch_count(vthread_latch_t *latch);

/* ---- barrier ---- */

/*
 * A number of threads wait for each other, again and again (the JDK's CyclicBarrier).
 *
 * Broken, when one of them cannot wait on: it was interrupted, before the call or in it, or
 * its deadline passed.  All others who wait, and all who come, get -ECANCELED, until
 * somebody resets it.
 */
typedef struct vthread_barrier {
    uint32_t opaque[4];
} vthread_barrier_t;

/* n: how many threads, 1 or more. */
#define VTHREAD_BARRIER_INITIALIZER(n)                                                                                 \
    {                                                                                                                  \
        {                                                                                                              \
            (uint32_t)(n)                                                                                              \
        }                                                                                                              \
    }

/* 0, or EINVAL: not positive. */
VTHREAD_API int vthread_barrier_init(vthread_barrier_t *barrier, int parties);
VTHREAD_API int vthread_barrier_destroy(vthread_barrier_t *barrier);

/*
 * Wait until all have come.
 *
 * Returns the arrival index (parties - 1 for the first, 0 for the last, who does not wait), or
 *   -ECANCELED  it is, or becomes, broken by another, or was reset
 *   -EINTR      interrupted    -ETIMEDOUT  the deadline passed; either breaks it
 *   -EFAULT, -EDEADLK          as above; these do not
 *   -EINVAL     not initialised
 *
 * May switch.  Ordering: what each did before is visible to all on return.
 */
VTHREAD_API int vthread_barrier_wait(vthread_barrier_t *barrier);
VTHREAD_API int vthread_barrier_wait_until(vthread_barrier_t *barrier, int64_t deadline_ns);

VTHREAD_API bool vthread_barrier_is_broken(vthread_barrier_t *barrier);
/* As new: those who wait get -ECANCELED.  Returns 0. */
VTHREAD_API int vthread_barrier_reset(vthread_barrier_t *barrier);

/* ---- once ---- */

/* Whether a function has been run. */
typedef struct vthread_once {
    uint32_t opaque[4];
} vthread_once_t;

#define VTHREAD_ONCE_INITIALIZER                                                                                       \
    {                                                                                                                  \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }

/*
 * Run fn, in the first call only; the others wait until it has returned.  fn may wait, and
 * must return (a thread that ends in it leaves the others waiting).
 *
 * 0, EINVAL (fn is NULL), or EDEADLK: called from fn itself.  Never interrupted.  May switch.
 * Ordering: what fn did is visible on return.
 */
VTHREAD_API int vthread_once(vthread_once_t *once, void (*fn)(void));

/* ---- monitor ---- */

/*
 * A reentrant lock and a condition in one (the JDK's synchronized, wait and notify).
 *
 * Who is inside is pinned to his carrier (vthread_pin), for code that must not change its OS
 * thread between enter and exit: one that keeps addresses of thread-local variables, or
 * holds a pthread mutex.  Neither waiting to enter nor vthread_monitor_wait pins.
 * Otherwise prefer a vthread_lock_t and a vthread_cond_t.
 */
typedef struct vthread_monitor {
    uint32_t opaque[10];
} vthread_monitor_t;

#define VTHREAD_MONITOR_INITIALIZER                                                                                    \
    {                                                                                                                  \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }

typedef struct vthread_monitorattr {
    uintptr_t reserved[4]; /* zero */
} vthread_monitorattr_t;

VTHREAD_API int vthread_monitor_init(vthread_monitor_t *monitor, const vthread_monitorattr_t *attr);
VTHREAD_API int vthread_monitor_destroy(vthread_monitor_t *monitor);

/* 0, or EAGAIN: entered 2^32 - 1 times, or inside of 255 others, already.  Never interrupted.  May switch. */
VTHREAD_API int vthread_monitor_enter(vthread_monitor_t *monitor);
/* 0, or EPERM: the caller is not inside. */
VTHREAD_API int vthread_monitor_exit(vthread_monitor_t *monitor);

/*
 * Leave it, however often entered, wait until notified, and be inside as before on every
 * return.  May return early.  0, EINTR, ETIMEDOUT, EFAULT, or EPERM: not inside.  May switch.
 */
VTHREAD_API int vthread_monitor_wait(vthread_monitor_t *monitor);
VTHREAD_API int vthread_monitor_wait_until(vthread_monitor_t *monitor, int64_t deadline_ns);

/* Wake the one that has waited longest, or all; nobody waiting: nothing.  0, or EPERM: not inside. */
VTHREAD_API int vthread_monitor_notify(vthread_monitor_t *monitor);
VTHREAD_API int vthread_monitor_notify_all(vthread_monitor_t *monitor);

/* ---- deadlocks ---- */

/*
 * A library built with -Dchecks=2 or more tells the misuse handler when locks are taken in an order
 * against an earlier one, which may end in a deadlock some day, whether it does or not.  It knows
 * locks by their addresses: one whose memory is used again without _destroy or _init is taken for the old one.
 */

/* A thread that waits for a lock in vain. */
typedef struct vthread_deadlock {
    vthread_t thread;
    const void *object; /* the mutex, lock, monitor or rwlock that it waits for */
    vthread_t owner;    /* who waits in vain, too: the next of the cycle; NULL: has ended without unlocking it */
    uint32_t cycle;     /* 0, 1 ...: those of a cycle come one after another */
    uint32_t reserved;
} vthread_deadlock_t;

/*
 * Find the threads that wait for each other's locks, or for those of threads that have ended, without
 * a deadline.  What is found is so: nothing but an interrupt can end these waits.  Whoever holds an
 * rwlock for reading is not known, and so not found.
 *
 * Fills in up to n, and returns how many there are, or -EINVAL, -ENOMEM, -EMFILE or -ENFILE (it needs two
 * descriptors meanwhile), -ENOTSUP (the child of a fork).  Nobody is stopped; takes some 10 ns a thread, and
 * a microsecond for each that waits for a lock.
 */
VTHREAD_API int vthread_find_deadlocks(vthread_deadlock_t *ret_deadlocks, size_t n);
/* The same in words, a line each, to a file descriptor. */
VTHREAD_API int vthread_print_deadlocks(int fd);

#ifdef __cplusplus
}
#endif

#endif
