/* SPDX-License-Identifier: MIT */
/*
 * vthread_sem_t.
 *
 *     word   permits, 31 bits
 *            QUEUED   somebody is in the queue, or was until a moment ago
 *
 * Without QUEUED, a CAS each way.  With it a release gives permits to as many from the
 * head of the queue as there are permits for, in the same CAS that adds the rest: what
 * waits is either in the word, or has been given, and an acquirer never waits while the
 * oldest could go on.  One who gives up his place lets those behind him have what he did
 * not find enough.
 */
#include <errno.h>

#include <vthread/sync.h>

#include "sync/sync_internal.h"

#define PERMITS ((uint32_t)INT32_MAX)
#define QUEUED (1u << 31)

struct sem {
    ATOMIC(uint32_t) word;
    uint32_t fair;
    struct wait_queue queue;
};

_Static_assert(sizeof(struct sem) == sizeof(vthread_sem_t), "what users embed");
_Static_assert(_Alignof(struct sem) <= _Alignof(vthread_sem_t), "what users embed");

static struct sem *sem_of(vthread_sem_t *sem)
{
    return (struct sem *)(void *)sem;
}

int vthread_sem_init(vthread_sem_t *sem, int permits, const vthread_sem_params_t *params)
{
    if (sem == NULL || permits < 0 ||
        (params != NULL && !words_are_zero(params->reserved, LENGTH_OF(params->reserved))))
        return EINVAL;
    *sem = (vthread_sem_t)VTHREAD_SEM_INITIALIZER(permits);
    sem_of(sem)->fair = params != NULL && params->fair;
    return 0;
}

int vthread_sem_destroy(vthread_sem_t *sem)
{
    return wait_queue_is_empty(&sem_of(sem)->queue) ? 0 : EBUSY;
}

/* Take n, if there are so many; unless: QUEUED, not to pass those who wait, or 0. */
static inline bool try(struct sem *s, uint32_t n, uint32_t unless)
{
    uint32_t w = atomic_load_relaxed(&s->word);

    while ((w & PERMITS) >= n && !(w & unless)) {
        if (atomic_cas_acq_rel(&s->word, &w, w - n)) { /* pairs with those of release */
            wait_queue_let_go(&s->queue);
            return true;
        }
    }
    return false;
}

/* Take n (true), or queue up. */
static bool take_or_queue_up(struct sem *s, struct thread *self, uint32_t n)
{
    uint32_t w;
    bool taken;

    lock_acquire(&s->queue.lock);
    w = atomic_load_relaxed(&s->word);
    do
        taken = (w & PERMITS) >= n && (!s->fair || wait_queue_is_empty(&s->queue));
    while (!atomic_cas_acq_rel(&s->word, &w, taken ? w - n : w | QUEUED));
    if (!taken)
        wait_queue_append(&s->queue, self, n);
    lock_release(&s->queue.lock);
    return taken;
}

/* With the lock: add n, and give out what can be.  0 or EOVERFLOW. */
static int add_locked(struct sem *s, uint32_t n, struct granted *granted)
{
    uint32_t w = atomic_load_relaxed(&s->word);
    uint32_t permits, index, count;

    do {
        permits = (w & PERMITS) + n;
        if (permits > PERMITS)
            return EOVERFLOW;
        count = 0;
        for (index = wait_queue_first(&s->queue); index != 0 && wait_queue_amount(index) <= permits; count++) {
            permits -= wait_queue_amount(index);
            index = wait_queue_after(&s->queue, index);
        }
    } while (!atomic_cas_acq_rel(&s->word, &w, permits | (index != 0 ? QUEUED : 0)));
    while (count-- > 0)
        wait_queue_grant(&s->queue, 0, granted);
    return 0;
}

static int acquire(vthread_sem_t *sem, const char *call, int n, uint64_t flags, int64_t deadline_ns)
{
    struct sem *s = sem_of(sem);
    struct granted granted = {0, 0};
    struct thread *self;
    int error;

    if (n < 0)
        return EINVAL;
    self = waiting_self(flags, &error);
    if (UNLIKELY(self == NULL))
        return error;
    if (LIKELY(try(s, (uint32_t)n, s->fair ? QUEUED : 0)))
        return 0;
    error = wait_refuse_private(call, s);
    if (error != 0 || take_or_queue_up(s, self, (uint32_t)n))
        return error;
    error = wait_queue_wait(&s->queue, self, s, flags, deadline_ns);
    if (error != 0) {
        (void)add_locked(s, 0, &granted);
        lock_release(&s->queue.lock);
        wait_queue_wake(granted);
    }
    return error;
}

int vthread_sem_acquire(vthread_sem_t *sem, int n)
{
    return acquire(sem, "vthread_sem_acquire", n, 0, VTHREAD_FOREVER);
}

int vthread_sem_acquire_until(vthread_sem_t *sem, int n, int64_t deadline_ns)
{
    return acquire(sem, "vthread_sem_acquire_until", n, 0, deadline_ns);
}

int vthread_sem_acquire_uninterruptible(vthread_sem_t *sem, int n)
{
    return acquire(sem, "vthread_sem_acquire_uninterruptible", n, WORD_DEAF, VTHREAD_FOREVER);
}

int vthread_sem_tryacquire(vthread_sem_t *sem, int n)
{
    if (n < 0)
        return EINVAL;
    return try(sem_of(sem), (uint32_t)n, 0) ? 0 : EAGAIN;
}

static NOINLINE int release_slow(struct sem *s, uint32_t n)
{
    struct granted granted = {0, 0};
    int error;

    lock_acquire(&s->queue.lock);
    error = add_locked(s, n, &granted);
    lock_release(&s->queue.lock);
    wait_queue_wake(granted);
    return error;
}

int vthread_sem_release(vthread_sem_t *sem, int n)
{
    struct sem *s = sem_of(sem);
    uint32_t w = atomic_load_relaxed(&s->word);

    if (n < 0)
        return EINVAL;
    do {
        if (UNLIKELY(w & QUEUED))
            return release_slow(s, (uint32_t)n);
        if ((uint32_t)n > PERMITS - w)
            return EOVERFLOW;
    } while (!atomic_cas_acq_rel(&s->word, &w, w + (uint32_t)n)); /* pairs with the acquirer's */
    return 0;
}

int vthread_sem_drain(vthread_sem_t *sem)
{
    struct sem *s = sem_of(sem);
    uint32_t w = atomic_load_relaxed(&s->word);

    while (!atomic_cas_acq_rel(&s->word, &w, w & QUEUED))
        ;
    wait_queue_let_go(&s->queue);
    return (int)(w & PERMITS);
}

int vthread_sem_available(vthread_sem_t *sem)
{
    return (int)(atomic_load_relaxed(&sem_of(sem)->word) & PERMITS);
}
