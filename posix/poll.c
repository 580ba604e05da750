/* SPDX-License-Identifier: MIT */
/*
 * poll, select and epoll_wait.
 *
 * Each asks the kernel without a timeout and, if there is nothing yet, waits by vthread_poll, which is told
 * when one of the descriptors is closed. What select and epoll_wait report is always the kernel's own answer.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "posix/wait.h"

/* ---- waiting for several ---- */

enum { LOOK_AGAIN_NS = 10 * 1000 * 1000 };

static NOINLINE int poll_now(struct pollfd *fds, nfds_t n)
{
    return RESULT(REAL(poll)(fds, n, 0));
}

static bool has_passed(int64_t deadline_ns)
{
    return deadline_ns != VTHREAD_FOREVER && deadline_ns <= vthread_now_ns();
}

/*
 * Without a descriptor to be had for what only an epoll set can watch (urgent data, hang-ups alone): look now and then,
 * for poll does not fail for want of one.
 */
static COLD int look_now_and_then(struct pollfd *fds, nfds_t n, int64_t deadline_ns)
{
    int ready;

    do {
        int64_t until_ns = vthread_after_ns(LOOK_AGAIN_NS);
        int error = wait_until(until_ns < deadline_ns ? until_ns : deadline_ns);

        if (error != 0)
            return -error;
        ready = poll_now(fds, n);
    } while (ready == 0 && !has_passed(deadline_ns));
    return ready;
}

/* How many are ready; 0: none in time; or -Exxx. */
static int wait_for_any(struct pollfd *fds, nfds_t n, int64_t deadline_ns)
{
    int ready = wait_poll(fds, n, deadline_ns);

    return ready == -EMFILE || ready == -ENFILE ? look_now_and_then(fds, n, deadline_ns) : ready;
}

static bool is_timeout(const struct timespec *ts)
{
    return ts == NULL || (ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < 1000000000);
}

static int64_t deadline_of(const struct timespec *timeout)
{
    return timeout != NULL ? wait_after(wait_ns_of(timeout)) : VTHREAD_FOREVER;
}

static int64_t deadline_of_ms(int timeout_ms)
{
    return timeout_ms < 0 ? VTHREAD_FOREVER : wait_after((int64_t)timeout_ms * 1000000);
}

/* ---- poll ---- */

static int park_poll(struct pollfd *fds, nfds_t n, int64_t deadline_ns)
{
    int error = deadline_ns != VTHREAD_NOW ? wait_may_begin() : 0;
    int ready;

    if (error != 0)
        return posix_fail(error);
    ready = poll_now(fds, n);
    if (ready == 0 && deadline_ns != VTHREAD_NOW)
        ready = wait_for_any(fds, n, deadline_ns);
    return (int)posix_result(ready);
}

HOOK int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    return !LOOPS() || timeout_ms == 0 ? REAL(poll)(fds, n, timeout_ms) : park_poll(fds, n, deadline_of_ms(timeout_ms));
}

/* With a signal mask: its purpose is to be interrupted by a signal, which only the system call can be. */
struct masked_poll {
    struct pollfd *fds;
    nfds_t n;
    const struct timespec *timeout;
    const sigset_t *mask;
};

static void *ppoll_blocking(void *arg)
{
    const struct masked_poll *p = arg;

    return (void *)(intptr_t)RESULT(REAL(ppoll)(p->fds, p->n, p->timeout, p->mask));
}

static int park_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    struct masked_poll p = {.fds = fds, .n = n, .timeout = timeout, .mask = mask};

    if (!is_timeout(timeout))
        return REAL(ppoll)(fds, n, timeout, mask);
    if (mask != NULL)
        return (int)posix_result((intptr_t)vthread_blocking_call(ppoll_blocking, &p));
    return park_poll(fds, n, deadline_of(timeout));
}

HOOK int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    return !LOOPS() ? REAL(ppoll)(fds, n, timeout, mask) : park_ppoll(fds, n, timeout, mask);
}

extern NORETURN void __chk_fail(void);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room);

HOOK int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms, size_t room)
{
    if (room / sizeof *fds < n)
        __chk_fail();
    return !LOOPS() || timeout_ms == 0 ? REAL(poll)(fds, n, timeout_ms) : park_poll(fds, n, deadline_of_ms(timeout_ms));
}

HOOK int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room)
{
    if (room / sizeof *fds < n)
        __chk_fail();
    return !LOOPS() ? REAL(ppoll)(fds, n, timeout, mask) : park_ppoll(fds, n, timeout, mask);
}

/* ---- select ---- */

struct sets {
    int n;
    fd_set *read;
    fd_set *write;
    fd_set *except;
};

/* fd_sets may be longer than fd_set: as many longs as n needs. */
static size_t bytes_of(int n)
{
    return ((size_t)n + NFDBITS - 1) / NFDBITS * sizeof(fd_mask);
}

static bool is_in(const fd_set *set, int fd)
{
    return set != NULL && (((const fd_mask *)set)[fd / NFDBITS] >> (fd % NFDBITS) & 1);
}

static void *copy_of(const fd_set *set, size_t bytes, char **room)
{
    char *copy = *room;

    if (set == NULL)
        return NULL;
    memcpy(copy, set, bytes);
    *room += bytes;
    return copy;
}

static NOINLINE int select_now(const struct sets *s)
{
    struct timeval now = {0, 0};

    return RESULT(REAL(select)(s->n, s->read, s->write, s->except, &now));
}

static nfds_t fill(struct pollfd *fds, const struct sets *s)
{
    nfds_t used = 0;

    for (int fd = 0; fd < s->n; fd++) {
        short events = (short)((is_in(s->read, fd) ? POLLIN : 0) | (is_in(s->write, fd) ? POLLOUT : 0) |
                               (is_in(s->except, fd) ? POLLPRI : 0));

        if (events != 0)
            fds[used++] = (struct pollfd){.fd = fd, .events = events};
    }
    return used;
}

/* The kernel's select looks at no numbers beyond its table, so what is not open may be in the sets: not to be polled.
 */
static void leave_out_closed(struct pollfd *fds, nfds_t n)
{
    if (poll_now(fds, n) <= 0)
        return;
    for (nfds_t i = 0; i < n; i++)
        if (fds[i].revents & POLLNVAL)
            fds[i].fd = -1;
}

static void put_back(fd_set *set, const void *saved, size_t bytes)
{
    if (set != NULL)
        memcpy(set, saved, bytes);
}

/* A count, or -Exxx. */
static int select_until(const struct sets *s, int64_t deadline_ns)
{
    size_t bytes = bytes_of(s->n);
    char *room = malloc(3 * bytes + (size_t)s->n * sizeof(struct pollfd) + 1);
    struct pollfd *fds = (struct pollfd *)(void *)room;
    char *copies = room + (size_t)s->n * sizeof *fds;
    unsigned times = 0;
    bool has_waited = false;
    void *read;
    void *write;
    void *except;
    nfds_t used;
    int ready;

    if (room == NULL)
        return -ENOMEM;
    used = fill(fds, s);
    read = copy_of(s->read, bytes, &copies);
    write = copy_of(s->write, bytes, &copies);
    except = copy_of(s->except, bytes, &copies);
    while ((ready = select_now(s)) == 0) {
        int error = 0;

        if (!has_waited)
            leave_out_closed(fds, used);
        has_waited = true;
        ready = wait_for_any(fds, used, deadline_ns);
        if (ready > 0)
            error = wait_again(&times, deadline_ns); /* poll reports what select does not count */
        if (ready == 0 || error == ETIMEDOUT) {
            ready = 0;
            break;
        }
        put_back(s->read, read, bytes);
        put_back(s->write, write, bytes);
        put_back(s->except, except, bytes);
        if (ready < 0 || error != 0) {
            ready = ready < 0 ? ready : -error;
            break;
        }
    }
    free(room);
    return ready;
}

static int park_select(const struct sets *s, int64_t deadline_ns)
{
    int error = wait_may_begin();

    return (int)posix_result(error != 0 ? -error : select_until(s, deadline_ns));
}

HOOK int select(int n, fd_set *restrict read, fd_set *restrict write, fd_set *restrict except,
                struct timeval *restrict timeout)
{
    struct sets s = {n, read, write, except};
    int64_t deadline_ns = VTHREAD_FOREVER;
    int64_t left_ns;
    int ready;

    if (!LOOPS() || n < 0 ||
        (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_usec < 0 || timeout->tv_usec >= 1000000 ||
                             (timeout->tv_sec == 0 && timeout->tv_usec == 0))))
        return REAL(select)(n, read, write, except, timeout);
    if (timeout != NULL)
        deadline_ns = wait_after(wait_ns_of(&(struct timespec){timeout->tv_sec, timeout->tv_usec * 1000}));
    ready = park_select(&s, deadline_ns);
    if (timeout != NULL) { /* as Linux does */
        left_ns = deadline_ns - vthread_now_ns();
        left_ns = left_ns > 0 ? left_ns : 0;
        *timeout = (struct timeval){left_ns / 1000000000, left_ns % 1000000000 / 1000};
    }
    return ready;
}

struct masked_select {
    struct sets sets;
    const struct timespec *timeout;
    const sigset_t *mask;
};

static void *pselect_blocking(void *arg)
{
    const struct masked_select *p = arg;

    return (void *)(intptr_t)RESULT(
        REAL(pselect)(p->sets.n, p->sets.read, p->sets.write, p->sets.except, p->timeout, p->mask));
}

HOOK int pselect(int n, fd_set *restrict read, fd_set *restrict write, fd_set *restrict except,
                 const struct timespec *restrict timeout, const sigset_t *restrict mask)
{
    struct masked_select p = {.sets = {n, read, write, except}, .timeout = timeout, .mask = mask};

    if (!LOOPS() || n < 0 || !is_timeout(timeout))
        return REAL(pselect)(n, read, write, except, timeout, mask);
    if (mask != NULL)
        return (int)posix_result((intptr_t)vthread_blocking_call(pselect_blocking, &p));
    return park_select(&p.sets, deadline_of(timeout));
}

/* ---- epoll ---- */

static NOINLINE int epoll_now(int epoll, struct epoll_event *events, int n)
{
    return RESULT(REAL(epoll_wait)(epoll, events, n, 0));
}

static int park_epoll(int epoll, struct epoll_event *events, int n, int64_t deadline_ns)
{
    int error = wait_may_begin();
    struct wait w = {.fd = epoll, .events = POLLIN, .deadline_ns = deadline_ns};
    int ready;

    if (error != 0)
        return posix_fail(error);
    for (;;) {
        ready = epoll_now(epoll, events, n);
        if (ready != 0 || error == ETIMEDOUT)
            return (int)posix_result(ready);
        error = wait_next(&w);
        if (error != 0 && error != ETIMEDOUT)
            return posix_fail(error);
    }
}

HOOK int epoll_wait(int epoll, struct epoll_event *events, int n, int timeout_ms)
{
    return !LOOPS() || timeout_ms == 0 ? REAL(epoll_wait)(epoll, events, n, timeout_ms)
                                       : park_epoll(epoll, events, n, deadline_of_ms(timeout_ms));
}

/* epoll_pwait2, in which the timeout is a timespec. */
struct masked_epoll {
    int epoll;
    struct epoll_event *events;
    int n;
    const struct timespec *timeout;
    const sigset_t *mask;
};

static void *epoll_pwait_blocking(void *arg)
{
    const struct masked_epoll *p = arg;
    int64_t timeout_ms = p->timeout == NULL ? -1 : p->timeout->tv_sec * 1000 + (p->timeout->tv_nsec + 999999) / 1000000;

    return (void *)(intptr_t)RESULT(
        REAL(epoll_pwait)(p->epoll, p->events, p->n, timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms, p->mask));
}

static int park_epoll_pwait(int epoll, struct epoll_event *events, int n, const struct timespec *timeout,
                            const sigset_t *mask)
{
    struct masked_epoll p = {epoll, events, n, timeout, mask};

    if (mask != NULL)
        return (int)posix_result((intptr_t)vthread_blocking_call(epoll_pwait_blocking, &p));
    return park_epoll(epoll, events, n, deadline_of(timeout));
}

HOOK int epoll_pwait(int epoll, struct epoll_event *events, int n, int timeout_ms, const sigset_t *mask)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};

    return !LOOPS() || timeout_ms == 0 ? REAL(epoll_pwait)(epoll, events, n, timeout_ms, mask)
                                       : park_epoll_pwait(epoll, events, n, timeout_ms < 0 ? NULL : &timeout, mask);
}

HOOK int epoll_pwait2(int epoll, struct epoll_event *events, int n, const struct timespec *timeout,
                      const sigset_t *mask)
{
    return !LOOPS() || !is_timeout(timeout) || (timeout != NULL && timeout->tv_sec == 0 && timeout->tv_nsec == 0)
               ? REAL(epoll_pwait2)(epoll, events, n, timeout, mask)
               : park_epoll_pwait(epoll, events, n, timeout, mask);
}

/* ---- the names that the C library has beside ---- */

int __poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __select(int n, fd_set *read, fd_set *write, fd_set *except, struct timeval *timeout);

HOOK __attribute__((alias("poll"))) int __poll(struct pollfd *fds, nfds_t n, int timeout_ms);
HOOK __attribute__((alias("select"))) int __select(int n, fd_set *read, fd_set *write, fd_set *except,
                                                   struct timeval *timeout);
