/* SPDX-License-Identifier: MIT */
/*
 * Executors and scopes as groups of threads, for those who look on (dumps).
 *
 * The lists copy what they tell of, a few at a time, under locks that are held for no longer than that.  What is
 * in a view are names for comparing: by the time it is looked at the executor or scope may be gone.
 */
#ifndef CONCURRENT_GROUP_H
#define CONCURRENT_GROUP_H

#include <vthread/executor.h>
#include <vthread/scope.h>

#include "base/probe.h"
#include "vthread/thread.h"

enum { GROUP_NAME_BYTES = 128 }; /* longer names are cut */

struct executor_view {
    const void *executor;
    uint64_t serial;
    bool has_workers; /* made by new_fixed */
    bool is_shutdown;
    vthread_executor_stats_t stats;
    char name[GROUP_NAME_BYTES]; /* "": none */
};

struct scope_view {
    const void *scope;
    const void *outer; /* of the same owner; NULL: none */
    uint32_t depth;
    vthread_t owner;
    bool is_cancelled;
    char name[GROUP_NAME_BYTES];
};

/* Up to n executors with a serial number after that one, in their order.  Returns how many. */
int executor_list(uint64_t after, struct executor_view *views, int n);

/* Up to n scopes that the thread, to which the caller has a reference, has open, from the innermost of a depth below
 * that one out. */
int scope_list(struct thread *owner, uint32_t below, struct scope_view *views, int n);

enum group { GROUP_NONE, GROUP_EXECUTOR, GROUP_SCOPE };

/*
 * What a thread runs a task of.  w: its word.  In a call (vthread/thread.h).
 *
 * A thread's work is its own to look at; its memory may be gone.  But until the thread is through with it, it has it in
 * its place: if it is there after the look (base/probe.h), what was seen was the work.
 */
enum group thread_group(struct probe *probe, struct thread *t, uint64_t w, const void **ret_group);

#endif
