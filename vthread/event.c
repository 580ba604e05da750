/* SPDX-License-Identifier: MIT */
/* Events: the queue, the subscriptions, and the thread that tells. */
#include "vthread/event.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/memory.h"
#include "base/service.h"
#include "vthread/mount.h"
#include "vthread/sample.h"
#include "vthread/thread.h"

enum { KEPT_MAX = 1024, FLUSH_AT_EXIT_NS = 500 * 1000 * 1000 };

struct subscription {
    struct subscription *next; /* by id, ascending */
    uint64_t id;
    uint64_t after; /* numbers of events: those after this one ... */
    uint64_t until; /* ... and up to that one are for it */
    uint32_t mask;
    bool leaving;
    vthread_event_fn *fn;
    void *user;
};

static struct {
    struct lock lock; /* a leaf */
    struct event *first;
    struct event **end;
    uint32_t count;
    uint64_t posted; /* number of the latest */
    uint64_t lost;
    atomic_word word; /* the teller sleeps on it; changed by each post, and when subscriptions end */
} queue;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t told; /* `done` has moved, or the teller has gone */
    struct subscription *first;
    ATOMIC(uint64_t) last_id; /* changed under the lock */
    uint64_t done;            /* all events up to this number have been told */
    bool has_teller;
    bool at_exit;
    bool watches_forks;
    pthread_t teller;
} event = {.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};

__typeof__(event_mask) event_mask;

/* ---- the queue ---- */

static void rouse_teller(void)
{
    atomic_fetch_add_acq_rel(&queue.word, 1);
    futex_wake(&queue.word, 1);
}

static void count_lost(void)
{
    lock_acquire(&queue.lock);
    queue.lost++;
    lock_release(&queue.lock);
}

static void event_free(struct event *e)
{
    memory_free(e->sample);
    memory_free(e);
}

struct event *event_new(vthread_event_kind_t kind, struct thread *t)
{
    struct event *e = memory_alloc(sizeof *e);

    if (e == NULL) {
        count_lost();
        return NULL;
    }
    e->public.kind = kind;
    e->public.time_ns = clock_now_ns();
    e->public.carrier = -1;
    e->until = UINT64_MAX;
    if (t != NULL)
        e->public.thread = thread_handle(t);
    return e;
}

void event_post(struct event *e)
{
    bool kept;

    lock_acquire(&queue.lock);
    kept = queue.count < KEPT_MAX;
    if (kept) {
        if (queue.first == NULL)
            queue.end = &queue.first;
        e->next = NULL;
        e->number = ++queue.posted;
        e->public.lost = queue.lost;
        queue.lost = 0;
        *queue.end = e;
        queue.end = &e->next;
        queue.count++;
    } else {
        queue.lost++;
    }
    lock_release(&queue.lock);
    if (kept)
        rouse_teller();
    else
        event_free(e);
}

uint64_t event_latest_subscription(void)
{
    return atomic_load_acquire(&event.last_id);
}

static struct event *take(void)
{
    struct event *e;

    lock_acquire(&queue.lock);
    e = queue.first;
    if (e != NULL) {
        queue.first = e->next;
        queue.count--;
    }
    lock_release(&queue.lock);
    return e;
}

static uint64_t posted(void)
{
    uint64_t number;

    lock_acquire(&queue.lock);
    number = queue.posted;
    lock_release(&queue.lock);
    return number;
}

/* ---- the teller ---- */

static void set_mask_locked(void)
{
    uint32_t mask = 0;

    for (struct subscription *s = event.first; s != NULL; s = s->next)
        if (!s->leaving)
            mask |= s->mask;
    atomic_store_relaxed(&event_mask, mask);
    hog_reports_wanted((mask & (VTHREAD_EVENT_HOG | VTHREAD_EVENT_HOG_END)) != 0);
}

/* What can wait until it is told. */
static void complete(struct event *e)
{
    vthread_event_t *public = &e->public;

    public->id = vthread_id(public->thread);
    public->name = e->name;
    public->stack = e->pcs;
    /* A call: the runtime may be being taken down, and with it the table of stacks that frames are looked up in. */
    if (e->sample != NULL && runtime_begin_look() == 0) {
        public->depth = sample_unwind(e->sample, e->pcs, EVENT_DEPTH);
        platform_end_call();
    }
}

/* The subscription after that id that the event is for. */
static struct subscription *next_locked(uint64_t id, const struct event *e)
{
    struct subscription *s = event.first;

    while (s != NULL && (s->id <= id || !(s->mask & (uint32_t)e->public.kind) || e->number <= s->after ||
                         e->number > s->until || s->id <= e->after || s->id > e->until))
        s = s->next;
    return s;
}

static void tell(struct event *e)
{
    bool is_complete = false;
    struct subscription *s;
    vthread_event_t told;
    vthread_event_fn *fn;
    uint64_t id = 0;
    void *user;

    for (;;) {
        pthread_mutex_lock(&event.lock);
        s = next_locked(id, e);
        if (s == NULL)
            break;
        id = s->id;
        fn = s->fn;
        user = s->user;
        pthread_mutex_unlock(&event.lock);
        if (!is_complete)
            complete(e);
        is_complete = true;
        told = e->public; /* each a copy of its own: it may write there */
        fn(&told, user);
    }
    event.done = e->number;
    pthread_cond_broadcast(&event.told);
    pthread_mutex_unlock(&event.lock);
}

/* Nobody subscribes, and nothing is left to be told: the teller ends. */
static bool goes(void)
{
    bool goes;

    pthread_mutex_lock(&event.lock);
    goes = event.first == NULL;
    if (goes) {
        event.has_teller = false;
        pthread_cond_broadcast(&event.told);
    }
    pthread_mutex_unlock(&event.lock);
    return goes;
}

static void *teller_main(void *arg)
{
    (void)arg;
    for (;;) {
        uint32_t seen = atomic_load_acquire(&queue.word);
        struct event *e = take();

        if (e != NULL) {
            tell(e);
            event_free(e);
        } else if (goes()) {
            return NULL;
        } else {
            futex_wait(&queue.word, seen, INT64_MAX);
        }
    }
}

static int start_teller_locked(void)
{
    int error;

    if (event.has_teller)
        return 0;
    error = service_start(&event.teller, "vthread-events", teller_main, NULL);
    if (error == 0)
        pthread_detach(event.teller); /* it ends when it likes: a callback may be its last */
    event.has_teller = error == 0;
    return error;
}

/* ---- forks ---- */

/*
 * The child has no teller, and what there is to tell is the parent's.  If the runtime had not been started
 * yet, the child may subscribe and use the library like a program of its own, so all is as at its beginning; a lock may
 * have been held by a thread that is not there, so nothing is freed.
 */
static void in_child(void)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t told = PTHREAD_COND_INITIALIZER;

    queue.lock = (struct lock)LOCK_INITIALIZER;
    queue.first = NULL;
    queue.count = 0;
    queue.lost = 0;
    event.lock = lock;
    event.told = told;
    event.first = NULL;
    event.done = queue.posted;
    event.has_teller = false;
    atomic_store_relaxed(&event_mask, 0);
    hog_reports_wanted(false);
}

static int watch_forks_locked(void)
{
    if (!event.watches_forks)
        event.watches_forks = pthread_atfork(NULL, NULL, in_child) == 0;
    return event.watches_forks ? 0 : ENOMEM;
}

/* ---- subscriptions ---- */

static int subscribe(uint32_t mask, vthread_event_fn *fn, void *user, uint64_t *ret_id)
{
    struct subscription *s = memory_alloc(sizeof *s);
    struct subscription **end = &event.first;
    int error;

    if (s == NULL)
        return ENOMEM;
    pthread_mutex_lock(&event.lock);
    error = watch_forks_locked();
    if (error == 0)
        error = start_teller_locked();
    if (error == 0) {
        *s = (struct subscription){.mask = mask, .fn = fn, .user = user, .until = UINT64_MAX};
        s->id = atomic_load_relaxed(&event.last_id) + 1;
        s->after = posted();
        while (*end != NULL)
            end = &(*end)->next;
        *end = s;
        atomic_store_release(&event.last_id, s->id); /* who sees it posts what s is for: s->after has been read */
        set_mask_locked();
        if (ret_id != NULL)
            *ret_id = s->id;
    }
    pthread_mutex_unlock(&event.lock);
    if (error != 0)
        memory_free(s);
    return error;
}

static bool is_teller_locked(void)
{
    return event.has_teller && pthread_equal(event.teller, pthread_self());
}

static void remove_locked(struct subscription *s)
{
    struct subscription **at = &event.first;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    memory_free(s);
    set_mask_locked();
    if (event.first == NULL)
        rouse_teller();
}

static int unsubscribe(uint64_t id)
{
    struct subscription *s;
    int error = 0;

    pthread_mutex_lock(&event.lock);
    for (s = event.first; s != NULL && s->id != id;)
        s = s->next;
    if (s == NULL || s->leaving) {
        error = EINVAL;
    } else {
        s->leaving = true;
        s->until = posted();
        set_mask_locked();
        while (!is_teller_locked() && event.done < s->until)
            pthread_cond_wait(&event.told, &event.lock);
        remove_locked(s);
    }
    pthread_mutex_unlock(&event.lock);
    return error;
}

int vthread_event_subscribe(uint32_t mask, vthread_event_fn *fn, void *user, uint64_t *ret_id)
{
    int error;

    if (mask == 0 || (mask & ~(uint32_t)VTHREAD_EVENT_ALL) != 0 || fn == NULL)
        return EINVAL;
    error = runtime_begin_look_anywhere();
    if (error != 0)
        return error;
    error = runtime_forked() ? ENOTSUP : subscribe(mask, fn, user, ret_id);
    if (error == 0 && (mask & VTHREAD_EVENT_PINNING) && runtime_has_carriers())
        pinned_rouse();
    runtime_end_look_anywhere();
    return error;
}

int vthread_event_unsubscribe(uint64_t id)
{
    bool began;
    int error;

    if (runtime_forked())
        return ENOTSUP;
    began = thread_mounted() != NULL && vthread_blocking_begin("vthread_event_unsubscribe") == 0;
    error = unsubscribe(id);
    if (began)
        vthread_blocking_end();
    return error;
}

/* ---- traces ---- */

struct trace {
    uint64_t id; /* 0: off */
    bool full;
};

static struct trace pinned_trace;
static struct trace hog_trace;

static void print(const vthread_event_t *e, void *user)
{
    static char text[16 * 1024]; /* the teller's */
    const struct trace *trace = user;
    size_t prefix = (size_t)snprintf(text, sizeof text, "vthread: ");
    int length = vthread_event_text(e, trace->full, text + prefix, sizeof text - prefix - 1);
    size_t all;

    if (length < 0)
        return;
    all = strlen(text);
    if (text[all - 1] != '\n')
        text[all++] = '\n';
    (void)!write(STDERR_FILENO, text, all);
}

/* A program that returns from main while something is yet to be printed shall see it, if that does not take long. */
static void flush_at_exit(void)
{
    struct timespec until;
    int64_t until_ns = clock_monotonic_ns() + FLUSH_AT_EXIT_NS;
    uint64_t number;

    if (runtime_forked())
        return;
    number = posted();
    until.tv_sec = until_ns / 1000000000;
    until.tv_nsec = until_ns % 1000000000;
    pthread_mutex_lock(&event.lock);
    while (event.has_teller && !is_teller_locked() && event.done < number &&
           pthread_cond_clockwait(&event.told, &event.lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    pthread_mutex_unlock(&event.lock);
}

static bool start_trace(struct trace *trace, enum event_trace how, uint32_t mask)
{
    trace->full = how == EVENT_TRACE_FULL;
    return how == EVENT_TRACE_OFF || subscribe(mask, print, trace, &trace->id) == 0;
}

bool event_start_traces(enum event_trace pinned, enum event_trace hogs)
{
    bool on = pinned != EVENT_TRACE_OFF || hogs != EVENT_TRACE_OFF;

    if (on && !event.at_exit)
        event.at_exit = atexit(flush_at_exit) == 0;
    return start_trace(&pinned_trace, pinned, VTHREAD_EVENT_PINNED | VTHREAD_EVENT_PINNING | VTHREAD_EVENT_OS_MUTEX) &&
           start_trace(&hog_trace, hogs, VTHREAD_EVENT_HOG | VTHREAD_EVENT_HOG_END);
}

static void stop_trace(struct trace *trace)
{
    if (trace->id != 0)
        unsubscribe(trace->id);
    trace->id = 0;
}

void event_stop_traces(void)
{
    stop_trace(&pinned_trace);
    stop_trace(&hog_trace);
}

/* ---- ends ---- */

void event_end_life(void)
{
    struct event *e;

    pthread_mutex_lock(&event.lock);
    while (event.first == NULL && event.has_teller && !is_teller_locked())
        pthread_cond_wait(&event.told, &event.lock);
    if (!event.has_teller) /* somebody has noticed something just after the last one had unsubscribed */
        while ((e = take()) != NULL) {
            event.done = e->number;
            event_free(e);
        }
    pthread_mutex_unlock(&event.lock);
}
