/* SPDX-License-Identifier: MIT */
/* What a parked thread waits for, and who owns that, if it is a lock: for those who look on (deadlock.c, dumps). */
#ifndef SYNC_OWNER_H
#define SYNC_OWNER_H

#include "base/probe.h"
#include "vthread/thread.h"

struct lock_wait {
    const void *object;
    enum wait_kind kind;
    uint32_t owner;      /* index; 0: none, or the waiter itself, to whom the lock was handed over */
    uint64_t owner_word; /* looked at after the lock */
};

/*
 * False: it was woken meanwhile, or waits for no lock.  w: its word, PARKED.
 *
 * The lock is the program's memory, and may be gone when it is looked at (base/probe.h).  If the word of the waiter,
 * with the number of its wait, is the same before and after, it has waited all the time, and what was read was the
 * lock.
 */
bool lock_wait_look(struct probe *probe, struct thread *t, uint64_t w, struct lock_wait *ret_wait);

#endif
