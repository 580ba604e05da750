/* SPDX-License-Identifier: MIT */
/* vthread_monitor_t: a reentrant lock whose owner is pinned, and a condition. */
#include <errno.h>

#include <vthread/sync.h>

#include "sync/sync_internal.h"

struct monitor {
    vthread_lock_t lock;
    vthread_cond_t notified;
};

_Static_assert(sizeof(struct monitor) == sizeof(vthread_monitor_t), "what users embed");
_Static_assert(_Alignof(struct monitor) <= _Alignof(vthread_monitor_t), "what users embed");

static const char reason[] = "inside a monitor";

static struct monitor *monitor_of(vthread_monitor_t *monitor)
{
    return (struct monitor *)(void *)monitor;
}

int vthread_monitor_init(vthread_monitor_t *monitor, const vthread_monitorattr_t *attr)
{
    if (monitor == NULL || (attr != NULL && !words_are_zero(attr->reserved, LENGTH_OF(attr->reserved))))
        return EINVAL;
    *monitor = (vthread_monitor_t)VTHREAD_MONITOR_INITIALIZER;
    lock_order_forget(monitor);
    return 0;
}

int vthread_monitor_destroy(vthread_monitor_t *monitor)
{
    int error = vthread_lock_destroy(&monitor_of(monitor)->lock);

    return error == 0 ? vthread_cond_destroy(&monitor_of(monitor)->notified) : error;
}

/* The first time it is entered pins, at the place that the caller of the public call returns to. */
static int pin_inside(struct monitor *m, void *at)
{
    struct thread *self = thread_mounted();
    int error = self != NULL ? thread_pin(self, VTHREAD_PIN_MONITOR, reason, at) : 0;

    if (error != 0)
        vthread_lock_unlock(&m->lock);
    return error;
}

static void unpin_inside(void)
{
    struct thread *self = thread_mounted();

    if (self != NULL)
        thread_unpin(self, VTHREAD_PIN_MONITOR);
}

static NOINLINE int enter_slow(struct monitor *m, void *at)
{
    int error = lock_acquire_reentrant(&m->lock, "vthread_monitor_enter", WORD_DEAF, VTHREAD_FOREVER);

    return error != 0 || vthread_lock_hold_count(&m->lock) > 1 ? error : pin_inside(m, at);
}

NOINLINE int vthread_monitor_enter(vthread_monitor_t *monitor)
{
    struct monitor *m = monitor_of(monitor);
    struct thread *self = thread_mounted();

    if (LIKELY(self != NULL) && LIKELY(lock_try_first(&m->lock, self)))
        return pin_inside(m, __builtin_return_address(0));
    return enter_slow(m, __builtin_return_address(0));
}

static bool is_inside(struct monitor *m, const char *call)
{
    if (LIKELY(vthread_lock_is_held(&m->lock)))
        return true;
    misuse(call, "the calling thread is not inside the monitor (%p); it must enter it before", (void *)m);
    return false;
}

int vthread_monitor_exit(vthread_monitor_t *monitor)
{
    struct monitor *m = monitor_of(monitor);

    struct thread *self = thread_mounted();

    if (LIKELY(self != NULL) && LIKELY(lock_is_held_once(&m->lock, self))) {
        thread_unpin(self, VTHREAD_PIN_MONITOR);
        lock_let_go_last(&m->lock, self);
        return 0;
    }
    return is_inside(m, "vthread_monitor_exit") ? vthread_lock_unlock(&m->lock) : EPERM;
}

static int wait(struct monitor *m, const char *call, int64_t deadline_ns)
{
    struct thread *self = thread_mounted();
    void *at;
    int error;

    if (!is_inside(m, call))
        return EPERM;
    at = self != NULL ? thread_pinned_at(VTHREAD_PIN_MONITOR) : NULL;
    unpin_inside();
    error = cond_wait_lock(&m->notified, &m->lock, call, deadline_ns);
    pin_inside(m, at); /* there is room for the one just taken away */
    return error;
}

int vthread_monitor_wait(vthread_monitor_t *monitor)
{
    return wait(monitor_of(monitor), "vthread_monitor_wait", VTHREAD_FOREVER);
}

int vthread_monitor_wait_until(vthread_monitor_t *monitor, int64_t deadline_ns)
{
    return wait(monitor_of(monitor), "vthread_monitor_wait_until", deadline_ns);
}

int vthread_monitor_notify(vthread_monitor_t *monitor)
{
    struct monitor *m = monitor_of(monitor);

    return is_inside(m, "vthread_monitor_notify") ? vthread_cond_signal(&m->notified) : EPERM;
}

int vthread_monitor_notify_all(vthread_monitor_t *monitor)
{
    struct monitor *m = monitor_of(monitor);

    return is_inside(m, "vthread_monitor_notify_all") ? vthread_cond_broadcast(&m->notified) : EPERM;
}
