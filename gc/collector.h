/* SPDX-License-Identifier: MIT */
/*
 * Collected memory: how bdwgc gets to know our threads, and where their frames are.
 *
 * bdwgc thinks of a thread as one stack with a fixed bottom, and scans from where it was stopped up to
 * there.  Ours run on many stacks.  Telling it at each switch would cost every switch, and leave an instant in
 * which the range is upside down.  So it is told when it stops the world, and not before:
 *
 *   stopped threads       its handler of the stopping signal is wrapped (on_suspend): by the stack that
 *                         the handler itself runs on, the thread's bottom is set, and bdwgc's handler
 *                         is called.  So the range from there up, registers included, is bdwgc's to scan.
 *   the collecting one    the same at GC_EVENT_PRE_STOP_WORLD.
 *   all other frames      are pushed by us (push_roots), as bdwgc calls for other roots: of parked
 *                         threads, on their stacks or in chunks; of the stacks that a stopped thread is
 *                         on besides: its carrier's own, those of continuations around the innermost.
 *
 * That is right at every instant because the lower layers publish in order (continuation/cont.h; mount.c;
 * vthread/collector.h), and because a range that is too long does no harm: in the few instructions in
 * which it is not known where a stack's frames begin, all of it is pushed.
 *
 * With the world stopped nobody may be waited for: nothing here takes a lock, or allocates.
 */
#ifndef GC_COLLECTOR_H
#define GC_COLLECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "continuation/nested.h"
#include "vthread/thread.h"

/* bdwgc's headers would otherwise replace pthread_create and others by macros. */
#define GC_THREADS
#define GC_NO_THREAD_REDIRECTS
#include <gc.h>
#include <gc/gc_mark.h>

/* What we know of an OS thread that the collector knows. */
struct mutator {
    ATOMIC(bool) registered;  /* its own, also in signal handlers */
    ATOMIC(bool) registering; /* in the middle of it */
    bool ours;                /* by us: to be unregistered by us; else it may end that, and begin again, at any time */
    char *bottom;             /* of its own stack */
    char *limit;              /* and its other end: of platform threads only, as is */
    void *handle;             /* bdwgc's, of a platform thread that is ours */

    /* Of the present stop of the world; written by the thread, read by the collecting one. */
    uint64_t stop;               /* its number */
    struct mutator *next;        /* of all that are stopped */
    struct processor *processor; /* NULL: a platform thread */
    struct vthread_cont *innermost;
    const struct stack *on; /* which stack of the arena; NULL: its own, or a signal stack */
    bool on_signal_stack;
};

extern HIDDEN _Thread_local struct mutator mutator_here __attribute__((tls_model("initial-exec")));

/* The calling OS thread's; assembly for the reason that carrier_self is. */
ALWAYS_INLINE struct mutator *mutator_self(void)
{
    struct mutator *m;

#if defined(__x86_64__)
    __asm__ volatile("movq mutator_here@gottpoff(%%rip), %0\n\taddq %%fs:0, %0" : "=r"(m) : : "memory", "cc");
#elif defined(__aarch64__)
    char *offset;

    __asm__ volatile("adrp %1, :gottprel:mutator_here\n\t"
                     "ldr %1, [%1, #:gottprel_lo12:mutator_here]\n\t"
                     "mrs %0, tpidr_el0\n\t"
                     "add %0, %0, %1"
                     : "=&r"(m), "=&r"(offset)
                     :
                     : "memory");
#endif
    return m;
}

/* Start the collector, if it does not run, and register the calling thread.  0, ENOMEM or ENOTSUP. */
int collector_start(void);

/* False: no memory. */
NODISCARD bool finalizer_set(void *object, GC_finalization_proc fn, void *user);

/* ---- continuations.c ---- */

void continuations_init(void);
/* Of this kind are the objects of collected continuations. */
bool continuations_are(unsigned object_kind);
/* With the world stopped: what is to be looked into when such an object is reachable. */
void continuations_each_range(const struct vthread_cont *c, void (*fn)(const void *from, const void *to, void *user),
                              void *user);

/* ---- world.c ---- */

/* With bdwgc initialised: take our place in the stopping of the world. */
bool world_init(void);

/* For collector_begin: have a carrier that is running register. */
bool world_tell(struct carrier *carrier);
/* Wait until so many have; false: there was no memory for one. */
NODISCARD bool world_await(unsigned told);

/* Register the calling OS thread with bdwgc.  bottom: of its own stack.  False: no memory. */
NODISCARD bool mutator_register(struct mutator *m, char *bottom);
void mutator_unregister(struct mutator *m);

/*
 * Does bdwgc know the calling OS thread?  Of one that registered itself it is asked by registering it: what
 * GC_thread_is_registered says is not true of a thread that it was told is at its end, and that runs destructors.
 */
static inline bool mutator_is_known(struct mutator *m)
{
    return LIKELY(atomic_load_relaxed(&m->registered)) && (LIKELY(m->ours) || mutator_register(m, m->bottom));
}

/* ---- roots.c ---- */

/* All that are stopped, by next. */
extern HIDDEN struct mutator *world_stopped;

/* With the world stopped: push what bdwgc does not find by itself. */
void roots_push(void);
/* Of a thread that is parked: all that it alone keeps reachable. */
void roots_each_range(struct thread *t, void (*fn)(const void *from, const void *to));
/* The world goes on: give back what that has needed. */
void roots_forget(void);

#endif
