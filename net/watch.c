/* SPDX-License-Identifier: MIT */
/*
 * A watcher is a thread that waits for any of several descriptors; it has a watch on each.  A watch has an event of
 * its own, beside the descriptor's slots: who watches takes part in no queue and takes no data.  It is linked to the
 * descriptor, so that closing finds it.
 *
 * Whoever has something to tell (the poller, a closer) takes the watcher's token and wakes it.  The thread then asks
 * poll(2) about all of them, which decides; what woke it is only a hint.
 *
 * libevent knows of readable and writable, and reports errors and hang-ups as both.  That is enough for an entry that
 * asks for POLLIN or POLLOUT: poll(2) always has something to say about it then.  For others (POLLPRI, POLLRDHUP
 * alone, nothing but errors) it would wake us again and again for what was not asked, so those of one call
 * share an epoll set of their own, which libevent watches.
 */
#include "net/watch.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>

#include <vthread/net.h>

#include "base/memory.h"
#include "net/descriptor.h"
#include "net/poller.h"
#include "net/system.h"
#include "vthread/thread.h"

struct watch {
    struct watch *next;   /* under the descriptor's lock */
    struct descriptor *d; /* NULL: not linked */
    struct watcher *watcher;
    ATOMIC(bool) closed; /* set under the descriptor's lock; then it is unlinked, and its event deleted */
    struct event event;  /* of ordinary entries */
};

struct watcher {
    ATOMIC(uint64_t) token;  /* of the present wait; 0 once somebody has taken it to wake it */
    ATOMIC(bool) any_closed; /* one of the watches is */
    struct pollfd *fds;      /* the thread's own: a copy of what it asks for */
    nfds_t count;
    nfds_t asked; /* so many, the first ones, are waited for; of the others only closing matters */
    int epoll;    /* the set of unusual entries, or -1 */
    struct event epoll_event;
    struct watch watches[];
};

/* ---- telling the watcher ---- */

static void wake(struct watcher *w, struct task_list *list)
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
    struct watch *first = d->watches;

    d->watches = NULL;
    /* All of them before anybody is told: a watcher may have several, and looks without the lock. */
    for (struct watch *w = first; w != NULL; w = w->next) {
        if (event_initialized(&w->event))
            event_del(&w->event);
        atomic_store_relaxed(&w->closed, true); /* ordered by any_closed */
    }
    for (struct watch *w = first; w != NULL; w = w->next) {
        atomic_store_release(&w->watcher->any_closed, true); /* pairs with look */
        wake(w->watcher, NULL);                              /* its thread takes the lock before it frees anything */
    }
}

/* ---- setting up ---- */

/* Is it precise enough to ask libevent?  (Those of POLLRDNORM and its like that come with POLLIN add nothing.) */
static bool is_usual(int events)
{
    int implied = 0;

    if (events & POLLIN)
        implied |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (events & POLLOUT)
        implied |= POLLOUT | POLLWRNORM;
    return implied != 0 && (events & ~implied) == 0;
}

static int assign(struct watch *w, int fd, int events)
{
    short what = 0;

    if (events & POLLIN)
        what |= EV_READ;
    if (events & POLLOUT)
        what |= EV_WRITE;
    return event_assign(&w->event, poller_base(), fd, what, on_event, w->watcher) != 0 ? -EINVAL : 0;
}

static void *blocker_of(int fd, int events)
{
    if ((events & (POLLIN | POLLOUT)) == POLLIN)
        return thread_descriptor_blocker(fd, DESCRIPTOR_READ);
    return thread_descriptor_blocker(fd, (events & (POLLIN | POLLOUT)) == POLLOUT ? DESCRIPTOR_WRITE
                                                                                  : DESCRIPTOR_READ_OR_WRITE);
}

/*
 * generations: NULL, or of the files that they must be.  0; -EAGAIN: being closed, *ret_closing says which; -ECANCELED:
 * another file; or an error.
 */
static int link_watch(struct watcher *w, nfds_t i, const uint32_t *generations, struct descriptor **ret_closing)
{
    struct watch *watch = &w->watches[i];
    struct descriptor *d;
    int error = descriptor_get(w->fds[i].fd, &d);

    if (error != 0)
        return error;
    watch->watcher = w;
    lock_acquire(&d->lock);
    if (slot_is_closed(&d->slot[SLOT_READ])) {
        *ret_closing = d;
        error = -EAGAIN;
    } else if (generations != NULL && generations[i] != atomic_load_relaxed(&d->generation)) { /* under the lock */
        error = -ECANCELED;
    } else if (i < w->asked && is_usual(w->fds[i].events)) {
        error = assign(watch, w->fds[i].fd, w->fds[i].events);
    }
    if (error == 0) {
        watch->d = d;
        watch->next = d->watches;
        d->watches = watch;
    }
    lock_release(&d->lock);
    return error;
}

static void unlink_watch(struct watch *watch)
{
    struct descriptor *d = watch->d;

    if (d == NULL)
        return;
    lock_acquire(&d->lock);
    if (!atomic_load_relaxed(&watch->closed)) { /* changed with the lock only */
        struct watch **at = &d->watches;

        while (*at != watch)
            at = &(*at)->next;
        *at = watch->next;
        if (event_initialized(&watch->event))
            event_del(&watch->event); /* waits for its callback, if that is running */
    }
    lock_release(&d->lock);
}

/* All that unusual entries ask of that descriptor. */
static uint32_t unusual_events(const struct watcher *w, int fd)
{
    uint32_t events = 0;

    for (nfds_t i = 0; i < w->asked; i++)
        if (w->fds[i].fd == fd && !is_usual(w->fds[i].events))
            events |= (uint32_t)(unsigned short)w->fds[i].events; /* epoll's bits are poll's */
    return events;
}

static COLD int add_unusual(struct watcher *w, int fd)
{
    int error = 0;

    if (w->epoll < 0) {
        w->epoll = system_epoll_create();
        if (w->epoll < 0)
            return w->epoll;
        if (event_assign(&w->epoll_event, poller_base(), w->epoll, EV_READ, on_event, w) != 0)
            return -EINVAL;
    }
    error = system_epoll_control(w->epoll, EPOLL_CTL_ADD, fd, unusual_events(w, fd), 0);
    if (error == -ENOSPC) /* fs.epoll.max_user_watches */
        return -ENOMEM;
    /* There already, or cannot be waited for: then poll(2) says all there is to say; or just closed. */
    return error == -EEXIST || error == -EPERM || error == -EBADF ? 0 : error;
}

static void discard(struct watcher *w)
{
    for (nfds_t i = 0; i < w->count; i++)
        unlink_watch(&w->watches[i]);
    if (w->epoll >= 0) {
        if (event_initialized(&w->epoll_event))
            event_del(&w->epoll_event);
        system_close(w->epoll);
    }
    memory_free(w);
}

/* 0, -EAGAIN: look again, one of them has just been closed; or an error. */
static int make(const struct pollfd *fds, nfds_t count, nfds_t asked, const uint32_t *generations,
                struct watcher **ret_watcher)
{
    size_t bytes = sizeof(struct watcher) + count * (sizeof(struct watch) + sizeof(struct pollfd));
    struct watcher *w = memory_alloc(bytes);
    struct descriptor *closing = NULL;
    int error = 0;

    if (w == NULL)
        return -ENOMEM;
    w->count = count;
    w->asked = asked;
    w->epoll = -1;
    w->fds = (struct pollfd *)(void *)&w->watches[count];
    if (count > 0)
        memcpy(w->fds, fds, count * sizeof *fds);
    for (nfds_t i = 0; i < count && error == 0; i++)
        if (fds[i].fd >= 0) {
            error = link_watch(w, i, generations, &closing);
            if (error == -EBADF && i < asked) /* poll(2) says so, too: look again */
                error = -EAGAIN;
            if (error == 0 && i < asked && !is_usual(fds[i].events))
                error = add_unusual(w, fds[i].fd);
        }
    if (error == 0) {
        *ret_watcher = w;
        return 0;
    }
    discard(w);
    if (closing != NULL)
        descriptor_await_close(closing); /* of the file before; the number may be another's by now */
    return error;
}

/* ---- waiting ---- */

/* Have the events reported, of those that have been already once more. */
static int arm(struct watcher *w)
{
    int error = 0;

    for (nfds_t i = 0; i < w->count && error == 0; i++) {
        struct watch *watch = &w->watches[i];

        if (watch->d == NULL || !event_initialized(&watch->event))
            continue;
        lock_acquire(&watch->d->lock);
        if (!atomic_load_relaxed(&watch->closed)) /* changed with the lock only */
            error = poller_add_event(&watch->event);
        lock_release(&watch->d->lock);
    }
    if (error == 0 && w->epoll >= 0)
        error = poller_add_event(&w->epoll_event);
    return error;
}

/* How many have something to say, or -Exxx.  The number of one that was closed may be another's by now. */
static int look(struct watcher *w)
{
    int n = system_poll_all(w->fds, w->asked);

    /* acquire: pairs with watch_cancel_all_locked. */
    if (n < 0 || LIKELY(!atomic_load_acquire(&w->any_closed)))
        return n;
    n = 0;
    for (nfds_t i = 0; i < w->count; i++) {
        if (atomic_load_relaxed(&w->watches[i].closed)) /* ordered by any_closed */
            w->fds[i].revents = POLLNVAL;
        n += w->fds[i].revents != 0;
    }
    return n;
}

/* How many are ready; 0: the deadline has passed; or -Exxx. */
static int wait(struct watcher *w, struct thread *self, int64_t deadline_ns)
{
    int reason = 0;
    int result;

    for (;;) {
        /* First the token and the registrations, then the look: what happens after the look is reported. */
        atomic_exchange_acq_rel(&w->token, slot_token(thread_index(self), thread_wait_number(self)));
        result = arm(w);
        if (result == 0)
            result = look(w);
        if (result == 0 && reason == 0 && deadline_ns != INT64_MAX && deadline_ns <= vthread_now_ns())
            reason = ETIMEDOUT;
        if (result != 0 || reason != 0)
            break;
        if (w->asked == 1)
            atomic_store_relaxed(&self->slot, blocker_of(w->fds[0].fd, w->fds[0].events)); /* for dumps */
        reason = thread_wait(self, WORD_INTERNAL, deadline_ns);
        atomic_store_relaxed(&self->slot, NULL);
    }
    thread_wait_cancel(self); /* the one that was prepared last */
    if (result == 0 && reason == EINTR)
        word_clear(&self->word, WORD_INTERRUPTED);
    return result != 0 || reason == ETIMEDOUT ? result : -reason;
}

/* The same; generations: as link_watch.  *ret_closed: one of them was closed meanwhile. */
static int poll_until(struct pollfd *fds, nfds_t count, nfds_t asked, const uint32_t *generations, int64_t deadline_ns,
                      bool *ret_closed)
{
    int n = net_enter();
    struct watcher *w;
    struct thread *self;

    if (n != 0)
        return n;
    self = thread_self(&n);
    if (self == NULL)
        return -n;
    if (atomic_load_relaxed(&self->word) & WORD_INTERRUPTED) { /* a hint: the wait looks again */
        word_clear(&self->word, WORD_INTERRUPTED);
        return -EINTR;
    }
    do {
        n = system_poll_all(fds, asked);
        if (n != 0)
            return n;
        if (deadline_ns != INT64_MAX && deadline_ns <= vthread_now_ns())
            return 0;
        n = make(fds, count, asked, generations, &w);
    } while (n == -EAGAIN);
    if (n != 0)
        return n;
    n = wait(w, self, deadline_ns);
    *ret_closed = atomic_load_relaxed(&w->any_closed); /* look has ordered it, if it decided */
    for (nfds_t i = 0; i < count; i++)
        fds[i].revents = w->fds[i].revents;
    discard(w);
    return n;
}

int vthread_poll_until(struct pollfd *fds, nfds_t count, int64_t deadline_ns)
{
    bool closed;

    if (fds == NULL && count > 0)
        return -EFAULT;
    if (count > INT_MAX) /* of which the system would see the low half */
        return -EINVAL;
    return poll_until(fds, count, count, NULL, deadline_ns, &closed);
}

/* What poll_until said of one descriptor that was asked for. */
static int outcome(int n, const struct pollfd *asked, bool closed)
{
    if (n <= 0)
        return n < 0 ? n : -ETIMEDOUT;
    if (closed)
        return -ECANCELED;
    return (asked->revents & POLLNVAL) ? -EBADF : asked->revents;
}

int watch_wait(int fd, int events, int64_t deadline_ns)
{
    struct pollfd fds = {.fd = fd, .events = (short)events};
    bool closed = false;
    int n = fd < 0 ? -EBADF : poll_until(&fds, 1, 1, NULL, deadline_ns, &closed);

    return outcome(n, &fds, closed);
}

int watch_wait_of_two(const struct watched files[2], int events, int64_t deadline_ns)
{
    struct pollfd fds[2] = {{.fd = files[0].fd, .events = (short)events}, {.fd = files[1].fd}};
    uint32_t generations[2] = {files[0].generation, files[1].generation};
    bool closed = false;
    int n = poll_until(fds, 2, 1, generations, deadline_ns, &closed);

    n = outcome(n, fds, closed);
    return n == -EBADF ? -ECANCELED : n; /* they were open */
}

int vthread_wait_fd_until(int fd, int events, int64_t deadline_ns)
{
    if (events == 0 || (events & ~(POLLIN | POLLOUT))) {
        int error = net_enter();

        return error != 0 ? error : -EINVAL;
    }
    return watch_wait(fd, events, deadline_ns);
}

/* ---- without a deadline ---- */

int vthread_poll(struct pollfd *fds, nfds_t count)
{
    return vthread_poll_until(fds, count, VTHREAD_FOREVER);
}

int vthread_wait_fd(int fd, int events)
{
    return vthread_wait_fd_until(fd, events, VTHREAD_FOREVER);
}
