/* SPDX-License-Identifier: MIT */
#include "sync/wait_queue.h"

#include <errno.h>

#include "base/clock.h"
#include "base/panic.h"

/* Before the oldest, which is also after the latest: the list is a ring. */
static void link_in(struct wait_queue *q, struct thread *self, uint32_t amount)
{
    uint32_t index = thread_index(self);
    uint32_t first = atomic_load_relaxed(&q->first);
    struct thread_waiter *node = &thread_waiters[index];

    node->amount = amount;
    node->number = thread_wait_number(self);
    atomic_store_relaxed(&node->state, WAIT_QUEUED);
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

/* ---- granting ---- */

void wait_queue_grant(struct wait_queue *q, uint32_t given, struct granted *granted)
{
    uint32_t index = atomic_load_relaxed(&q->first);
    struct thread_waiter *node = &thread_waiters[index];

    link_out(q, index);
    node->amount = given;
    node->next = 0;
    if (granted->first == 0)
        granted->first = index;
    else
        thread_waiters[granted->last].next = index;
    granted->last = index;
    atomic_store_relaxed(&node->state, WAIT_GRANTED); /* what goes with it comes with WAIT_OVER */
}

void wait_queue_grant_all(struct wait_queue *q, uint32_t given, struct granted *granted)
{
    while (!wait_queue_is_empty(q))
        wait_queue_grant(q, given, granted);
}

void wait_queue_wake_chain(struct granted granted, struct task_list *list)
{
    uint32_t index = granted.first;

    while (index != 0) {
        struct thread_waiter *node = &thread_waiters[index];
        struct thread *t = &thread_table[index];
        uint32_t number = node->number;

        index = node->next;
        atomic_store_release(&node->state, WAIT_OVER); /* pairs with the acquires in outcome and await_granter */
        thread_wake(t, number, 0, list);
    }
}

/* ---- waiting ---- */

static void await_granter(struct thread_waiter *node)
{
    for (int i = 1; atomic_load_acquire(&node->state) != WAIT_OVER; i++)
        before_next_look(i);
}

/* Woken, or not: is it over?  0: granted; EAGAIN: woken for nothing; else the reason, off the queue, with the lock. */
static int outcome(struct wait_queue *q, struct thread *self, int reason)
{
    uint32_t index = thread_index(self);
    struct thread_waiter *node = &thread_waiters[index];

    if (atomic_load_acquire(&node->state) == WAIT_QUEUED) {
        lock_acquire(&q->lock);
        if (atomic_load_relaxed(&node->state) == WAIT_QUEUED) {
            if (reason != 0) {
                link_out(q, index);
                return reason;
            }
            node->number = thread_wait_number(self); /* wait once more, under a new number */
            lock_release(&q->lock);
            return EAGAIN;
        }
        lock_release(&q->lock);
    }
    await_granter(node);
    return 0;
}

int wait_queue_wait(struct wait_queue *q, struct thread *self, void *object, uint64_t flags, int64_t deadline_ns)
{
    int result;

    atomic_store_relaxed(&self->slot, object);
    do
        result = outcome(q, self, thread_wait_until(self, WORD_INTERNAL | flags, deadline_ns));
    while (result == EAGAIN);
    atomic_store_relaxed(&self->slot, NULL);
    if (result == EINTR)
        word_clear(&self->word, WORD_INTERRUPTED);
    return result;
}

int wait_queue_wait_blocked(struct wait_queue *q, struct thread *self, void *object, enum wait_kind kind,
                            uint64_t flags, int64_t deadline_ns)
{
    struct thread_waiter *node = &thread_waiters[thread_index(self)];
    int result;

    atomic_store_relaxed(&node->kind, (uint8_t)kind); /* to be looked at while the thread is parked, whose CAS orders */
    result = wait_queue_wait(q, self, object, flags, deadline_ns);
    atomic_store_relaxed(&node->kind, WAIT_FOR_ANYTHING);
    return result;
}

int wait_refuse_private(const char *call, const void *object)
{
    return UNLIKELY(stack_is_private(object)) ? stack_refuse_private(call, "the object waited for", object) : 0;
}
