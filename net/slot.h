/* SPDX-License-Identifier: MIT */
/*
 * A slot: one direction (reading or writing) of one descriptor, in one word.
 *
 * It answers two questions: whose turn is it to call the kernel, and whom does an
 * event wake?
 *
 * Roles.  Callers acquire the slot, call the kernel, and release it; one that
 * gets EAGAIN waits in it, still its owner.  The poller reports events, one at a
 * time.  A closer ends everything; one at a time, with the descriptor's lock.
 * Those who find the slot taken queue up under the same lock (descriptor.c); a
 * release then hands the slot to the first of them.
 *
 * Source: pollDesc's semaphores in Go's netpoll (nil, ready, waiting goroutine),
 * with these differences: the right to call the kernel, which Go keeps in a
 * second word (fdMutex), is in the same one, so that taking it is also "clear
 * ready before the call"; a waiter is a token and not a pointer; and an event
 * that finds nobody is dropped, for who comes next calls the kernel before it waits.
 *
 *     from             to                by        when
 *     IDLE             BUSY              caller    begins a call
 *     BUSY, READY      IDLE              owner     done, nobody queued
 *     BUSY, READY      WOKEN(token)      owner     done, hands over (with the lock)
 *     BUSY             READY             poller    an event while the owner is inside the kernel
 *     READY            BUSY              owner     saw EAGAIN, sees the event: calls again
 *     BUSY             WAITING(token)    owner     saw EAGAIN, and no event since it began
 *     WAITING(token)   WOKEN(token)      poller    an event; the poller then wakes the token
 *     WAITING, WOKEN   BUSY              owner     goes on, or gives up after a timeout
 *     WAITING, WOKEN   IDLE              closer    the owner is ousted; the closer wakes the token
 *     BUSY             IDLE, DRAINED     owner     done; its read emptied the socket, and no event since it began
 *     IDLE, DRAINED    BUSY, DRAINED     caller    begins a call, which may wait before it asks the kernel
 *     DRAINED          not DRAINED       all       any other transition; an event in particular
 *
 * Who changes what owners go by while they wait (net/option.h) does as the poller does.
 *
 * A token names one wait of one thread: record index and wait number.  Wakes with a
 * past number fail (vthread/word.h), so whoever has taken a token out of the slot
 * may wake it however late.
 *
 * Invariants
 *   1. At most one thread owns the slot.  An owner in BUSY or READY is running on
 *      its OS thread and about to leave; it neither switches nor blocks.
 *   2. In WAITING and WOKEN the token is the owner's present wait.  It owns the slot
 *      for as long as its token is in it; if it finds another word, it was ousted.
 *   3. IDLE implies not QUEUED.  QUEUED and CLOSED change with the lock held only.
 *   4. Once CLOSED is set nobody acquires until slot_reopen; when the slot is then
 *      seen to be IDLE nobody is inside the kernel with this descriptor.
 *
 * No event is lost.  Let the owner's last call have returned EAGAIN, and then let
 * the kernel report an event.  The kernel's own locks order the two, so the poller
 * finds a word that is no older than the acquire, or the clearing of READY, that
 * came before that call.  If it finds BUSY, READY is left behind, and
 * slot_prepare, one CAS that requires BUSY, fails.  If it finds WAITING it wakes.
 * An event from before the call changed what the call returned.
 *
 * DRAINED says: the last read took all there was, and no event has come since the acquire before it.
 * It is the EAGAIN that the next read would get, so what is said above of EAGAIN holds of that read.
 * What a read does not take, and an event before it may have reported (the end, an error, urgent
 * data), makes the slot ENDING, for good; an ENDING slot never becomes DRAINED.  Both are
 * decided by one CAS each on this word: an event before the release prevents DRAINED, one after ends it.
 *
 * Linearisation: each function at its successful CAS; slot_event at its load when
 * there is nothing to do.
 *
 * ABA.  The generation (low 9 bits of the descriptor's) changes with the file, so
 * an event for an old file finds another word.  Were it to wrap, the harm would be
 * one superfluous call of the kernel.  WAITING words differ in their wait numbers.
 *
 * Slots are never unmapped while the runtime lives.
 */
#ifndef NET_SLOT_H
#define NET_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/panic.h"

typedef ATOMIC(uint64_t) slot_word;

enum slot_direction { SLOT_READ = 0, SLOT_WRITE = 1 };

enum slot_state {
    SLOT_IDLE = 0,
    SLOT_BUSY = 1,
    SLOT_READY = 2,
    SLOT_WAITING = 3,
    SLOT_WOKEN = 4,
};

/*
 * The word, low to high: state, 3 bits; QUEUED: others wait for their turn; CLOSED:
 * being closed; DRAINED and ENDING: above; generation, 9 bits; token: wait number, 22 bits, and index, 26 bits.
 */
#define SLOT_STATE_MASK ((uint64_t)7)
#define SLOT_QUEUED ((uint64_t)1 << 3)
#define SLOT_CLOSED ((uint64_t)1 << 4)
#define SLOT_DRAINED ((uint64_t)1 << 5)
#define SLOT_ENDING ((uint64_t)1 << 6)
#define SLOT_GENERATION_SHIFT 7
#define SLOT_GENERATION_MASK ((uint64_t)0x1ff << SLOT_GENERATION_SHIFT)
#define SLOT_NUMBER_SHIFT 16
#define SLOT_NUMBER_MAX ((uint32_t)0x3fffff)
#define SLOT_INDEX_SHIFT 38
#define SLOT_INDEX_MAX ((uint32_t)0x3ffffff)
#define SLOT_TOKEN_MASK (~(uint64_t)0 << SLOT_NUMBER_SHIFT)

/* Index 0 names no thread, so no token is 0. */
static inline uint64_t slot_token(uint32_t index, uint32_t number)
{
    ASSERT2(index != 0 && index <= SLOT_INDEX_MAX && number <= SLOT_NUMBER_MAX);
    return ((uint64_t)index << SLOT_INDEX_SHIFT) | ((uint64_t)number << SLOT_NUMBER_SHIFT);
}

static inline uint32_t slot_token_index(uint64_t token)
{
    return (uint32_t)(token >> SLOT_INDEX_SHIFT);
}

static inline uint32_t slot_token_number(uint64_t token)
{
    return (uint32_t)(token >> SLOT_NUMBER_SHIFT) & SLOT_NUMBER_MAX;
}

static inline enum slot_state slot_state(uint64_t w)
{
    return (enum slot_state)(w & SLOT_STATE_MASK);
}

static inline uint64_t slot_generation_bits(uint32_t generation)
{
    return ((uint64_t)generation << SLOT_GENERATION_SHIFT) & SLOT_GENERATION_MASK;
}

/* Keep generation and flags, replace state and token; DRAINED is over. */
static inline uint64_t slot_with(uint64_t w, enum slot_state state, uint64_t token)
{
    return (w & ~(SLOT_STATE_MASK | SLOT_TOKEN_MASK | SLOT_DRAINED)) | (uint64_t)state | token;
}

/* ---- callers ---- */

/* The common case: nobody has it.  False: try again with the lock. */
NODISCARD static inline bool slot_try_acquire(slot_word *slot)
{
    uint64_t w = atomic_load_relaxed(slot); /* the CAS orders */

    if (UNLIKELY(w & (SLOT_STATE_MASK | SLOT_QUEUED | SLOT_CLOSED)))
        return false;
    /* acquire: pairs with the release of the owner before, who may have registered the descriptor. */
    return atomic_cas_acq_rel(slot, &w, slot_with(w, SLOT_BUSY, 0) | (w & SLOT_DRAINED));
}

/* The owner, who has not called the kernel: would it get EAGAIN?  An event meanwhile is noticed by slot_prepare. */
static inline bool slot_is_drained(slot_word *slot)
{
    return (atomic_load_relaxed(slot) & SLOT_DRAINED) != 0; /* relaxed: a hint, see above */
}

/* The owner, whose read has just emptied the socket: is it so still?  The same. */
static inline bool slot_stays_drained(slot_word *slot)
{
    uint64_t w = atomic_load_relaxed(slot); /* as above */

    return slot_state(w) == SLOT_BUSY && !(w & SLOT_ENDING);
}

enum slot_acquired { SLOT_ACQUIRED, SLOT_MUST_QUEUE, SLOT_IS_CLOSED };

/* With the lock: acquire, or announce that the caller, before it gives up the lock, enters the queue. */
NODISCARD static inline enum slot_acquired slot_acquire_locked(slot_word *slot)
{
    uint64_t w = atomic_load_relaxed(slot); /* the CAS orders */

    for (;;) {
        bool idle = slot_state(w) == SLOT_IDLE;

        if (w & SLOT_CLOSED)
            return SLOT_IS_CLOSED;
        ASSERT2(!(idle && (w & SLOT_QUEUED)));
        if (atomic_cas_acq_rel(slot, &w, idle ? slot_with(w, SLOT_BUSY, 0) : w | SLOT_QUEUED))
            return idle ? SLOT_ACQUIRED : SLOT_MUST_QUEUE;
    }
}

enum slot_prepared {
    SLOT_PREPARED, /* the token is out: wait, then slot_resume */
    SLOT_RETRY,    /* an event came since the call began: call again */
    SLOT_CLOSING,  /* release, and report it */
};

/* The owner, after EAGAIN. */
NODISCARD static inline enum slot_prepared slot_prepare(slot_word *slot, uint64_t token)
{
    uint64_t w = atomic_load_relaxed(slot); /* the CAS orders */

    for (;;) {
        bool ready = slot_state(w) == SLOT_READY;

        ASSERT2(ready || slot_state(w) == SLOT_BUSY);
        if (w & SLOT_CLOSED)
            return SLOT_CLOSING;
        /*
         * release: the thread's state is visible to whoever takes the token; acquire: READY came
         * after what it reports, and is cleared before the next call of the kernel.
         */
        if (atomic_cas_acq_rel(slot, &w, ready ? slot_with(w, SLOT_BUSY, 0) : slot_with(w, SLOT_WAITING, token)))
            return ready ? SLOT_RETRY : SLOT_PREPARED;
    }
}

enum slot_resumed {
    SLOT_EVENT,     /* owner again: an event or a hand-over came */
    SLOT_WITHDRAWN, /* owner again: nothing came, the token has been taken back */
    SLOT_OUSTED,    /* owner no more: closed meanwhile */
};

/* After the wait, however it ended. */
NODISCARD static inline enum slot_resumed slot_resume(slot_word *slot, uint64_t token)
{
    uint64_t w = atomic_load_acquire(slot); /* acquire: if ousted, what the closer did is visible */

    for (;;) {
        enum slot_state state = slot_state(w);

        if ((w & SLOT_TOKEN_MASK) != token || (state != SLOT_WAITING && state != SLOT_WOKEN))
            return SLOT_OUSTED;
        if (atomic_cas_acq_rel(slot, &w, slot_with(w, SLOT_BUSY, 0)))
            return state == SLOT_WOKEN ? SLOT_EVENT : SLOT_WITHDRAWN;
    }
}

/*
 * drained: the owner's last call of the kernel, since it acquired or last waited, emptied the socket.
 *
 * False: somebody is queued; take the lock and hand over (slot_grant or slot_release_locked).
 */
NODISCARD static inline bool slot_release(slot_word *slot, bool drained)
{
    uint64_t w = atomic_load_relaxed(slot); /* only its owner leaves BUSY */
    uint64_t next;

    do {
        ASSERT2(slot_state(w) == SLOT_BUSY || slot_state(w) == SLOT_READY);
        if (UNLIKELY(w & SLOT_QUEUED))
            return false;
        next = slot_with(w, SLOT_IDLE, 0);
        if (drained && slot_state(w) == SLOT_BUSY && !(w & SLOT_ENDING))
            next |= SLOT_DRAINED;
        /* release: pairs with the next acquire, and with the closer that waits for IDLE. */
    } while (!atomic_cas_acq_rel(slot, &w, next));
    return true;
}

/* With the lock: the queue turned out to be empty. */
static inline void slot_release_locked(slot_word *slot)
{
    uint64_t w = atomic_load_relaxed(slot); /* as above */

    while (!atomic_cas_acq_rel(slot, &w, slot_with(w, SLOT_IDLE, 0) & ~SLOT_QUEUED))
        ;
}

/*
 * With the lock: hand the slot to the first of the queue, whom the caller wakes
 * once it has given up the lock.  more: others are queued behind it.
 */
static inline void slot_grant(slot_word *slot, uint64_t token, bool more)
{
    uint64_t w = atomic_load_relaxed(slot); /* as above */
    uint64_t next;

    do {
        ASSERT2(slot_state(w) == SLOT_BUSY || slot_state(w) == SLOT_READY);
        ASSERT2(!(w & SLOT_CLOSED)); /* the closer has emptied the queue and cleared QUEUED */
        next = slot_with(w, SLOT_WOKEN, token);
        next = more ? next | SLOT_QUEUED : next & ~SLOT_QUEUED;
    } while (!atomic_cas_acq_rel(slot, &w, next));
}

/* ---- the poller ---- */

/* ending: there is more to see than data.  Returns the token to wake, or 0. */
NODISCARD static inline uint64_t slot_event(slot_word *slot, uint32_t generation, bool ending)
{
    uint64_t w = atomic_load_acquire(slot); /* acquire: pairs with slot_prepare */

    for (;;) {
        uint64_t token = 0;
        uint64_t next;

        if ((w & SLOT_GENERATION_MASK) != slot_generation_bits(generation))
            return 0;
        if (slot_state(w) == SLOT_WAITING) {
            token = w & SLOT_TOKEN_MASK;
            next = slot_with(w, SLOT_WOKEN, token);
        } else if (slot_state(w) == SLOT_BUSY) {
            next = slot_with(w, SLOT_READY, 0);
        } else {
            next = w & ~SLOT_DRAINED; /* nobody asks, or it is known already */
        }
        if (ending)
            next |= SLOT_ENDING;
        if (next == w || atomic_cas_acq_rel(slot, &w, next))
            return token;
    }
}

/* ---- whoever changes what an owner goes by while it waits ---- */

/*
 * With the lock, and the slot open: as an event.  Returns the token to wake, or 0.  The word is written even if it
 * stays the same: so whoever acquires the slot or prepares a wait after this sees what was changed before it.
 */
NODISCARD static inline uint64_t slot_notify(slot_word *slot)
{
    uint64_t w = atomic_load_relaxed(slot); /* the CAS orders */

    for (;;) {
        uint64_t token = 0;
        uint64_t next = w & ~SLOT_DRAINED;

        if (slot_state(w) == SLOT_WAITING) {
            token = w & SLOT_TOKEN_MASK;
            next = slot_with(w, SLOT_WOKEN, token);
        } else if (slot_state(w) == SLOT_BUSY) {
            next = slot_with(w, SLOT_READY, 0);
        }
        ASSERT2(!(w & SLOT_CLOSED));
        if (atomic_cas_acq_rel(slot, &w, next))
            return token;
    }
}

/* ---- the closer ---- */

/*
 * With the lock, whose holder also empties the queue.  Returns the token of the
 * owner that was waiting, and is ousted; or 0.
 */
NODISCARD static inline uint64_t slot_close(slot_word *slot)
{
    uint64_t w = atomic_load_acquire(slot); /* acquire: pairs with slot_prepare */

    for (;;) {
        bool waits = slot_state(w) == SLOT_WAITING || slot_state(w) == SLOT_WOKEN;
        uint64_t next = (waits ? slot_with(w, SLOT_IDLE, 0) : w) | SLOT_CLOSED;

        ASSERT2(!(w & SLOT_CLOSED));
        if (atomic_cas_acq_rel(slot, &w, next & ~SLOT_QUEUED))
            return waits ? w & SLOT_TOKEN_MASK : 0;
    }
}

static inline bool slot_is_closed(slot_word *slot)
{
    return (atomic_load_acquire(slot) & SLOT_CLOSED) != 0; /* acquire: pairs with slot_reopen */
}

/* After slot_close: is an owner still inside the kernel? */
static inline bool slot_is_busy(slot_word *slot)
{
    return slot_state(atomic_load_acquire(slot)) != SLOT_IDLE; /* acquire: pairs with slot_release */
}

/* With the lock, closed and not busy: ready for the next file of this number. */
static inline void slot_reopen(slot_word *slot, uint32_t generation)
{
    ASSERT2(slot_state(atomic_load_relaxed(slot)) == SLOT_IDLE); /* relaxed: nobody else may change it */
    atomic_store_release(slot, slot_generation_bits(generation));
}

#endif
