/* SPDX-License-Identifier: MIT */
/*
 * The order in which threads take locks, watched in builds with -Dchecks=2 or more.
 *
 * Two threads that take two locks in different orders can wait for each other for ever, but
 * seldom do while tested.  So every order that has been seen is remembered, and one that goes
 * against it is told to the misuse handler, whether anybody has to wait or not (after the Linux
 * kernel's lockdep, by lock rather than by class).  Nothing else happens.
 *
 * A lock is known by its address, until it is destroyed or initialised by its call.
 */
#ifndef SYNC_LOCK_ORDER_H
#define SYNC_LOCK_ORDER_H

#include "vthread/thread.h"

#ifdef VTHREAD_MODEL
#define LOCK_ORDER 0
#else
#define LOCK_ORDER (VTHREAD_CHECKS >= 2)
#endif

/* Before waiting for a lock, if need be; after having it; before letting it go.  The thread's own. */
void lock_order_wants_slow(struct thread *self, const void *lock, const char *call);
void lock_order_has_slow(struct thread *self, const void *lock);
void lock_order_lets_go_slow(struct thread *self, const void *lock);
void lock_order_forget_slow(const void *lock);

static inline void lock_order_wants(struct thread *self, const void *lock, const char *call)
{
    if (LOCK_ORDER && self != NULL)
        lock_order_wants_slow(self, lock, call);
}

static inline void lock_order_has(struct thread *self, const void *lock)
{
    if (LOCK_ORDER)
        lock_order_has_slow(self, lock);
}

static inline void lock_order_lets_go(struct thread *self, const void *lock)
{
    if (LOCK_ORDER && self != NULL)
        lock_order_lets_go_slow(self, lock);
}

/* The lock begins or ends its life. */
static inline void lock_order_forget(const void *lock)
{
    if (LOCK_ORDER)
        lock_order_forget_slow(lock);
}

#endif
