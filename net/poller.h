/* SPDX-License-Identifier: MIT */
/*
 * The poller: what carriers without work sleep in.
 *
 * Sockets of ours are in an epoll set of our own, registered once, when they first have
 * to wait: both directions, edge-triggered, so a steady connection costs no further
 * epoll_ctl.  Foreign descriptors are libevent's, registered for each wait, one-shot
 * and level-triggered, so nothing of them is left when nobody waits.  Our set is in
 * libevent's base in turn; but as long as libevent has nothing else to wait for, a
 * carrier sleeps in our set directly.
 */
#ifndef NET_POLLER_H
#define NET_POLLER_H

#include <stdint.h>

#include "base/atomic.h"
#include "net/descriptor.h"
#include "vthread/thread.h"

struct event;
struct event_base;

typedef ATOMIC(bool) poller_flag;
extern poller_flag poller_is_up;

COLD int poller_start(void);

/* Make sure that runtime and poller run.  0, or -Exxx: -ENOTSUP after fork, -ECANCELED, -EAGAIN, -ENOMEM. */
static inline int net_enter(void)
{
    /* acquire: pairs with the release in poller_start. */
    if (LIKELY(atomic_load_acquire(&poller_is_up)) && LIKELY(!runtime_forked()))
        return 0;
    return poller_start();
}

/* libevent's.  Add events with poller_add_event only: the poller may have to come and wait there. */
struct event_base *poller_base(void);
int poller_add_event(struct event *event);

/* A descriptor of the layer's own in our set.  ready() runs in the poller whenever there is something. */
struct poller_source {
    void (*ready)(void);
};
int poller_add_source(int fd, struct poller_source *source, uint32_t events);

/* Inside a callback of the poller: where woken threads go. */
struct task_list *poller_ready(void);

/* Wake the wait that a token names; 0 names none. */
static inline void poller_wake_token(uint64_t token, struct task_list *list)
{
    if (token != 0)
        thread_wake(&thread_table[slot_token_index(token)], slot_token_number(token), 0, list);
}

/* By the slot's owner, before it waits: see to it that events of this direction arrive.  0, -ENOMEM, -EPERM. */
int poller_arm(struct descriptor *d, int fd, enum slot_direction direction);
/* By the owner, after a wait that no event ended. */
void poller_disarm(struct descriptor *d, enum slot_direction direction);
/* By the closer, once nobody owns a slot. */
void poller_forget(struct descriptor *d, int fd);
void poller_free_registration(struct descriptor *d, int fd);

#endif
