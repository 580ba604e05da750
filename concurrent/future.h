/* SPDX-License-Identifier: MIT */
/*
 * Futures, as the rest of the layer sees them: a cache line each, which holds what a task
 * needs and what has become of it.
 *
 * Their memory is type-stable, as that of thread records is: shutdown_now walks all that there
 * are and asks each whose it is.  A handle is never reused, so one that is read
 * both before and after the executor is that of a thread of that executor (future_for_each_thread).
 */
#ifndef CONCURRENT_FUTURE_H
#define CONCURRENT_FUTURE_H

#include <vthread/executor.h>

#include "concurrent/future_word.h"
#include "sync/wait_queue.h"
#include "vthread/work.h"

struct vthread_future {
    struct thread_work work; /* its word is the future's state; its thread NULL in a fixed executor */
    ATOMIC(struct vthread_executor *) executor;
    union {
        void *(*fn)(void *arg); /* before the task begins */
        vthread_t runner;       /* then: the thread that runs it */
    };
    union {
        void *arg;                    /* before the end */
        void (*discard)(void *value); /* then: the executor may be gone */
    };
    union {
        struct vthread_future *next; /* in a list: of free ones, of those queued */
        void *value;                 /* after the end */
    };
    struct wait_queue queue; /* who waits for the result */
};

_Static_assert(sizeof(struct vthread_future) == CACHE_LINE, "a line each");

/* A future of the executor, with its word to be set.  NULL: no memory. */
struct vthread_future *future_alloc(void);
void future_recycle(struct vthread_future *f);

/* That thread begins the task, whose fn is read before.  False: it was cancelled; future_end follows in any case. */
NODISCARD bool future_begin(struct vthread_future *f, vthread_t runner);

/*
 * The task is over: FUTURE_SUCCEEDED with the value, FUTURE_FAILED with the code in work.error (and a
 * value, perhaps, for nobody), or FUTURE_CANCELLED.  The future is not to be touched after that.  Calls the program's
 * callbacks, which may wait.
 */
MAY_SWITCH
void future_end(struct vthread_future *f, uint32_t state, void *value);

/* Interrupt the task, now or when it begins. */
void future_interrupt(struct vthread_future *f);

/* Call fn with the handles of all threads that run a task of the executor as their work. */
void future_for_each_thread(struct vthread_executor *ex, int (*fn)(vthread_t thread));

/* Of a group that waits for one success (invoke.c): the task has ended. */
void group_member_ended(void *member, bool succeeded);

#endif
