/* SPDX-License-Identifier: MIT */
#include "observe/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <vthread/sync.h>

#include "base/memory.h"
#include "base/panic.h"
#include "base/service.h"
#include "sync/owner.h"
#include "vthread/mount.h"
#include "vthread/sample.h"

enum {
    AUTHOR_LOOKS = 1000,
    TRIES = 16,
    BATCH = 8,
    NAMES_AT_FIRST = 16,
    QUEUED_MAX = 1000,
    ADMISSION_NS = 10 * 1000 * 1000
};

static void fail(struct dump *d, int error)
{
    if (d->error == 0)
        d->error = error;
}

static bool has_failed(const struct dump *d)
{
    return d->error != 0 || d->sink.error != 0;
}

/* ---- for the forms ---- */

const char *dump_frame(struct dump *d, const struct thread_view *view, int i)
{
    enum symbol_pc kind = i == 0 && view->is_sample ? SYMBOL_INSTRUCTION : SYMBOL_RETURN_ADDRESS;
    const char *text = frames_text(&d->frames, (uintptr_t)view->pcs[i], kind);

    if (text == NULL)
        fail(d, ENOMEM);
    return text != NULL ? text : "?";
}

const char *dump_state_name(vthread_public_state_t state)
{
    static const char *const names[] = {
        [VTHREAD_PUBLIC_NEW] = "NEW",
        [VTHREAD_PUBLIC_RUNNABLE] = "RUNNABLE",
        [VTHREAD_PUBLIC_BLOCKED] = "BLOCKED",
        [VTHREAD_PUBLIC_WAITING] = "WAITING",
        [VTHREAD_PUBLIC_TIMED_WAITING] = "TIMED_WAITING",
        [VTHREAD_PUBLIC_TERMINATED] = "TERMINATED",
    };

    return names[state];
}

const char *dump_blocker_name(enum blocker_kind kind)
{
    static const char *const names[] = {
        [BLOCKER_NONE] = "none",     [BLOCKER_OBJECT] = "object", [BLOCKER_MUTEX] = "mutex",
        [BLOCKER_RWLOCK] = "rwlock", [BLOCKER_THREAD] = "thread", [BLOCKER_DESCRIPTOR] = "descriptor",
    };

    return names[kind];
}

/* ---- what only its owner writes, read by us at any time: hints, but for a parked thread whose word stays ---- */

NO_SANITIZE NOINLINE static uint8_t flags_of(const struct thread *t)
{
    return *(const volatile uint8_t *)&t->flags;
}

NO_SANITIZE NOINLINE static unsigned carrier_of(const struct thread *t)
{
    return t->carrier;
}

NO_SANITIZE NOINLINE static int64_t deadline_of(const struct thread *t)
{
    return *(const volatile int64_t *)&t->deadline_ns;
}

/* Of the thread that is mounted there, which may change meanwhile: then of another, or NULL. */
NO_SANITIZE NOINLINE static const char *pin_reason_on(const struct processor *p)
{
    uint32_t open = *(const volatile uint32_t *)&p->pins.open;
    unsigned kind = open >> PIN_OUTERMOST_SHIFT;

    if (kind >= PIN_KINDS || (open >> 8 * kind & 0xff) == 0) /* it is gone, but others have stayed */
        for (kind = 0; kind < PIN_KINDS && (open >> 8 * kind & 0xff) == 0;)
            kind++;
    if (kind == PIN_KINDS)
        return NULL;
    return kind == VTHREAD_PIN_MONITOR ? "inside a monitor"
                                       : *(const char *const volatile *)&p->pins.first[kind].reason;
}

NO_SANITIZE NOINLINE static bool is_pinned(const struct thread *t)
{
    return (flags_of(t) & THREAD_PINNED) != 0;
}

NO_SANITIZE NOINLINE static enum join_state join_state_of(const struct thread *t)
{
    return (enum join_state)thread_cold(t)->join_state;
}

NO_SANITIZE NOINLINE static struct thread *mounted_by(struct carrier *c)
{
    return *(struct thread *volatile *)&((struct processor *)(void *)c)->current;
}

/* ---- one thread ---- */

NO_SANITIZE NOINLINE static bool has_extra(const struct thread *t)
{
    return *(struct thread_extra *const volatile *)&thread_cold(t)->extra != NULL;
}

/* It is not being made any more (create.c).  Its word is read before. */
static bool is_complete(struct thread *t, uint64_t w)
{
    uint8_t phase = atomic_load_acquire(&t->phase);

    return word_state(w) == WORD_NEW ? phase == VTHREAD_NEW : phase != VTHREAD_TERMINATED;
}

/* The extra part of a thread, if it has one, stays while the thread is held.  False: it has ended. */
static bool hold(struct dump *d, struct thread *t, bool *ret_held)
{
    uint64_t w = atomic_load_acquire(&t->word);
    int error = ESRCH;

    *ret_held = false;
    if (word_state(w) == WORD_TERMINATED)
        return false;
    if (t == d->self || !has_extra(t) || !is_complete(t, w))
        return true;
    error = vthread_ref(thread_handle_of(t, w));
    *ret_held = error == 0;
    return error != ESRCH; /* EAGAIN: it has too many references for one more, and goes without a name */
}

static void let_go(struct thread *t, bool held)
{
    if (held)
        vthread_unref(thread_handle(t));
}

/* The same wait, the same life? */
static bool is_same(uint64_t a, uint64_t b)
{
    uint64_t bits = ~(uint64_t)0 << WORD_GENERATION_SHIFT | WORD_SEQUENCE_MASK | WORD_STATE_MASK;

    return ((a ^ b) & bits) == 0;
}

static vthread_t handle_at(uint32_t index)
{
    return thread_handle(&thread_table[index]);
}

static void see_blocker(struct dump *d, struct thread *t, uint64_t w, struct thread_view *v)
{
    void *slot = atomic_load_relaxed(&t->slot);
    enum descriptor_use use;
    struct lock_wait wait;
    uint32_t generation;
    struct thread *joined;

    if (join_state_of(t) == JOIN_GRANTED) /* it is about to be woken, and what is there is the value */
        return;
    if (join_state_of(t) == JOIN_QUEUED) {
        joined = thread_of((vthread_t)slot, &generation);
        if (joined != NULL && word_generation(atomic_load_relaxed(&joined->word)) == generation) {
            v->blocker = BLOCKER_THREAD;
            v->owner = (vthread_t)slot;
        }
        return;
    }
    if (slot == NULL)
        return;
    if (thread_descriptor_of(slot, w, &v->fd, &use)) {
        v->blocker = BLOCKER_DESCRIPTOR;
        v->use = use == DESCRIPTOR_READ ? "read" : use == DESCRIPTOR_WRITE ? "write" : "read or write";
        return;
    }
    v->blocker = BLOCKER_OBJECT;
    v->object = slot;
    if (!lock_wait_look(&d->probe, t, w, &wait))
        return;
    v->blocker = wait.kind == WAIT_FOR_MUTEX ? BLOCKER_MUTEX : BLOCKER_RWLOCK;
    v->owner = wait.owner != 0 ? handle_at(wait.owner) : NULL;
}

/* ---- its stack ---- */

static bool waits_in_place(const struct thread_view *v)
{
    return v->state == VTHREAD_PINNED || v->state == VTHREAD_TIMED_PINNED;
}

/* Of one that is parked.  -EAGAIN: not now. */
static int see_stack(struct dump *d, struct thread *t, uint64_t w, struct thread_view *v)
{
    int n;

    if (waits_in_place(v))
        n = backtrace_in_place(d->backtracer, t, w, v->pcs, DUMP_FRAMES);
    else
        n = backtrace_parked(d->backtracer, t, w, v->pcs, DUMP_FRAMES);
    if (n == -ENOMEM)
        fail(d, ENOMEM);
    v->frames = n > 0 ? n : 0;
    v->is_cut = n == DUMP_FRAMES;
    if (n == -ENOTSUP)
        v->no_stack = "this library was built without libunwind";
    else if (n < 0)
        v->no_stack =
            flags_of(t) & THREAD_NESTED ? "it waits inside a continuation" : "its stack is in use at this moment";
    return n < 0 ? n : 0;
}

/* Of one that runs there.  False: it does so no more. */
static bool see_running(struct carrier *c, struct thread *t, struct thread_view *v)
{
    struct sample *sample = sample_take_thread(c, t);

    if (sample != NULL) {
        v->frames = sample_unwind(sample, v->pcs, DUMP_FRAMES);
        v->is_sample = true;
        v->is_cut = v->frames == DUMP_FRAMES;
        memory_free(sample);
    }
    if (v->frames > 0)
        return thread_handle(t) == v->id; /* else it has ended, and the record is another's */
    v->no_stack =
        atomic_load_relaxed(&c->admits) ? "it is running" : "it is running, and its carrier is not to be interrupted";
    return mounted_by(c) == t;
}

/* Carriers take no signals unless somebody wants to interrupt them, and find that out between two threads. */
static void await_admission(void)
{
    static const struct timespec a_little = {.tv_nsec = 100 * 1000};
    int64_t until_ns = clock_monotonic_ns() + ADMISSION_NS;
    uint32_t i = 0;

    while (runtime_has_carriers() && i < atomic_load_acquire(&pool.count) && clock_monotonic_ns() < until_ns) {
        struct carrier *c = pool_carrier(i);

        if (atomic_load_acquire(&c->admits) || !atomic_load_relaxed(&c->in_task) ||
            atomic_load_relaxed(&c->state) == CARRIER_BLOCKED || c == carrier_self())
            i++;
        else
            nanosleep(&a_little, NULL);
    }
}

/* ---- all of a thread ---- */

/* The carrier that it is on, or NULL.  One that waits in place is still on it when it is not mounted there. */
static struct carrier *carrier_under(const struct thread *t, const struct thread_view *v)
{
    unsigned number = carrier_of(t);

    if (!v->is_virtual || !runtime_has_carriers() || number >= atomic_load_acquire(&pool.count))
        return NULL;
    return waits_in_place(v) || mounted_by(pool_carrier(number)) == t ? pool_carrier(number) : NULL;
}

/* c: what it is on; so are its pins, until that begins another task. */
static void see_pin(const struct thread *t, struct carrier *c, struct thread_view *v)
{
    uint64_t begun = c != NULL ? atomic_load_acquire(&c->begun) : 0;

    v->is_pinned = is_pinned(t);
    if (!v->is_pinned || c == NULL)
        return;
    v->pin_reason = pin_reason_on((struct processor *)(void *)c);
    atomic_fence_seq_cst();
    if (atomic_load_relaxed(&c->begun) != begun)
        v->pin_reason = NULL;
}

enum seen { SEEN, SEEN_BUT_STACK, HAS_CHANGED };

static enum seen see_parked(struct dump *d, struct thread *t, uint64_t w, struct thread_view *v)
{
    struct carrier *c;
    bool is_timed;
    int error;

    v->state = vthread_state(v->id);
    v->public_state = vthread_public_state(v->id);
    is_timed = v->state == VTHREAD_TIMED_PARKED || v->state == VTHREAD_TIMED_PINNED;
    see_blocker(d, t, w, v);
    if (is_timed) {
        int64_t left_ns = deadline_of(t) - clock_now_ns();

        v->remaining_ns = left_ns > 0 ? left_ns : 0;
    }
    c = waits_in_place(v) ? carrier_under(t, v) : NULL;
    v->carrier = c != NULL ? (int)c->index : -1;
    see_pin(t, c, v);
    error = see_stack(d, t, w, v);
    atomic_fence_seq_cst(); /* all of that before: */
    if (!is_same(atomic_load_relaxed(&t->word), w))
        return HAS_CHANGED;
    if (c != NULL && mounted_by(c) == NULL)
        d->waiting_on[c->index] = v->id;
    return error == -EAGAIN && !(flags_of(t) & THREAD_NESTED) ? SEEN_BUT_STACK : SEEN;
}

/*
 * Of one that is to run, but does not yet.  There may be very many, which want to get on: each is tried once, and of
 * the stacks only so many, for each copy is in somebody's way for a moment.
 */
static void see_queued(struct dump *d, struct thread *t, uint64_t w, struct thread_view *v)
{
    int n = -EAGAIN;

    if (v->state == VTHREAD_NEW) {
        v->no_stack = "it has not been started";
    } else if (v->state == VTHREAD_STARTED) {
        v->no_stack = "it has not begun";
    } else if (d->queued == QUEUED_MAX) {
        v->no_stack = "it is about to run, as are very many";
    } else {
        d->queued++;
        v->no_stack = "it is about to run";
        n = backtrace_queued(d->backtracer, t, w, v->pcs, DUMP_FRAMES);
    }
    if (n == -ENOMEM)
        fail(d, ENOMEM);
    if (n <= 0)
        return;
    v->frames = n;
    v->is_cut = n == DUMP_FRAMES;
    v->no_stack = NULL;
}

static enum seen see_active(struct dump *d, struct thread *t, uint64_t w, struct thread_view *v)
{
    struct carrier *c;

    v->state = vthread_state(v->id);
    v->public_state = vthread_public_state(v->id);
    c = carrier_under(t, v);
    v->carrier = c != NULL ? (int)c->index : -1;
    see_pin(t, c, v);
    if (t == d->self) {
        v->frames = vthread_backtrace(v->id, v->pcs, DUMP_FRAMES);
        v->frames = v->frames > 0 ? v->frames : 0;
        v->is_cut = v->frames == DUMP_FRAMES;
    } else if (!v->is_virtual) {
        v->no_stack = "it runs on an OS thread of the program's";
    } else if (c == NULL) {
        see_queued(d, t, w, v);
    } else if (!see_running(c, t, v)) {
        return SEEN_BUT_STACK;
    }
    return SEEN;
}

static void begin_view(struct thread *t, uint64_t w, struct thread_view *v)
{
    v->id = thread_handle_of(t, w);
    v->is_virtual = !(flags_of(t) & THREAD_PLATFORM);
    v->carrier = -1;
    v->is_pinned = false;
    v->pin_reason = NULL;
    v->remaining_ns = -1;
    v->blocker = BLOCKER_NONE;
    v->owner = NULL;
    v->frames = 0;
    v->is_sample = false;
    v->is_cut = false;
    v->no_stack = NULL;
}

static void see_name(struct thread *t, bool has_name, struct thread_view *v)
{
    if (has_name)
        (void)thread_name_copy(t, v->name, sizeof v->name);
    else
        snprintf(v->name, sizeof v->name, "%llu", (unsigned long long)vthread_id(v->id));
}

/* False: it has ended. */
static bool see_held(struct dump *d, struct thread *t, bool has_name, struct thread_view *v)
{
    enum seen seen = HAS_CHANGED;

    for (int i = 0; i < TRIES && seen != SEEN; i++) {
        uint64_t w = atomic_load_acquire(&t->word);

        if (word_state(w) == WORD_TERMINATED)
            return false;
        if (i > TRIES / 2) /* before, another look may do: there may be many who want one */
            sched_yield();
        begin_view(t, w, v);
        seen = word_state(w) == WORD_PARKED ? see_parked(d, t, w, v) : see_active(d, t, w, v);
    }
    if (seen == HAS_CHANGED) { /* of several waits, which do not belong together */
        begin_view(t, atomic_load_acquire(&t->word), v);
        v->no_stack = "it goes on and waits too often to be seen";
    }
    see_name(t, has_name, v);
    return true;
}

static bool see(struct dump *d, struct thread *t, struct thread_view *v)
{
    bool held;
    bool seen;

    if (!hold(d, t, &held))
        return false;
    seen = see_held(d, t, (held || t == d->self) && thread_extra(t) != NULL, v);
    let_go(t, held);
    return seen;
}

/* ---- containers ---- */

static struct container *add_container(struct dump *d)
{
    struct container *c;

    if (d->container_count == d->container_room) {
        uint32_t room = d->container_room > 0 ? 2 * d->container_room : NAMES_AT_FIRST;
        struct container *larger = memory_alloc(room * sizeof *larger);

        if (larger == NULL) {
            fail(d, ENOMEM);
            return NULL;
        }
        if (d->container_count > 0)
            memcpy(larger, d->containers, d->container_count * sizeof *larger);
        memory_free(d->containers);
        d->containers = larger;
        d->container_room = room;
    }
    c = &d->containers[d->container_count++];
    *c = (struct container){.kind = CONTAINER_ROOT};
    return c;
}

static void name_container(struct container *c, const char *kind, const char *name)
{
    snprintf(c->name, sizeof c->name, "%s", name);
    snprintf(c->text, sizeof c->text, "%s%s%s@%p", kind, *name != '\0' ? " " : "", name, c->key);
}

static void add_executors(struct dump *d)
{
    struct executor_view views[BATCH];
    uint64_t serial = 0;
    int n;

    while ((n = executor_list(serial, views, BATCH)) > 0 && d->error == 0) {
        for (int i = 0; i < n; i++) {
            struct container *c = add_container(d);

            if (c == NULL)
                return;
            c->kind = CONTAINER_EXECUTOR;
            c->key = views[i].executor;
            c->is_closed = views[i].is_shutdown;
            c->has_workers = views[i].has_workers;
            c->stats = views[i].stats;
            name_container(c, "executor", views[i].name);
        }
        serial = views[n - 1].serial;
    }
}

static const void *group_key(struct dump *d, struct thread *t)
{
    uint64_t w = atomic_load_acquire(&t->word);
    const void *key;

    return thread_group(&d->probe, t, w, &key) != GROUP_NONE ? key : NULL;
}

static void add_scopes_of(struct dump *d, struct thread *t)
{
    const void *around = group_key(d, t);
    struct scope_view views[BATCH];
    uint32_t below = UINT32_MAX;
    int n;

    while ((n = scope_list(t, below, views, BATCH)) > 0 && d->error == 0) {
        for (int i = 0; i < n; i++) {
            struct container *c = add_container(d);

            if (c == NULL)
                return;
            c->kind = CONTAINER_SCOPE;
            c->key = views[i].scope;
            c->outer = views[i].outer != NULL ? views[i].outer : around;
            c->owner = views[i].owner;
            c->is_closed = views[i].is_cancelled;
            name_container(c, "scope", views[i].name);
        }
        below = views[n - 1].depth;
    }
}

static void add_scopes(struct dump *d)
{
    for (uint32_t i = 1; i < d->records && d->error == 0; i++) {
        struct thread *t = &thread_table[i];
        bool held;

        if (!has_extra(t) || !hold(d, t, &held))
            continue;
        if (held || t == d->self)
            add_scopes_of(d, t);
        let_go(t, held);
    }
}

static int compare_keys(const void *a, const void *b, void *containers)
{
    const struct container *all = containers;
    uintptr_t x = (uintptr_t)all[*(const uint32_t *)a].key;
    uintptr_t y = (uintptr_t)all[*(const uint32_t *)b].key;

    return (x > y) - (x < y);
}

/* Its index; the root's for NULL, and for what has come since. */
static uint32_t find_container(const struct dump *d, const void *key)
{
    uint32_t from = 0;
    uint32_t to = d->container_count;

    while (key != NULL && from < to) {
        uint32_t middle = from + (to - from) / 2;
        const void *found = d->containers[d->by_key[middle]].key;

        if (found == key)
            return d->by_key[middle];
        if ((uintptr_t)found < (uintptr_t)key)
            from = middle + 1;
        else
            to = middle;
    }
    return 0;
}

static void find_containers(struct dump *d)
{
    struct container *root = add_container(d);

    if (root == NULL)
        return;
    snprintf(root->text, sizeof root->text, "<root>");
    add_executors(d);
    add_scopes(d);
    d->by_key = d->error == 0 ? memory_alloc(d->container_count * sizeof *d->by_key) : NULL;
    if (d->by_key == NULL) {
        fail(d, ENOMEM);
        return;
    }
    for (uint32_t i = 0; i < d->container_count; i++)
        d->by_key[i] = i;
    qsort_r(d->by_key, d->container_count, sizeof *d->by_key, compare_keys, d->containers);
    for (uint32_t i = 0; i < d->container_count; i++)
        d->containers[i].parent = find_container(d, d->containers[i].outer);
}

static uint32_t container_around(struct dump *d, struct thread *t)
{
    return d->container_count > 1 ? find_container(d, group_key(d, t)) : 0;
}

/* Who is where, as chains through the records' numbers. */
static void fill_containers(struct dump *d)
{
    d->chain = memory_alloc((d->records + 1) * sizeof *d->chain);
    if (d->chain == NULL) {
        fail(d, ENOMEM);
        return;
    }
    for (uint32_t i = 1; i < d->records; i++) {
        uint64_t w = atomic_load_acquire(&thread_table[i].word);
        struct container *c;

        if (word_state(w) == WORD_TERMINATED)
            continue;
        d->chain[i].generation = word_generation(w);
        c = &d->containers[container_around(d, &thread_table[i])];
        if (c->first == 0)
            c->first = i;
        else
            d->chain[c->last].next = i;
        c->last = i;
    }
}

/* It is told of where it was when the containers were filled: it may have done with its task since. */
static bool is_member(const struct dump *d, uint32_t i)
{
    return word_generation(atomic_load_acquire(&thread_table[i].word)) == d->chain[i].generation;
}

static void tell_container(struct dump *d, uint32_t number)
{
    uint64_t threads = 0;

    d->how->container_begin(d, &d->containers[number]);
    for (uint32_t i = d->containers[number].first; i != 0 && !has_failed(d); i = d->chain[i].next) {
        if (!is_member(d, i) || !see(d, &thread_table[i], &d->view))
            continue; /* it has ended */
        d->how->thread(d, &d->view);
        threads++;
    }
    d->how->container_end(d, &d->containers[number], threads);
}

/* ---- carriers ---- */

static int64_t from_now(int64_t at_ns)
{
    int64_t left_ns = at_ns - clock_now_ns();

    if (at_ns == INT64_MAX)
        return -1;
    return left_ns > 0 ? left_ns : 0;
}

static const char *carrier_state_name(struct carrier *c)
{
    switch ((enum carrier_state)atomic_load_relaxed(&c->state)) {
    case CARRIER_RUNNING:
        return atomic_load_relaxed(&c->in_task) ? "running" : "idle";
    case CARRIER_BLOCKED:
        return "blocked";
    case CARRIER_HOGGED:
        return "hogged";
    case CARRIER_DORMANT:
        return "dormant";
    }
    return "unknown";
}

static void tell_carrier(struct dump *d, struct carrier *c, struct pool_view *all)
{
    struct thread *t = mounted_by(c);
    struct carrier_view v = {
        .index = c->index,
        .state = carrier_state_name(c),
        .queued = ring_count(&c->ring) + atomic_load_relaxed(&c->inbox_count),
        .next_timer_ns = from_now(atomic_load_relaxed(&c->timers.earliest_ns)),
        .thread = t != NULL ? thread_handle(t) : NULL, /* or, see below, who waits there */
        .begun = atomic_load_relaxed(&c->begun),
        .tid = atomic_load_relaxed(&c->tid),
    };

    if (t == NULL && atomic_load_relaxed(&c->state) == CARRIER_BLOCKED)
        v.thread = d->waiting_on[c->index];
    lock_acquire(&c->timers.lock);
    v.timers = c->timers.count;
    lock_release(&c->timers.lock);
    all->timers += v.timers;
    if (v.next_timer_ns >= 0 && (all->next_timer_ns < 0 || v.next_timer_ns < all->next_timer_ns))
        all->next_timer_ns = v.next_timer_ns;
    d->how->carrier(d, &v);
}

static void tell_carriers(struct dump *d)
{
    struct pool_view v = {.next_timer_ns = -1, .leader = -1, .runs = runtime_has_carriers()};
    uint32_t count = v.runs ? atomic_load_acquire(&pool.count) : 0;
    struct carrier *leader;

    d->how->carriers_begin(d);
    for (uint32_t i = 0; i < count; i++)
        tell_carrier(d, pool_carrier(i), &v);
    if (v.runs) {
        leader = atomic_load_relaxed(&pool.leader);
        v.injected = atomic_load_relaxed(&pool.injected_count);
        v.has_poller = atomic_load_relaxed(&pool.poller) != NULL;
        v.leader = v.has_poller && leader != NULL ? (int)leader->index : -1;
        runtime_stats_look(&v.stats);
    }
    d->how->end(d, &v);
}

/* ---- all of it ---- */

static void tell(struct dump *d)
{
    struct dump_head head = {.process = (int)getpid()};

    clock_gettime(CLOCK_REALTIME, &head.time);
    d->records = record_count();
    d->self = thread_self_if_known();
    find_containers(d);
    if (d->error == 0)
        fill_containers(d);
    if (d->error != 0)
        return;
    await_admission();
    d->how->begin(d, &head);
    for (uint32_t i = 0; i < d->container_count && !has_failed(d); i++)
        tell_container(d, i);
    if (!has_failed(d))
        tell_carriers(d);
}

static int walk(struct dump *d, int fd)
{
    int error;

    d->backtracer = backtracer_new();
    if (d->backtracer == NULL)
        return ENOMEM;
    error = probe_open(&d->probe);
    if (error != 0)
        return error;
    error = d->how->init(d);
    if (error == 0) {
        sink_begin(&d->sink, fd);
        sampling_begin();
        if (d->sink.error == 0)
            tell(d);
        sampling_end();
        error = sink_end(&d->sink);
        d->how->fini(d);
    }
    probe_close(&d->probe);
    return d->error != 0 ? d->error : error;
}

/* In a call. */
static int dump_in_call(int fd, const struct dump_form *how)
{
    struct dump *d = memory_alloc(sizeof *d);
    int error;

    if (d == NULL)
        return ENOMEM;
    d->how = how;
    error = walk(d, fd);
    frames_fini(&d->frames);
    backtracer_free(d->backtracer);
    memory_free(d->containers);
    memory_free(d->by_key);
    memory_free(d->chain);
    memory_free(d);
    return error;
}

/* NULL: there is no such form, and why. */
static const struct dump_form *form_of(vthread_dump_format_t format, int *ret_error)
{
    *ret_error = EINVAL;
    if (format == VTHREAD_DUMP_TEXT)
        return &dump_as_text;
    if (format != VTHREAD_DUMP_JSON)
        return NULL;
#ifdef VTHREAD_HAS_JSON
    return &dump_as_json;
#else
    *ret_error = ENOTSUP;
    return NULL;
#endif
}

/*
 * errno is saved and restored in functions out of line that do not switch: where its address is known from before a
 * switch, it is another carrier's.
 */

NOINLINE static int dump_here(int fd, const struct dump_form *how)
{
    int saved = errno;
    int error = runtime_begin_look_anywhere();

    if (error != 0)
        return error;
    error = dump_in_call(fd, how);
    runtime_end_look_anywhere();
    errno = saved;
    return error;
}

/* What an OS thread does for a virtual one. */
struct job {
    struct thread *author;
    int fd;
    const struct dump_form *how;
    int error;
    vthread_sem_t done;
};

/* It is about to wait for the dump, which shall show where; it may have lost its CPU, but not for ever. */
static void await_author(struct thread *author)
{
    static const struct timespec a_little = {.tv_nsec = 100 * 1000};

    for (int i = 0; i < AUTHOR_LOOKS && word_state(atomic_load_acquire(&author->word)) != WORD_PARKED; i++)
        nanosleep(&a_little, NULL);
}

static void *do_job(void *arg)
{
    struct job *job = arg;

    await_author(job->author);
    job->error = dump_here(job->fd, job->how);
    vthread_sem_release(&job->done, 1);
    return NULL;
}

/*
 * A virtual thread would keep its stack for as long as the dump takes, and whoever shares that waiting.  So an OS
 * thread does it; EAGAIN or ENOMEM: there is none.
 */
static int dump_elsewhere(int fd, const struct dump_form *how)
{
    struct job *job = memory_alloc(sizeof *job);
    pthread_t thread;
    int error;

    if (job == NULL)
        return ENOMEM;
    job->author = thread_mounted();
    job->fd = fd;
    job->how = how;
    error = service_start(&thread, "vthread-dump", do_job, job);
    if (error == 0) {
        vthread_sem_acquire_uninterruptible(&job->done, 1);
        pthread_join(thread, NULL); /* it has nothing more to do */
        error = job->error;
    }
    memory_free(job);
    return error;
}

static int dump(int fd, const struct dump_form *how)
{
    return thread_mounted() != NULL ? dump_elsewhere(fd, how) : dump_here(fd, how);
}

int vthread_dump(int fd, vthread_dump_format_t format)
{
    int error;
    const struct dump_form *how = form_of(format, &error);

    return how != NULL ? dump(fd, how) : error;
}

/* 0 or an error. */
NOINLINE static int make_file(const char *path, int *ret_fd)
{
    int saved = errno;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int error = fd < 0 ? errno : 0;

    *ret_fd = fd;
    errno = saved;
    return error;
}

/* error: of the dump; returns that, or the file's. */
NOINLINE static int finish_file(const char *path, int fd, int error)
{
    int saved = errno;

    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error != 0)
        unlink(path); /* half of one is no dump */
    errno = saved;
    return error;
}

int vthread_dump_file(const char *path, vthread_dump_format_t format)
{
    int error = EINVAL;
    int fd;

    if (path == NULL || form_of(format, &error) == NULL)
        return error;
    error = make_file(path, &fd);
    return error == 0 ? finish_file(path, fd, vthread_dump(fd, format)) : error;
}

/* Here, and not where they are: in a static library these come along with what somebody asks for. */
__attribute__((constructor)) static void plug_in(void)
{
    runtime_companion = &dump_upon_signals;
    panic_report = dump_short;
}
