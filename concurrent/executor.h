/* SPDX-License-Identifier: MIT */
/* Executors: what both kinds have, and what each must supply. */
#ifndef CONCURRENT_EXECUTOR_H
#define CONCURRENT_EXECUTOR_H

#include "concurrent/future.h"

struct executor_kind {
    /* Start it, or queue it.  Not 0: it has come to nothing, and is the caller's again. */
    int (*submit)(struct vthread_executor *ex, struct vthread_future *f);
    /* No more are to come; calls executor_terminated, now or when the last has ended. */
    void (*shutdown)(struct vthread_executor *ex);
    bool (*is_shutdown)(struct vthread_executor *ex);
    /* After shutdown: interrupt what runs, cancel what does not.  Returns how many those are. */
    int (*stop)(struct vthread_executor *ex);
    void (*stats)(struct vthread_executor *ex, vthread_executor_stats_t *stats);
    /* It is terminated: wait until nobody looks at it any more, and free it. */
    void (*free)(struct vthread_executor *ex);
    bool has_workers; /* tasks wait for a thread */
};

struct vthread_executor {
    const struct executor_kind *kind;
    void (*discard)(void *value);
    const vthread_attr_t *attr; /* of its threads; NULL: nothing special */
    vthread_attr_t own_attr;
    char *strings; /* names, in one piece */
    uint64_t counter;
    bool is_shared;          /* vthread_executor_cpu: nobody's to end */
    ATOMIC(bool) terminated; /* written under the lock of ends */
    struct wait_queue ends;  /* who waits for the end */
    /* Under the lock of the list of all. */
    uint64_t serial; /* in it since; 0: not in it */
    struct vthread_executor *next;
    struct vthread_executor *previous;
};

/* Makes sure that the runtime runs: 0, or the error to return. */
int executor_enter(void);

/* Set up what is common.  kind: of the threads.  0, EINVAL or ENOMEM. */
int executor_init(struct vthread_executor *ex, const vthread_executor_params_t *params, vthread_kind_t kind);
void executor_fini(struct vthread_executor *ex);

/* It is complete: put it in the list of all, which executor_fini takes it out of. */
void executor_enlist(struct vthread_executor *ex);

/* It has been shut down, and its last task has ended.  May be called more than once. */
void executor_terminated(struct vthread_executor *ex);

/* Have fn(arg) run, with FUTURE_HELD, _COPY, _MEMBER and _OWN_STACK as said; what submit returns. */
int executor_submit(struct vthread_executor *ex, void *(*fn)(void *arg), void *arg, uint32_t flags,
                    struct vthread_future **ret_future);

/* EFAULT, and said so, if the argument points into the calling virtual thread's own stack; else 0. */
int executor_refuse_private(const char *call, const void *arg);

/* The future of the task that the thread, which is the calling one, runs; NULL: it runs none. */
struct vthread_future *executor_task_of(struct thread *self);

extern HIDDEN const struct thread_work_hooks per_task_hooks;
extern HIDDEN const struct thread_work_hooks worker_hooks;
struct vthread_future *worker_task(struct thread_work *work);
struct vthread_executor *worker_executor(struct thread_work *work);

#endif
