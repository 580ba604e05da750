/* SPDX-License-Identifier: MIT */
/*
 * A watch is a heap node with an event of its own, beside the descriptor's slots:
 * the one who watches takes part in no queue and takes no data.  It is linked to
 * the descriptor, so that closing finds it.
 */
#include "net/watch.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include <vthread/net.h>

#include "base/memory.h"
#include "net/descriptor.h"
#include "net/poller.h"
#include "net/system.h"
#include "vthread/thread.h"

struct watch {
    struct watch *next;     /* under the descriptor's lock */
    bool closed;            /* under the descriptor's lock; then it is unlinked, and its event deleted */
    ATOMIC(uint64_t) token; /* of the present wait; 0 once somebody has taken it to wake it */
    struct event event;
};

static void wake(struct watch *w, struct task_list *list)
{
    poller_wake_token(atomic_exchange_acq_rel(&w->token, 0), list);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    wake(arg, poller_ready());
}

void watch_cancel_all_locked(struct descriptor *d)
{
    struct watch *w = d->watches;

    d->watches = NULL;
    while (w != NULL) {
        struct watch *next = w->next;

        event_del(&w->event);
        w->closed = true;
        wake(w, NULL); /* its thread takes the lock before it frees the node */
        w = next;
    }
}

static void unlink_locked(struct descriptor *d, struct watch *w)
{
    struct watch **at = &d->watches;

    if (w->closed)
        return;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    event_del(&w->event);
}

/* With the lock: what is ready now; 0 nothing; or -Exxx. */
static int look_locked(struct watch *w, int fd, int events)
{
    int ready;

    if (w->closed)
        return -ECANCELED;
    ready = system_poll(fd, events);
    return ready > 0 && (ready & POLLNVAL) ? -EBADF : ready;
}

static int assign(struct watch *w, int fd, int events)
{
    short what = 0;

    if (events & POLLIN)
        what |= EV_READ;
    if (events & POLLOUT)
        what |= EV_WRITE;
    return event_assign(&w->event, poller_base(), fd, what, on_event, w) != 0 ? -EINVAL : 0;
}

static void *blocker_of(int fd, int events)
{
    if (events == POLLIN)
        return thread_descriptor_blocker(fd, DESCRIPTOR_READ);
    return thread_descriptor_blocker(fd, events == POLLOUT ? DESCRIPTOR_WRITE : DESCRIPTOR_READ_OR_WRITE);
}

/* With the lock, which is given up meanwhile. */
static int wait_locked(struct descriptor *d, struct watch *w, struct thread *self, int fd, int events,
                       int64_t deadline_ns)
{
    int reason = 0;
    int result;

    for (;;) {
        /* First the token and the registration, then the look: what happens after the look is reported. */
        atomic_exchange_acq_rel(&w->token, slot_token(thread_index(self), thread_wait_number(self)));
        if (!w->closed && poller_add_event(&w->event) != 0)
            result = -ENOMEM;
        else
            result = look_locked(w, fd, events);
        if (result == 0 && reason == 0 && deadline_ns != INT64_MAX && deadline_ns <= vthread_now_ns())
            reason = ETIMEDOUT;
        if (result != 0 || reason != 0)
            break;
        lock_release(&d->lock);
        atomic_store_relaxed(&self->slot, blocker_of(fd, events)); /* for dumps */
        reason = thread_wait(self, WORD_INTERNAL, deadline_ns);
        atomic_store_relaxed(&self->slot, NULL);
        lock_acquire(&d->lock);
    }
    thread_wait_cancel(self); /* the one that was prepared last */
    if (result == 0 && reason == EINTR)
        word_clear(&self->word, WORD_INTERRUPTED);
    return result != 0 ? result : -reason;
}

static int watch(struct descriptor *d, struct thread *self, int fd, int events, int64_t deadline_ns)
{
    struct watch *w = memory_alloc(sizeof *w);
    int result;

    if (w == NULL)
        return -ENOMEM;
    lock_acquire(&d->lock);
    result = slot_is_closed(&d->slot[SLOT_READ]) ? -EAGAIN : assign(w, fd, events);
    if (result == 0) {
        w->next = d->watches;
        d->watches = w;
        result = wait_locked(d, w, self, fd, events, deadline_ns);
        unlink_locked(d, w);
    }
    lock_release(&d->lock);
    memory_free(w);
    return result;
}

int vthread_wait_fd_until(int fd, int events, int64_t deadline_ns)
{
    int error = net_enter();
    struct descriptor *d;
    struct thread *self;
    int result;

    if (error != 0)
        return error;
    if (events == 0 || (events & ~(POLLIN | POLLOUT)))
        return -EINVAL;
    self = thread_self(&error);
    if (self == NULL)
        return -error;
    if (atomic_load_relaxed(&self->word) & WORD_INTERRUPTED) { /* a hint: the wait looks again */
        word_clear(&self->word, WORD_INTERRUPTED);
        return -EINTR;
    }
    for (;;) {
        error = descriptor_get(fd, &d);
        if (error != 0)
            return error;
        result = system_poll(fd, events);
        if (result != 0)
            return result > 0 && (result & POLLNVAL) ? -EBADF : result;
        result = watch(d, self, fd, events, deadline_ns);
        if (result != -EAGAIN)
            return result;
        descriptor_await_close(d); /* of the file before; the number may be another's by now */
    }
}

int vthread_wait_fd(int fd, int events)
{
    return vthread_wait_fd_until(fd, events, VTHREAD_FOREVER);
}
