/* SPDX-License-Identifier: MIT */
/*
 * Events, from those who notice something to those who want to hear of it.
 *
 *     noticers, any thread           the queue                 the teller, a thread of its own
 *     event_is_wanted?     ------>   1,024 at most, then  -->  calls the subscribers, one after another,
 *     event_new, fill, event_post    counted as lost           with nothing held
 *
 * Callbacks and symbols want a whole stack, may block, and may call the library: none of that is possible for a
 * thread on a carrier, let alone for the monitor.  So events are told by an OS thread that lives while somebody
 * subscribes.
 *
 * Locks: the queue's is a leaf.  `event.lock` (a mutex) guards the subscriptions and the teller's life; it is not held
 * during callbacks, and nothing but the queue's is taken under it.
 */
#ifndef VTHREAD_EVENT_H
#define VTHREAD_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include <vthread/runtime.h>

#include "base/atomic.h"
#include "base/attributes.h"

struct thread;
struct sample;

enum { EVENT_NAME_BYTES = 256, EVENT_DEPTH = 64 };

struct event {
    struct event *next;
    uint64_t number; /* counted from 1 */
    uint64_t after;  /* it is for subscriptions after this one ... */
    uint64_t until;  /* ... and up to that one; all, unless whoever noticed it has said otherwise */
    vthread_event_t public;
    struct sample *sample;       /* raw frames, for the teller to unwind; NULL: none, or pcs are there */
    char name[EVENT_NAME_BYTES]; /* as it was when the event was made: it may have ended by the time it is told */
    void *pcs[EVENT_DEPTH];
};

typedef ATOMIC(uint32_t) event_mask_word;
extern HIDDEN event_mask_word event_mask; /* of all subscriptions; a hint */

static inline bool event_is_wanted(vthread_event_kind_t kind)
{
    return UNLIKELY(atomic_load_relaxed(&event_mask) & (uint32_t)kind);
}

/* t: the thread it is about, or NULL.  NULL: no memory, and counted as lost. */
struct event *event_new(vthread_event_kind_t kind, struct thread *t);

/* The latest subscription there has been, of whatever kind. */
uint64_t event_latest_subscription(void);

/* Hand it over.  Takes locks of the runtime's that are leaves, and wakes a thread. */
void event_post(struct event *e);

/* With runtime.lock: VTHREAD_TRACE_PINNED and VTHREAD_TRACE_HOGS.  False: no thread or memory for it. */
enum event_trace { EVENT_TRACE_OFF, EVENT_TRACE_SHORT, EVENT_TRACE_FULL };
bool event_start_traces(enum event_trace pinned, enum event_trace hogs);
/* Without: what has happened is printed before it returns. */
void event_stop_traces(void);

/* The runtime is down: nothing is kept for nobody. */
void event_end_life(void);

#endif
