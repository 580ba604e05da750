/* SPDX-License-Identifier: MIT */
/*
 * What the pool asks of a poller: the thing a carrier without work sleeps in.
 *
 * The layer above supplies one (net: libevent); without, carriers sleep on a
 * futex.  At most one carrier at a time is inside poll(): the leader.
 */
#ifndef CARRIER_POLLER_H
#define CARRIER_POLLER_H

#include <stdint.h>

struct task;

/* A chain of tasks, oldest first, through task->next. */
struct task_list {
    struct task *first;
    struct task **end;
    uint32_t count;
};

struct poller {
    /*
     * Wait until an event, wake() or deadline_ns (CLOCK_MONOTONIC, even where the runtime's clock is replaced; 0: only
     * look; INT64_MAX: none), and append what became ready to the list: the caller is still counted as idle, so nothing
     * is made runnable from inside.  One caller at a time, on a carrier's own stack.
     */
    void (*poll)(struct poller *poller, int64_t deadline_ns, struct task_list *ready);
    /* Make the present or the next waiting poll() return.  Any thread. */
    void (*wake)(struct poller *poller);
    /* The runtime is going down: no poll() runs or will run. */
    void (*close)(struct poller *poller);
};

#endif
