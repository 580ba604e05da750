/* SPDX-License-Identifier: MIT */
/*
 * Locks of the C library, whose owner is an OS thread.
 *
 * A virtual thread that holds one is pinned until it lets go: it would come back on an OS thread that does not own
 * the lock, and meanwhile the next thread on its carrier would pass for the owner.  What an OS thread holds is
 * noted in a thread-local variable, for as long as it is more than nothing the OS thread is the virtual
 * thread's alone.
 *
 * No wait for any of them blocks the carrier: who is to end it may be bound to that very carrier.
 */
#include "posix/lock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <sys/syscall.h>

#include "base/atomic.h"
#include "posix/apart.h"
#include "posix/line.h"
#include "posix/thread.h"
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

int lock_taken(pthread_mutex_t *mutex, int error)
{
    if (error == 0 || error == EOWNERDEAD)
        hold(mutex);
    return error;
}

/*
 * One that is taken is waited for without the carrier: get in line, try, park, try again.  Who unlocks it wakes
 * the first in line; whom we do not see doing that is found out by looking again, at longer and longer intervals.
 */
enum { FIRST_LOOK_NS = 100 * 1000, LAST_LOOK_NS = 20 * 1000 * 1000 };

/* try: as pthread_mutex_trylock, of any kind of lock. */
static int wait_in_line(int (*try)(void *lock), void *lock, int64_t deadline_ns)
{
    for (int64_t look_ns = FIRST_LOOK_NS;; look_ns = look_ns < LAST_LOOK_NS ? 2 * look_ns : look_ns) {
        struct line_waiter *w = line_enter(lock);
        int error = try(lock);
        int64_t until_ns;

        if (error == EBUSY && deadline_ns <= vthread_now_ns())
            error = ETIMEDOUT;
        if (error == EBUSY) {
            until_ns = vthread_after_ns(look_ns);
            line_wait(w, until_ns < deadline_ns ? until_ns : deadline_ns);
        }
        line_leave(w);
        if (error != EBUSY)
            return error;
    }
}

static int try_mutex(void *mutex)
{
    return REAL(pthread_mutex_trylock)(mutex);
}

int lock_mutex(pthread_mutex_t *mutex, int64_t deadline_ns)
{
    int error = REAL(pthread_mutex_trylock)(mutex);

    if (UNLIKELY(error == EBUSY))
        error = deadline_ns == VTHREAD_FOREVER && is_held(mutex)
                    ? REAL(pthread_mutex_lock)(mutex) /* EDEADLK, or for ever, as its kind says */
                    : wait_in_line(try_mutex, mutex, deadline_ns);
    return lock_taken(mutex, error);
}

bool lock_is_time(clockid_t clock, const struct timespec *until)
{
    return (clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC) && until->tv_nsec >= 0 && until->tv_nsec < 1000000000;
}

int64_t lock_deadline_of(clockid_t clock, const struct timespec *until)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return wait_after(wait_ns_of(until) - wait_ns_of(&now));
}

HOOK int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    return IS_VIRTUAL() ? lock_mutex(mutex, VTHREAD_FOREVER) : REAL(pthread_mutex_lock)(mutex);
}

HOOK int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    int error = REAL(pthread_mutex_trylock)(mutex);

    return IS_VIRTUAL() ? lock_taken(mutex, error) : error;
}

HOOK int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? lock_mutex(mutex, lock_deadline_of(CLOCK_REALTIME, until))
                        : REAL(pthread_mutex_timedlock)(mutex, until);
}

HOOK int pthread_mutex_clocklock(pthread_mutex_t *restrict mutex, clockid_t clock,
                                 const struct timespec *restrict until)
{
    if (!IS_VIRTUAL() || (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC))
        return REAL(pthread_mutex_clocklock)(mutex, clock, until);
    return lock_mutex(mutex, lock_deadline_of(clock, until));
}

int lock_release(pthread_mutex_t *mutex)
{
    int error = REAL(pthread_mutex_unlock)(mutex);

    if (error != 0)
        return error;
    line_wake(mutex, false);
    if (vthread_self_virtual() != NULL)
        let_go(mutex);
    return 0;
}

HOOK int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (own_is_library(__builtin_return_address(0)))
        return REAL(pthread_mutex_unlock)(mutex);
    return lock_release(mutex);
}

/*
 * ---- conditions ----
 *
 * A virtual thread waits in a line of ours, a platform thread in the C library's; who signals wakes from both.  So
 * sometimes one more is woken than was meant, which conditions allow.  To be in line before the mutex is unlocked is
 * to miss no signal.  Who has been signalled is no longer cancelled here: another waits for that signal.
 */

int lock_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns)
{
    struct line_waiter *w;
    bool was_woken;
    int error;
    int relocked;

    thread_cancellation_point();
    thread_waits_in(condition);
    w = line_enter(condition);
    error = lock_release(mutex);
    relocked = error;
    if (error == 0 && !thread_is_cancelled())
        error = line_wait(w, deadline_ns);
    was_woken = line_leave(w);
    thread_waits_in(NULL);
    if (relocked == 0)
        relocked = lock_mutex(mutex, VTHREAD_FOREVER);
    if (was_woken)
        return relocked;
    thread_cancellation_point();
    return relocked != 0 ? relocked : error;
}

HOOK int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex)
{
    return IS_VIRTUAL() ? lock_wait(condition, mutex, VTHREAD_FOREVER) : REAL(pthread_cond_wait)(condition, mutex);
}

/*
 * The clock is the condition's (pthread_condattr_setclock), which the C library tells nobody.  But a time of this
 * century lies decades in the past for the one clock and in the future for the other.
 */
static clockid_t clock_of(const struct timespec *until)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return until->tv_sec < now.tv_sec / 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

HOOK int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                                const struct timespec *restrict until)
{
    if (!IS_VIRTUAL())
        return REAL(pthread_cond_timedwait)(condition, mutex, until);
    return lock_is_time(CLOCK_REALTIME, until) ? lock_wait(condition, mutex, lock_deadline_of(clock_of(until), until))
                                               : EINVAL;
}

HOOK int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
                                const struct timespec *restrict until)
{
    if (!IS_VIRTUAL())
        return REAL(pthread_cond_clockwait)(condition, mutex, clock, until);
    return lock_is_time(clock, until) ? lock_wait(condition, mutex, lock_deadline_of(clock, until)) : EINVAL;
}

HOOK int pthread_cond_signal(pthread_cond_t *condition)
{
    line_wake(condition, false);
    return REAL(pthread_cond_signal)(condition);
}

HOOK int pthread_cond_broadcast(pthread_cond_t *condition)
{
    line_wake(condition, true);
    return REAL(pthread_cond_broadcast)(condition);
}

/* ---- readers-writer locks: the C library knows the writer by its OS thread, and readers not at all ---- */

static int try_reading(void *lock)
{
    return REAL(pthread_rwlock_tryrdlock)(lock);
}

static int try_writing(void *lock)
{
    return REAL(pthread_rwlock_trywrlock)(lock);
}

static int read_lock(pthread_rwlock_t *lock, int64_t deadline_ns)
{
    int error = try_reading(lock);

    if (error == EBUSY)
        error = is_held(lock) ? EDEADLK : wait_in_line(try_reading, lock, deadline_ns);
    return error;
}

static int write_lock(pthread_rwlock_t *lock, int64_t deadline_ns)
{
    int error = try_writing(lock);

    if (error == EBUSY)
        error = is_held(lock) ? EDEADLK : wait_in_line(try_writing, lock, deadline_ns);
    if (error == 0)
        hold(lock);
    return error;
}

HOOK int pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    return IS_VIRTUAL() ? read_lock(lock, VTHREAD_FOREVER) : REAL(pthread_rwlock_rdlock)(lock);
}

HOOK int pthread_rwlock_timedrdlock(pthread_rwlock_t *restrict lock, const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? read_lock(lock, lock_deadline_of(CLOCK_REALTIME, until))
                        : REAL(pthread_rwlock_timedrdlock)(lock, until);
}

HOOK int pthread_rwlock_clockrdlock(pthread_rwlock_t *restrict lock, clockid_t clock,
                                    const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? read_lock(lock, lock_deadline_of(clock, until))
                        : REAL(pthread_rwlock_clockrdlock)(lock, clock, until);
}

HOOK int pthread_rwlock_trywrlock(pthread_rwlock_t *lock)
{
    int error = REAL(pthread_rwlock_trywrlock)(lock);

    if (error == 0 && IS_VIRTUAL())
        hold(lock);
    return error;
}

HOOK int pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    return IS_VIRTUAL() ? write_lock(lock, VTHREAD_FOREVER) : REAL(pthread_rwlock_wrlock)(lock);
}

HOOK int pthread_rwlock_timedwrlock(pthread_rwlock_t *restrict lock, const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? write_lock(lock, lock_deadline_of(CLOCK_REALTIME, until))
                        : REAL(pthread_rwlock_timedwrlock)(lock, until);
}

HOOK int pthread_rwlock_clockwrlock(pthread_rwlock_t *restrict lock, clockid_t clock,
                                    const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? write_lock(lock, lock_deadline_of(clock, until))
                        : REAL(pthread_rwlock_clockwrlock)(lock, clock, until);
}

HOOK int pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    int error = REAL(pthread_rwlock_unlock)(lock);

    if (error != 0 || own_is_library(__builtin_return_address(0)))
        return error;
    line_wake(lock, true);
    if (vthread_self_virtual() != NULL)
        let_go(lock);
    return 0;
}

/* ---- semaphores: who posts wakes the first in line, who may find it taken by another ---- */

static NOINLINE int try_semaphore(void *semaphore)
{
    int before = errno;
    int error = REAL(sem_trywait)(semaphore) == 0 ? 0 : errno;

    errno = before;
    return error == EAGAIN ? EBUSY : error;
}

static int try_unless_cancelled(void *semaphore)
{
    return thread_is_cancelled() ? ECANCELED : try_semaphore(semaphore);
}

struct semaphore_wait {
    sem_t *semaphore;
    const struct timespec *until; /* on the monotonic clock; NULL: for ever */
};

static void *semaphore_blocking(void *arg)
{
    const struct semaphore_wait *w = arg;
    int n =
        w->until != NULL ? REAL(sem_clockwait)(w->semaphore, CLOCK_MONOTONIC, w->until) : REAL(sem_wait)(w->semaphore);

    return (void *)(intptr_t)(n == 0 ? 0 : errno);
}

/* One in a frame, where it must stay while another thread posts it. */
static int wait_in_place(sem_t *semaphore, int64_t deadline_ns)
{
    struct timespec until;
    struct semaphore_wait w = {semaphore, deadline_ns != VTHREAD_FOREVER ? &until : NULL};
    int64_t ns = deadline_ns - vthread_now_ns();

    clock_gettime(CLOCK_MONOTONIC, &until);
    ns = ns > 0 ? ns : 0;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec += ns % 1000000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return (int)(intptr_t)vthread_blocking_call(semaphore_blocking, &w);
}

static int wait_for_semaphore(sem_t *semaphore, clockid_t clock, const struct timespec *until)
{
    int64_t deadline_ns;
    int error;

    if (until != NULL && !lock_is_time(clock, until))
        return posix_fail(EINVAL);
    deadline_ns = until != NULL ? lock_deadline_of(clock, until) : VTHREAD_FOREVER;
    error = try_unless_cancelled(semaphore);
    if (error == EBUSY && apart_is_near(semaphore)) {
        error = wait_in_place(semaphore, deadline_ns);
    } else if (error == EBUSY) {
        thread_waits_in(semaphore);
        error = wait_in_line(try_unless_cancelled, semaphore, deadline_ns);
        thread_waits_in(NULL);
    }
    return error != 0 ? posix_fail(error) : 0;
}

HOOK int sem_wait(sem_t *semaphore)
{
    return IS_VIRTUAL() ? wait_for_semaphore(semaphore, CLOCK_REALTIME, NULL) : REAL(sem_wait)(semaphore);
}

HOOK int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? wait_for_semaphore(semaphore, CLOCK_REALTIME, until) : REAL(sem_timedwait)(semaphore, until);
}

HOOK int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict until)
{
    return IS_VIRTUAL() ? wait_for_semaphore(semaphore, clock, until) : REAL(sem_clockwait)(semaphore, clock, until);
}

HOOK int sem_post(sem_t *semaphore)
{
    int result = REAL(sem_post)(semaphore);

    if (result == 0)
        line_wake(semaphore, false); /* the address alone: it may be gone */
    return result;
}

/* ---- barriers: somebody else waits ---- */

struct barrier_wait {
    pthread_barrier_t *barrier;
    int result;
};

static void *barrier_blocking(void *arg)
{
    struct barrier_wait *w = arg;

    w->result = REAL(pthread_barrier_wait)(w->barrier);
    return NULL;
}

HOOK int pthread_barrier_wait(pthread_barrier_t *barrier)
{
    struct barrier_wait w = {.barrier = barrier};

    if (!IS_VIRTUAL())
        return REAL(pthread_barrier_wait)(barrier);
    if (apart_is_near(barrier))
        vthread_blocking_call(barrier_blocking, &w);
    else
        apart_call_copy(barrier_blocking, &w, sizeof w);
    return w.result;
}

/*
 * ---- pthread_once ----
 *
 * Whoever calls it second would block its OS thread until the first is through, who may need that OS thread, or the
 * stack. So of virtual threads only one at a time is inside with each control; the others wait in line.  (Where two
 * controls share a place one of them goes without.)
 */
enum { ONCE_PLACES = 64, ONCE_SPINS = 100 };

static ATOMIC(pthread_once_t *) inside[ONCE_PLACES];

static bool is_inside(unsigned place, pthread_once_t *once)
{
    return atomic_load_acquire(&inside[place]) == once;
}

static void await_once(unsigned place, pthread_once_t *once)
{
    struct line_waiter *w;

    for (int i = 0; i < ONCE_SPINS; i++)
        if (!is_inside(place, once))
            return;
    w = line_enter(once);
    if (is_inside(place, once))
        line_wait(w, vthread_after_ns(LAST_LOOK_NS));
    line_leave(w);
}

/* Of one that is inside. */
struct turn {
    pthread_once_t *once;
    unsigned place;
    bool is_ours;
    bool is_pinned; /* the C library's part of it knows the OS thread */
    __pthread_unwind_buf_t handler;
};

static void end_turn(struct turn *turn)
{
    if (turn->is_pinned)
        vthread_unpin();
    if (!turn->is_ours)
        return;
    atomic_store_release(&inside[turn->place], NULL);
    line_wake(turn->once, true);
}

static struct turn begin_turn(pthread_once_t *once)
{
    struct turn turn = {.once = once, .place = (unsigned)(((uintptr_t)once >> 2) * 0x9e3779b97f4a7c15u >> 58)};

    for (;;) {
        pthread_once_t *nobody = NULL;

        turn.is_ours = atomic_cas_acq_rel(&inside[turn.place], &nobody, once);
        if (turn.is_ours || nobody != once)
            break;
        await_once(turn.place, once);
    }
    turn.is_pinned = vthread_pin("pthread_once") == 0;
    return turn;
}

void lock_forget_others(void)
{
    for (unsigned i = 0; i < ONCE_PLACES; i++)
        atomic_store_relaxed(&inside[i], NULL);
}

/* fn has returned, or has thrown an exception. */
static void leave_turn(struct turn *turn)
{
    thread_cleanup_pop(&turn->handler);
    end_turn(turn);
}

/* The thread ends inside fn, and nobody returns through the C library: it has not been called, then. */
static void abandon_turn(void *arg)
{
    struct turn *turn = arg;

    __atomic_store_n(turn->once, PTHREAD_ONCE_INIT, __ATOMIC_RELEASE);
    syscall(SYS_futex, turn->once, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); /* OS threads wait like this */
    end_turn(turn);
}

int lock_once(pthread_once_t *once, void (*fn)(void))
{
    struct turn turn __attribute__((cleanup(leave_turn))) = begin_turn(once);

    thread_cleanup_push(&turn.handler, abandon_turn, &turn);
    return REAL(pthread_once)(turn.once, fn);
}

HOOK int pthread_once(pthread_once_t *once, void (*fn)(void))
{
    return IS_VIRTUAL() ? lock_once(once, fn) : REAL(pthread_once)(once, fn);
}

/* ---- stdio ---- */

HOOK void flockfile(FILE *file)
{
    if (!IS_VIRTUAL()) {
        REAL(flockfile)(file);
        return;
    }
    while (REAL(ftrylockfile)(file) != 0) /* stdio itself unlocks it where we do not see it */
        line_wait(NULL, VTHREAD_FOREVER);
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
