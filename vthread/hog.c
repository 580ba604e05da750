/* SPDX-License-Identifier: MIT */
/*
 * What the monitor has to say about a thread that holds its carrier, sticky
 * threads and forced migration, time slices.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "vthread/mount.h"
#include "vthread/thread.h"

void hog_report(struct carrier *c, int64_t held_ns, bool computing)
{
    /* Counted in the pool; events and messages come with the pinning reports. */
    (void)c, (void)held_ns, (void)computing;
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
    carrier_deliver(to, &t->link.task, (t->flags & THREAD_STICKY) != 0);
    return true;
}

void vthread_checkpoint(void)
{
    struct processor *p = processor_self();

    /* Whether others wait, timers and sockets included, is for the carrier to see. */
    if (p != NULL && UNLIKELY(carrier_slice_is_used(&p->carrier)))
        vthread_yield();
}
