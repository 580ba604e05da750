/* SPDX-License-Identifier: MIT */
/*
 * Platform threads: their records and parkers, and threads of kind PLATFORM.
 *
 * A record is made when a platform thread first needs to be named, and freed
 * when the OS thread ends (a pthread key's destructor).  struct platform is pooled
 * and never freed while the runtime lives: a late waker may still touch its parker.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/panic.h"
#include "vthread/mount.h"
#include "vthread/thread.h"

static _Thread_local struct platform *platform_current __attribute__((tls_model("initial-exec")));

static struct {
    pthread_once_t once;
    pthread_key_t key;
    struct lock lock;
    struct platform *free;
    struct platform *all;
} platforms = {.once = PTHREAD_ONCE_INIT};

/* The records of a thread that ends go back. */
static void give_back_records(struct platform *pl)
{
    struct thread *t = pl->self;

    pl->self = NULL;
    if (t != NULL)
        thread_ended(t, &pl->records);
    record_cache_flush(&pl->records);
}

static void platform_leave(struct platform *pl)
{
    if (pl->counted) {
        pl->counted = false;
        give_back_records(pl);
        runtime_count_ended(); /* only now: nothing of ours is touched that a shutdown may free */
        lock_acquire(&platforms.lock);
    } else {
        /* A shutdown does not wait for this thread: the lock keeps the records in being meanwhile. */
        lock_acquire(&platforms.lock);
        give_back_records(pl);
    }
    pl->next_free = platforms.free;
    platforms.free = pl;
    lock_release(&platforms.lock);
}

static void at_thread_end(void *value)
{
    platform_current = NULL;
    platform_leave(value);
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
        pl->next = platforms.all;
        platforms.all = pl;
    }
    lock_release(&platforms.lock);
    if (pl == NULL)
        return NULL;
    if (pthread_setspecific(platforms.key, pl) != 0) {
        platform_leave(pl);
        return NULL;
    }
    platform_current = pl;
    return pl;
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
    t->reason = 0;
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
        if (UNLIKELY(p->current == NULL))
            error = EDEADLK;
        if (ret_error != NULL)
            *ret_error = error;
        return p->current;
    }
    pl = platform_current;
    if (pl == NULL || pl->self == NULL) {
        error = runtime_enter();
        if (error == 0) {
            pl = platform_self();
            if (pl == NULL || (pl->self == NULL && foreign_self(pl) == NULL))
                error = ENOMEM;
        }
    }
    if (ret_error != NULL)
        *ret_error = error;
    return error == 0 ? pl->self : NULL;
}

/*
 * The runtime has gone: records named so far are no more.  What no thread uses is
 * freed; the others keep theirs, empty.
 */
void platform_forget_all(void)
{
    struct platform **at = &platforms.all;

    lock_acquire(&platforms.lock);
    for (struct platform *pl = platforms.all; pl != NULL; pl = pl->next) {
        pl->self = NULL;
        pl->records = (struct record_cache){0};
    }
    while (platforms.free != NULL) {
        struct platform *gone = platforms.free;

        platforms.free = gone->next_free;
        for (at = &platforms.all; *at != gone; at = &(*at)->next)
            ;
        *at = gone->next;
        memory_free(gone);
    }
    lock_release(&platforms.lock);
}

void platform_forget_self(void)
{
    platform_current = NULL;
}

bool platform_is_ours(void)
{
    struct platform *pl = platform_current;

    return pl != NULL && pl->self != NULL && thread_cold(pl->self)->fn != NULL;
}

/* ---- threads of kind PLATFORM ---- */

static void *platform_main(void *arg)
{
    struct thread *t = arg;
    struct platform *pl = platform_self();

    ASSERT_ALWAYS(pl != NULL);
    adopt(pl, t);
    pl->counted = true;
    atomic_store_relaxed(&t->phase, VTHREAD_RUNNING);
    thread_finish(thread_cold(t)->fn(atomic_load_relaxed(&t->slot)));
    return NULL;
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
