/* SPDX-License-Identifier: MIT */
/*
 * Pins and blocking sections.
 *
 * A pin keeps the thread on its carrier; a blocking section also gives the
 * carrier's place away meanwhile, and keeps the stack, for somebody may hold
 * addresses in it.  Each is told from the others, so that a report can say which one it was.
 */
#include <errno.h>

#include "base/clock.h"
#include "vthread/event.h"
#include "vthread/image.h"
#include "vthread/mount.h"
#include "vthread/sample.h"
#include "vthread/thread.h"

enum { BLOCKING_MAX = 31 };

int64_t pinned_threshold_ns;

static vthread_pin_kind_t outermost_kind(const struct processor *p)
{
    vthread_pin_kind_t kind = (vthread_pin_kind_t)(p->pins.open >> PIN_OUTERMOST_SHIFT);

    if (pins_open(&p->pins, kind) > 0)
        return kind;
    for (kind = 0; pins_open(&p->pins, kind) == 0; kind++) /* it is gone, but others have stayed */
        ;
    return kind;
}

vthread_pin_kind_t pinned_kind(const struct processor *p)
{
    /* A section keeps the stack, too. */
    return pins_open(&p->pins, VTHREAD_PIN_BLOCKING) > 0 ? VTHREAD_PIN_BLOCKING : outermost_kind(p);
}

static const char *reason_of(const struct processor *p, vthread_pin_kind_t kind)
{
    return kind == VTHREAD_PIN_MONITOR ? "inside a monitor" : p->pins.first[kind].reason;
}

void unpin_all(struct thread *self)
{
    struct processor *p = processor_self();

    if (pins_open(&p->pins, VTHREAD_PIN_BLOCKING) > 0)
        carrier_unblock(&p->carrier);
    p->pins.open = 0;
    self->flags &= (uint8_t)~THREAD_PINNED;
}

void stay_no_longer(struct thread *self)
{
    while (self->stays > 0)
        vthread_stay_end();
}

/* Not inline, even where the whole program is optimised at once: for the return address. */
NOINLINE int vthread_pin(const char *reason)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();

    return self != NULL ? thread_pin(p, self, VTHREAD_PIN_EXPLICIT, reason, __builtin_return_address(0)) : 0;
}

int vthread_unpin(void)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();
    int error =
        self != NULL ? thread_unpin(p, self, VTHREAD_PIN_EXPLICIT) : 0; /* those of sections are not ours to take */

    if (error != 0)
        misuse("vthread_unpin", "unpinned more often than pinned; every vthread_unpin needs a vthread_pin before it");
    return error;
}

bool vthread_is_pinned(const char **ret_reason)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();

    if (self == NULL || !(self->flags & THREAD_PINNED))
        return false;
    if (ret_reason != NULL)
        *ret_reason = reason_of(p, outermost_kind(p));
    return true;
}

static int begin_blocking(const char *what, void *at)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();
    unsigned open = self != NULL ? pins_open(&p->pins, VTHREAD_PIN_BLOCKING) : 0;
    int error;

    if (self == NULL)
        return 0;
    error = open < BLOCKING_MAX ? thread_pin(p, self, VTHREAD_PIN_BLOCKING, what, at) : EAGAIN;
    if (error == 0 && open == 0)
        carrier_block(&p->carrier);
    return error;
}

NOINLINE int vthread_blocking_begin(const char *what)
{
    return begin_blocking(what, __builtin_return_address(0));
}

int vthread_blocking_end(void)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();

    if (self == NULL)
        return 0;
    if (thread_unpin(p, self, VTHREAD_PIN_BLOCKING) != 0) {
        misuse("vthread_blocking_end", "no section is open; every vthread_blocking_end needs a vthread_blocking_begin");
        return EINVAL;
    }
    if (pins_open(&p->pins, VTHREAD_PIN_BLOCKING) == 0)
        carrier_unblock(&p->carrier);
    return 0;
}

NOINLINE void *vthread_blocking_call(void *(*fn)(void *arg), void *arg)
{
    void *value;
    bool began = begin_blocking("vthread_blocking_call", __builtin_return_address(0)) == 0;

    value = fn(arg);
    if (began)
        vthread_blocking_end();
    return value;
}

/* ---- staying on a carrier ---- */

enum { STAYS_MAX = 7 };

/* Those that are STICKY for life do so anyway. */
static bool stays_for_life(const struct thread *self)
{
    return (self->flags & THREAD_STICKY) && self->stays == 0;
}

int vthread_stay_begin(void)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();

    if (self == NULL || stays_for_life(self))
        return 0;
    if (self->stays == STAYS_MAX)
        return EAGAIN;
    if (self->stays++ == 0) {
        self->flags |= THREAD_STICKY;
        p->carrier.awaited++;
    }
    return 0;
}

int vthread_stay_end(void)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();

    if (self == NULL || stays_for_life(self))
        return 0;
    if (self->stays == 0)
        return EINVAL;
    if (--self->stays == 0) {
        self->flags &= (uint8_t)~THREAD_STICKY;
        p->carrier.awaited--;
    }
    return 0;
}

/* ---- pinned waits ---- */

void pinned_begin(struct processor *p, vthread_pin_kind_t kind)
{
    atomic_store_relaxed(&p->pinned[kind].parks, atomic_load_relaxed(&p->pinned[kind].parks) + 1);
    p->pinned_since_ns = clock_monotonic_ns();
    p->pinned_ns = 0;
    p->pinned_told = 0;
}

void pinned_count(struct processor *p, vthread_pin_kind_t kind)
{
    struct pin_count *count = &p->pinned[kind];
    int64_t all_ns = clock_monotonic_ns() - p->pinned_since_ns;

    atomic_store_relaxed(&count->total_ns, atomic_load_relaxed(&count->total_ns) + (all_ns - p->pinned_ns));
    if (all_ns > atomic_load_relaxed(&count->max_ns))
        atomic_store_relaxed(&count->max_ns, all_ns);
    p->pinned_ns = all_ns;
}

static void fill_pin(vthread_event_t *e, const struct processor *p, const struct thread *self, vthread_pin_kind_t kind)
{
    const struct vthread_cont *c =
        self->flags & THREAD_NESTED ? thread_extra(self)->nested : nested_around(__builtin_frame_address(0));

    e->pin = kind;
    if ((unsigned)kind < PIN_KINDS) {
        e->reason = reason_of(p, kind);
        e->pinned_at = p->pins.first[kind].at;
    } else if (kind == VTHREAD_PIN_CONTINUATION) {
        while (c != NULL && c->pins == 0)
            c = c->parent;
        e->reason = c != NULL ? c->pin_reason : NULL;
        e->pinned_at = c != NULL ? c->pinned_at : NULL;
    }
}

/* left: its stack, which others may be using; else this is it.  NULL: no memory. */
static struct event *event_of_pin(vthread_event_kind_t what, struct processor *p, struct thread *t,
                                  vthread_pin_kind_t kind, struct stack *left, int64_t duration_ns)
{
    struct event *e = event_new(what, t);
    int depth;

    if (e == NULL)
        return NULL;
    fill_pin(&e->public, p, t, kind);
    thread_name_copy(t, e->name, sizeof e->name);
    e->public.carrier = (int)p->carrier.index;
    e->public.duration_ns = duration_ns;
    if (left != NULL) {
        e->sample = sample_of_waiter(t, left);
    } else {
        depth = backtrace_here(e->pcs, EVENT_DEPTH);
        e->public.depth = depth > 0 ? depth : 0;
    }
    return e;
}

void pinned_report(struct processor *p, struct thread *self, vthread_pin_kind_t kind)
{
    int saved = *p->errno_at; /* the carrier is the same all the time */
    struct event *e = event_of_pin(VTHREAD_EVENT_PINNED, p, self, kind, NULL, p->pinned_ns);

    if (e != NULL)
        event_post(e);
    *p->errno_at = saved;
}

/* ---- while they last ---- */

/* When is it to be said that it goes on? */
static int64_t report_due_ns(const struct processor *p)
{
    int64_t due_ns;

    if (!event_is_wanted(VTHREAD_EVENT_PINNING) || p->pinned_told == event_latest_subscription() ||
        __builtin_add_overflow(p->pinned_since_ns, pinned_threshold_ns, &due_ns))
        return INT64_MAX;
    return due_ns;
}

/* False: not yet. */
static bool report_if_due(struct processor *p, struct thread *t, vthread_pin_kind_t kind, struct stack *left,
                          int64_t due_ns)
{
    int64_t now_ns = due_ns < INT64_MAX ? clock_monotonic_ns() : 0;
    uint64_t latest = event_latest_subscription();
    int saved = *p->errno_at;
    struct event *e;

    if (now_ns < due_ns)
        return false;
    e = event_of_pin(VTHREAD_EVENT_PINNING, p, t, kind, left, now_ns - p->pinned_since_ns);
    if (e != NULL) {
        e->after = p->pinned_told; /* the others have been told already */
        e->until = latest;         /* and who comes after it will rouse us again */
        event_post(e);
    }
    p->pinned_told = latest;
    *p->errno_at = saved;
    return true;
}

bool pinned_wait(struct processor *p, struct thread *t, vthread_pin_kind_t kind, struct stack *left,
                 int64_t deadline_ns)
{
    struct parker *parker = &p->parker;
    uint32_t looks = PARKER_LOOKS;

    atomic_fence_seq_cst(); /* WAITS before the look at the mask; pinned_rouse has the other half */
    while (!parker_is_notified(parker)) {
        int64_t due_ns = report_due_ns(p);
        int64_t until_ns = clock_sleep_until_ns(deadline_ns);

        if (report_if_due(p, t, kind, left, due_ns))
            continue;
        if (!futex_wait(&parker->word, PARKER_WAITS, until_ns < due_ns ? until_ns : due_ns) &&
            deadline_ns <= clock_now_ns())
            return parker_is_notified(parker);
        looks = PARKER_LOOKS;
        atomic_cas_acq_rel(&parker->word, &looks, PARKER_WAITS);
    }
    return true;
}

void pinned_rouse(void)
{
    atomic_fence_seq_cst(); /* the mask before the parkers */
    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++) {
        struct parker *parker = &((struct processor *)(void *)pool_carrier(i))->parker;
        uint32_t waits = PARKER_WAITS;

        if (atomic_cas_acq_rel(&parker->word, &waits, PARKER_LOOKS))
            futex_wake(&parker->word, 1);
    }
}

const char *vthread_pin_kind_name(vthread_pin_kind_t kind)
{
    static const char *const names[VTHREAD_PIN_KINDS] = {
        [VTHREAD_PIN_EXPLICIT] = "explicit pin",       [VTHREAD_PIN_MONITOR] = "monitor",
        [VTHREAD_PIN_BLOCKING] = "blocking section",   [VTHREAD_PIN_CONTINUATION] = "pinned continuation",
        [VTHREAD_PIN_FOREIGN_STACK] = "foreign stack", [VTHREAD_PIN_NO_MEMORY] = "no memory",
        [VTHREAD_PIN_CALLBACK] = "callback",
    };

    return (unsigned)kind < VTHREAD_PIN_KINDS ? names[kind] : "unknown";
}
