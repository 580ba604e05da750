/* SPDX-License-Identifier: MIT */
/*
 * Structured scopes: thread -> scopes -> subtasks, a tree.
 *
 * Who touches what
 *   owner     all but the words below; it alone forks and closes, so a scope lasts as long as it lets it
 *   subtasks  settle their result and count themselves out, with the mutex; then they are gone
 *   anybody   cancels, with the mutex, while the scope is open
 *   walkers   look at any thread's scopes: see scope_walk
 *
 * 1. `alive` and the list are under the mutex.  Whoever takes alive to 0 signals with the mutex
 *    held, and its release is the last that it does with the scope: the owner, who needs
 *    the mutex to see the 0, may free it.
 * 2. A subtask begins by taking its state from FORKED to RUNNING; a canceller takes FORKED to
 *    REVOKED.  So one that is cancelled before it begins never runs the program's function, and
 *    of one that is RUNNING the canceller sees the thread, whose name was stored before.
 * 3. Threads are interrupted with the mutex held, while they count in `alive`: an interrupt
 *    never comes to one that is through with the program's part, destructors included.
 * 4. The program's functions (fn, discard) are not called with the mutex held.
 *
 * Each thread's open scopes are a list in the part of its record that few have.  Its owner changes it
 * under a lock, one of a few by record, for the sake of the walkers, who hold what they have
 * found there: so the memory stays, though the owner may close it meanwhile.
 */
#ifndef CONCURRENT_SCOPE_H
#define CONCURRENT_SCOPE_H

#include <vthread/scope.h>
#include <vthread/sync.h>

#include "vthread/local_internal.h"
#include "vthread/work.h"

enum subtask_state { SUBTASK_FORKED, SUBTASK_RUNNING, SUBTASK_REVOKED, SUBTASK_SUCCEEDED, SUBTASK_FAILED };

struct vthread_subtask {
    struct thread_work work;
    struct vthread_scope *scope;
    void *(*fn)(void *arg);
    void *arg;
    void *copy;               /* of the argument */
    struct binding *bindings; /* of the thread; what it inherits to begin with */
    /* Under the scope's mutex. */
    struct vthread_subtask *next; /* in the order of forking */
    struct vthread_subtask *previous;
    ATOMIC(uint8_t) state; /* enum subtask_state; to RUNNING without the mutex */
    bool kept;             /* somebody may ask for it until close */
    bool taken;
    bool over; /* its thread has counted itself out */
    void *value;
    int error;
};

struct vthread_scope {
    vthread_mutex_t mutex;
    vthread_cond_t changed; /* the owner waits: for its end, or for being cancelled */
    vthread_t owner;
    struct vthread_scope *outer; /* this and the next: under the owner's lock (scope.c) */
    uint32_t references;         /* the owner's, and walkers' */
    uint32_t depth;
    /* The owner's. */
    struct binding *bindings;           /* that are inherited */
    struct binding *innermost;          /* of those that were bound at the opening */
    struct vthread_subtask *last_taken; /* by vthread_scope_result */
    bool forked;
    bool tried;               /* to join */
    struct thread_work watch; /* of the deadline */
    /* Under the mutex. */
    struct vthread_subtask *first;
    struct vthread_subtask *last;
    uint32_t alive;
    bool watched;
    bool joined; /* outcome is final; written by the owner */
    ATOMIC(bool) cancelled;
    int outcome; /* of being cancelled, then of join */
    int error;   /* first failure */
    /* Constant. */
    vthread_scope_joiner_t joiner;
    int64_t deadline_ns; /* INT64_MAX: none */
    void (*discard)(void *value);
    vthread_attr_t attr;
    const char *name; /* NULL: none */
    char strings[];
};

/* What a walk tells of. */
struct scope_visitor {
    void (*scope)(const struct vthread_scope *scope, void *user);
    void (*subtask)(vthread_t thread, const struct vthread_subtask *subtask,
                    void *user); /* of those whose thread lives */
};

/*
 * Tell of the scopes that a thread has open, from the innermost out, each followed by its
 * subtasks; these are threads, and may have scopes themselves.  The visitor is called with the scope's mutex
 * held: it looks, and neither waits nor calls back.  Not across a shutdown of the runtime.
 *
 * Returns 0, ESRCH, or what naming the calling thread returns.
 */
int scope_walk(vthread_t owner, const struct scope_visitor *visitor, void *user);

#endif
