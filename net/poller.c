/* SPDX-License-Identifier: MIT */
#include "net/poller.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>
#include <limits.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "carrier/carrier.h"
#include "net/operation.h"
#include "net/option.h"
#include "net/signal_internal.h"
#include "net/system.h"

poller_flag poller_is_up;

enum {
    EVENTS = 512, /* taken from the kernel at once */
    /* Sees everything but data coming: the slot is then ENDING. */
    ENDING = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI,
};

static struct {
    pthread_mutex_t lock; /* start and close */
    struct poller poller;
    int epoll; /* our own set */
    struct event_base *base;
    struct event epoll_event; /* the set's, in the base */

    /* poll()'s own: one caller at a time. */
    struct task_list *ready;
    struct event deadline_event;
    int64_t deadline_ns; /* of deadline_event; INT64_MAX: not pending */
    struct epoll_event events[EVENTS];

    ATOMIC(bool) bypassing; /* poll() waits in the set and not in the base */
    int wake_fd;
    CACHE_ALIGNED ATOMIC(uint32_t) woken; /* 1: wake_fd was written to, and poll() has not seen it */
} net = {.lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1, .wake_fd = -1};

struct event_base *poller_base(void)
{
    return net.base;
}

struct task_list *poller_ready(void)
{
    return net.ready;
}

/* ---- our own set ---- */

/*
 * What the kernel hands back with an event: a source's address, or, with the
 * highest bit set, a generation and a number.  Late events find that the slot's
 * generation is another; records are never unmapped while there is a poller.
 */
#define OF_SOCKET ((uint64_t)1 << 63)

static uint64_t data_of_socket(int fd, uint32_t generation)
{
    return OF_SOCKET | (uint64_t)(generation & 0x7fffffff) << 32 | (uint32_t)fd;
}

static void deliver(struct descriptor *d, enum slot_direction direction, uint32_t generation, bool ending)
{
    poller_wake_token(slot_event(&d->slot[direction], generation, ending), net.ready);
}

static void on_socket(uint64_t data, uint32_t events)
{
    struct descriptor *d = descriptor_find((int)(data & 0x7fffffff));
    uint32_t generation = (uint32_t)(data >> 32);

    if (events & (EPOLLIN | ENDING))
        deliver(d, SLOT_READ, generation, (events & ENDING) != 0);
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        deliver(d, SLOT_WRITE, generation, false);
}

/* timeout_ns as system_epoll_wait's. */
static void harvest(int64_t timeout_ns)
{
    int n = system_epoll_wait(net.epoll, net.events, EVENTS, timeout_ns);

    for (int i = 0; i < n; i++) {
        uint64_t data = net.events[i].data.u64;

        if (LIKELY(data & OF_SOCKET))
            on_socket(data, net.events[i].events);
        else
            ((struct poller_source *)(uintptr_t)data)->ready();
    }
}

int poller_add_source(int fd, struct poller_source *source, uint32_t events)
{
    return system_epoll_control(net.epoll, EPOLL_CTL_ADD, fd, events, (uint64_t)(uintptr_t)source);
}

/* ---- libevent's ---- */

/* Whatever more than 512 there is, the set is still readable, and this is called again. */
static void on_epoll(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    harvest(0);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    net.deadline_ns = INT64_MAX;
}

static int64_t until(int64_t deadline_ns)
{
    int64_t left_ns = deadline_ns - clock_monotonic_ns();

    return left_ns > 0 ? left_ns : 0;
}

static void set_deadline(int64_t deadline_ns)
{
    int64_t left_ns;
    struct timeval tv;

    if (deadline_ns == net.deadline_ns)
        return;
    net.deadline_ns = deadline_ns;
    if (deadline_ns == INT64_MAX) {
        event_del(&net.deadline_event);
        return;
    }
    left_ns = until(deadline_ns);
    /* Rounded up: a carrier that comes too early would only have to come again. */
    tv.tv_sec = (time_t)(left_ns / 1000000000);
    tv.tv_usec = (suseconds_t)((left_ns % 1000000000 + 999) / 1000);
    if (tv.tv_usec == 1000000) {
        tv.tv_sec++;
        tv.tv_usec = 0;
    }
    if (event_add(&net.deadline_event, &tv) != 0)
        net.deadline_ns = INT64_MAX; /* no memory; the monitor looks after timers that nobody attends to */
}

/* Has libevent anything to wait for that is not the poller's own? */
static bool base_has_guests(void)
{
    int own = net.deadline_ns != INT64_MAX ? 2 : 1;

    return event_base_get_num_events(net.base, EVENT_BASE_COUNT_ADDED) > own;
}

/* ---- waiting ---- */

static void net_poll(struct poller *poller, int64_t deadline_ns, struct task_list *ready)
{
    bool look = deadline_ns == 0;

    (void)poller;
    net.ready = ready;
    if (!look) {
        atomic_store_relaxed(&net.bypassing, true);
        atomic_fence_seq_cst(); /* bypassing, then the guests; poller_add_event has the other half */
    }
    if (base_has_guests()) {
        atomic_store_relaxed(&net.bypassing, false);
        if (!look)
            set_deadline(deadline_ns);
        event_base_loop(net.base, look ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
    } else {
        harvest(look ? 0 : deadline_ns == INT64_MAX ? -1 : until(deadline_ns));
        atomic_store_relaxed(&net.bypassing, false);
    }
    net.ready = NULL;
}

/*
 * wake_fd is registered edge-triggered: each write is an event, and nobody need
 * read.  A waker that finds `woken` set relies on the poll() that will clear it:
 * what it did before is visible to the carrier once that returns (acq_rel both).
 */
static void on_wake(void)
{
    atomic_exchange_acq_rel(&net.woken, 0);
}

static struct poller_source wake_source = {on_wake};

static void net_wake(struct poller *poller)
{
    (void)poller;
    if (atomic_exchange_acq_rel(&net.woken, 1) == 0)
        eventfd_write(net.wake_fd, 1); /* cannot fail: 2^64 wakes away from overflow */
}

int poller_add_event(struct event *event)
{
    if (event_add(event, NULL) != 0)
        return -ENOMEM;
    atomic_fence_seq_cst(); /* the guest, then bypassing; net_poll has the other half */
    if (atomic_load_relaxed(&net.bypassing))
        net_wake(&net.poller);
    return 0;
}

/* ---- registrations ---- */

struct registration {
    struct event event[2];
};

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct descriptor *d = arg;
    /* relaxed: the registration is deleted, and this callback waited for, before it changes. */
    uint32_t generation = atomic_load_relaxed(&d->generation);

    (void)fd;
    if (what & EV_READ)
        deliver(d, SLOT_READ, generation, false);
    if (what & EV_WRITE)
        deliver(d, SLOT_WRITE, generation, false);
}

/* With the lock. */
static struct registration *registration_of(struct descriptor *d)
{
    if (d->registration == NULL)
        d->registration = memory_alloc(sizeof *d->registration);
    return d->registration;
}

static int add_foreign(struct descriptor *d, int fd, enum slot_direction direction)
{
    struct registration *r = registration_of(d);
    struct event *event;

    if (r == NULL)
        return -ENOMEM;
    event = &r->event[direction];
    if (event_initialized(event)) /* a wait may have ended otherwise and left it pending */
        event_del(event);
    if (event_assign(event, net.base, fd, direction == SLOT_READ ? EV_READ : EV_WRITE, on_event, d) != 0)
        return -EINVAL;
    return poller_add_event(event);
}

static int add_own(struct descriptor *d, int fd)
{
    uint64_t data = data_of_socket(fd, atomic_load_relaxed(&d->generation));
    uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    int error = system_epoll_control(net.epoll, EPOLL_CTL_ADD, fd, events, data);

    if (error == -ENOSPC) /* fs.epoll.max_user_watches */
        return -ENOMEM;
    return error;
}

int poller_arm(struct descriptor *d, int fd, enum slot_direction direction)
{
    bool own = atomic_load_relaxed(&d->kind) == KIND_OWN_SOCKET; /* of the present file: we own a slot */
    int error = 0;

    if (LIKELY(atomic_load_relaxed(&d->registered))) /* acquiring the slot ordered it */
        return 0;
    lock_acquire(&d->lock);
    if (!own) {
        error = add_foreign(d, fd, direction);
    } else if (!atomic_load_relaxed(&d->registered)) {
        error = add_own(d, fd);
        /* release: pairs with tells_when_drained, who may own the other slot. */
        atomic_store_release(&d->registered, error == 0);
    }
    lock_release(&d->lock);
    return error;
}

void poller_disarm(struct descriptor *d, enum slot_direction direction)
{
    if (!atomic_load_relaxed(&d->registered))
        event_del(&d->registration->event[direction]); /* the pointer is there since we armed it */
}

void poller_forget(struct descriptor *d, int fd)
{
    lock_acquire(&d->lock);
    for (int i = 0; d->registration != NULL && i < 2; i++)
        if (event_initialized(&d->registration->event[i]))
            event_del(&d->registration->event[i]); /* waits for its callback, if that is running */
    if (atomic_load_relaxed(&d->registered)) /* fails if the program has closed it, and then there is nothing to do */
        system_epoll_control(net.epoll, EPOLL_CTL_DEL, fd, 0, 0);
    atomic_store_relaxed(&d->registered, false);
    lock_release(&d->lock);
}

void poller_free_registration(struct descriptor *d, int fd)
{
    poller_forget(d, fd);
    memory_free(d->registration);
    d->registration = NULL;
}

/* ---- start and close ---- */

enum { BASE_DESCRIPTORS = 6 }; /* epoll, a timer, two for signals, one to be woken by; and one to spare */

static void take_down(void)
{
    if (net.base != NULL) {
        if (event_initialized(&net.epoll_event))
            event_del(&net.epoll_event);
        if (event_initialized(&net.deadline_event))
            event_del(&net.deadline_event);
        event_base_free(net.base);
    }
    if (net.wake_fd >= 0)
        close(net.wake_fd);
    if (net.epoll >= 0)
        close(net.epoll);
    net.base = NULL;
    net.wake_fd = -1;
    net.epoll = -1;
    net.epoll_event = (struct event){0};
    net.deadline_event = (struct event){0};
}

static void net_close(struct poller *poller)
{
    (void)poller;
    pthread_mutex_lock(&net.lock);
    atomic_store_release(&poller_is_up, false);
    signal_fini();
    operation_fini();
    descriptor_fini();
    option_fini();
    take_down();
    pthread_mutex_unlock(&net.lock);
}

/*
 * Is there room for the descriptors of an event base?  When libevent (2.1) finds none for the two that it keeps for
 * signals it ends the process.
 */
static int check_room(void)
{
    int fds[BASE_DESCRIPTORS];
    int error = 0;
    int n = 0;

    while (n < BASE_DESCRIPTORS && error == 0) {
        fds[n] = eventfd(0, EFD_CLOEXEC);
        if (fds[n] < 0)
            error = -errno;
        else
            n++;
    }
    while (n > 0)
        close(fds[--n]);
    return error;
}

static struct event_base *make_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config == NULL)
        return NULL;
    /* EVENT_NOEPOLL and its like are for programs that chose libevent themselves. */
    if (event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV) == 0 &&
        event_config_require_features(config, EV_FEATURE_ET) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static int set_up(void)
{
    int error;

    net.deadline_ns = INT64_MAX;
    atomic_store_relaxed(&net.woken, 0);
    net.poller = (struct poller){.poll = net_poll, .wake = net_wake, .close = net_close};
    /* Fails when the program has given libevent locks of another kind: then those are used. */
    evthread_use_pthreads();
    net.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    net.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (net.wake_fd < 0 || net.epoll < 0)
        return -errno;
    error = poller_add_source(net.wake_fd, &wake_source, EPOLLIN | EPOLLET);
    if (error != 0)
        return error;
    error = check_room();
    if (error != 0)
        return error;
    net.base = make_base();
    if (net.base == NULL || evtimer_assign(&net.deadline_event, net.base, on_deadline, NULL) != 0 ||
        event_assign(&net.epoll_event, net.base, net.epoll, EV_READ | EV_PERSIST, on_epoll, NULL) != 0 ||
        event_add(&net.epoll_event, NULL) != 0)
        return -ENOMEM;
    return 0;
}

int poller_start(void)
{
    int before = errno;
    int error = -runtime_enter();

    if (error != 0)
        return error;
    pthread_mutex_lock(&net.lock);
    if (!atomic_load_relaxed(&poller_is_up)) {
        error = set_up();
        if (error == 0) {
            atomic_store_release(&poller_is_up, true);
            pool_set_poller(&net.poller);
        } else {
            take_down();
        }
    }
    pthread_mutex_unlock(&net.lock);
    errno = before;
    return error;
}
