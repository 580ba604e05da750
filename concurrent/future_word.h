/* SPDX-License-Identifier: MIT */
/*
 * The state of a future: one word that its task and those who hold the future race for.
 *
 *     from        to                     by                 how
 *     -           PENDING                submit             not shared yet
 *     PENDING     RUNNING                the task           CAS, future_word_begin
 *     RUNNING     SUCCEEDED or FAILED    the task           CAS, future_word_end: its last touch
 *     PENDING     CANCELLED              a holder           CAS, future_word_cancel
 *     RUNNING     CANCELLED              a holder           the same; the task goes on
 *
 * Flags
 *   TASK          the task, or the executor that has it queued, will touch the future again
 *   HELD          the program has not freed it
 *   WAITERS       somebody waits in its queue, or has waited: whoever completes it takes the queue's
 *                 lock first (set under that lock, on a future that is not done; never cleared)
 *   INTERRUPTING  a holder is about to interrupt the thread that runs the task
 *   POKED         interrupted while PENDING: the thread is to be interrupted when it begins
 *   TAKEN         the value belongs to the program
 *   COPY, MEMBER, OWN_STACK  set once, by submit: the argument is a copy; is in a group (invoke.c); the
 *                 thread must not share a stack
 *
 * 1. Who frees it?  Whoever takes the last of TASK and HELD away.  Both are taken away by
 *    CAS (the task's together with its result); without TASK, nobody but its holders
 *    knows the future, and free, after which there are none, needs no CAS.
 * 2. The value is discarded by whoever frees a future that SUCCEEDED and is not TAKEN, and by a
 *    task that finds itself CANCELLED at its end: one of the two, once.
 * 3. While INTERRUPTING is set the task does not end, so that the interrupt hits that task
 *    and not the next one of the same thread.
 *
 * Tested by tests/model (future.c).
 */
#ifndef CONCURRENT_FUTURE_WORD_H
#define CONCURRENT_FUTURE_WORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

/* The lowest three bits; numbered as vthread_future_state_t. */
enum { FUTURE_PENDING, FUTURE_RUNNING, FUTURE_SUCCEEDED, FUTURE_FAILED, FUTURE_CANCELLED };

enum {
    FUTURE_STATE_MASK = 7,
    FUTURE_TASK = 1 << 3,
    FUTURE_HELD = 1 << 4,
    FUTURE_WAITERS = 1 << 5,
    FUTURE_INTERRUPTING = 1 << 6,
    FUTURE_POKED = 1 << 7,
    FUTURE_TAKEN = 1 << 8,
    FUTURE_COPY = 1 << 9,
    FUTURE_MEMBER = 1 << 10,
    FUTURE_OWN_STACK = 1 << 11,
};

static inline uint32_t future_state(uint32_t w)
{
    return w & FUTURE_STATE_MASK;
}

static inline bool future_is_done(uint32_t w)
{
    return future_state(w) >= FUTURE_SUCCEEDED;
}

static inline uint32_t future_with_state(uint32_t w, uint32_t state)
{
    return (w & ~(uint32_t)FUTURE_STATE_MASK) | state;
}

/* What came of an attempt to change it. */
enum future_try {
    FUTURE_CHANGED,
    FUTURE_NEEDS_LOCK, /* somebody waits: with the queue's lock, and whoever is in the queue granted under it */
    FUTURE_LATER,      /* somebody is INTERRUPTING: pause, and try again */
    FUTURE_TOO_LATE,   /* it is done */
};

/* The task begins; false: it was cancelled, and must not.  *ret_before: the word before. */
static inline bool future_word_begin(atomic_word *word, uint32_t *ret_before)
{
    uint32_t w = atomic_load_acquire(word); /* pairs with the CAS of whoever freed it */

    do {
        *ret_before = w;
        if (future_state(w) == FUTURE_CANCELLED)
            return false;
        if (!(w & FUTURE_HELD)) { /* nobody else can change it any more */
            atomic_store_relaxed(word, future_with_state(w, FUTURE_RUNNING));
            return true;
        }
    } while (!atomic_cas_acq_rel(word, &w, future_with_state(w, FUTURE_RUNNING)));
    return true;
}

/*
 * The task is over, with that state, which becomes the future's unless it is CANCELLED already.
 * *ret_after: the word afterwards; the caller frees it if that is not HELD.
 */
static inline enum future_try future_word_end(atomic_word *word, uint32_t state, bool locked, uint32_t *ret_after)
{
    uint32_t w = atomic_load_acquire(word); /* pairs with the CAS of whoever freed it */

    do {
        if (w & FUTURE_INTERRUPTING)
            return FUTURE_LATER;
        *ret_after = w & ~(uint32_t)FUTURE_TASK;
        if (future_state(w) != FUTURE_CANCELLED) {
            if ((w & FUTURE_WAITERS) && !locked)
                return FUTURE_NEEDS_LOCK;
            *ret_after = future_with_state(*ret_after, state);
        }
        if (!(w & FUTURE_HELD)) /* nobody else looks at it any more */
            return FUTURE_CHANGED;
        /* release: pairs with the acquire of whoever finds it done */
    } while (!atomic_cas_acq_rel(word, &w, *ret_after));
    return FUTURE_CHANGED;
}

/*
 * A holder cancels it.  *ret_interrupts: a task is running that shall be interrupted, by the
 * caller, with future_word_interrupted to follow.
 */
static inline enum future_try future_word_cancel(atomic_word *word, bool interrupt, bool locked, bool *ret_interrupts)
{
    uint32_t w = atomic_load_acquire(word); /* pairs with the CAS of the task's end */
    uint32_t next;

    do {
        if (future_is_done(w))
            return FUTURE_TOO_LATE;
        if (w & FUTURE_INTERRUPTING)
            return FUTURE_LATER;
        if ((w & FUTURE_WAITERS) && !locked)
            return FUTURE_NEEDS_LOCK;
        *ret_interrupts = interrupt && future_state(w) == FUTURE_RUNNING;
        next = future_with_state(w, FUTURE_CANCELLED) | (*ret_interrupts ? FUTURE_INTERRUPTING : 0);
    } while (!atomic_cas_acq_rel(word, &w, next));
    return FUTURE_CHANGED;
}

/* A holder wants the task interrupted, now or when it begins.  *ret_interrupts: as above. */
static inline enum future_try future_word_poke(atomic_word *word, bool *ret_interrupts)
{
    uint32_t w = atomic_load_acquire(word); /* the handle of the thread comes with RUNNING */

    do {
        if (!(w & FUTURE_TASK) || future_is_done(w))
            return FUTURE_TOO_LATE;
        if (w & FUTURE_INTERRUPTING)
            return FUTURE_LATER;
        *ret_interrupts = future_state(w) == FUTURE_RUNNING;
    } while (!atomic_cas_acq_rel(word, &w, w | (*ret_interrupts ? FUTURE_INTERRUPTING : FUTURE_POKED)));
    return FUTURE_CHANGED;
}

static inline void future_word_interrupted(atomic_word *word)
{
    atomic_fetch_and_acq_rel(word, ~(uint32_t)FUTURE_INTERRUPTING);
}

/* With the queue's lock: wait for it.  False: it is done. */
static inline bool future_word_wait(atomic_word *word)
{
    uint32_t w = atomic_load_acquire(word); /* pairs with the CAS of the task's end */

    do {
        if (future_is_done(w))
            return false;
        if (w & FUTURE_WAITERS)
            return true;
    } while (!atomic_cas_acq_rel(word, &w, w | FUTURE_WAITERS));
    return true;
}

/* A holder takes the value of one that has SUCCEEDED: several may write the same word. */
static inline void future_word_take(atomic_word *word, uint32_t w)
{
    /* Without TASK only free changes it, which comes after.  release: others acquire from here what the task did. */
    atomic_store_release(word, w | FUTURE_TAKEN);
}

/* The last holder lets go.  True: it is the caller's alone, to be freed.  *ret_before: the word before. */
static inline bool future_word_free(atomic_word *word, uint32_t *ret_before)
{
    uint32_t w = atomic_load_acquire(word); /* pairs with the CAS of the task's end */

    do {
        *ret_before = w;
        if (!(w & FUTURE_TASK))
            return true;
    } while (!atomic_cas_acq_rel(word, &w, w & ~(uint32_t)FUTURE_HELD));
    return false;
}

#endif
