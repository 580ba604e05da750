/* SPDX-License-Identifier: MIT */
/*
 * Starting the collector, the calls of gc.h, and the thread that finalizers run on.
 */
#include "gc/collector.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/gc.h>

#include "base/futex.h"
#include "base/memory.h"
#include "base/panic.h"
#include "vthread/collector.h"

enum state { NOT_STARTED, STARTING, READY, REFUSED };

static struct {
    ATOMIC(uint32_t) state;       /* enum state */
    ATOMIC(uint32_t) to_finalize; /* 1: there may be something for the finalizers' thread */
    int error;                    /* why REFUSED */
} collector;

/* ---- registering ---- */

/* Whoever takes part can be stopped, and go on. */
static void let_signals_in(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, GC_get_suspend_signal());
    sigaddset(&set, GC_get_thr_restart_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void carrier_starts(struct carrier *c)
{
    struct mutator *m = mutator_self();

    let_signals_in();
    if (!atomic_load_relaxed(&m->registered) && !mutator_register(m, c->bottom))
        panic("the collector has no memory to know a carrier by");
}

static void carrier_stops(struct carrier *c)
{
    (void)c;
    mutator_unregister(mutator_self());
}

/* The calling platform thread's own stack. */
static bool own_stack(char **ret_limit, char **ret_bottom)
{
    pthread_attr_t attr;
    void *limit;
    size_t bytes;
    bool known;

    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return false;
    known = pthread_attr_getstack(&attr, &limit, &bytes) == 0;
    pthread_attr_destroy(&attr);
    *ret_limit = limit;
    *ret_bottom = (char *)limit + bytes;
    return known;
}

static int enter_slow(struct mutator *m)
{
    struct GC_stack_base base;
    int saved = errno;
    int error = 0;
    char *limit;
    char *bottom;

    if (platform_was_carrier() || runtime_forked())
        return ENOTSUP;
    let_signals_in();
    /* In this order: what is registered is going to be unregistered (leave). */
    if (platform_is_kept() && own_stack(&limit, &bottom) && mutator_register(m, bottom)) {
        void *handle = GC_get_my_stackbottom(&base);

        m->limit = limit;
        m->handle = m->ours ? handle : NULL;
        m->bottom = base.mem_base; /* one that had registered itself knows best */
    } else {
        error = ENOMEM;
    }
    errno = saved;
    return error;
}

/* The calling thread takes part.  0, ENOMEM or ENOTSUP. */
static inline int enter(void)
{
    struct mutator *m = mutator_self();

    if (LIKELY(mutator_is_known(m)))
        return 0;
    return enter_slow(m);
}

static void hook_enter(void)
{
    if (processor_self() == NULL)
        (void)enter();
}

static void hook_leave(void)
{
    mutator_unregister(mutator_self());
}

static const struct collector_hooks hooks = {
    .carrier_starts = carrier_starts,
    .carrier_stops = carrier_stops,
    .enter = hook_enter,
    .leave = hook_leave,
    .tell = world_tell,
};

/* ---- finalizers ---- */

static void notify_finalizers(void)
{
    atomic_store_release(&collector.to_finalize, 1);
    futex_wake(&collector.to_finalize, 1);
}

static void *await_finalizable(void *arg)
{
    (void)arg;
    futex_wait(&collector.to_finalize, 0, INT64_MAX);
    return NULL;
}

static NORETURN void run_finalizers(void)
{
    for (;;) {
        GC_do_blocking(await_finalizable, NULL); /* a collection need not stop it meanwhile */
        if (atomic_exchange_acq_rel(&collector.to_finalize, 0) != 0)
            GC_invoke_finalizers();
    }
}

/* ---- starting ---- */

static int refuse(const char *why)
{
    misuse("vthread_gc_alloc", "the collector does not work: %s", why);
    return ENOTSUP;
}

/* On the thread that is to be bdwgc's first, if the program has not initialised it. */
static int initialise(void)
{
    struct GC_stack_base base;
    bool was_there = GC_is_init_called();

    if (getenv("GC_ENABLE_INCREMENTAL") != NULL || (was_there && GC_is_incremental_mode()))
        return refuse("incremental collection (GC_ENABLE_INCREMENTAL) does not see what is written into frozen frames");
    if (!was_there) {
        if (GC_get_stack_base(&base) != GC_SUCCESS)
            return ENOMEM;
        GC_set_stackbottom(NULL, &base); /* else it would take it for the program's main thread, which has another */
        GC_set_suspend_signal(SIGPWR);   /* as carriers expect them */
        GC_set_thr_restart_signal(SIGXCPU);
        GC_INIT();
    }
    if (GC_get_suspend_signal() != SIGPWR || GC_get_thr_restart_signal() != SIGXCPU)
        return refuse("the program has changed the signals that stop the world, which carriers block");
    GC_allow_register_threads();
    GC_set_java_finalization(1); /* what is finalized refers to what is whole */
    continuations_init();
    if (!was_there || GC_get_finalizer_notifier() == NULL) {
        GC_set_finalize_on_demand(1);
        GC_set_finalizer_notifier(notify_finalizers);
    }
    if (!world_init())
        return refuse("the handler of the signal that stops the world is not bdwgc's");
    return 0;
}

static void become(enum state state)
{
    atomic_store_release(&collector.state, state); /* pairs with the acquire of those who wait for it */
    futex_wake(&collector.state, INT32_MAX);
}

/* The collector's own thread: bdwgc's first, and later the finalizers'. */
static void *own_thread(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "vthread-gc");
    collector.error = initialise();
    if (collector.error == 0 && (!world_await(collector_begin(&hooks)) || enter() != 0))
        collector.error = ENOMEM;
    if (collector.error == 0) {
        become(READY);
        run_finalizers();
    }
    become(REFUSED);
    return NULL;
}

static int start_thread(void)
{
    sigset_t all;
    sigset_t before;
    pthread_attr_t attr;
    pthread_t thread;
    int error;

    if (fault_point(FAULT_THREAD))
        return EAGAIN;
    if (pthread_attr_init(&attr) != 0)
        return ENOMEM;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* no signal of the program's; it lets in the two that it needs itself */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    sigdelset(&all, SIGTRAP);
    sigdelset(&all, SIGPWR);
    sigdelset(&all, SIGXCPU);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attr, own_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return error;
}

/* In the child of a fork the threads that it would stop are not there. */
static void in_child(void)
{
    collector.error = ENOTSUP;
    atomic_store_relaxed(&collector.state, REFUSED);
}

static int begin_starting(void)
{
    static bool handled; /* whoever is STARTING */

    if (!handled && (fault_point(FAULT_ALLOC) || pthread_atfork(NULL, NULL, in_child) != 0))
        return ENOMEM;
    handled = true;
    return start_thread();
}

/* One begins; the others wait for it, blocking their OS threads: the carriers are interrupted by a signal there. */
static COLD int start(void)
{
    uint32_t state = NOT_STARTED;

    if (runtime_forked())
        return ENOTSUP;
    if (atomic_cas_acq_rel(&collector.state, &state, STARTING) && begin_starting() != 0) {
        become(NOT_STARTED);
        return ENOMEM;
    }
    while ((state = atomic_load_acquire(&collector.state)) == STARTING)
        futex_wait(&collector.state, STARTING, INT64_MAX);
    if (state != READY)
        return state == REFUSED ? collector.error : ENOMEM;
    return processor_self() != NULL ? 0 : enter(); /* carriers were told */
}

int collector_start(void)
{
    /* A carrier registers before anything is READY, or before it runs anything. */
    if (LIKELY(atomic_load_acquire(&collector.state) == READY) && LIKELY(mutator_is_known(mutator_self())))
        return 0;
    return start();
}

/* ---- gc.h ---- */

static inline bool can_allocate(void)
{
    return LIKELY(collector_start() == 0) && !fault_point(FAULT_ALLOC);
}

void *vthread_gc_alloc(size_t size)
{
    return can_allocate() ? GC_MALLOC(size) : NULL;
}

void *vthread_gc_alloc_atomic(size_t size)
{
    return can_allocate() ? GC_MALLOC_ATOMIC(size) : NULL;
}

void *vthread_gc_alloc_root(size_t size)
{
    return can_allocate() ? GC_MALLOC_UNCOLLECTABLE(size) : NULL;
}

void vthread_gc_free(void *root)
{
    if (root != NULL && collector_start() == 0)
        GC_FREE(root);
}

char *vthread_gc_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = vthread_gc_alloc_atomic(bytes);

    return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

bool finalizer_set(void *object, GC_finalization_proc fn, void *user)
{
    static char unchanged;
    void *user_before = &unchanged;

    if (fault_point(FAULT_ALLOC))
        return false;
    GC_register_finalizer_no_order(object, fn, user, NULL, &user_before);
    return user_before != &unchanged; /* bdwgc has no other way to say that there was no memory */
}

int vthread_gc_set_finalizer(void *object, vthread_gc_finalizer_t *fn, void *user)
{
    int error;

    if (object == NULL)
        return EINVAL;
    error = collector_start();
    if (error != 0)
        return error;
    if (GC_base(object) != object)
        return EINVAL;
    return finalizer_set(object, fn, user) ? 0 : ENOMEM;
}

int vthread_gc_register_thread(void)
{
    return collector_start();
}

void vthread_gc_collect(void)
{
    if (atomic_load_acquire(&collector.state) == READY && collector_start() == 0)
        GC_gcollect();
}
