/* SPDX-License-Identifier: MIT */
#include "posix/line.h"

#include <errno.h>
#include <string.h>

#include <vthread/sync.h>

#include "base/atomic.h"
#include "posix/wait.h"

enum { WAITERS_MAX = 4096, LINES = 64, SHORT_NS = 1000 * 1000 };

struct line_waiter {
    struct line_waiter *next;   /* in its line, or among the unused; under the line's lock, or that of the unused */
    struct line_waiter *before; /* in its line */
    const void *address;
    bool is_in_line;  /* under the line's lock; woken if not */
    bool interrupted; /* the waiter's own */
    vthread_sem_t woken;
};

/* Held for a few instructions, and never over a wait. */
struct spin {
    ATOMIC(uint32_t) taken;
};

static struct line {
    CACHE_ALIGNED struct spin lock;
    ATOMIC(uint32_t) waiting; /* changed under the lock */
    struct line_waiter *first;
    struct line_waiter *last;
} lines[LINES];

static struct {
    struct spin lock;
    uint32_t used; /* that ever were */
    struct line_waiter *unused;
} pool;

static struct line_waiter waiters[WAITERS_MAX];

static void acquire(struct spin *lock)
{
    while (atomic_exchange_acquire(&lock->taken, 1) != 0)
        REAL(sched_yield)();
}

static void release(struct spin *lock)
{
    atomic_store_release(&lock->taken, 0);
}

static struct line *line_of(const void *address)
{
    return &lines[((uintptr_t)address >> 3) * 0x9e3779b97f4a7c15u >> 58];
}

static struct line_waiter *take_unused(void)
{
    struct line_waiter *w;

    acquire(&pool.lock);
    w = pool.unused;
    if (w != NULL)
        pool.unused = w->next;
    else if (pool.used < WAITERS_MAX)
        w = &waiters[pool.used++];
    release(&pool.lock);
    return w;
}

static void link_locked(struct line *line, struct line_waiter *w)
{
    w->next = NULL;
    w->before = line->last;
    *(line->last != NULL ? &line->last->next : &line->first) = w;
    line->last = w;
    w->is_in_line = true;
    atomic_store_relaxed(&line->waiting, atomic_load_relaxed(&line->waiting) + 1);
}

static void unlink_locked(struct line *line, struct line_waiter *w)
{
    *(w->before != NULL ? &w->before->next : &line->first) = w->next;
    *(w->next != NULL ? &w->next->before : &line->last) = w->before;
    w->is_in_line = false;
    atomic_store_relaxed(&line->waiting, atomic_load_relaxed(&line->waiting) - 1);
}

struct line_waiter *line_enter(const void *address)
{
    struct line *line = line_of(address);
    struct line_waiter *w = take_unused();

    if (w == NULL)
        return NULL;
    w->address = address;
    w->interrupted = false;
    vthread_sem_drain(&w->woken);
    acquire(&line->lock);
    link_locked(line, w);
    release(&line->lock);
    return w;
}

int line_wait(struct line_waiter *w, int64_t deadline_ns)
{
    bool stays = wait_stay();
    int error;

    if (w == NULL) {
        int64_t until_ns = vthread_after_ns(SHORT_NS);

        error = vthread_sleep_until(until_ns < deadline_ns ? until_ns : deadline_ns);
        if (error == EINTR) {
            vthread_yield();
            vthread_interrupt(vthread_self_virtual());
        }
        error = deadline_ns <= vthread_now_ns() ? ETIMEDOUT : 0;
    } else {
        while ((error = vthread_sem_acquire_until(&w->woken, 1, deadline_ns)) == EINTR)
            w->interrupted = true;
        error = error != 0 ? ETIMEDOUT : 0;
    }
    wait_leave(stays);
    return error;
}

bool line_leave(struct line_waiter *w)
{
    struct line *line;
    bool interrupted;
    bool was_woken;

    if (w == NULL)
        return false;
    interrupted = w->interrupted;
    line = line_of(w->address);
    acquire(&line->lock); /* who has woken it is through with it, then */
    was_woken = !w->is_in_line;
    if (!was_woken)
        unlink_locked(line, w);
    release(&line->lock);
    acquire(&pool.lock);
    w->next = pool.unused;
    pool.unused = w;
    release(&pool.lock);
    if (interrupted)
        vthread_interrupt(vthread_self_virtual());
    return was_woken;
}

void line_wake(const void *address, bool all)
{
    struct line *line = line_of(address);
    struct line_waiter *next;

    /* relaxed: see above; where the order matters the program's own mutex makes it */
    if (LIKELY(atomic_load_relaxed(&line->waiting) == 0))
        return;
    acquire(&line->lock);
    for (struct line_waiter *w = line->first; w != NULL; w = next) {
        next = w->next; /* who has been woken goes only with the lock */
        if (w->address != address)
            continue;
        unlink_locked(line, w);
        vthread_sem_release(&w->woken, 1);
        if (!all)
            break;
    }
    release(&line->lock);
}

void line_nudge(const void *address)
{
    struct line *line = line_of(address);

    acquire(&line->lock);
    for (struct line_waiter *w = line->first; w != NULL; w = w->next)
        if (w->address == address)
            vthread_sem_release(&w->woken, 1);
    release(&line->lock);
}

void line_forget_all(void)
{
    memset(waiters, 0, pool.used * sizeof waiters[0]);
    memset(&pool, 0, sizeof pool);
    memset(lines, 0, sizeof lines);
}
