/* SPDX-License-Identifier: MIT */
/*
 * What a collector (gc/) needs of this layer and those beneath, turned round: it plugs its
 * functions in here when the program first allocates collected memory, and until then there
 * is nothing but a null pointer to be found.
 *
 * It stops the world by signals, and then looks at everything.  So whoever may hold
 * what the collector has made, or changes what the collector looks at, must be known to it, to
 * be stopped.  Who that is, and how it comes about:
 *
 *   carriers there are   are told by a signal (collector_begin's caller) and register in its handler
 *   carriers to come     collector_carrier_starts, before they run anything
 *   platform threads     collector_enter, in whatever call of the library they make first after
 *                        the beginning; and when they return from a wait that they were in before it
 *
 * Dekker's problem twice, with the order of the stores and looks on each side:
 *
 *     carrier's birth               collector_begin
 *     carrier.self := it            hooks := h
 *     hooks?                        carrier.self?
 *
 *     platform thread               collector_begin
 *     calls := calls + 1            hooks := h
 *     barrier_light                 barrier_heavy
 *     hooks?                        wait for calls = 0, of each thread once
 *
 * So when collector_begin returns no thread that the collector does not know is in the
 * middle of changing anything, and until then nothing has been allocated.
 */
#ifndef VTHREAD_COLLECTOR_H
#define VTHREAD_COLLECTOR_H

#include "base/atomic.h"
#include "carrier/carrier.h"

struct collector_hooks {
    /* On the carrier's own stack, before it runs anything, and when it has run its last. */
    void (*carrier_starts)(struct carrier *carrier);
    void (*carrier_stops)(struct carrier *carrier);
    /* The calling platform thread: register it, unless it is registered; it ends, or ends with the library. */
    void (*enter)(void);
    void (*leave)(void);
    /* A carrier that was there before: see that it registers.  Returns whether it is going to. */
    bool (*tell)(struct carrier *carrier);
};

typedef ATOMIC(const struct collector_hooks *) collector_word;
extern HIDDEN collector_word collector_hooks;

/* A look that need not be exact: see above where it must, and what precedes it there. */
static inline bool collector_is_on(void)
{
    return atomic_load_relaxed(&collector_hooks) != NULL;
}

static inline void collector_enter(void)
{
    atomic_load_acquire(&collector_hooks)->enter();
}

static inline void collector_leave(void)
{
    atomic_load_acquire(&collector_hooks)->leave();
}

static inline void collector_carrier_starts(struct carrier *c)
{
    const struct collector_hooks *hooks = atomic_load_seq_cst(&collector_hooks);

    if (UNLIKELY(hooks != NULL))
        hooks->carrier_starts(c);
}

static inline void collector_carrier_stops(struct carrier *c)
{
    if (UNLIKELY(collector_is_on()))
        atomic_load_acquire(&collector_hooks)->carrier_stops(c);
}

/* A collector that stops this thread in a signal handler sees the stores before before those after. */
ALWAYS_INLINE void collector_sees(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * Plug the collector in, for good.  Any thread but one inside a call; tells every carrier there is.
 * Returns how many are going to register.
 */
unsigned collector_begin(const struct collector_hooks *hooks);

#endif
