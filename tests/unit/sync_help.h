/* SPDX-License-Identifier: MIT */
/* What the tests of sync.h share. */
#ifndef TESTS_UNIT_SYNC_HELP_H
#define TESTS_UNIT_SYNC_HELP_H

#include "vthread_help.h"

#include <vthread/sync.h>

/* Each kind of thread waits in a way of its own. */
enum { KINDS = 4 };
static const vthread_attr_t kinds[KINDS] = {
    {.name = "virtual"},
    {.name = "platform", .kind = VTHREAD_KIND_PLATFORM},
    {.name = "dedicated", .stack = VTHREAD_STACK_DEDICATED},
    {.name = "sticky", .sticky_carrier = true},
};

/* The thread waits, in one way or other. */
static inline bool is_waiting(vthread_t t)
{
    switch (vthread_state(t)) {
    case VTHREAD_PARKED:
    case VTHREAD_TIMED_PARKED:
    case VTHREAD_PINNED:
    case VTHREAD_TIMED_PINNED:
        return true;
    default:
        return false;
    }
}

#define WAITS(thread) EVENTUALLY(is_waiting(thread))

/* The order in which threads get somewhere. */
struct order {
    _Atomic int n;
    _Atomic int who[64];
};

static inline void order_note(struct order *order, int who)
{
    atomic_store(&order->who[atomic_fetch_add(&order->n, 1)], who);
}

#endif
