/* SPDX-License-Identifier: MIT */
/*
 * Waiting and waking: park, unpark, interrupt, sleep, yield.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "base/panic.h"
#include "vthread/collector.h"
#include "vthread/event.h"
#include "vthread/mount.h"
#include "vthread/thread.h"

/* The sanitizers are told of switches by the carrier. */
#define HANDOVER_NEVER (BUILT_WITH_ASAN || BUILT_WITH_TSAN)

/* ---- leaving ---- */

/* A CPU exception state or C++ exception globals that differ from a new thread's travel in this frame. */
NOINLINE COLD int leave_slow(struct processor *p, enum leave why)
{
    struct switch_fp fp = switch_fp_save();
    struct {
        void *caught;
        unsigned uncaught;
    } saved = {0};
    int reason;

    switch_fp_load(SWITCH_FP_DEFAULT);
    if (p->exceptions != NULL) {
        memcpy(&saved, p->exceptions, sizeof saved);
        memset(p->exceptions, 0, sizeof saved);
    }
    leave_announce(p, why);
    reason = switch_out(&p->frame, (void *)(uintptr_t)why);
    p = processor_self(); /* perhaps another */
    if (p->exceptions != NULL)
        memcpy(p->exceptions, &saved, sizeof saved);
    switch_fp_load(fp);
    return reason;
}

/* ---- parkers ---- */

void parker_reset(struct parker *parker)
{
    atomic_store_relaxed(&parker->word, PARKER_WAITS);
}

void parker_notify(struct parker *parker)
{
    atomic_store_release(&parker->word, PARKER_NOTIFIED); /* pairs with the acquire in parker_wait */
    futex_wake(&parker->word, 1);
}

bool parker_is_notified(struct parker *parker)
{
    return atomic_load_acquire(&parker->word) == PARKER_NOTIFIED; /* pairs with the release in parker_notify */
}

bool parker_wait(struct parker *parker, int64_t deadline_ns)
{
    uint32_t word;

    while ((word = atomic_load_acquire(&parker->word)) != PARKER_NOTIFIED)
        if (!futex_wait(&parker->word, word, clock_sleep_until_ns(deadline_ns)) && deadline_ns <= clock_now_ns())
            return parker_is_notified(parker);
    return true;
}

struct parker *thread_parker(struct thread *t)
{
    struct processor *p;

    if (t->flags & THREAD_PLATFORM)
        return t->cont.sp;
    p = (struct processor *)(void *)pool_carrier(t->carrier);
    return &p->parker;
}

int wait_in_place(struct thread *t, struct parker *parker, uint64_t flags, vthread_pin_kind_t kind, struct stack *left)
{
    bool timed = t->deadline_ns != INT64_MAX;
    uint32_t number = thread_wait_number(t);
    struct processor *p = t->flags & THREAD_PLATFORM ? NULL : processor_self();
    bool in_time;
    int reason;

    parker_reset(parker);
    stand_here(&parker->stand);
    atomic_store_relaxed(&t->phase, timed ? VTHREAD_TIMED_PINNED : VTHREAD_PINNED);
    t->flags |= THREAD_IN_PLACE;
    if (word_commit_park(&t->word, flags)) {
        if (p != NULL) {
            pinned_begin(p, kind);
            carrier_block(&p->carrier);
        }
        in_time = p != NULL ? pinned_wait(p, t, kind, left, t->deadline_ns) : parker_wait(parker, t->deadline_ns);
        if (!in_time && word_wake(&t->word, number) == WAKE_RUN)
            t->reason = ETIMEDOUT; /* we won ourselves */
        else
            parker_wait(parker, INT64_MAX);                              /* whoever won is about to notify */
        if (p != NULL && pins_open(&p->pins, VTHREAD_PIN_BLOCKING) == 0) /* else the section goes on */
            carrier_unblock(&p->carrier);
        if (p != NULL)
            pinned_count(p, kind);
        reason = t->reason;
    } else {
        uint64_t before = word_end_wait(&t->word, flags & WORD_INTERNAL ? 0 : WORD_PERMIT);

        if ((!(flags & WORD_INTERNAL) && (before & WORD_PERMIT)) || (before & WORD_WAKE))
            reason = 0;
        else
            reason = EINTR;
        if (p != NULL)
            p->pinned_ns = -1;
    }
    t->flags &= (uint8_t)~THREAD_IN_PLACE;
    atomic_store_relaxed(&t->phase, VTHREAD_RUNNING);
    if (UNLIKELY(collector_is_on()) && p == NULL)
        collector_enter(); /* before it is given what it has waited for */
    return reason;
}

/* ---- waiting ---- */

/* Is the thread on the stack that the carrier gave it?  Not in a signal handler or a foreign coroutine. */
static bool on_own_stack(struct processor *p)
{
    return stack_contains(p->stack, __builtin_frame_address(0));
}

bool thread_can_leave(const struct thread *self)
{
    return !(self->flags & (THREAD_PLATFORM | THREAD_PINNED)) && on_own_stack(processor_self());
}

static bool leave_nested(struct thread *self, struct vthread_cont *c)
{
    struct thread_extra *extra = thread_extra_get(self);

    if (extra == NULL)
        return false;
    extra->nested = c;
    collector_sees();
    self->flags |= THREAD_NESTED;
    collector_sees();
    nested_leave();
    return true;
}

COLD bool nested_begin(struct thread *self)
{
    struct vthread_cont *c = nested_around(__builtin_frame_address(0));

    return c != NULL && !nested_is_pinned(c) && leave_nested(self, c);
}

COLD void nested_end(struct thread *self)
{
    nested_return(thread_extra(self)->nested);
    collector_sees();
    self->flags &= (uint8_t)~THREAD_NESTED;
}

void nested_exit(struct thread *self)
{
    struct vthread_cont *c = nested_around(__builtin_frame_address(0));

    if (UNLIKELY(c != NULL) && !leave_nested(self, c))
        nested_leave(); /* no memory to remember them by: they stay as they are, running for ever */
}

/* After a wait that has blocked the carrier: too long?  (With no threshold reached: a load and a branch.) */
static inline int look_back(struct thread *self, struct processor *p, vthread_pin_kind_t kind, int reason)
{
    if (UNLIKELY(p->pinned_ns >= pinned_threshold_ns) && event_is_wanted(VTHREAD_EVENT_PINNED))
        pinned_report(p, self, kind);
    return reason;
}

static int wait_in_place_of(struct thread *self, struct processor *p, uint64_t flags, vthread_pin_kind_t kind)
{
    return look_back(self, p, kind, wait_in_place(self, &p->parker, flags, kind, NULL));
}

/*
 * The carrier waits with it, and is the same afterwards.  A shared stack is given up meanwhile, for whoever is
 * to wake it may need that; but not in a section, where somebody may hold addresses.
 */
static NOINLINE int wait_on_carrier(struct thread *self, struct processor *p, uint64_t flags, vthread_pin_kind_t kind)
{
    if (!stack_is_given_up(p->stack) || pins_open(&p->pins, VTHREAD_PIN_BLOCKING) > 0)
        return wait_in_place_of(self, p, flags, kind);
    p->leave_flags = flags;
    p->pinned_as = (uint8_t)kind;
    return look_back(self, p, kind, leave(p, LEAVE_PINNED));
}

/* From the thread's own stack, or from that of a nested continuation. */
static int wait_mounted(struct thread *self, uint64_t flags, int64_t deadline_ns)
{
    struct processor *p = processor_self();
    int reason;

    if (self->flags & THREAD_PINNED)
        return wait_on_carrier(self, p, flags, pinned_kind(p));
    atomic_store_relaxed(&self->phase, deadline_ns == INT64_MAX ? VTHREAD_PARKING : VTHREAD_TIMED_PARKING);
    if (deadline_ns != INT64_MAX &&
        !timer_insert(&p->carrier.timers, deadline_ns, thread_index(self), thread_wait_number(self)))
        return wait_on_carrier(self, p, flags, VTHREAD_PIN_NO_MEMORY); /* for the timer: the kernel's will do */
    p->leave_flags = flags;
    reason = leave(p, LEAVE_PARK);
    if (deadline_ns != INT64_MAX)
        timer_remove(carrier_heap, thread_index(self));
    return reason;
}

/* From a continuation that may not be left, or from a stack of which nothing is known. */
static COLD int wait_nested_pinned(struct thread *self, struct processor *p, uint64_t flags)
{
    struct vthread_cont *c = nested_around(__builtin_frame_address(0));
    vthread_pin_kind_t kind = VTHREAD_PIN_FOREIGN_STACK;
    int reason;

    if (c != NULL)
        kind = nested_is_pinned(c) ? VTHREAD_PIN_CONTINUATION : VTHREAD_PIN_NO_MEMORY;
    /* For the same OS thread it may be left: the thread's own stack, beneath, is wanted by others. */
    if (kind != VTHREAD_PIN_CONTINUATION || !leave_nested(self, c))
        return wait_in_place_of(self, p, flags, kind);
    reason = wait_on_carrier(self, p, flags, kind);
    nested_end(self);
    return reason;
}

NOINLINE static int wait_slow(struct thread *self, uint64_t flags, int64_t deadline_ns)
{
    struct processor *p;
    int reason;

    self->deadline_ns = deadline_ns;
    if (self->flags & THREAD_PLATFORM)
        return wait_in_place(self, self->cont.sp, flags, 0, NULL);
    p = processor_self();
    if (LIKELY(on_own_stack(p)))
        return wait_mounted(self, flags, deadline_ns);
    if (!nested_begin(self))
        return wait_nested_pinned(self, p, flags);
    reason = wait_mounted(self, flags, deadline_ns);
    nested_end(self);
    return reason;
}

int thread_wait(struct thread *self, uint64_t flags, int64_t deadline_ns)
{
    return wait_slow(self, flags, deadline_ns);
}

void thread_make_runnable(struct thread *t, int reason, struct task_list *list)
{
    struct carrier *c;

    t->reason = (uint8_t)reason;
    if (UNLIKELY(t->flags & THREAD_IN_PLACE)) {
        parker_notify(thread_parker(t));
        return;
    }
    atomic_store_relaxed(&t->phase, VTHREAD_UNPARKED);
    if (list != NULL)
        task_list_append(list, &t->link.task);
    else if ((c = carrier_self()) != NULL)
        carrier_push(c, &t->link.task);
    else
        platform_inject(&t->link.task);
}

/* The same for the commonest case: a carrier wakes a thread that waits off its carrier. */
static inline void make_runnable_here(struct thread *t, int reason)
{
    struct carrier *c = carrier_self();

    if (UNLIKELY(c == NULL) || UNLIKELY(t->flags & THREAD_IN_PLACE)) {
        thread_make_runnable(t, reason, NULL);
        return;
    }
    t->reason = (uint8_t)reason;
    atomic_store_relaxed(&t->phase, VTHREAD_UNPARKED);
    carrier_push(c, &t->link.task);
}

void thread_wake(struct thread *t, uint32_t number, int reason, struct task_list *list)
{
    if (word_wake(&t->word, number) == WAKE_RUN)
        thread_make_runnable(t, reason, list);
}

/* ---- park ---- */

static int park(void *blocker, int64_t deadline_ns)
{
    int error;
    struct thread *self = thread_self(&error);
    uint64_t w;

    if (self == NULL)
        return error;
    w = atomic_load_acquire(&self->word);
    if (w & WORD_PERMIT) {
        word_clear(&self->word, WORD_PERMIT);
        return 0;
    }
    if (w & WORD_INTERRUPTED)
        return EINTR;
    if (deadline_ns != INT64_MAX && deadline_ns <= clock_now_ns())
        return ETIMEDOUT;
    if (blocker != NULL) {
        atomic_store_relaxed(&self->slot, blocker);
        error = wait_slow(self, 0, deadline_ns);
        atomic_store_relaxed(&self->slot, NULL);
        return error;
    }
    return wait_slow(self, 0, deadline_ns);
}

int vthread_park(void)
{
    struct processor *p = processor_self();
    struct thread *self;

    /* The common case, kept free of a frame: a parked thread is remembered by its caller's frames alone. */
    if (LIKELY(p != NULL) && LIKELY((self = p->current) != NULL) && LIKELY(!(self->flags & THREAD_PINNED)) &&
        LIKELY(on_own_stack(p)) && LIKELY(!(atomic_load_acquire(&self->word) & (WORD_PERMIT | WORD_INTERRUPTED)))) {
        self->deadline_ns = INT64_MAX;
        atomic_store_relaxed(&self->phase, VTHREAD_PARKING);
        p->leave_flags = 0;
        return leave(p, LEAVE_PARK);
    }
    return park(NULL, VTHREAD_FOREVER);
}

int vthread_park_until(int64_t deadline_ns)
{
    return park(NULL, deadline_ns);
}

int vthread_park_on(void *blocker)
{
    return park(blocker, VTHREAD_FOREVER);
}

int vthread_park_on_until(void *blocker, int64_t deadline_ns)
{
    return park(blocker, deadline_ns);
}

int vthread_unpark(vthread_t thread)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);

    if (UNLIKELY(runtime_forked()))
        return ENOTSUP;
    if (t != NULL && word_unpark(&t->word, generation) == WAKE_RUN)
        make_runnable_here(t, 0);
    return 0;
}

/* ---- interrupt ---- */

int vthread_interrupt(vthread_t thread)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);

    if (UNLIKELY(runtime_forked()))
        return ENOTSUP;
    if (t != NULL && word_interrupt(&t->word, generation) == WAKE_RUN)
        thread_make_runnable(t, EINTR, NULL);
    return 0;
}

bool vthread_is_interrupted(vthread_t thread)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    uint64_t w;

    if (t == NULL)
        return false;
    w = atomic_load_acquire(&t->word);
    return word_generation(w) == generation && (w & WORD_INTERRUPTED);
}

bool vthread_interrupted(void)
{
    struct thread *self = thread_self(NULL);

    return self != NULL && (atomic_load_acquire(&self->word) & WORD_INTERRUPTED) &&
           (word_clear(&self->word, WORD_INTERRUPTED) & WORD_INTERRUPTED);
}

/* ---- yield and sleep ---- */

/*
 * Hand the carrier over to the next thread in its ring, from stack to stack.
 *
 * Only where nothing needs the carrier's own stack in between: both stacks
 * belong to one thread each, and nothing else is to be done just now.  This
 * thread is at the end of the ring before it has left its stack, but no thief
 * gets at it: the ring's owner stays inside until switch_over has left
 * (carrier/ring.h).  Returns false if the long way must be gone.
 */
static inline bool hand_over(struct processor *p, struct thread *self)
{
    struct carrier *c = &p->carrier;
    struct thread *next;
    struct stack *s;
    struct task *task;

    if (UNLIKELY(HANDOVER_NEVER || runtime_plain_switches || carrier_shall_look(c) || self->flags != 0 ||
                 stack_is_shared(p->stack) || *p->errno_at != 0 || idle_wants_work(&pool.idle) || !leave_is_plain(p)) ||
        UNLIKELY(!ring_enter(&c->ring)))
        return false;
    task = ring_oldest(&c->ring);
    if (UNLIKELY(task == NULL)) { /* nobody waits */
        ring_leave(&c->ring);
        carrier_begin(c);
        atomic_store_relaxed(&self->phase, VTHREAD_RUNNING);
        return true;
    }
    next = container_of(task, struct thread, link.task);
    s = stack_at(next->cont.stack);
    if (UNLIKELY(next->flags != 0 || next->cont.sp == NULL || stack_is_shared(s))) {
        ring_leave(&c->ring);
        return false;
    }
    ring_replace_oldest(&c->ring, &self->link.task);
    __builtin_prefetch(ring_peek(&c->ring, 1)); /* anywhere in the record is in its one line */
    carrier_begin(c);
    self->reason = 0;
    atomic_store_relaxed(&self->phase, VTHREAD_YIELDED);
    p->current = next;
    p->stack = s;
    atomic_store_relaxed(&c->may_skip_wake, next->predictor >= 2);
    next->carrier = c->index & CARRIER_NONE;
    atomic_store_relaxed(&next->phase, VTHREAD_RUNNING);
    switch_over(&self->cont.sp, next->cont.sp, &c->ring.owner_inside.value, (void *)(uintptr_t)next->reason);
    return true;
}

static COLD void yield_nested(struct processor *p, struct thread *self)
{
    if (!nested_begin(self))
        return;
    atomic_store_relaxed(&self->phase, VTHREAD_YIELDING);
    leave(p, LEAVE_YIELD);
    nested_end(self);
}

void vthread_yield(void)
{
    struct processor *p = processor_self();
    struct thread *self;

    if (UNLIKELY(p == NULL)) {
        sched_yield();
        return;
    }
    self = p->current;
    if (UNLIKELY(self == NULL) || UNLIKELY(self->flags & THREAD_PINNED))
        return;
    if (UNLIKELY(!on_own_stack(p))) {
        yield_nested(p, self);
        return;
    }
    atomic_store_relaxed(&self->phase, VTHREAD_YIELDING);
    if (!hand_over(p, self))
        leave(p, LEAVE_YIELD);
}

void vthread_spin_hint(void)
{
    cpu_pause();
}

/* is_future: the deadline has just been made from the clock, which need not be asked again. */
static int sleep_until(int64_t deadline_ns, bool is_future)
{
    int error;
    struct thread *self = thread_self(&error);
    int reason = 0;

    if (self == NULL)
        return error;
    while (reason != ETIMEDOUT) {
        if (reason == EINTR || (atomic_load_acquire(&self->word) & WORD_INTERRUPTED)) {
            word_clear(&self->word, WORD_INTERRUPTED);
            return EINTR;
        }
        if (!is_future && deadline_ns <= clock_now_ns())
            break;
        is_future = false;
        /* A permit must not cut the sleep short: an internal wait that only the timer ends. */
        reason = wait_slow(self, WORD_INTERNAL, deadline_ns);
    }
    return 0;
}

int vthread_sleep_ns(int64_t duration_ns)
{
    if (duration_ns < 0)
        return EINVAL;
    if (duration_ns == 0) {
        vthread_yield();
        return vthread_interrupted() ? EINTR : 0;
    }
    return sleep_until(vthread_after_ns(duration_ns), true);
}

int vthread_sleep_ms(int64_t duration_ms)
{
    if (duration_ms < 0)
        return EINVAL;
    return vthread_sleep_ns(duration_ms > INT64_MAX / 1000000 ? INT64_MAX : duration_ms * 1000000);
}

int vthread_sleep_until(int64_t deadline_ns)
{
    return sleep_until(deadline_ns, false);
}

int64_t vthread_now_ns(void)
{
    return clock_now_ns();
}

int64_t vthread_after_ns(int64_t duration_ns)
{
    int64_t deadline_ns;

    if (duration_ns < 0)
        return VTHREAD_NOW;
    return __builtin_add_overflow(clock_now_ns(), duration_ns, &deadline_ns) ? VTHREAD_FOREVER : deadline_ns;
}

int64_t vthread_after_ms(int64_t duration_ms)
{
    int64_t ns;

    if (duration_ms < 0)
        return VTHREAD_NOW;
    return __builtin_mul_overflow(duration_ms, (int64_t)1000000, &ns) ? VTHREAD_FOREVER : vthread_after_ns(ns);
}
