/* SPDX-License-Identifier: MIT */
/*
 * Threads that wait for ever: after Go 1.26's goroutine leak profile.
 *
 * A *candidate* is a parked virtual thread that waits, without a deadline, in the queue of a sync object
 * that lies in collected memory.  In a collection that is to find leaks candidates are no roots.  When all that the
 * others can reach is marked (leaks_find), each candidate whose object is marked can be woken by somebody: it
 * is alive, and what it reaches is marked, too; and so on, until no more come to life.  The rest are
 * leaked.  In the end what those reach is marked as well: nothing is freed under a thread that exists.
 *
 * Never named is a thread that another wait of the library's may come to the end of: whose wait has a deadline, who is
 * pinned, a task or subtask (unless its wait cannot be interrupted); nor one whose frames others may point into.
 *
 * A finalizer could still signal what is found unreachable.  It would run after the collection, or be waiting to, and
 * what it can reach is a root by then.  So only what two collections in a row have found is a leak: what became
 * unreachable between them could be reached in the first.
 */
#ifndef GC_LEAKS_H
#define GC_LEAKS_H

#include <stdbool.h>

#include "base/atomic.h"
#include "base/attributes.h"

struct thread;

typedef ATOMIC(bool) leaks_word;
extern HIDDEN leaks_word leaks_are_wanted;

/* With the world stopped, all of these; and nothing happens in collections that are not to find leaks. */

static inline bool leaks_wanted(void)
{
    return atomic_load_relaxed(&leaks_are_wanted);
}

/* Roots are about to be pushed. */
void leaks_begin(void);
/* Is it a candidate?  Then it is no root. */
bool leaks_consider(struct thread *t);
/* All that can be reached is marked. */
void leaks_find(void);

#endif
