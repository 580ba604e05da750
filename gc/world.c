/* SPDX-License-Identifier: MIT */
/*
 * Stopping the world: see collector.h.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/futex.h"
#include "gc/collector.h"
#include "gc/leaks.h"
#include "vthread/collector.h"

_Thread_local struct mutator mutator_here __attribute__((tls_model("initial-exec"), used));

struct mutator *world_stopped;

static struct {
    ATOMIC(uint64_t) stop;             /* number of the present stop, or of the latest */
    ATOMIC(struct mutator *) stopped;  /* of that one; by next */
    ATOMIC(uint32_t) registered;       /* carriers that have been told, and are */
    ATOMIC(bool) failed;               /* one of them is not: no memory */
    struct sigaction suspend;          /* bdwgc's */
    GC_on_collection_event_proc event; /* who was there before us, if anybody */
    GC_push_other_roots_proc other_roots;
} world;

/* ---- where a thread is ---- */

/* The stack of the arena that holds the address of a local; NULL: none of ours. */
static const struct stack *stack_around(struct mutator *m, const char *here)
{
    struct processor *p = m->processor;
    bool in_guard;

    if (p != NULL && stack_contains(p->stack, here))
        return p->stack;
    if (m->innermost != NULL && stack_contains(m->innermost->stack, here))
        return m->innermost->stack;
    /* A carrier that has nobody mounted is on its own; a platform thread most of the time. */
    if (p != NULL ? p->current == NULL : m->limit != NULL && here >= m->limit && here < m->bottom)
        return NULL;
    /* In the middle of changing from one to another. */
    return stack_table != NULL ? stack_find(here, &in_guard) : NULL;
}

/* Without a handle bdwgc looks the thread up, for which its lock is held: by the collecting thread, while it stops us.
 */
static void set_bottom(struct mutator *m, char *bottom)
{
    GC_set_stackbottom(m->handle, &(struct GC_stack_base){.mem_base = bottom});
}

/* The thread is about to be stopped, or to collect: bdwgc scans from here up to ... */
static void note_place(struct mutator *m, char *here)
{
    uint64_t stop = atomic_load_relaxed(&world.stop);
    stack_t signal_stack;

    if (m->stop == stop) /* bdwgc may send a signal twice; the second may come when the world goes on already */
        return;
    m->processor = processor_self();
    m->innermost = nested_self()->innermost;
    m->on_signal_stack = false;
    m->on = stack_around(m, here);
    if (m->on != NULL) {
        set_bottom(m, m->on->top);
    } else if (sigaltstack(NULL, &signal_stack) == 0 && (signal_stack.ss_flags & SS_ONSTACK)) {
        m->on_signal_stack = true;
        set_bottom(m, (char *)signal_stack.ss_sp + signal_stack.ss_size);
    } else if (m->bottom != NULL) {
        set_bottom(m, m->bottom);
    }
    m->stop = stop;
    m->next = atomic_load_relaxed(&world.stopped);
    while (!atomic_cas_acq_rel(&world.stopped, &m->next, m))
        ;
}

static void *reset_bottom(void *m)
{
    set_bottom(m, ((struct mutator *)m)->bottom);
    return NULL;
}

/*
 * Should the program call GC_do_blocking there, the bottom shall be that of the thread's own stack.  Nobody
 * who is stopped has bdwgc's lock, so it can be taken here.
 */
static void forget_place(struct mutator *m, bool locked)
{
    if (m->processor != NULL || m->bottom == NULL || (m->on == NULL && !m->on_signal_stack))
        return;
    if (m->handle != NULL || locked)
        reset_bottom(m);
    else
        GC_call_with_alloc_lock(reset_bottom, m);
}

/* ---- registering ---- */

bool mutator_register(struct mutator *m, char *bottom)
{
    struct GC_stack_base base = {.mem_base = bottom};
    int result;

    atomic_store_relaxed(&m->registering, true);
    collector_sees(); /* in on_told */
    result = GC_register_my_thread(&base);
    if (result == GC_SUCCESS || result == GC_DUPLICATE) {
        m->ours = result == GC_SUCCESS;
        m->bottom = bottom;
        atomic_store_relaxed(&m->registered, true);
    }
    collector_sees();
    atomic_store_relaxed(&m->registering, false);
    return atomic_load_relaxed(&m->registered);
}

void mutator_unregister(struct mutator *m)
{
    if (!atomic_load_relaxed(&m->registered))
        return;
    if (m->ours)
        GC_unregister_my_thread();
    *m = (struct mutator){.stop = 0};
}

/* ---- signals ---- */

/*
 * A carrier that was there before the collector: nobody else can register it.  That takes bdwgc's lock, which this
 * thread, unknown to bdwgc as it is, does not hold; unless it is being born, and is in the middle of registering.
 */
static void on_told(struct mutator *m)
{
    struct carrier *c = carrier_self();

    if (c != NULL && !atomic_load_relaxed(&m->registered) && !atomic_load_relaxed(&m->registering))
        if (!mutator_register(m, c->bottom))
            atomic_store_relaxed(&world.failed, true);
    atomic_fetch_add_acq_rel(&world.registered, 1);
    futex_wake(&world.registered, 1);
}

static void on_suspend(int signal, siginfo_t *info, void *context)
{
    struct mutator *m = mutator_self();
    int saved = errno;

    if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &world) {
        on_told(m);
    } else {
        note_place(m, __builtin_frame_address(0));
        world.suspend.sa_sigaction(signal, info, context);
        forget_place(m, false);
    }
    errno = saved;
}

bool world_tell(struct carrier *c)
{
    pthread_t self = atomic_load_seq_cst(&c->self); /* after the store of the hooks; see vthread/collector.h */

    return self != 0 && pthread_sigqueue(self, GC_get_suspend_signal(), (union sigval){.sival_ptr = &world}) == 0;
}

bool world_await(unsigned told)
{
    uint32_t n;

    while ((n = atomic_load_acquire(&world.registered)) < told)
        futex_wait(&world.registered, n, INT64_MAX);
    return !atomic_load_relaxed(&world.failed);
}

/* ---- bdwgc's hooks; with its lock ---- */

static void on_event(GC_EventType event)
{
    struct mutator *m = mutator_self();

    if (event == GC_EVENT_PRE_STOP_WORLD) {
        atomic_store_relaxed(&world.stopped, NULL);
        atomic_store_relaxed(&world.stop, atomic_load_relaxed(&world.stop) + 1); /* the signals publish */
        note_place(m, __builtin_frame_address(0));
    } else if (event == GC_EVENT_POST_STOP_WORLD) {
        world_stopped = atomic_load_acquire(&world.stopped);
    } else if (event == GC_EVENT_PRE_START_WORLD) {
        leaks_find();
    } else if (event == GC_EVENT_POST_START_WORLD) {
        forget_place(m, true);
        roots_forget();
    }
    if (world.event != NULL)
        world.event(event);
}

static void push_other_roots(void)
{
    world.other_roots(); /* of all threads that are registered, what is between where they stopped and the bottom */
    roots_push();
}

bool world_init(void)
{
    struct sigaction wrapped;

    if (sigaction(GC_get_suspend_signal(), NULL, &world.suspend) != 0 || !(world.suspend.sa_flags & SA_SIGINFO))
        return false;
    wrapped = world.suspend;
    wrapped.sa_sigaction = on_suspend;
    world.other_roots = GC_get_push_other_roots();
    world.event = GC_get_on_collection_event();
    GC_set_push_other_roots(push_other_roots);
    GC_set_on_collection_event(on_event);
    return sigaction(GC_get_suspend_signal(), &wrapped, NULL) == 0;
}
