/* SPDX-License-Identifier: MIT */
/*
 * Between a thread on its stack and its carrier: why it leaves, and how.
 */
#ifndef VTHREAD_MOUNT_H
#define VTHREAD_MOUNT_H

#include <sched.h>

#include "continuation/nested.h"
#include "vthread/thread.h"

enum leave { LEAVE_YIELD = 1, LEAVE_PARK, LEAVE_PINNED, LEAVE_CALL, LEAVE_END };

/* In thread.reason before the first mount: cont.stack has been chosen. */
enum { REASON_STACK_CHOSEN = 255 };

/*
 * Leave the stack for the carrier; returns, perhaps on another carrier, why the
 * thread goes on.  A tail call where possible: what is parked by the million has
 * no frame of ours but the switch's.
 */
MAY_SWITCH
int leave_slow(struct processor *p, enum leave why);

/* Floating point control words and a C++ exception being handled belong to the thread, but are almost never there. */
static inline bool leave_is_plain(struct processor *p)
{
    struct cxx_globals {
        void *caught;
        unsigned uncaught;
    } *globals = p->exceptions;

    return switch_fp_is_default(switch_fp_save()) &&
           LIKELY(globals == NULL || (globals->caught == NULL && globals->uncaught == 0));
}

/* The stack that the mounted thread has left, or is about to go on: for the sanitizers. */
static inline struct stack *mounted_on(struct processor *p)
{
    struct thread *t = p->current;

    return UNLIKELY(t->flags & THREAD_NESTED) ? thread_extra(t)->nested->stack : p->stack;
}

static inline void leave_announce(struct processor *p, enum leave why)
{
    if (SANITIZER_TOP_BYTES == 0)
        return;
    if (why == LEAVE_END)
        sanitizer_last_out(&p->frame, mounted_on(p));
    else
        sanitizer_out(&p->frame, mounted_on(p));
}

static inline int leave(struct processor *p, enum leave why)
{
    if (UNLIKELY(!leave_is_plain(p)))
        return leave_slow(p, why);
    leave_announce(p, why);
    return switch_out(&p->frame, (void *)(uintptr_t)why);
}

/* parker: an OS thread's place to sleep. */
void parker_reset(struct parker *parker);
void parker_notify(struct parker *parker);
/* False when the deadline passed without a notification. */
bool parker_wait(struct parker *parker, int64_t deadline_ns);

/* Before the pool starts. */
void mount_init(void);

/* Give a shared stack up; any thread that holds it. */
void thread_stack_release(struct stack *s);

/* The parker that a thread waiting IN_PLACE sleeps on. */
struct parker *thread_parker(struct thread *t);

/* Commit the wait and block the OS thread until it is over; returns its result.  kind: why, if it is not a platform
 * thread. */
int wait_in_place(struct thread *t, struct parker *parker, uint64_t flags, vthread_pin_kind_t kind);

/* pin.c: the carrier has been blocked by a wait of that kind, for so long; or, with `more`, for longer than was said.
 */
void pinned_count(struct processor *p, vthread_pin_kind_t kind, int64_t blocked_ns, int64_t more_ns);
/* What keeps the mounted thread, which is pinned. */
vthread_pin_kind_t pinned_kind(const struct processor *p);
extern HIDDEN int64_t pinned_threshold_ns; /* set while nothing runs */
/* On the thread's own stack, after a pinned wait: its stack is the same as when it began. */
COLD void pinned_report(struct processor *p, struct thread *self, vthread_pin_kind_t kind);

/*
 * The thread is about to leave from inside public continuations.  False: it may
 * not, for one is pinned, there is no memory, or it is on some other stack.
 */
bool nested_begin(struct thread *self);
void nested_end(struct thread *self);

/* The thread is about to end, perhaps inside public continuations. */
void nested_exit(struct thread *self);

/* The carrier that t must run on next, if that is not c: deliver it there. */
bool mount_elsewhere(struct carrier *c, struct thread *t);

/* Strict mode: move the frames away at once and make their place inaccessible. */
void strict_displace(struct processor *p, struct thread *t, struct stack *s);

/* os_mutex.c: does the calling OS thread hold a mutex that t, which has just left stack s for its carrier, has locked?
 */
void os_mutex_init(void); /* before the pool starts */
struct robust_list_head *os_mutex_list(void);
void os_mutex_look(struct processor *p, struct thread *t, struct stack *s);

/* hog.c: for the monitor. */
void hog_report(struct carrier *c, int64_t held_ns, bool computing, bool rescued);
void hog_end(struct carrier *c, int64_t held_ns, bool rescued);
void spare_report(struct carrier *c);
/* Does anybody want to hear of hogs? */
void hog_reports_wanted(bool wanted);

#endif
