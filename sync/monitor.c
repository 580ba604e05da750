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
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();
    int error = self != NULL ? thread_pin(p, self, VTHREAD_PIN_MONITOR, NULL, at) : 0;

    if (error != 0)
        vthread_lock_unlock(&m->lock);
    return error;
}

static NOINLINE int enter_slow(struct monitor *m, void *at)
{
    int error = lock_acquire_reentrant(&m->lock, "vthread_monitor_enter", WORD_DEAF, VTHREAD_FOREVER);

    return error != 0 || vthread_lock_hold_count(&m->lock) > 1 ? error : pin_inside(m, at);
}

/* Not inline, even where the whole program is optimised at once: for the return address. */
NOINLINE int vthread_monitor_enter(vthread_monitor_t *monitor)
{
    struct monitor *m = monitor_of(monitor);
    struct processor *p = processor_self();
    struct thread *self = p != NULL ? p->current : NULL;
    uint32_t open = self != NULL ? p->pins.open : UINT32_MAX;

    if (UNLIKELY(pins_of(open, VTHREAD_PIN_MONITOR) == PIN_OPEN_MAX) ||
        UNLIKELY(!lock_try_first(reentrant_of(&m->lock), self)))
        return enter_slow(m, __builtin_return_address(0));
    thread_pin_seen(p, self, open, VTHREAD_PIN_MONITOR, NULL, __builtin_return_address(0));
    return 0;
}

static bool is_inside(struct monitor *m, const char *call)
{
    if (LIKELY(vthread_lock_is_held(&m->lock)))
        return true;
    misuse(call, "the calling thread is not inside the monitor (%p); it must enter it before", (void *)m);
    return false;
}

static NOINLINE int exit_slow(struct monitor *m)
{
    struct thread *self = thread_mounted(); /* a platform thread has no pins, and who is inside still keeps them */

    if (!is_inside(m, "vthread_monitor_exit"))
        return EPERM;
    if (self != NULL && reentrant_of(&m->lock)->again == 0)
        thread_unpin(processor_self(), self, VTHREAD_PIN_MONITOR);
    return vthread_lock_unlock(&m->lock);
}

int vthread_monitor_exit(vthread_monitor_t *monitor)
{
    struct monitor *m = monitor_of(monitor);
    struct reentrant *r = reentrant_of(&m->lock);
    struct processor *p = processor_self();
    struct thread *self = p != NULL ? p->current : NULL;

    /* That looks whether the thread is the owner, too. */
    if (LOCK_ORDER || UNLIKELY(self == NULL) || UNLIKELY(r->again > 0) ||
        UNLIKELY(!mutex_release_at_once(&r->mutex, self, 1)))
        return exit_slow(m);
    thread_unpin(p, self, VTHREAD_PIN_MONITOR); /* of the monitor there may be nothing left by now */
    return 0;
}

static int wait(struct monitor *m, const char *call, int64_t deadline_ns)
{
    struct thread *self = thread_mounted();
    void *at = NULL;
    int error;

    if (!is_inside(m, call))
        return EPERM;
    if (self != NULL) {
        at = processor_self()->pins.first[VTHREAD_PIN_MONITOR].at;
        thread_unpin(processor_self(), self, VTHREAD_PIN_MONITOR);
    }
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
