/* SPDX-License-Identifier: MIT */
/*
 * vthread_signal_wait: signals as something to wait for.
 *
 * A signal that was asked for once is caught from then on, in two ways.  Where a
 * thread of the program has it unblocked, our handler runs there, notes it and wakes
 * the poller.  Where all have it blocked (the habit of programs that use sigwait) no
 * handler ever runs, and a signalfd sees it instead.  Either way one arrival is counted once.
 *
 * Not libevent's signal events: it supports them in one base at a time, which may be the
 * program's; and one of them would keep the poller out of its own set (poller.h) for good.
 *
 * As with the kernel's own pending signals, one that arrives again before it was
 * taken is merged with the first.
 */
#include "net/signal_internal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vthread/os.h>

#include "base/clock.h"
#include "base/memory.h"
#include "net/poller.h"
#include "net/system.h"
#include "vthread/thread.h"

enum { SIGNALS = 64 };

struct waiter {
    struct waiter *next;
    uint64_t wanted; /* bit s - 1 for signal s */
    uint64_t token;  /* of the present wait */
    int taken;       /* the signal handed over, or 0 */
};

static struct {
    struct lock lock; /* these three */
    uint64_t pending;
    struct waiter *first;
    struct waiter **end;

    /* Under watch_lock. */
    struct lock watch_lock;
    uint64_t watched;
    struct sigaction before[SIGNALS]; /* what they did */
    int blocked_fd;

    /* The handler's. */
    ATOMIC(uint32_t) handlers; /* running now: caught_fd is theirs */
    ATOMIC(uint64_t) caught;   /* not seen by the poller yet */
    ATOMIC(int) caught_fd;     /* an eventfd */
} signals = {.end = &signals.first, .blocked_fd = -1, .caught_fd = {-1}};

static uint64_t bit(int signal)
{
    return (uint64_t)1 << (signal - 1);
}

/* ---- arrival, in the poller ---- */

static void arrived(int signal)
{
    struct waiter **at;
    uint64_t token = 0;

    lock_acquire(&signals.lock);
    for (at = &signals.first; *at != NULL; at = &(*at)->next) {
        struct waiter *w = *at;

        if (!(w->wanted & bit(signal)))
            continue;
        w->taken = signal;
        token = w->token;
        *at = w->next;
        if (*at == NULL)
            signals.end = at;
        break;
    }
    if (token == 0)
        signals.pending |= bit(signal);
    lock_release(&signals.lock);
    poller_wake_token(token, poller_ready());
}

/* The handler, in any thread, at any place. */
static void on_signal(int signal)
{
    int before = errno;
    int fd;

    atomic_fetch_add_seq_cst(&signals.handlers, 1); /* handlers, then caught_fd; signal_fini has the other half */
    fd = atomic_load_seq_cst(&signals.caught_fd);
    atomic_fetch_or_acq_rel(&signals.caught, bit(signal));
    if (fd >= 0)
        eventfd_write(fd, 1);
    atomic_fetch_sub_acq_rel(&signals.handlers, 1);
    errno = before;
}

/* Edge-triggered: each write is an event, and nobody need read. */
static void on_caught(void)
{
    uint64_t caught = atomic_exchange_acq_rel(&signals.caught, 0);

    for (; caught != 0; caught &= caught - 1)
        arrived(__builtin_ctzll(caught) + 1);
}

static void on_blocked_signal(void)
{
    struct signalfd_siginfo info;

    while (read(signals.blocked_fd, &info, sizeof info) == (ssize_t)sizeof info)
        arrived((int)info.ssi_signo);
}

static struct poller_source caught_source = {on_caught};
static struct poller_source blocked_source = {on_blocked_signal};

/* ---- making a signal one of ours ---- */

static sigset_t set_of(uint64_t bits)
{
    sigset_t set;

    sigemptyset(&set);
    for (int s = 1; s <= SIGNALS; s++)
        if (bits & bit(s))
            sigaddset(&set, s);
    return set;
}

/*
 * The signalfd, made at first need, with another set.  Not through glibc if it is there already: ThreadSanitizer
 * takes every signalfd() for the making of a descriptor, and its use by the poller meanwhile for a race.
 */
static int signalfd_with(uint64_t watched)
{
    sigset_t set = set_of(watched);

    if (signals.blocked_fd < 0)
        return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return (int)syscall(SYS_signalfd4, signals.blocked_fd, &set, (size_t)SIGNALS / 8, 0);
}

static int watch_blocked_locked(uint64_t watched)
{
    int fd = signalfd_with(watched);
    int error;

    if (fd < 0)
        return -errno;
    if (signals.blocked_fd >= 0)
        return 0;
    signals.blocked_fd = fd;
    error = poller_add_source(fd, &blocked_source, EPOLLIN);
    if (error != 0) {
        close(fd);
        signals.blocked_fd = -1;
    }
    return error;
}

static int make_caught_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = fd < 0 ? -errno : poller_add_source(fd, &caught_source, EPOLLIN | EPOLLET);

    if (error == 0)
        atomic_store_seq_cst(&signals.caught_fd, fd);
    else if (fd >= 0)
        close(fd);
    return error;
}

static int watch_one_locked(int signal)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};

    sigfillset(&action.sa_mask);
    if (sigaction(signal, &action, &signals.before[signal - 1]) != 0)
        return -errno; /* EINVAL: glibc's own */
    signals.watched |= bit(signal);
    return 0;
}

static NOINLINE int watch(uint64_t wanted)
{
    int before = errno;
    int error = 0;

    lock_acquire(&signals.watch_lock);
    if (atomic_load_relaxed(&signals.caught_fd) < 0)
        error = make_caught_fd();
    for (int s = 1; s <= SIGNALS && error == 0; s++)
        if (wanted & ~signals.watched & bit(s))
            error = watch_one_locked(s);
    if (error == 0)
        error = watch_blocked_locked(signals.watched);
    lock_release(&signals.watch_lock);
    errno = before;
    return error;
}

void signal_fini(void)
{
    int caught_fd = atomic_load_relaxed(&signals.caught_fd);

    for (int s = 1; s <= SIGNALS; s++)
        if (signals.watched & bit(s))
            sigaction(s, &signals.before[s - 1], NULL);
    atomic_store_seq_cst(&signals.caught_fd, -1);
    while (atomic_load_seq_cst(&signals.handlers) != 0) /* in another thread, about to write */
        sched_yield();
    if (caught_fd >= 0)
        close(caught_fd);
    if (signals.blocked_fd >= 0)
        close(signals.blocked_fd);
    signals.blocked_fd = -1;
    atomic_store_relaxed(&signals.caught, 0);
    signals.watched = 0;
    signals.pending = 0;
    signals.first = NULL;
    signals.end = &signals.first;
}

/* ---- waiting ---- */

static int take_pending_locked(uint64_t wanted)
{
    uint64_t there = signals.pending & wanted;
    int signal = there != 0 ? __builtin_ctzll(there) + 1 : 0;

    if (signal != 0)
        signals.pending &= ~bit(signal);
    return signal;
}

static void unlink_locked(struct waiter *w)
{
    struct waiter **at = &signals.first;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (*at == NULL)
        signals.end = at;
}

static int wait_for(uint64_t wanted, struct thread *self, int64_t deadline_ns)
{
    struct waiter *w = memory_alloc(sizeof *w);
    int reason = 0;
    int taken;

    if (w == NULL)
        return -ENOMEM;
    w->wanted = wanted;
    lock_acquire(&signals.lock);
    taken = take_pending_locked(wanted);
    if (taken == 0) {
        *signals.end = w;
        signals.end = &w->next;
    }
    while (taken == 0 && reason == 0) {
        w->token = slot_token(thread_index(self), thread_wait_number(self));
        lock_release(&signals.lock);
        reason = thread_wait_until(self, WORD_INTERNAL, deadline_ns);
        lock_acquire(&signals.lock);
        taken = w->taken;
        if (taken == 0 && reason != 0)
            unlink_locked(w);
    }
    lock_release(&signals.lock);
    memory_free(w);
    if (taken == 0 && reason == EINTR)
        word_clear(&self->word, WORD_INTERRUPTED);
    return taken != 0 ? taken : -reason;
}

/* The set as bits; 0 if it is empty or has a signal that cannot be waited for. */
static uint64_t bits_of(const sigset_t *set)
{
    static const int never[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    uint64_t bits = 0;

    for (int s = 1; s <= SIGNALS; s++)
        if (sigismember(set, s) == 1)
            bits |= bit(s);
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        if (bits & bit(never[i]))
            return 0;
    return bits;
}

int vthread_signal_wait_until(const sigset_t *set, int64_t deadline_ns)
{
    int error = net_enter();
    uint64_t wanted = set != NULL ? bits_of(set) : 0;
    struct thread *self;

    if (error != 0)
        return error;
    if (wanted == 0)
        return -EINVAL;
    self = thread_self(&error);
    if (self == NULL)
        return -error;
    if (atomic_load_relaxed(&self->word) & WORD_INTERRUPTED) { /* a hint: the wait looks again */
        word_clear(&self->word, WORD_INTERRUPTED);
        return -EINTR;
    }
    error = watch(wanted);
    return error != 0 ? error : wait_for(wanted, self, deadline_ns);
}

int vthread_signal_wait(const sigset_t *set)
{
    return vthread_signal_wait_until(set, VTHREAD_FOREVER);
}
