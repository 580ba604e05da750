/* SPDX-License-Identifier: MIT */
/*
 * The state of a thread: one word that others race for, one byte that only its
 * owner writes.  Every transition is in this file.
 *
 * States are the JDK's (java.lang.VirtualThread).  The word tells NEW, ACTIVE,
 * PARKED and TERMINATED apart, for those are the edges on which somebody else
 * may act; what an ACTIVE or PARKED thread does in detail is its *phase*, a
 * plain store by whoever owns the thread at that moment: its maker, the carrier
 * it is mounted on, or the one that has just won the CAS that woke it.
 *
 *     from           to             by                how
 *     -              NEW            creator           record not shared yet
 *     NEW            STARTED        any thread        CAS NEW -> ACTIVE
 *     -              STARTED        creator           record not shared yet (create)
 *     STARTED        RUNNING        carrier           phase
 *
 *     RUNNING        YIELDING       the thread        phase
 *     YIELDING       YIELDED        carrier           phase, once off the stack
 *     YIELDED        RUNNING        carrier           phase
 *     YIELDING       RUNNING        the thread        phase; cannot unmount, or nobody else waits
 *
 *     RUNNING        PARKING        the thread        phase
 *     PARKING        PARKED         carrier           CAS ACTIVE -> PARKED: fails if a wake came;
 *                                                     its last touch of the record
 *     PARKING        RUNNING        carrier           phase, after that CAS failed
 *     PARKED         UNPARKED       any thread        CAS PARKED -> ACTIVE, then phase; unpark,
 *                                                     wake or interrupt
 *     UNPARKED       RUNNING        carrier           phase
 *     TIMED_PARKING, TIMED_PARKED   the same, with a deadline; the timer is one of the wakers
 *
 *     RUNNING        PINNED         the thread        phase, then CAS ACTIVE -> PARKED by its own
 *                                                     OS thread, which blocks
 *     PINNED         RUNNING        any thread        CAS PARKED -> ACTIVE; the OS thread is woken
 *     TIMED_PINNED                  the same, with a deadline
 *
 *     RUNNING        TERMINATED     carrier           CAS ACTIVE -> TERMINATED, off the stack
 *     NEW            TERMINATED     any thread        CAS; discarded without having run
 *
 * Whoever moves PARKED to ACTIVE owns the thread and must make it run.
 *
 * The word, low to high:
 *   state, 2 bits
 *   PERMIT       unpark came while not parked; park consumes it
 *   INTERRUPTED  the interrupt flag
 *   WAKE         an internal wake came before the wait was committed
 *   INTERNAL     PARKED for the runtime's own reasons (join, I/O, locks): unpark only leaves a permit
 *   DEAF         PARKED and not to be interrupted
 *   JOINERS      somebody waits for the end
 *   CONSUMED     joined or detached: nobody will ask for the value
 *   COUNTED      references beyond the creator's were taken (vthread_ref)
 *   sequence, 22 bits: number of the latest wait that was committed or given up
 *   generation, 32 bits: how often the record was reused; part of the handle
 *
 * Waits are numbered.  The one being prepared is sequence + 1; wakers by timer,
 * descriptor or join carry the number, and stale ones fail.  The sequence goes on
 * through reuse of the record, so that they fail there too.
 *
 * A record is never unmapped (type-stable), so reading a word is always allowed.
 * Tested by tests/model (word.c), exhaustively, alone and composed.
 */
#ifndef VTHREAD_WORD_H
#define VTHREAD_WORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/panic.h"

typedef ATOMIC(uint64_t) thread_word;

enum word_state { WORD_NEW = 0, WORD_ACTIVE = 1, WORD_PARKED = 2, WORD_TERMINATED = 3 };

#define WORD_STATE_MASK ((uint64_t)3)
#define WORD_PERMIT ((uint64_t)1 << 2)
#define WORD_INTERRUPTED ((uint64_t)1 << 3)
#define WORD_WAKE ((uint64_t)1 << 4)
#define WORD_INTERNAL ((uint64_t)1 << 5)
#define WORD_DEAF ((uint64_t)1 << 6)
#define WORD_JOINERS ((uint64_t)1 << 7)
#define WORD_CONSUMED ((uint64_t)1 << 8)
#define WORD_COUNTED ((uint64_t)1 << 9)
#define WORD_SEQUENCE_SHIFT 10
#define WORD_SEQUENCE_ONE ((uint64_t)1 << WORD_SEQUENCE_SHIFT)
#define WORD_SEQUENCE_MAX ((uint32_t)0x3fffff)
#define WORD_SEQUENCE_MASK ((uint64_t)WORD_SEQUENCE_MAX << WORD_SEQUENCE_SHIFT)
#define WORD_GENERATION_SHIFT 32

static inline enum word_state word_state(uint64_t w)
{
    return (enum word_state)(w & WORD_STATE_MASK);
}

static inline uint32_t word_generation(uint64_t w)
{
    return (uint32_t)(w >> WORD_GENERATION_SHIFT);
}

static inline uint32_t word_sequence(uint64_t w)
{
    return (uint32_t)((w & WORD_SEQUENCE_MASK) >> WORD_SEQUENCE_SHIFT);
}

static inline uint64_t word_with_state(uint64_t w, enum word_state state)
{
    return (w & ~WORD_STATE_MASK) | (uint64_t)state;
}

static inline uint64_t word_with_sequence(uint64_t w, uint32_t sequence)
{
    return (w & ~WORD_SEQUENCE_MASK) | ((uint64_t)(sequence & WORD_SEQUENCE_MAX) << WORD_SEQUENCE_SHIFT);
}

/* The number of the wait that the thread may be preparing; what wakers must carry. */
static inline uint32_t word_next_sequence(uint64_t w)
{
    return (word_sequence(w) + 1) & WORD_SEQUENCE_MAX;
}

/*
 * Would a park with these flags (INTERNAL, DEAF or 0) return at once?
 */
static inline bool word_refuses_park(uint64_t w, uint64_t flags)
{
    return (w & WORD_WAKE) || ((w & WORD_PERMIT) && !(flags & WORD_INTERNAL)) ||
           ((w & WORD_INTERRUPTED) && !(flags & WORD_DEAF));
}

/* PARKING -> PARKED.  False: a wake came; the thread goes on.  On true, do not touch the record again. */
NODISCARD static inline bool word_commit_park(thread_word *word, uint64_t flags)
{
    uint64_t w = atomic_load_relaxed(word); /* the CAS orders */
    uint64_t parked;

    do {
        ASSERT2(word_state(w) == WORD_ACTIVE);
        if (word_refuses_park(w, flags))
            return false;
        parked = word_with_sequence(word_with_state(w, WORD_PARKED) | flags, word_next_sequence(w));
        /* release: pairs with the waker's acquire; frames, sp and wait data are visible to it. */
    } while (!atomic_cas_acq_rel(word, &w, parked));
    return true;
}

/*
 * The wait being prepared is over without having been committed: number it as
 * past, so that its wakers fail, and clear what they may have left.
 * Returns the word before.
 */
static inline uint64_t word_end_wait(thread_word *word, uint64_t clear)
{
    uint64_t w = atomic_load_relaxed(word);

    while (!atomic_cas_acq_rel(word, &w, word_with_sequence(w & ~(WORD_WAKE | clear), word_next_sequence(w))))
        ;
    return w;
}

/* What a waker must do after its call. */
enum word_wake {
    WAKE_NOTHING, /* stale, too late or already known: do nothing */
    WAKE_NOTED,   /* the thread is not parked yet (or not for this); it will see it */
    WAKE_RUN,     /* the waker owns the thread now and must make it run */
};

static inline uint64_t word_woken(uint64_t w)
{
    return word_with_state(w, WORD_ACTIVE) & ~(WORD_INTERNAL | WORD_DEAF);
}

/* unpark: one permit, however often. */
NODISCARD static inline enum word_wake word_unpark(thread_word *word, uint32_t generation)
{
    uint64_t w = atomic_load_acquire(word);

    for (;;) {
        if (word_generation(w) != generation || word_state(w) == WORD_TERMINATED)
            return WAKE_NOTHING;
        if (LIKELY((w & (WORD_STATE_MASK | WORD_INTERNAL)) == WORD_PARKED)) {
            /* The permit goes straight to the parked thread. */
            if (LIKELY(atomic_cas_acq_rel(word, &w, word_woken(w))))
                return WAKE_RUN;
        } else if (atomic_cas_acq_rel(word, &w, w | WORD_PERMIT)) {
            /* Written even if it is there: what we did before must be visible to the one who consumes it. */
            return WAKE_NOTED;
        }
    }
}

/* A timer, a descriptor, the end of a joined thread: wake exactly that wait. */
NODISCARD static inline enum word_wake word_wake(thread_word *word, uint32_t sequence)
{
    uint64_t w = atomic_load_acquire(word);

    for (;;) {
        uint64_t next;

        if (word_state(w) == WORD_PARKED && word_sequence(w) == sequence)
            next = word_woken(w);
        else if (word_state(w) == WORD_ACTIVE && word_next_sequence(w) == sequence && !(w & WORD_WAKE))
            next = w | WORD_WAKE;
        else
            return WAKE_NOTHING;
        if (atomic_cas_acq_rel(word, &w, next))
            return word_state(w) == WORD_PARKED ? WAKE_RUN : WAKE_NOTED;
    }
}

NODISCARD static inline enum word_wake word_interrupt(thread_word *word, uint32_t generation)
{
    uint64_t w = atomic_load_acquire(word);

    for (;;) {
        bool wakes = word_state(w) == WORD_PARKED && !(w & WORD_DEAF);
        uint64_t next = (wakes ? word_woken(w) : w) | WORD_INTERRUPTED;

        if (word_generation(w) != generation || word_state(w) == WORD_TERMINATED)
            return WAKE_NOTHING;
        if (atomic_cas_acq_rel(word, &w, next))
            return wakes ? WAKE_RUN : WAKE_NOTED;
    }
}

/* Clear bits; returns the word before. */
static inline uint64_t word_clear(thread_word *word, uint64_t bits)
{
    return atomic_fetch_and_acq_rel(word, ~bits);
}

/* NEW -> ACTIVE, or NEW -> TERMINATED.  False: it was not NEW, or not that generation. */
NODISCARD static inline bool word_leave_new(thread_word *word, uint32_t generation, enum word_state to, uint64_t set)
{
    uint64_t w = atomic_load_acquire(word);

    do {
        if (word_generation(w) != generation || word_state(w) != WORD_NEW)
            return false;
    } while (!atomic_cas_acq_rel(word, &w, word_with_state(w, to) | set));
    return true;
}

/* ACTIVE -> TERMINATED; returns the word before.  If it was CONSUMED and not COUNTED the caller frees the record. */
static inline uint64_t word_terminate(thread_word *word)
{
    uint64_t w = atomic_load_relaxed(word);

    /* The sequence moves on: wakers of a wait that this thread gave up must fail in the next life too. */
    while (!atomic_cas_acq_rel(
        word, &w, word_with_sequence(word_with_state(w, WORD_TERMINATED) & ~WORD_WAKE, word_next_sequence(w))))
        ;
    return w;
}

/* Set bits on a thread of that generation; false if it is not that any more, or if one of `unless` is set. */
NODISCARD static inline bool word_set(thread_word *word, uint32_t generation, uint64_t bits, uint64_t unless,
                                      uint64_t *ret_before)
{
    uint64_t w = atomic_load_acquire(word);

    do {
        *ret_before = w;
        if (word_generation(w) != generation || (w & unless))
            return false;
    } while (!atomic_cas_acq_rel(word, &w, w | bits));
    *ret_before = w;
    return true;
}

#endif
