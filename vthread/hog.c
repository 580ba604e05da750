/* SPDX-License-Identifier: MIT */
/*
 * What the monitor has to say about a thread that holds its carrier, sticky
 * threads and forced migration, time slices.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/panic.h"
#include "vthread/event.h"
#include "vthread/mount.h"
#include "vthread/sample.h"
#include "vthread/thread.h"

enum { TRIES_MAX = 5 };

/* Who is mounted there?  Read while it may be changing. */
NO_SANITIZE static struct thread *mounted_at(struct carrier *c)
{
    return *(struct thread *volatile *)&((struct processor *)(void *)c)->current;
}

/*
 * Who holds the carrier, by handle and name, for the reports of its beginning and its end; false: it has let go.  It
 * may be ending meanwhile, so what has been read counts only if it is mounted afterwards, and has been all the
 * time: a carrier that unmounts says so first (p->current), and frees later.
 */
static bool identify(struct carrier *c)
{
    struct processor *p = (struct processor *)(void *)c;
    struct thread *t = mounted_at(c);

    p->hog_tries = p->hog_begun == c->held_begun ? p->hog_tries : 0;
    p->hog_begun = c->held_begun;
    p->hog_until = event_latest_subscription();
    p->hog = t != NULL ? thread_handle(t) : NULL;
    p->hog_name[0] = '\0';
    if (t != NULL)
        thread_name_peek(t, p->hog_name, sizeof p->hog_name);
    atomic_fence_seq_cst();
    return mounted_at(c) == t && atomic_load_relaxed(&c->begun) == c->held_begun && atomic_load_relaxed(&c->in_task);
}

/* NULL: nobody wants it, or no memory. */
static struct event *event_of_hog(struct carrier *c, vthread_event_kind_t kind, int64_t held_ns, bool rescued)
{
    const struct processor *p = (struct processor *)(void *)c;
    struct event *e = event_is_wanted(kind) ? event_new(kind, NULL) : NULL;

    if (e == NULL)
        return NULL;
    e->public.thread = p->hog;
    memcpy(e->name, p->hog_name, sizeof e->name);
    e->public.carrier = (int)c->index;
    e->public.duration_ns = held_ns;
    e->public.rescued = rescued;
    return e;
}

bool hog_report(struct carrier *c, int64_t held_ns, bool computing, bool rescued)
{
    struct processor *p = (struct processor *)(void *)c;
    struct sample *sample;
    struct event *e;
    bool late;

    if (!identify(c))
        return false;
    if (!event_is_wanted(VTHREAD_EVENT_HOG))
        return true;
    sample = sample_take(c, c->held_begun, computing, &late);
    if (late && ++p->hog_tries < TRIES_MAX)
        return false; /* a crowded machine: it is asked again at the next tick, rather than reported without */
    p->hog_tries = 0;
    e = event_of_hog(c, VTHREAD_EVENT_HOG, held_ns, rescued);
    if (e != NULL) {
        e->public.computing = computing;
        e->sample = sample;
        event_post(e);
    } else {
        memory_free(sample);
    }
    return true;
}

void hog_end(struct carrier *c, int64_t held_ns, bool rescued)
{
    struct event *e = event_of_hog(c, VTHREAD_EVENT_HOG_END, held_ns, rescued);

    if (e == NULL)
        return;
    e->until = ((struct processor *)(void *)c)->hog_until;
    event_post(e);
}

void hog_reports_wanted(bool wanted)
{
    atomic_store_relaxed(&pool.hog_reports, wanted);
    monitor_rouse(); /* there may be one already */
}

void sampling_begin(void)
{
    atomic_fetch_add_relaxed(&pool.samplers, 1);
}

void sampling_end(void)
{
    atomic_fetch_sub_acq_rel(&pool.samplers, 1);
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
        ASSERT1(atomic_load_relaxed(&to->state) != CARRIER_DORMANT); /* it is awaited there */
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
