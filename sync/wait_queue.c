/* SPDX-License-Identifier: MIT */
#include "sync/wait_queue.h"

#include <errno.h>

#include "base/clock.h"
#include "base/panic.h"

enum { GRANT_AT_ONCE = 32 };

/* Before the oldest, which is also after the latest: the list is a ring. */
static void link_in(struct wait_queue *q, struct thread *self, uint32_t amount)
{
    uint32_t index = thread_index(self);
    uint32_t first = atomic_load_relaxed(&q->first);
    struct thread_waiter *node = &thread_waiters[index];

    node->amount = amount;
    node->number = thread_wait_number(self);
    atomic_store_relaxed(&node->granted, false);
    if (first == 0) {
        node->next = node->previous = index;
    } else {
        struct thread_waiter *oldest = &thread_waiters[first];

        node->next = first;
        node->previous = oldest->previous;
        thread_waiters[oldest->previous].next = index;
        oldest->previous = index;
    }
}

void wait_queue_append(struct wait_queue *q, struct thread *self, uint32_t amount)
{
    link_in(q, self, amount);
    if (atomic_load_relaxed(&q->first) == 0)
        atomic_store_relaxed(&q->first, thread_index(self));
}

void wait_queue_prepend(struct wait_queue *q, struct thread *self, uint32_t amount)
{
    link_in(q, self, amount);
    atomic_store_relaxed(&q->first, thread_index(self));
}

static void link_out(struct wait_queue *q, uint32_t index)
{
    struct thread_waiter *node = &thread_waiters[index];

    if (node->next == index) {
        ASSERT2(atomic_load_relaxed(&q->first) == index);
        atomic_store_relaxed(&q->first, 0);
        return;
    }
    thread_waiters[node->previous].next = node->next;
    thread_waiters[node->next].previous = node->previous;
    if (atomic_load_relaxed(&q->first) == index)
        atomic_store_relaxed(&q->first, node->next);
}

struct granted wait_queue_grant(struct wait_queue *q, struct thread *t)
{
    struct thread_waiter *node = &thread_waiters[thread_index(t)];
    struct granted granted = {t, node->number};

    link_out(q, thread_index(t));
    /* release: pairs with the acquire in wait_queue_wait; from here on the node is the waiter's again. */
    atomic_store_release(&node->granted, true);
    return granted;
}

bool wait_queue_withdraw(struct wait_queue *q, struct thread *self)
{
    if (atomic_load_relaxed(&thread_waiters[thread_index(self)].granted))
        return true;
    link_out(q, thread_index(self));
    return false;
}

static uint32_t count_locked(struct wait_queue *q)
{
    uint32_t first = atomic_load_relaxed(&q->first);
    uint32_t n = 0;

    for (uint32_t i = first; i != 0 && (n == 0 || i != first); i = thread_waiters[i].next)
        n++;
    return n;
}

void wait_queue_grant_all(struct wait_queue *q)
{
    struct granted granted[GRANT_AT_ONCE];
    uint32_t left;
    uint32_t n;

    lock_acquire(&q->lock);
    /* No more than are here now: they may be back before the last has been woken. */
    for (left = count_locked(q); left > 0; left -= n) {
        for (n = 0; n < GRANT_AT_ONCE && n < left && !wait_queue_is_empty(q); n++)
            granted[n] = wait_queue_grant(q, wait_queue_first(q));
        lock_release(&q->lock);
        for (uint32_t i = 0; i < n; i++)
            wait_queue_wake(granted[i]);
        lock_acquire(&q->lock);
        if (n == 0)
            break;
    }
    lock_release(&q->lock);
}

/* Woken, or not: is it over?  0: granted; EAGAIN: woken for nothing; else the reason, and off the queue. */
static int outcome(struct wait_queue *q, struct thread *self, int reason)
{
    struct thread_waiter *node = &thread_waiters[thread_index(self)];
    int result = reason;

    if (atomic_load_acquire(&node->granted)) /* pairs with the release in wait_queue_grant */
        return 0;
    lock_acquire(&q->lock);
    if (atomic_load_relaxed(&node->granted)) {
        result = 0;
    } else if (reason != 0) {
        link_out(q, thread_index(self));
    } else { /* wait once more, under a new number */
        node->number = thread_wait_number(self);
        result = EAGAIN;
    }
    lock_release(&q->lock);
    return result;
}

int wait_queue_wait(struct wait_queue *q, struct thread *self, void *object, uint64_t flags, int64_t deadline_ns)
{
    int result;

    atomic_store_relaxed(&self->slot, object);
    do {
        int reason = ETIMEDOUT;

        if (deadline_ns != INT64_MAX && deadline_ns <= clock_now_ns())
            thread_wait_cancel(self);
        else
            reason = thread_wait(self, WORD_INTERNAL | flags, deadline_ns);
        result = outcome(q, self, reason);
    } while (result == EAGAIN);
    atomic_store_relaxed(&self->slot, NULL);
    if (result == EINTR)
        word_clear(&self->word, WORD_INTERRUPTED);
    return result;
}

int wait_refuse_private(const char *call, const void *object)
{
    return UNLIKELY(stack_is_private(object)) ? stack_refuse_private(call, "the object waited for", object) : 0;
}
