/* SPDX-License-Identifier: MIT */
/*
 * What the monitor has to say about a thread that holds its carrier, sticky
 * threads and forced migration, time slices.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "vthread/event.h"
#include "vthread/mount.h"
#include "vthread/sample.h"
#include "vthread/thread.h"

/* Who is mounted there?  Read while it may be changing. */
NO_SANITIZE static struct thread *mounted_at(struct carrier *c)
{
    return *(struct thread *volatile *)&((struct processor *)(void *)c)->current;
}

/* The monitor asks no names: it may not wait for whoever is starting or ending the runtime.  The teller does. */
void hog_report(struct carrier *c, int64_t held_ns, bool computing, bool rescued)
{
    struct processor *p = (struct processor *)(void *)c;
    uint64_t begun = atomic_load_acquire(&c->begun);
    struct thread *t = mounted_at(c);
    struct event *e;

    p->hog = t != NULL ? thread_handle(t) : NULL;
    if (!event_is_wanted(VTHREAD_EVENT_HOG) || (e = event_new(VTHREAD_EVENT_HOG, t)) == NULL)
        return;
    e->public.carrier = (int)c->index;
    e->public.duration_ns = held_ns;
    e->public.computing = computing;
    e->public.rescued = rescued;
    e->sample = sample_take(c, begun, computing);
    event_post(e);
}

void hog_end(struct carrier *c, int64_t held_ns, bool rescued)
{
    struct processor *p = (struct processor *)(void *)c;
    struct event *e;

    if (!event_is_wanted(VTHREAD_EVENT_HOG_END) || (e = event_new(VTHREAD_EVENT_HOG_END, NULL)) == NULL)
        return;
    e->public.thread = p->hog;
    e->public.rescued = rescued;
    e->public.carrier = (int)c->index;
    e->public.duration_ns = held_ns;
    event_post(e);
}

void hog_reports_wanted(bool wanted)
{
    atomic_store_relaxed(&pool.hog_reports, wanted);
}

void spare_report(struct carrier *c)
{
    struct event *e;

    if (!event_is_wanted(VTHREAD_EVENT_SPARE) || (e = event_new(VTHREAD_EVENT_SPARE, NULL)) == NULL)
        return;
    e->public.carrier = (int)c->index;
    event_post(e);
}

static struct carrier *other_carrier(struct carrier *c)
{
    uint32_t count = atomic_load_acquire(&pool.count);

    for (uint32_t i = 1; i < count; i++) {
        struct carrier *other = pool_carrier((c->index + i) % count);

        if (atomic_load_relaxed(&other->state) == CARRIER_RUNNING)
            return other;
    }
    return c;
}

bool mount_elsewhere(struct carrier *c, struct thread *t)
{
    struct carrier *to = c;
    bool holds_stack;

    if (t->carrier == CARRIER_NONE)
        return false;
    if (t->flags & THREAD_STICKY) {
        to = pool_carrier(t->carrier);
        if (atomic_load_relaxed(&to->state) == CARRIER_DORMANT)
            return false; /* its carrier has retired: it gets another */
    } else if (t->carrier == c->index && !(t->flags & THREAD_HOLDS_STACK)) {
        to = other_carrier(c);
    }
    if (to == c)
        return false;
    /*
     * A stack is not kept for a thread whose carrier is blocked: who blocks it may be a stack-mate, and want the stack
     * before it lets go of the carrier.
     */
    holds_stack = (t->flags & THREAD_HOLDS_STACK) != 0;
    if (holds_stack && atomic_load_relaxed(&to->state) != CARRIER_RUNNING && (t->flags & THREAD_STICKY)) {
        t->flags &= (uint8_t)~THREAD_HOLDS_STACK;
        holds_stack = false;
        thread_stack_release(stack_at(t->cont.stack));
    }
    /* If the carrier blocks before it sees the task, that comes back here. */
    carrier_deliver(to, &t->link.task, (t->flags & THREAD_STICKY) && !holds_stack);
    return true;
}

void vthread_checkpoint(void)
{
    struct processor *p = processor_self();

    /* Whether others wait, timers and sockets included, is for the carrier to see. */
    if (p != NULL && UNLIKELY(carrier_slice_is_used(&p->carrier)))
        vthread_yield();
}
