/* SPDX-License-Identifier: MIT */
/*
 * The word of a shared stack: who may use the address range now.
 *
 * Roles: any number of members try to acquire; the holder releases.
 *
 * States: 0 is FREE; otherwise bit 0 (HELD) is set and the rest points to the
 * newest of a LIFO of members that arrived while it was held, linked through
 * cont->next.  `fifo`, a plain field, belongs to the holder: arrivals that a
 * former release has already taken off the word, oldest first.
 *
 * Release hands over to exactly one member and keeps the word HELD on its
 * behalf.  Requeueing all of them would be a convoy: each would find the stack
 * taken but one.
 *
 * Invariants
 *   1. at most one member holds the stack; `resident`, `fifo` and the sp, chunk
 *      and byte count of *every* suspended member are touched by the holder only.
 *   2. a member is in the LIFO, in the FIFO, or neither; while it is in one of
 *      them only a releaser may touch it: whoever pushed it must forget it at
 *      once, for it may be running elsewhere before the push returns.
 *
 * Linearisation: acquire at its successful CAS; release at the CAS to FREE, or,
 * handing over, at the point where the next member is made runnable.
 *
 * Tested by tests/model (stack_word.c, and composed with park and hand-over).
 */
#ifndef CONTINUATION_STACK_WORD_H
#define CONTINUATION_STACK_WORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/panic.h"

/* A member as this protocol sees it: the link alone. */
struct stack_member {
    struct stack_member *next;
};

struct stack_word {
    ATOMIC(uintptr_t) word;
    struct stack_member *fifo; /* holder's */
};

#define STACK_FREE ((uintptr_t)0)
#define STACK_HELD ((uintptr_t)1)

/* Take the stack if it is free. */
static inline bool stack_word_try(struct stack_word *s)
{
    uintptr_t seen = STACK_FREE;

    /* acquire: pairs with the release below; the former holder's frames are out of the way. */
    return atomic_cas_acq_rel(&s->word, &seen, STACK_HELD);
}

/*
 * Take the stack (true), or leave the member to be handed it later (false: do
 * not touch the member any more).
 */
static inline bool stack_word_acquire(struct stack_word *s, struct stack_member *member)
{
    uintptr_t seen = STACK_FREE;

    for (;;) {
        if (seen == STACK_FREE) {
            if (atomic_cas_acq_rel(&s->word, &seen, STACK_HELD))
                return true;
        } else {
            member->next = (struct stack_member *)(seen & ~STACK_HELD);
            /* release: pairs with the releaser's acquire; member->next is visible. */
            if (atomic_cas_acq_rel(&s->word, &seen, (uintptr_t)member | STACK_HELD))
                return false;
        }
    }
}

/* The slow half of release: arrivals, oldest first, become the FIFO. */
static inline struct stack_member *stack_word_take_arrivals(struct stack_word *s)
{
    uintptr_t seen = atomic_exchange_acq_rel(&s->word, STACK_HELD);
    struct stack_member *newest = (struct stack_member *)(seen & ~STACK_HELD);
    struct stack_member *oldest = NULL;

    ASSERT2(seen & STACK_HELD);
    while (newest != NULL) {
        struct stack_member *older = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = older;
    }
    return oldest;
}

/*
 * Give the stack up.  Returns NULL, or the one member that holds it now and
 * must be made runnable (knowing that it holds it).
 */
NODISCARD static inline struct stack_member *stack_word_release(struct stack_word *s)
{
    struct stack_member *next = s->fifo;

    if (LIKELY(next == NULL)) {
        uintptr_t seen = STACK_HELD;

        /* release: pairs with the acquire of the next holder. */
        if (LIKELY(atomic_cas_acq_rel(&s->word, &seen, STACK_FREE)))
            return NULL;
        next = stack_word_take_arrivals(s);
    }
    s->fifo = next->next;
    next->next = NULL;
    return next;
}

#endif
