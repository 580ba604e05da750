/* SPDX-License-Identifier: MIT */
/*
 * Mounting and unmounting: where tasks, continuations and the state machine meet.
 *
 * The functions here run on a carrier's own stack, between two switches.  The
 * order at an unmount is: give the stack up, then publish the new state.  Nothing
 * of the thread is touched after that, for it may be running, or gone, already.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/panic.h"
#include "vthread/collector.h"
#include "vthread/mount.h"
#include "vthread/sample.h"
#include "vthread/thread.h"
#include "vthread/work.h"

_Static_assert(offsetof(struct processor, carrier) == 0, "a processor begins with its carrier");

static struct processor *processor_of(struct carrier *c)
{
    return (struct processor *)(void *)c;
}

static struct thread *thread_of_task(struct task *task)
{
    return container_of(task, struct thread, link.task);
}

/* ---- stacks ---- */

/* A member of a shared stack has been handed it. */
static COLD void handed_over(struct stack_member *member)
{
    struct thread *t = container_of(member, struct thread, link.member);
    struct carrier *c = carrier_self();

    t->flags |= THREAD_HOLDS_STACK;
    if (t->flags & THREAD_IN_PLACE)
        parker_notify(thread_parker(t));
    else if (c != NULL)
        carrier_push(c, &t->link.task);
    else
        platform_inject(&t->link.task);
}

void thread_stack_release(struct stack *s)
{
    struct stack_member *next = stack_word_release(&s->word);

    if (UNLIKELY(next != NULL))
        handed_over(next);
}

/* Make the thread, whose stack is held, the resident; NULL: no memory, and the stack given up. */
static bool occupy(struct processor *p, struct thread *t, struct stack *s)
{
    if (UNLIKELY(stack_is_vacated(s)))
        strict_enter(s);
    if (s->resident != &t->cont && s->resident != NULL)
        atomic_store_relaxed(&p->freezes, atomic_load_relaxed(&p->freezes) + 1);
    if (LIKELY(cont_occupy(&t->cont, s, &p->chunks)))
        return true;
    if (s->kind == STACK_SHARED)
        thread_stack_release(s);
    return false;
}

/* A stack for the thread's first mount. */
static struct stack *choose_stack(struct processor *p, struct thread *t)
{
    struct stack *s = NULL;

    if (UNLIKELY(t->flags & THREAD_DEDICATED)) {
        struct thread_extra *extra = thread_extra(t);

        return stack_dedicated_take(&p->stacks, extra != NULL ? extra->stack_bytes : 0);
    }
    s = stack_sole_take(&p->stacks);
    if (s == NULL) /* cont.stack is the creator's until now */
        s = stack_shared_choose(&p->stacks, stack_at(t->cont.stack));
    return s;
}

/*
 * Make the thread's stack ready to be switched to.  NULL: not now; the thread
 * waits for its stack or is back in the queue, and must not be touched.
 */
static NOINLINE struct stack *prepare_stack(struct processor *p, struct thread *t)
{
    bool first = t->cont.sp == NULL && !(t->flags & THREAD_HOLDS_STACK);
    struct stack *s = first ? NULL : stack_at(t->cont.stack);

    /* A first mount that found its stack taken keeps the choice. */
    if (first && t->reason == REASON_STACK_CHOSEN)
        s = stack_at(t->cont.stack);
    if (s == NULL) {
        s = choose_stack(p, t);
        if (UNLIKELY(s == NULL))
            goto requeue;
        t->cont.stack = stack_index(s);
        t->reason = REASON_STACK_CHOSEN;
    }
    if (s->kind == STACK_SHARED) {
        if (t->flags & THREAD_HOLDS_STACK)
            t->flags &= (uint8_t)~THREAD_HOLDS_STACK;
        else if (!stack_word_acquire(&s->word, &t->link.member))
            return NULL;
        if (UNLIKELY(!occupy(p, t, s)))
            goto requeue;
    } else if (UNLIKELY(stack_is_vacated(s))) {
        /* Somebody may be reading the frames (vthread_backtrace): the word is used for this one moment. */
        if (t->flags & THREAD_HOLDS_STACK)
            t->flags &= (uint8_t)~THREAD_HOLDS_STACK;
        else if (!stack_word_acquire(&s->word, &t->link.member))
            return NULL;
        if (!occupy(p, t, s))
            panic("a stack that has one member had no room for it");
        thread_stack_release(s);
    }
    if (t->cont.sp == NULL) {
        if (s->kind == STACK_SHARED)
            stack_shared_join(s);
        t->cont.sp = cont_begin(s);
        t->reason = 0;
    }
    return s;
requeue:
    /* Out of memory: somebody else's end may give some back. */
    carrier_push(&p->carrier, &t->link.task);
    sched_yield();
    return NULL;
}

/* ---- leaving ---- */

static void save_errno(struct processor *p, struct thread *t)
{
    if (UNLIKELY(*p->errno_at != 0)) {
        t->saved_errno = (uint16_t)*p->errno_at;
        t->flags |= THREAD_HAS_ERRNO;
        *p->errno_at = 0;
    }
}

/* Once a second or so: did a deep call leave pages behind? */
static inline void maybe_trim(struct processor *p, struct thread *t, struct stack *s)
{
    uint16_t epoch = (uint16_t)atomic_load_relaxed(&pool.epoch);

    if (UNLIKELY(s->trimmed != epoch)) {
        s->trimmed = epoch;
        atomic_store_relaxed(&p->trims, atomic_load_relaxed(&p->trims) + 1);
        stack_trim(s, t->cont.sp);
    }
}

/* Why the commit of a wait was refused, as the result of the wait. */
static uint8_t refused_reason(struct thread *t, uint64_t flags)
{
    uint64_t before = word_end_wait(&t->word, flags & WORD_INTERNAL ? 0 : WORD_PERMIT);

    if (!(flags & WORD_INTERNAL) && (before & WORD_PERMIT))
        return 0;
    if (before & WORD_WAKE)
        return t->deadline_ns != INT64_MAX && clock_now_ns() >= t->deadline_ns ? ETIMEDOUT : 0;
    return EINTR;
}

static void end(struct processor *p, struct thread *t, struct stack *s)
{
    if (UNLIKELY(t->flags & THREAD_NESTED))
        nested_abandon(thread_extra(t)->nested);
    if (s->kind == STACK_SHARED) {
        cont_drop(&t->cont, s, &p->chunks);
        stack_shared_leave(s);
        thread_stack_release(s);
    } else {
        maybe_trim(p, t, s);
        cont_drop(&t->cont, s, &p->chunks);
        stack_give_back(&p->stacks, s);
    }
    atomic_store_release(&p->ended, atomic_load_relaxed(&p->ended) + 1); /* pairs with alive() in runtime.c */
    thread_ended(t, &p->records);
}

/* Take a shared stack back, however long that takes: its holder may need our place among the running. */
static void take_back(struct processor *p, struct thread *t, struct stack *s, vthread_pin_kind_t kind)
{
    int64_t began_ns;

    t->flags |= THREAD_IN_PLACE;
    parker_reset(&p->parker);
    if (!stack_word_acquire(&s->word, &t->link.member)) {
        began_ns = clock_monotonic_ns();
        carrier_block(&p->carrier);
        parker_wait(&p->parker, INT64_MAX);
        carrier_unblock(&p->carrier);
        pinned_count(p, kind, p->pinned_ns, clock_monotonic_ns() - began_ns);
    }
    t->flags &= (uint8_t) ~(THREAD_IN_PLACE | THREAD_HOLDS_STACK);
    if (UNLIKELY(stack_is_vacated(s)))
        strict_enter(s);
    while (!cont_occupy(&t->cont, s, &p->chunks))
        sched_yield(); /* no memory: it must be found, for nobody else can run us */
}

/* PIN_CARRIER with a shared stack: wait here, on the carrier's own stack, so that stack-mates can run. */
static void wait_pinned(struct processor *p, struct thread *t, struct stack *s)
{
    vthread_pin_kind_t kind = (vthread_pin_kind_t)p->pinned_as;

    thread_stack_release(s);
    t->reason = (uint8_t)wait_in_place(t, &p->parker, p->leave_flags, kind);
    take_back(p, t, s, kind);
}

/* A blocking call of a thread with a shared stack: here, on the carrier's own stack, for the same reason. */
static void call_apart(struct processor *p, struct thread *t, struct stack *s)
{
    thread_stack_release(s);
    carrier_block(&p->carrier);
    p->apart.arg = p->apart.fn(p->apart.arg);
    carrier_unblock(&p->carrier);
    p->pinned_ns = 0;
    take_back(p, t, s, VTHREAD_PIN_BLOCKING);
}

static COLD void look_at_leaver(struct processor *p, struct thread *t, struct stack *s)
{
    if (runtime_checks_mutexes)
        os_mutex_look(p, t, s);
    if (runtime_is_strict())
        strict_displace(p, t, s);
}

/*
 * The thread has left for some reason.  Returns true when it is out of our
 * hands, false when it goes on here and now.
 */
static bool unmount(struct processor *p, struct thread *t, struct stack *s, enum leave why)
{
    bool shared = stack_is_shared(s);

    save_errno(p, t);
    switch (why) {
    case LEAVE_YIELD:
        maybe_trim(p, t, s);
        if (UNLIKELY(runtime_looks))
            look_at_leaver(p, t, s);
        if (shared)
            thread_stack_release(s);
        t->reason = 0;
        atomic_store_relaxed(&t->phase, VTHREAD_YIELDED); /* the push publishes */
        carrier_push(&p->carrier, &t->link.task);
        return true;
    case LEAVE_PARK:
        maybe_trim(p, t, s);
        if (UNLIKELY(runtime_looks))
            look_at_leaver(p, t, s);
        if (p->carrier.pushes == 1)
            t->predictor = t->predictor < 3 ? (t->predictor + 1) & 3 : 3;
        else if (p->carrier.pushes > 1)
            t->predictor = 0;
        if (shared)
            thread_stack_release(s);
        if (LIKELY(word_commit_park(&t->word, p->leave_flags)))
            return true;
        t->reason = refused_reason(t, p->leave_flags);
        return false;
    case LEAVE_PINNED:
        wait_pinned(p, t, s);
        return false;
    case LEAVE_CALL:
        call_apart(p, t, s);
        return false;
    case LEAVE_END:
        end(p, t, s);
        return true;
    }
    panic("a thread left for no reason");
}

/* Where the thread left off: in the innermost continuation, if it left from inside any. */
static inline void *mount_sp(struct thread *t)
{
    return UNLIKELY(t->flags & THREAD_NESTED) ? thread_extra(t)->leaf_sp : t->cont.sp;
}

static inline void set_left_sp(struct thread *t, void *sp)
{
    if (UNLIKELY(t->flags & THREAD_NESTED)) {
        struct thread_extra *extra = thread_extra(t);

        extra->leaf_sp = sp;
        sp = nested_outer_sp(extra->nested);
    }
    t->cont.sp = sp;
}

static inline enum leave begin(struct processor *p, struct thread *t)
{
    struct switch_entry entry = thread_entry(t);

    atomic_store_relaxed(&t->slot, NULL); /* the argument is the thread's business from here on */
    return (enum leave)(uintptr_t)switch_begin(&p->frame, t->cont.sp, &entry);
}

static inline enum leave resume(struct processor *p, struct thread *t)
{
    return (enum leave)(uintptr_t)switch_in(&p->frame, mount_sp(t), (void *)(uintptr_t)t->reason);
}

/* Mount the thread, and again as long as it cannot leave. */
ALWAYS_INLINE void mount(struct processor *p, struct thread *t)
{
    struct carrier *c = &p->carrier;
    enum leave why;

    do {
        struct stack *s = stack_at(t->cont.stack);
        bool first = t->cont.sp == NULL;

        if (UNLIKELY(first || stack_is_shared(s) || stack_is_vacated(s)) && (s = prepare_stack(p, t)) == NULL)
            return;
        t->carrier = c->index & CARRIER_NONE;
        p->stack = s;
        collector_sees();
        p->current = t;
        atomic_store_relaxed(&c->may_skip_wake, t->predictor >= 2);
        atomic_store_relaxed(&t->phase, VTHREAD_RUNNING);
        if (UNLIKELY(t->flags & THREAD_HAS_ERRNO)) {
            *p->errno_at = t->saved_errno;
            t->flags &= (uint8_t)~THREAD_HAS_ERRNO;
        }
        sanitizer_in(&p->frame, mounted_on(p));
        why = UNLIKELY(first) ? begin(p, t) : resume(p, t);
        /* Not necessarily the one that was mounted: threads hand over directly (vthread_yield). */
        t = p->current;
        s = p->stack;
        set_left_sp(t, p->frame.cont_sp);
        collector_sees(); /* where its frames are, before it is no longer current */
        p->current = NULL;
        collector_sees();
        if (LIKELY(unmount(p, t, s, why)))
            return;
        if (why == LEAVE_PINNED || why == LEAVE_CALL)
            t->flags |= THREAD_HOLDS_STACK; /* taken back already */
    } while (true);
}

/*
 * While one thread runs, fetch what others will need soon: of the fourth from now its record (anywhere in
 * it is in its one line), of the second, whose record has been fetched by now, its latest frames
 * and its cold part.  Hints: thieves may take them meanwhile.
 */
ALWAYS_INLINE void look_ahead(struct carrier *c)
{
    struct task *task = ring_peek(&c->ring, 1);
    const struct thread *next;
    const char *frames;

    if (task == NULL || BUILT_WITH_TSAN)
        return;
    __builtin_prefetch(ring_peek(&c->ring, 3));
    next = thread_of_task(task);
    frames = next->cont.chunk != NULL ? next->cont.chunk : next->cont.sp;
    __builtin_prefetch(thread_cold(next));
    if (frames != NULL) {
        __builtin_prefetch(frames);
        __builtin_prefetch(frames + CACHE_LINE);
        __builtin_prefetch(frames + 2 * CACHE_LINE);
    }
}

static void run(struct carrier *c)
{
    struct processor *p = processor_of(c);
    struct task *task;

    while ((task = carrier_next(c)) != NULL) {
        struct thread *t = thread_of_task(task);

        look_ahead(c);
        if (UNLIKELY(t->flags & THREAD_STICKY) || UNLIKELY(pool.force_migrate))
            if (mount_elsewhere(c, t))
                continue;
        mount(p, t);
    }
}

/* ---- hooks ---- */

static struct task *timer_fired(uint32_t id, uint32_t sequence)
{
    struct thread *t = &thread_table[id];

    if (word_wake(&t->word, sequence) != WAKE_RUN)
        return NULL;
    ASSERT1(!(t->flags & THREAD_IN_PLACE)); /* those have no timers */
    t->reason = ETIMEDOUT;
    atomic_store_relaxed(&t->phase, VTHREAD_UNPARKED);
    return &t->link.task;
}

static void timer_ahead(uint32_t id)
{
    __builtin_prefetch(&thread_table[id], 1);
}

static void *(*exception_globals)(void);

void mount_init(void)
{
    /* Present only when a C++ runtime is loaded.  Not looked up by carriers: it takes the loader's lock. */
    *(void **)&exception_globals = dlsym(RTLD_DEFAULT, "__cxa_get_globals");
}

/* Contains no address: the stack of a carrier that has not mounted anything yet. */
static struct stack no_stack;

static void start(struct carrier *c)
{
    struct processor *p = processor_of(c);

    switch_fp_load(SWITCH_FP_DEFAULT); /* else it is what the creator of this OS thread had set */
    p->errno_at = &errno;
    p->stacks.random = c->random;
    p->stacks.shares = atomic_load_relaxed(&pool.parallelism);
    p->stacks.share = c->index % p->stacks.shares;
    p->stack = &no_stack;
    p->robust = runtime_checks_mutexes ? os_mutex_list() : NULL;
    p->exceptions = exception_globals != NULL ? exception_globals() : NULL;
    collector_carrier_starts(c);
}

static void stop(struct carrier *c)
{
    struct processor *p = processor_of(c);

    chunk_cache_flush(&p->chunks);
    stack_cache_flush(&p->stacks);
    record_cache_flush(&p->records);
    platform_carrier_ends();
    collector_carrier_stops(c);
}

const struct carrier_hooks thread_hooks = {
    .carrier_bytes = sizeof(struct processor),
    .start = start,
    .stop = stop,
    .run = run,
    .timer = timer_fired,
    .timer_ahead = timer_ahead,
    .hog = hog_report,
    .hog_end = hog_end,
    .admit = sample_admit,
    .spare = spare_report,
};
