/* SPDX-License-Identifier: MIT */
/*
 * Public continuations from within: the object, and which one an OS thread is in.
 *
 *     runner's stack      outer's stack        inner's stack
 *
 *     | run(outer) | --> | run(inner)  | --> | body        |
 *     |            |     |             |     |             |
 *       ^ outer.frame      ^ inner.frame       ^ sp, `innermost`
 *         .runner_sp         .runner_sp
 *
 * Every level keeps where its runner is.  A yield to outer's scope leaves inner's
 * body straight for outer's runner: outer.frame.cont_sp is then in inner's stack,
 * and outer.inner says that this is where to go on.  Stacks of public continuations
 * are dedicated, so nothing moves and inner.frame stays right.
 *
 * A virtual thread that parks in a body leaves in the same way, for its carrier:
 * nested_leave and nested_return below.
 */
#ifndef CONTINUATION_NESTED_H
#define CONTINUATION_NESTED_H

#include <stdbool.h>
#include <stdint.h>

#include <vthread/continuation.h>

#include "base/atomic.h"
#include "continuation/cont.h"

enum nested_state {
    NESTED_SUSPENDED, /* or not yet started */
    NESTED_RUNNING,   /* or suspended inside an outer one */
    NESTED_DONE,      /* fn has returned */
    NESTED_FREE,
};

struct binding;

/* Lies at the top of its own stack, but for those that a collector's memory has room for (nested_move). */
struct vthread_cont {
    struct switch_frame frame;
    struct vthread_cont *inner;  /* innermost at its last yield; itself at first */
    struct vthread_cont *parent; /* the one it runs in; in a magazine: the next */
    const vthread_cont_scope_t *scope;
    void **ret_value; /* of the present run */
    void *value;      /* what fn returned */
    const char *pin_reason;
    void *pinned_at;          /* return address of the call that pinned it */
    struct binding *bindings; /* made in the body; a layer above knows what that is (vthread/scoped.c) */
    struct stack *stack;
    ATOMIC(uint8_t) state; /* enum nested_state; the runner's, looked at by others */
    uint16_t pins;
    bool away; /* not on its stack, but where nested_move has put it */
};

/*
 * An OS thread's part: the innermost continuation that runs on it, and the
 * magazine of objects it can reuse.
 */
struct nested_thread {
    struct vthread_cont *innermost;
    struct vthread_cont *magazine;
    uint32_t count;
    uint32_t frees;        /* to look, now and then, for pages to give back */
    uint32_t epoch;        /* of the stacks that the magazine is from (life.c); 0: none yet */
    ATOMIC(int32_t) alive; /* made here, less freed here */
    bool listed;
    struct nested_thread *next; /* of all that are listed; life.c's, like link */
    struct nested_thread **link;
};

extern _Thread_local struct nested_thread nested_thread
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * The calling OS thread's.  Assembly, so that the address is taken anew each time:
 * the code may be on another thread after every switch (compare carrier_self()).
 */
ALWAYS_INLINE struct nested_thread *nested_self(void)
{
    struct nested_thread *t;

#if defined(__x86_64__)
    __asm__ volatile("movq nested_thread@gottpoff(%%rip), %0\n\taddq %%fs:0, %0" : "=r"(t) : : "memory", "cc");
#elif defined(__aarch64__)
    char *offset;

    __asm__ volatile("adrp %1, :gottprel:nested_thread\n\t"
                     "ldr %1, [%1, #:gottprel_lo12:nested_thread]\n\t"
                     "mrs %0, tpidr_el0\n\t"
                     "add %0, %0, %1"
                     : "=&r"(t), "=&r"(offset)
                     :
                     : "memory");
#endif
    return t;
}

/* The innermost running continuation whose stack holds p; NULL: none, or p is elsewhere. */
static inline struct vthread_cont *nested_around(const void *p)
{
    struct vthread_cont *c = nested_self()->innermost;

    return c != NULL && stack_contains(c->stack, p) ? c : NULL;
}

/* Is one of them pinned, from c out?  Then they may not be left. */
static inline bool nested_is_pinned(const struct vthread_cont *c)
{
    for (; c != NULL; c = c->parent)
        if (c->pins > 0)
            return true;
    return false;
}

/* The thread is about to leave c's stack for its carrier; and has come back, perhaps on another OS thread. */
static inline void nested_leave(void)
{
    nested_self()->innermost = NULL;
}

static inline void nested_return(struct vthread_cont *c)
{
    nested_self()->innermost = c;
}

/* Where the thread that has left from inside c stands on its own stack: its frames begin here. */
static inline void *nested_outer_sp(const struct vthread_cont *c)
{
    while (c->parent != NULL)
        c = c->parent;
    return c->frame.runner_sp;
}

/* The thread has ended inside c and left its stack: the continuations can only be freed. */
void nested_abandon(struct vthread_cont *c);

/*
 * Move one that has just been made to `to`, where it stays until it is freed; the memory there is not.  Returns its new
 * place, which is what it is to be known by.
 */
struct vthread_cont *nested_move(struct vthread_cont *c, void *to);

/* Frees the bindings of a continuation that is freed; the layer above puts its function here. */
extern HIDDEN void (*nested_forget)(struct binding *bindings);

/* ---- within this layer ---- */

NORETURN void nested_finish(void *value); /* what a body returns to */

/* life.c: odd while stacks are there, and another number each time. */
typedef ATOMIC(uint32_t) nested_epoch_word;
extern HIDDEN nested_epoch_word nested_epoch;

/* Enter the thread into the present epoch; starts one if need be.  0 or an error of vthread_cont_new. */
int nested_enlist(struct nested_thread *self);

/* Give the magazine's newest n objects back to the pool of stacks. */
void nested_drain(struct nested_thread *self, uint32_t n);

/* One object less, freed by a thread that could not be listed. */
void nested_count_freed(void);

#endif
