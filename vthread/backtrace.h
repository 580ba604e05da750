/* SPDX-License-Identifier: MIT */
/* Backtraces of many parked threads, one after another: what is found out for one serves the next. */
#ifndef VTHREAD_BACKTRACE_H
#define VTHREAD_BACKTRACE_H

#include "vthread/thread.h"

struct backtracer;

/* One thread at a time uses it, not beyond the life of what was loaded when it was made.  NULL: no memory. */
struct backtracer *backtracer_new(void);
void backtracer_free(struct backtracer *b);

/*
 * Of t, whose word was w, PARKED.  In a call (thread.h).  Returns how many, innermost first; -EAGAIN: it was woken
 * meanwhile, its stack is in use at this moment, or it has none of ours; -ENOMEM; -ENOTSUP: built without libunwind.
 */
int backtrace_parked(struct backtracer *b, struct thread *t, uint64_t w, void **pcs, int n);

/*
 * The same of one that waits on its OS thread, in PINNED or TIMED_PINNED: a platform thread, or a virtual one on its
 * carrier.  The caller keeps carriers in being.
 */
int backtrace_in_place(struct backtracer *b, struct thread *t, uint64_t w, void **pcs, int n);

/* The same of one that is queued to be run, if it stays so for a moment; word: as a name of this life. */
int backtrace_queued(struct backtracer *b, struct thread *t, uint64_t word, void **pcs, int n);

/* From where an OS thread has been standing since.  The first is a place, and not where a call returns to. */
int backtrace_stand(struct backtracer *b, const struct stand *stand, void **pcs, int n);

#endif
