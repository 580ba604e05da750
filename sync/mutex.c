/* SPDX-License-Identifier: MIT */
#include "sync/mutex.h"

#include <errno.h>
#include <sched.h>

#include "base/clock.h"
#include "base/panic.h"
#include "sync/sync_internal.h"

enum {
    HAND_OVER_NS = 1000 * 1000,
    SPINS = 4, /* looks at an owner that is running, before queueing up */
    LOSSES_MAX = 3,
    LOSSES_MANY = 2, /* of those who were woken, less those of them who have won */
};

enum { GIVEN_A_TRY, GIVEN_THE_LOCK };

bool mutex_try_slow(struct mutex *m, struct thread *self)
{
    uint32_t w = atomic_load_relaxed(&m->word); /* the CAS orders */

    while (!(w & MUTEX_OWNER))
        if (atomic_cas_acq_rel(&m->word, &w, w | thread_index(self)))
            return true;
    return false;
}

/* ---- releasing ---- */

/* The oldest.  True: he waits in place, which was his amount. */
static bool grant_locked(struct mutex *m, uint32_t given, struct granted *granted)
{
    bool in_place = wait_queue_amount(wait_queue_first(&m->queue));

    m->in_place -= in_place;
    wait_queue_grant(&m->queue, given, granted);
    return in_place;
}

/* The oldest is to try; and others up to one who waits in place, if there is any (1). */
static void wake_some_locked(struct mutex *m, struct granted *granted)
{
    bool enough = false;

    while (!enough && !wait_queue_is_empty(&m->queue)) {
        enough = m->in_place == 0;
        enough |= grant_locked(m, GIVEN_A_TRY, granted);
        m->woken++;
    }
}

/*
 * With the queue's lock, as the owner who has seen QUEUED: hand it over, or free it and wake
 * somebody to try.  False: nobody waits, and it is still to be freed.
 */
static bool pass_on_locked(struct mutex *m, struct granted *granted, bool *ret_keep)
{
    uint32_t w = atomic_load_relaxed(&m->word); /* ours (2), until we store it */
    uint32_t next = w & MUTEX_FAIR;
    uint32_t oldest = wait_queue_first(&m->queue);
    bool hands_over = w & (MUTEX_HAND_OVER | MUTEX_FAIR);

    if (oldest == 0 && m->woken == 0) {
        atomic_store_relaxed(&m->word, w & ~(MUTEX_QUEUED | MUTEX_HAND_OVER)); /* the lock's release orders */
        return false;
    }
    *ret_keep = m->losses >= LOSSES_MANY && !hands_over;
    if (oldest != 0 && hands_over) {
        grant_locked(m, GIVEN_THE_LOCK, granted);
        next |= oldest | (wait_queue_is_empty(&m->queue) ? 0 : MUTEX_QUEUED);
    } else if (m->woken == 0 || m->in_place > 0) {
        wake_some_locked(m, granted);
    }
    atomic_store_release(&m->word, next); /* pairs with the acquire of the next owner's CAS */
    return true;
}

/* The owner's release, when the word says more than who it is. */
static bool pass_on(struct mutex *m)
{
    struct granted granted = {0, 0};
    struct task_list kept;
    struct carrier *c;
    bool keep = false;
    bool passed;

    lock_acquire(&m->queue.lock);
    passed = pass_on_locked(m, &granted, &keep);
    lock_release(&m->queue.lock);
    if (keep && (c = carrier_self()) != NULL) {
        task_list_init(&kept);
        wait_queue_wake_chain(granted, &kept);
        carrier_keep(c, &kept);
    } else {
        wait_queue_wake(granted);
    }
    return passed;
}

void mutex_release_slow(struct mutex *m)
{
    uint32_t w = atomic_load_relaxed(&m->word);

    for (;;) {
        if (w & MUTEX_QUEUED) {
            if (pass_on(m))
                return;
            w = atomic_load_relaxed(&m->word);
        } else if (atomic_cas_acq_rel(&m->word, &w, w & ~MUTEX_OWNER)) { /* pairs with the next owner's */
            return;
        }
    }
}

/* ---- acquiring ---- */

/* Sections are short: an owner that is on a CPU will be through before we had left ours. */
static bool spin(struct mutex *m, struct thread *self)
{
    for (int i = 0; i < SPINS && atomic_load_relaxed(&pool.parallelism) > 1; i++) {
        uint32_t owner = atomic_load_relaxed(&m->word) & MUTEX_OWNER;

        if (owner == 0) {
            if (mutex_try_slow(m, self))
                return true;
        } else if (atomic_load_relaxed(&thread_table[owner].phase) != VTHREAD_RUNNING) {
            return false;
        }
        cpu_pause();
    }
    return false;
}

/*
 * With the queue's lock, QUEUED having been set while that thread was the owner: is it sure to see it?
 * (Invariant 4.  Fair ones are never freed by a plain store: FAIR is in the word, too.)
 */
static bool is_announced_locked(struct mutex *m, struct thread *owner)
{
    barrier_heavy(); /* pairs with the light one in mutex_release_at_once */
    for (int i = 1; atomic_load_acquire(&owner->held) & THREAD_RELEASING; i++)
        before_next_look(i);
    return atomic_load_relaxed(&m->word) & MUTEX_QUEUED;
}

/* With the queue's lock: take it after all, since there is no owner (true), or say that somebody is going to wait. */
static bool take_or_announce_locked(struct mutex *m, struct thread *self, uint32_t announced, uint32_t others)
{
    uint32_t w = atomic_load_relaxed(&m->word);

    for (;;) {
        if (!(w & MUTEX_OWNER)) {
            if (atomic_cas_acq_rel(&m->word, &w, w | thread_index(self) | others))
                return true;
        } else if ((w & announced) == announced) {
            return false;
        } else if (atomic_cas_acq_rel(&m->word, &w, w | announced)) {
            if ((w & (MUTEX_QUEUED | MUTEX_FAIR)) || is_announced_locked(m, &thread_table[w & MUTEX_OWNER]))
                return false;
            w = atomic_load_relaxed(&m->word);
        }
    }
}

/* Take it after all, since there is no owner (true), or queue up (false). */
static bool take_or_queue_up(struct mutex *m, struct thread *self, bool in_place, bool woken, bool starving)
{
    uint32_t announced = MUTEX_QUEUED | (starving ? MUTEX_HAND_OVER : 0);
    uint32_t others;
    bool taken;

    lock_acquire(&m->queue.lock);
    others = woken && !wait_queue_is_empty(&m->queue) ? MUTEX_QUEUED : 0;
    taken = take_or_announce_locked(m, self, announced, others);
    if (woken) {
        m->woken--;
        if (!taken && m->losses < LOSSES_MAX)
            m->losses++;
        else if (taken && m->losses > 0)
            m->losses--;
    }
    if (!taken) {
        m->in_place += in_place;
        if (woken)
            wait_queue_prepend(&m->queue, self, in_place);
        else
            wait_queue_append(&m->queue, self, in_place);
    }
    lock_release(&m->queue.lock);
    return taken;
}

/* hand_over_ns: for how long one who is woken may lose.  kind: of the wait. */
static inline int contend(struct mutex *m, struct thread *self, int64_t hand_over_ns, enum wait_kind kind,
                          uint64_t flags, int64_t deadline_ns)
{
    bool fair = atomic_load_relaxed(&m->word) & MUTEX_FAIR;
    bool in_place = !thread_can_leave(self);
    int64_t since_ns = 0;
    bool woken = false;

    for (;;) {
        int64_t now_ns;
        int error;

        if (!fair && !woken && spin(m, self))
            return 0;
        now_ns = clock_monotonic_ns();
        if (since_ns == 0)
            since_ns = now_ns;
        if (take_or_queue_up(m, self, in_place, woken, woken && now_ns - since_ns > hand_over_ns))
            return 0;
        error = wait_queue_wait_blocked(&m->queue, self, m, kind, flags, deadline_ns);
        if (error != 0) {
            m->in_place -= in_place;
            lock_release(&m->queue.lock); /* QUEUED stays: the next release sees to it */
            return error;
        }
        if (wait_queue_given(self) == GIVEN_THE_LOCK)
            return 0;
        woken = true;
    }
}

int mutex_acquire_slow(struct mutex *m, struct thread *self, uint64_t flags, int64_t deadline_ns)
{
    return contend(m, self, HAND_OVER_NS, WAIT_FOR_MUTEX, flags, deadline_ns);
}

void mutex_acquire_ours_slow(struct mutex *m, struct thread *self)
{
    if (thread_can_leave(self)) {
        contend(m, self, INT64_MAX, WAIT_FOR_ANYTHING, WORD_DEAF, INT64_MAX); /* nothing ends it but success */
        return;
    }
    for (int i = 1; !mutex_try_slow(m, self); i++) {
        cpu_pause();
        if (i % SPINS == 0)
            sched_yield();
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
    if (mutex == NULL || (attr != NULL && (attr->type > VTHREAD_MUTEX_ERRORCHECK ||
                                           !words_are_zero(attr->reserved, LENGTH_OF(attr->reserved)))))
        return EINVAL;
    if (attr != NULL && attr->type == VTHREAD_MUTEX_RECURSIVE) {
        misuse("vthread_mutex_init", "a mutex cannot be recursive; use a vthread_lock_t, or define "
                                     "VTHREAD_RECURSIVE_MUTEXES before <vthread/pthread.h> is included");
        return EINVAL;
    }
    *mutex = (vthread_mutex_t)VTHREAD_MUTEX_INITIALIZER;
    lock_order_forget(mutex);
    return 0;
}

bool mutex_is_used(struct mutex *m)
{
    bool used;

    lock_acquire(&m->queue.lock);
    used = (atomic_load_relaxed(&m->word) & MUTEX_OWNER) != 0 || !wait_queue_is_empty(&m->queue) || m->woken > 0;
    lock_release(&m->queue.lock);
    return used;
}

int vthread_mutex_destroy(vthread_mutex_t *mutex)
{
    if (mutex_is_used(mutex_of(mutex)))
        return EBUSY;
    lock_order_forget(mutex);
    return 0;
}

int mutex_acquire(struct mutex *m, const char *call, uint64_t flags, int64_t deadline_ns)
{
    int error;
    struct thread *self = thread_self(&error);

    if (self != NULL && !(flags & WORD_DEAF) && wait_is_interrupted(self))
        return EINTR;
    lock_order_wants(self, m, call);
    if (self != NULL && mutex_try_slow(m, self)) {
        lock_is_held(self, m);
        return 0;
    }
    if (self != NULL && mutex_is_owner(m, self)) {
        misuse(call,
               "the calling thread holds the lock (%p) already, and would wait for itself; unlock it first, or "
               "use a vthread_lock_t, which may be locked again",
               (void *)m);
        return EDEADLK;
    }
    if (self != NULL)
        error = wait_refuse_private(call, m);
    if (error == 0)
        error = mutex_acquire_slow(m, self, flags, deadline_ns);
    if (error == 0)
        lock_is_held(self, m);
    return lock_result(error, flags, deadline_ns);
}

int vthread_mutex_lock(vthread_mutex_t *mutex)
{
    struct thread *self = thread_mounted();

    if (!LOCK_ORDER && LIKELY(self != NULL) && LIKELY(mutex_try(mutex_of(mutex), self))) {
        lock_is_held(self, mutex);
        return 0;
    }
    return mutex_acquire(mutex_of(mutex), "vthread_mutex_lock", WORD_DEAF, VTHREAD_FOREVER);
}

int vthread_mutex_trylock(vthread_mutex_t *mutex)
{
    int error;
    struct thread *self = thread_self(&error);

    if (self == NULL)
        return error;
    if (!mutex_try_slow(mutex_of(mutex), self))
        return EBUSY;
    lock_is_held(self, mutex);
    return 0;
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

static NOINLINE int unlock_slow(struct mutex *m)
{
    struct thread *self = thread_self(NULL);

    if (self == NULL || !mutex_is_owner(m, self))
        return mutex_refuse_release(m, "vthread_mutex_unlock");
    lock_is_let_go(self, m);
    mutex_release(m, self);
    return 0;
}

int vthread_mutex_unlock(vthread_mutex_t *mutex)
{
    struct thread *self = thread_mounted();

    if (!LOCK_ORDER && LIKELY(self != NULL) && LIKELY(mutex_release_at_once(mutex_of(mutex), self, 1)))
        return 0;
    return unlock_slow(mutex_of(mutex));
}
