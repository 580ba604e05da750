/* SPDX-License-Identifier: MIT */
/*
 * Work: what a thread does for a layer above, which is told of the thread's end however
 * that comes: by a return, by vthread_exit, by vthread_fail.
 *
 * The layer embeds a struct thread_work in an object of its own, which must stay until `end` is
 * called.  The thread keeps its address, marked, where others keep their function; only the
 * thread itself may look for it there.
 */
#ifndef VTHREAD_WORK_H
#define VTHREAD_WORK_H

#include "vthread/thread.h"

struct thread_work;

struct thread_work_hooks {
    void *(*run)(void *work); /* instead of fn(arg) */
    /*
     * On the thread's own stack, the last thing that it does; may wait.  value is what run has returned
     * or vthread_exit was given, even if work->error is set.  The work may be freed in here: the thread
     * has none any more (thread_goes_on: it jumps out of this, and has).
     */
    void (*end)(struct thread_work *work, void *value);
    /* Where it keeps the bindings of scoped values, inherited ones to begin with.  NULL: as other threads do. */
    struct binding **(*bindings)(struct thread_work *work);
};

struct thread_work {
    const struct thread_work_hooks *hooks;
    ATOMIC(vthread_t) thread; /* that does it; stored before it starts */
    int error;                /* code of vthread_fail, or 0; the thread's own: no failure handler is called */
    atomic_word word;         /* the layer's own */
};

#define WORK_MARK ((uintptr_t)1 << 63) /* in no address of a program's */

static inline void *(*work_marked(struct thread_work *work))(void *)
{
    return (void *(*)(void *))((uintptr_t)work | WORK_MARK);
}

/* The thread's, until its end; NULL: it runs a function. */
static inline struct thread_work *thread_work(const struct thread *t)
{
    uintptr_t fn = (uintptr_t)thread_cold(t)->fn;

    return UNLIKELY(fn & WORK_MARK) ? (struct thread_work *)(fn & ~WORK_MARK) : NULL;
}

/*
 * A platform thread may jump out of `end`, to where it began the work.  Before that it says that it goes
 * on; afterwards, on its own stack, that it has jumped, with what that returned.
 */
NODISCARD struct vthread_cont *thread_goes_on(struct thread *self, struct thread_work *work);
void thread_has_jumped(struct vthread_cont *from);

/* What a thread begins with. */
static inline struct switch_entry thread_entry(const struct thread *t)
{
    struct thread_work *work = thread_work(t);

    if (UNLIKELY(work != NULL))
        return (struct switch_entry){work->hooks->run, work, thread_finish};
    return (struct switch_entry){thread_cold(t)->fn, atomic_load_relaxed(&t->slot), thread_finish};
}

/* Start a thread, detached, that does the work.  0, or what vthread_create returns: then `end` is not called. */
int thread_create_work(const vthread_attr_t *attr, struct thread_work *work);

/* For the layer's own parameters: may a thread be created with these? */
bool thread_attr_is_valid(const vthread_attr_t *attr);

#endif
