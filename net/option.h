/* SPDX-License-Identifier: MIT */
/*
 * What a program can say about a descriptor once, for all calls: deadlines, and that an interrupt closes it.
 *
 * A record has a flag for each.  The deadlines themselves are in a column beside the records, a page of it made
 * when one of its numbers first gets a deadline.
 *
 * A deadline holds for whoever has the slot.  Those in the queue behind wait for as long as their calls allow: when it
 * passes, the owner ends, and hands over to the next, who finds the same.
 *
 * Who sets one stores it, then notifies the slots (slot_notify); an owner looks at it between a CAS of its own on the
 * slot and slot_prepare.  If that CAS comes after the notice, it acquires what was stored.  If not, the notice
 * finds BUSY, and slot_prepare fails; or READY, and the owner clears it before it looks again; or WAITING, and wakes.
 * So no wait goes by a deadline of the past.
 */
#ifndef NET_OPTION_H
#define NET_OPTION_H

#include <stdint.h>

#include "base/attributes.h"
#include "net/descriptor.h"

/* The descriptor's own, whose record has has_deadline set; INT64_MAX: none for this direction. */
COLD int64_t option_deadline(int fd, enum slot_direction direction);

/* The sooner of the call's and the descriptor's. */
static inline int64_t option_sooner(struct descriptor *d, int fd, enum slot_direction direction, int64_t deadline_ns)
{
    if (UNLIKELY(atomic_load_relaxed(&d->has_deadline))) { /* relaxed: ordered by the slot */
        int64_t own_ns = option_deadline(fd, direction);

        return own_ns < deadline_ns ? own_ns : deadline_ns;
    }
    return deadline_ns;
}

/*
 * An interrupt has ended a call on that file, and closes it: everybody is ousted, the file is given up, and its number
 * refers to a socket that is dead, and to a record that refuses calls, until vthread_close.
 */
COLD void option_close_by_interrupt(struct descriptor *d, int fd, uint32_t generation);

void option_fini(void);

#endif
