/* SPDX-License-Identifier: MIT */
/*
 * Platform threads: their records and parkers, and threads of kind PLATFORM.
 *
 * A record is made when a platform thread first needs to be named, and freed
 * when the OS thread ends (a pthread key's destructor), however often the runtime
 * was shut down meanwhile.  struct platform is pooled and never freed while the
 * runtime lives: a late waker may still touch its parker.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/panic.h"
#include "vthread/collector.h"
#include "vthread/mount.h"
#include "vthread/thread.h"
#include "vthread/work.h"

static _Thread_local struct platform *platform_current __attribute__((tls_model("initial-exec")));

static struct {
    pthread_once_t once;
    pthread_key_t key;
    struct lock lock;
    struct platform *free;
    ATOMIC(struct platform *) all;
    ATOMIC(uint32_t) nameless_calls; /* of threads that there was no struct platform for */
} platforms = {.once = PTHREAD_ONCE_INIT};

/* A carrier at its end: only destructors of the user's thread-specific data run here any more. */
static _Thread_local bool was_carrier __attribute__((tls_model("initial-exec")));

void platform_carrier_ends(void)
{
    was_carrier = true;
}

bool platform_was_carrier(void)
{
    return was_carrier;
}

/* The records of a thread that ends go back. */
static void give_back_records(struct platform *pl)
{
    struct thread *t = pl->self;

    pl->self = NULL;
    if (t != NULL) {
        if (pl->counted)
            atomic_store_relaxed(&thread_cold(t)->value, pl->value);
        thread_ended(t, &pl->records);
    }
    record_cache_flush(&pl->records);
}

static void give_back(struct platform *pl)
{
    lock_acquire(&platforms.lock);
    pl->next_free = platforms.free;
    platforms.free = pl;
    lock_release(&platforms.lock);
}

static void platform_leave(struct platform *pl)
{
    if (pl->self != NULL && thread_left_locks(pl->self) && !runtime_forked())
        thread_failed(pl->self, VTHREAD_FAILURE_LOCKS_HELD, 0);
    if (pl->counted) {
        give_back_records(pl);
        pl->counted = false;
        runtime_count_ended(); /* only now: nothing of ours is touched that a shutdown may free */
    } else if (runtime_begin_look() == 0) {
        give_back_records(pl);
        platform_end_call();
    } else {
        return; /* the child of a fork */
    }
    give_back(pl);
}

static void at_thread_end(void *value)
{
    struct platform *pl = value;

    platform_current = pl; /* for what is done here */
    if (pl->self != NULL && !runtime_forked())
        thread_wind_up(pl->self);
    platform_leave(pl);
    platform_current = NULL;
    if (UNLIKELY(collector_is_on()))
        collector_leave();
}

static void make_key(void)
{
    if (pthread_key_create(&platforms.key, at_thread_end) != 0)
        panic("no pthread key for platform threads");
}

static struct platform *platform_self(void)
{
    struct platform *pl = platform_current;

    if (LIKELY(pl != NULL))
        return pl;
    pthread_once(&platforms.once, make_key);
    lock_acquire(&platforms.lock);
    pl = platforms.free;
    if (pl != NULL) {
        platforms.free = pl->next_free;
    } else if ((pl = memory_alloc(sizeof *pl)) != NULL) {
        pl->next = atomic_load_relaxed(&platforms.all);
        atomic_store_release(&platforms.all, pl); /* pairs with platform_await_calls */
    }
    lock_release(&platforms.lock);
    if (pl == NULL)
        return NULL;
    if (pthread_setspecific(platforms.key, pl) != 0) {
        give_back(pl);
        return NULL;
    }
    platform_current = pl;
    return pl;
}

bool platform_is_kept(void)
{
    return platform_self() != NULL;
}

struct record_cache *record_cache_self(void)
{
    struct processor *p = processor_self();
    struct platform *pl;

    if (p != NULL)
        return &p->records;
    pl = platform_self();
    return pl != NULL ? &pl->records : NULL;
}

static void adopt(struct platform *pl, struct thread *t)
{
    t->cont.sp = &pl->parker;
    pl->self = t;
}

/* The record of the calling platform thread, which did not ask the library to be made. */
static struct thread *foreign_self(struct platform *pl)
{
    struct thread *t = record_alloc(&pl->records);
    uint64_t w;

    if (t == NULL)
        return NULL;
    *thread_cold(t) = (struct thread_cold){0};
    t->flags = THREAD_PLATFORM;
    t->in_room = 0;
    t->stays = 0;
    t->reason = 0;
    atomic_store_release(&t->held, 0); /* as all of its stores (thread_holds) */
    t->deadline_ns = INT64_MAX;
    atomic_store_relaxed(&t->slot, NULL);
    atomic_store_relaxed(&t->phase, VTHREAD_RUNNING);
    w = atomic_load_relaxed(&t->word);
    atomic_store_release(&t->word, word_with_state(w, WORD_ACTIVE) | WORD_CONSUMED);
    adopt(pl, t);
    return t;
}

struct thread *thread_self(int *ret_error)
{
    struct processor *p = processor_self();
    struct platform *pl;
    int error = 0;

    if (LIKELY(p != NULL)) {
        if (UNLIKELY(p->current == NULL)) {
            struct pin_count *refused = &p->pinned[VTHREAD_PIN_CALLBACK];

            error = EDEADLK;
            if (ret_error != NULL) /* a call that may wait, or that needs to know who it is for */
                atomic_store_relaxed(&refused->parks, atomic_load_relaxed(&refused->parks) + 1);
        }
        if (ret_error != NULL)
            *ret_error = error;
        return p->current;
    }
    if (UNLIKELY(collector_is_on()))
        collector_enter();
    pl = platform_current;
    if (pl == NULL || pl->self == NULL) {
        error = runtime_begin_call();
        if (error == 0) {
            pl = platform_current;
            if (pl->self == NULL && foreign_self(pl) == NULL)
                error = ENOMEM;
            platform_end_call();
        }
    }
    if (ret_error != NULL)
        *ret_error = error;
    return error == 0 ? pl->self : NULL;
}

struct thread *thread_self_if_known(void)
{
    struct processor *p = processor_self();
    struct platform *pl;

    if (LIKELY(p != NULL))
        return p->current;
    pl = platform_current;
    return pl != NULL ? pl->self : NULL;
}

struct thread_extra *thread_extra_own(struct thread *self)
{
    struct thread_extra *extra = thread_extra_get(self);

    if (UNLIKELY(self->flags & THREAD_PLATFORM))
        platform_current->kept = extra;
    return extra;
}

/* The runtime has gone.  Threads keep their records; what no thread uses is freed. */
void platform_end_life(void)
{
    lock_acquire(&platforms.lock);
    while (platforms.free != NULL) {
        struct platform *gone = platforms.free;
        struct platform *before = atomic_load_relaxed(&platforms.all);

        platforms.free = gone->next_free;
        if (before == gone) {
            atomic_store_relaxed(&platforms.all, gone->next);
        } else {
            while (before->next != gone)
                before = before->next;
            before->next = gone->next;
        }
        memory_free(gone);
    }
    for (struct platform *pl = atomic_load_relaxed(&platforms.all); pl != NULL; pl = pl->next) {
        pl->records = (struct record_cache){0}; /* record_end_life finds them by index */
        pl->kept = pl->self != NULL ? thread_extra(pl->self) : NULL;
    }
    lock_release(&platforms.lock);
}

/* ---- calls under way (thread.h) ---- */

int platform_begin_call(void)
{
    struct platform *pl = platform_self();

    if (UNLIKELY(pl == NULL))
        return ENOMEM;
    atomic_store_relaxed(&pl->calls, atomic_load_relaxed(&pl->calls) + 1);
    barrier_light(); /* pairs with the heavy ones in vthread_runtime_shutdown and collector_begin */
    if (UNLIKELY(collector_is_on()))
        collector_enter();
    return 0;
}

bool platform_is_nested(void)
{
    return atomic_load_relaxed(&platform_current->calls) > 1;
}

void platform_end_call(void)
{
    struct platform *pl = platform_current;

    /* release: pairs with platform_await_calls */
    atomic_store_release(&pl->calls, atomic_load_relaxed(&pl->calls) - 1);
}

/* Each thread once: whoever begins later sees what was stored before the barrier, and turns back. */
void platform_await_calls(void)
{
    struct platform *pl = atomic_load_acquire(&platforms.all); /* those to come are before it in the list */

    for (; pl != NULL; pl = pl->next)
        while (atomic_load_acquire(&pl->calls) > 0)
            usleep(50);
    while (atomic_load_seq_cst(&platforms.nameless_calls) > 0)
        usleep(50);
}

/*
 * Until the thread is in the queue it has not ended, so the runtime stays up without
 * further question; but then it may be gone before this returns.
 */
void platform_inject(struct task *task)
{
    if (LIKELY(platform_begin_call() == 0)) {
        pool_inject(task);
        platform_end_call();
        return;
    }
    atomic_fetch_add_seq_cst(&platforms.nameless_calls, 1);
    pool_inject(task);
    atomic_fetch_sub_acq_rel(&platforms.nameless_calls, 1);
}

void platform_forget_self(void)
{
    platform_current = NULL;
}

bool platform_is_ours(void)
{
    struct platform *pl = platform_current;

    return pl != NULL && pl->self != NULL && pl->counted;
}

/* ---- threads of kind PLATFORM ---- */

static void *platform_main(void *arg)
{
    struct thread *t = arg;
    struct platform *pl = platform_self();
    struct switch_entry entry = thread_entry(t);

    ASSERT_ALWAYS(pl != NULL);
    adopt(pl, t);
    pl->counted = true;
    atomic_store_relaxed(&t->phase, VTHREAD_RUNNING);
    if (UNLIKELY(collector_is_on()))
        collector_enter();
    atomic_store_relaxed(&t->slot, NULL); /* the argument is the thread's business from here on */
    entry.finish(entry.fn(entry.arg));
    return NULL;
}

/*
 * Destructors of the OS thread's own are yet to come, and may call: of what it was to do nothing is left
 * for them to find.
 */
void platform_exit(void *value)
{
    struct platform *pl = platform_current;

    pl->value = value;
    atomic_store_relaxed(&thread_cold(pl->self)->value, NULL);
    pthread_exit(NULL); /* the key's destructor does the rest */
}

int platform_create(struct thread *t)
{
    struct thread_extra *extra = thread_extra(t);
    pthread_attr_t attr;
    pthread_t os;
    int error;

    if (fault_point(FAULT_THREAD))
        return EAGAIN;
    if (pthread_attr_init(&attr) != 0)
        return ENOMEM;
    runtime_count_created(1); /* before it can end */
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = extra != NULL && extra->stack_bytes > 0 ? pthread_attr_setstacksize(&attr, extra->stack_bytes) : 0;
    if (error == 0)
        error = pthread_create(&os, &attr, platform_main, t);
    pthread_attr_destroy(&attr);
    if (error != 0)
        runtime_count_created(-1);
    return error;
}
