/* SPDX-License-Identifier: MIT */
/*
 * Locks of the C library, whose owner is an OS thread.
 *
 * A virtual thread that holds one is pinned until it lets go: it would come back on an OS thread that does not own
 * the lock, and meanwhile the next thread on its carrier would pass for the owner.  What an OS thread holds is
 * noted in a thread-local variable, for as long as it is more than nothing the OS thread is the virtual
 * thread's alone.
 *
 * Where the OS thread has to wait, for a condition, say, it does so apart from the stack: who is to wake it may be a
 * stack-mate.
 */
#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include <vthread/sync.h>

#include "base/atomic.h"
#include "posix/apart.h"
#include "posix/wait.h"

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

static NOINLINE bool is_held(const void *lock)
{
    for (unsigned i = 0; held.owner == vthread_self_virtual() && i < held.count; i++)
        if (held.locks[i] == lock)
            return true;
    return false;
}

/* ---- mutexes ---- */

static int locked(pthread_mutex_t *mutex, int error)
{
    if (error == 0 || error == EOWNERDEAD)
        hold(mutex);
    return error;
}

/*
 * One that is taken is waited for without the carrier: park and try again.  Who unlocks it in a way that we see wakes
 * one of those that wait (for this mutex or for one that shares its place); other ways, a wait for a condition among
 * them, are found out by looking again, at longer and longer intervals.  So nothing depends on a wake.
 */
enum { PLACES = 64, FIRST_LOOK_NS = 100 * 1000, LAST_LOOK_NS = 20 * 1000 * 1000 };

static struct place {
    CACHE_ALIGNED vthread_mutex_t mutex;
    vthread_cond_t unlocked;
    ATOMIC(uint32_t) waiting;
} places[PLACES];

static struct place *place_of(const void *mutex)
{
    return &places[((uintptr_t)mutex >> 4) * 0x9e3779b97f4a7c15u >> 58];
}

static void wake_one(const void *mutex)
{
    struct place *p = place_of(mutex);

    /* relaxed: without a fence this may come too soon, and then they look again by themselves */
    if (UNLIKELY(atomic_load_relaxed(&p->waiting) > 0))
        vthread_cond_signal(&p->unlocked);
}

/* In the line, until the mutex is ours (0, or another error), or the deadline has passed. */
static int wait_in_line(struct place *p, pthread_mutex_t *mutex, int64_t deadline_ns)
{
    int64_t look_ns = FIRST_LOOK_NS;
    bool interrupted = false;
    int error;

    while ((error = REAL(pthread_mutex_trylock)(mutex)) == EBUSY) {
        int64_t until_ns = vthread_after_ns(look_ns);

        if (deadline_ns <= vthread_now_ns()) {
            error = ETIMEDOUT;
            break;
        }
        if (vthread_cond_wait_until(&p->unlocked, &p->mutex, until_ns < deadline_ns ? until_ns : deadline_ns) == EINTR)
            interrupted = true; /* locks are not interrupted; it is told later */
        look_ns = look_ns < LAST_LOOK_NS ? 2 * look_ns : look_ns;
    }
    if (interrupted)
        vthread_interrupt(vthread_self_virtual());
    return error;
}

static int wait_for_mutex(pthread_mutex_t *mutex, int64_t deadline_ns)
{
    struct place *p = place_of(mutex);
    bool stays = wait_stay();
    int error;

    vthread_mutex_lock(&p->mutex);
    atomic_fetch_add_relaxed(&p->waiting, 1);
    error = wait_in_line(p, mutex, deadline_ns);
    atomic_fetch_sub_relaxed(&p->waiting, 1);
    vthread_mutex_unlock(&p->mutex);
    wait_leave(stays);
    return error;
}

static int lock(pthread_mutex_t *mutex, int64_t deadline_ns)
{
    int error = REAL(pthread_mutex_trylock)(mutex);

    if (UNLIKELY(error == EBUSY))
        error = deadline_ns == VTHREAD_FOREVER && is_held(mutex)
                    ? REAL(pthread_mutex_lock)(mutex) /* EDEADLK, or for ever, as its kind says */
                    : wait_for_mutex(mutex, deadline_ns);
    return locked(mutex, error);
}

/* A time on one of the system's clocks. */
static int64_t deadline_of(clockid_t clock, const struct timespec *until)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return wait_after(wait_ns_of(until) - wait_ns_of(&now));
}

HOOK int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    return IS_VIRTUAL() ? lock(mutex, VTHREAD_FOREVER) : REAL(pthread_mutex_lock)(mutex);
}

HOOK int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    int error = REAL(pthread_mutex_trylock)(mutex);

    return IS_VIRTUAL() ? locked(mutex, error) : error;
}

HOOK int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? lock(mutex, deadline_of(CLOCK_REALTIME, until)) : REAL(pthread_mutex_timedlock)(mutex, until);
}

HOOK int pthread_mutex_clocklock(pthread_mutex_t *restrict mutex, clockid_t clock,
                                 const struct timespec *restrict until)
{
    if (!IS_VIRTUAL() || (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC))
        return REAL(pthread_mutex_clocklock)(mutex, clock, until);
    return lock(mutex, deadline_of(clock, until));
}

HOOK int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    int error = REAL(pthread_mutex_unlock)(mutex);

    if (error != 0 || own_is_library(__builtin_return_address(0)))
        return error;
    wake_one(mutex);
    if (vthread_self_virtual() != NULL)
        let_go(mutex);
    return 0;
}

/* ---- conditions: the OS thread waits; the mutex is held before and after, so the pin stays ---- */

struct waiting {
    pthread_mutex_t *mutex;
    pthread_cond_t *condition;
    clockid_t clock;
    enum { BY_ANY, BY_TIME, BY_CLOCK } limit;
    struct timespec until;
    int error;
};

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
    wake_one(w.mutex); /* which it is about to unlock */
    if (apart_is_near(w.mutex) || apart_is_near(w.condition))
        apart_call_here(condition_blocking, &w);
    else
        apart_call(condition_blocking, &w, sizeof w);
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
