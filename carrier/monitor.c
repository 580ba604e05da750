/* SPDX-License-Identifier: MIT */
/*
 * The monitor: one OS thread that looks at the carriers every few milliseconds
 * and rescues work from those that are stuck.
 *
 * - A carrier that has run one task for HOG_NS while work waits loses its place
 *   among the running: a spare takes over, and thieves empty its ring.  Its CPU
 *   clock tells computing from blocking; for computing carriers at most as many
 *   spares are added as there is parallelism, for more would only take turns.
 * - A wake-up that was skipped (carrier_push_wake), where that turns out wrong.
 * - Rings of different lengths, in which threads that only yield would have turns of
 *   different lengths for ever.
 * - Sockets or due timers that nobody attends to while carriers sleep.
 * - It measures time slices.
 *
 * It sleeps deeply after a second without work, and is roused by the first
 * carrier that leaves its sleep (the asymmetric pair again: monitor_asleep
 * against the list of idle carriers).  Samples taken after it was itself held up
 * are discarded.
 */
#include "carrier/carrier.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/service.h"

enum {
    TICK_NS = 2 * 1000 * 1000,
    SLICE_NS = 10 * 1000 * 1000,
    HOG_NS = 20 * 1000 * 1000,
    SHORT_NS = 1000,       /* tasks of at most so much on the average are short ... */
    FEW_NS = TICK_NS / 32, /* ... and so many of them are few as take no longer than this */
    UNEVEN_FROM = 16,      /* rings are uneven that differ by more tasks than this ... */
    UNEVEN_PART = 16,      /* ... and more than a 16th of the shorter */
    HELD_UP_NS = 5 * TICK_NS,
    DEEP_AFTER_TICKS = 500,
    TICKS_PER_EPOCH = 1000,
};

static int64_t thread_cpu_ns(struct carrier *c)
{
    struct timespec ts;
    clockid_t clock;
    pthread_t self = atomic_load_acquire(&c->self);

    if (self == 0 || pthread_getcpuclockid(self, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return 0;
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Is its earliest timer overdue by that much? */
static bool timers_wait(struct carrier *c, int64_t by_ns)
{
    int64_t earliest_ns = atomic_load_relaxed(&c->timers.earliest_ns);

    return earliest_ns != INT64_MAX && earliest_ns <= clock_now_ns() - by_ns;
}

/* Work in rings of carriers that do not run: whoever does is to take it. */
static bool work_is_stranded(void)
{
    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++) {
        struct carrier *c = pool_carrier(i);

        if (atomic_load_relaxed(&c->state) != CARRIER_RUNNING && ring_count(&c->ring) > 0)
            return true;
    }
    return false;
}

/* Is there anything that this carrier keeps from being done?  What thieves keep taking does not wait. */
static bool work_waits(struct carrier *c)
{
    uint64_t head = atomic_load_relaxed(&c->ring.head);
    bool stuck = (ring_count(&c->ring) > 0 && head == c->seen_head) || work_is_stranded();

    c->seen_head = head;
    return stuck || atomic_load_relaxed(&c->inbox_count) > 0 || atomic_load_relaxed(&pool.injected_count) > 0 ||
           timers_wait(c, 0) || (idle_count(&pool.idle) == 0 && atomic_load_relaxed(&pool.poller) != NULL);
}

/* It is not blocked: at most, the kernel has taken the CPU from it. */
static bool wants_cpu(struct carrier *c)
{
    char path[64];
    char line[256];
    const char *state = NULL;
    FILE *f;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load_relaxed(&c->tid));
    f = fopen(path, "re");
    if (f != NULL && fgets(line, sizeof line, f) != NULL)
        state = strrchr(line, ')');
    if (f != NULL)
        fclose(f);
    return state != NULL && state[1] == ' ' && state[2] == 'R';
}

/*
 * Has it spent the time since then computing, rather than in a call?  On a machine that others crowd it gets little
 * CPU in all; what has had some, and would have more, computes.
 */
static bool computes(struct carrier *c, int64_t cpu_ns, int64_t held_ns, int64_t some_ns)
{
    return cpu_ns > held_ns / 2 || (cpu_ns >= some_ns && wants_cpu(c));
}

static void rescue(struct carrier *c, int64_t now_ns)
{
    int64_t held_ns = now_ns - c->seen_since_ns;
    int64_t cpu_ns = thread_cpu_ns(c) - c->seen_cpu_ns;
    bool computing = computes(c, cpu_ns, held_ns, HOG_NS / 2);
    uint32_t parallelism = atomic_load_relaxed(&pool.parallelism);
    uint32_t computing_now = 0;

    for (uint32_t i = 0; computing && i < atomic_load_acquire(&pool.count); i++)
        computing_now += atomic_load_relaxed(&pool_carrier(i)->state) == CARRIER_HOGGED;
    if (computing && computing_now >= (parallelism > pool.min_runnable ? parallelism : pool.min_runnable))
        return;
    if (!computing && wants_cpu(c))
        return; /* one more thread would only add to the crowd */
    if (!carrier_hogged(c, c->seen_begun))
        return;
    atomic_store_relaxed(&c->look_at, 0); /* so that it notices */
    atomic_fetch_add_relaxed(&pool.hogs, 1);
    pool_compensate();
}

/*
 * For reports, which somebody has asked for: who holds a carrier for too long, whether work waits or not.  One who
 * would run, but has had no CPU to speak of, does not.
 */
static void look_for_hog(struct carrier *c, int64_t now_ns)
{
    uint64_t begun = atomic_load_relaxed(&c->begun);
    uint32_t state = atomic_load_relaxed(&c->state);
    int64_t held_ns = now_ns - c->held_since_ns;
    int64_t cpu_ns;
    bool computing;

    if (begun != c->held_begun || c->held_since_ns == 0 || !atomic_load_relaxed(&c->in_task) ||
        state == CARRIER_BLOCKED || state == CARRIER_DORMANT) {
        if (atomic_load_relaxed(&c->held_told))
            pool.hooks.hog_end(c, held_ns, c->held_rescued);
        c->held_begun = begun;
        c->held_since_ns = now_ns;
        c->held_cpu_ns = 0;
        atomic_store_relaxed(&c->held_told, false);
        c->held_rescued = false;
        return;
    }
    c->held_rescued |= state == CARRIER_HOGGED;
    if (c->held_cpu_ns == 0)
        c->held_cpu_ns = thread_cpu_ns(c);
    if (atomic_load_relaxed(&c->held_told) || held_ns < pool.hog_report_ns)
        return;
    if (clock_monotonic_ns() - now_ns >= TICK_NS)
        return; /* looking at another one has taken long: who is to be rescued comes first */
    cpu_ns = thread_cpu_ns(c) - c->held_cpu_ns;
    computing = computes(c, cpu_ns, held_ns, pool.hog_report_ns / 2);
    if (!computing && wants_cpu(c))
        return;
    atomic_store_relaxed(&c->held_told, pool.hooks.hog(c, held_ns, computing, c->held_rescued));
}

/* The pool is about to stop: nobody holds a carrier any more, and who was said to shall not be left so. */
static void end_hogs(void)
{
    int64_t now_ns = clock_monotonic_ns();

    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++) {
        struct carrier *c = pool_carrier(i);

        if (atomic_load_relaxed(&c->held_told))
            pool.hooks.hog_end(c, now_ns - c->held_since_ns, c->held_rescued);
        atomic_store_relaxed(&c->held_told, false);
    }
}

/* Of tasks that were begun so many a tick: how many take less time than waking another carrier for them is worth? */
static uint32_t few_tasks(uint64_t begun)
{
    return begun >= TICK_NS / SHORT_NS ? (uint32_t)(begun * FEW_NS / TICK_NS) : 0;
}

/* For tasks that offer to let others run (vthread_checkpoint), and so do not read the clock themselves. */
static void measure_slice(struct carrier *c, int64_t now_ns)
{
    uint64_t begun = atomic_load_relaxed(&c->begun);

    if (begun != c->turn_begun) {
        c->turn_begun = begun;
        c->turn_since_ns = now_ns;
    } else if (now_ns - c->turn_since_ns >= SLICE_NS) {
        atomic_store_relaxed(&c->slice_used, begun);
    }
}

/*
 * Tasks wait at a carrier that nobody was woken for.  Has that been wrong?  Then whoever is idle may have them;
 * anyway: it has run one task all the time, so whoever looks around next may.
 */
static void make_up_for_skipped_wake(struct carrier *c, bool anyway)
{
    if (idle_count(&pool.idle) == 0 && !anyway)
        return; /* to be looked at again: who gets idle later finds none that are kept */
    atomic_store_relaxed(&c->wake_skipped, false);
    if (atomic_load_relaxed(&c->inbox_count) > 0)
        carrier_forward_inbox(c);
    pool_wake_one(anyway);
}

/* Begin anew: what was seen before says nothing of the time since. */
static void forget(struct carrier *c, int64_t now_ns)
{
    c->seen_begun = atomic_load_relaxed(&c->begun);
    c->seen_since_ns = now_ns;
    c->seen_cpu_ns = 0;
}

static void watch(struct carrier *c, int64_t now_ns)
{
    uint64_t begun = atomic_load_relaxed(&c->begun);

    atomic_store_relaxed(&c->few_tasks, few_tasks(begun - c->seen_begun));
    if (begun != c->seen_begun && atomic_load_relaxed(&c->wake_skipped) &&
        ring_count(&c->ring) + atomic_load_relaxed(&c->inbox_count) > 1)
        make_up_for_skipped_wake(c, false);
    if (!atomic_load_relaxed(&c->in_task) || atomic_load_relaxed(&c->state) != CARRIER_RUNNING ||
        begun != c->seen_begun) {
        forget(c, now_ns);
        /* A busy carrier with long tasks shall not wait for its 61st one. */
        if (atomic_load_relaxed(&c->in_task))
            atomic_store_relaxed(&c->look_at, 0);
        return;
    }
    if (atomic_load_relaxed(&c->wake_skipped))
        make_up_for_skipped_wake(c, true);
    if (c->seen_cpu_ns == 0)
        c->seen_cpu_ns = thread_cpu_ns(c);
    if (now_ns - c->seen_since_ns >= HOG_NS && work_waits(c))
        rescue(c, now_ns);
}

/* Do rings of busy carriers differ in length so much that their threads notice?  The shortest one's carrier sees to it.
 */
static void even_out(void)
{
    struct carrier *shortest = NULL;
    struct carrier *longest = NULL;

    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++) {
        struct carrier *c = pool_carrier(i);

        if (!atomic_load_relaxed(&c->in_task) || atomic_load_relaxed(&c->state) != CARRIER_RUNNING)
            continue;
        if (shortest == NULL || ring_count(&c->ring) < ring_count(&shortest->ring))
            shortest = c;
        if (longest == NULL || ring_count(&c->ring) > ring_count(&longest->ring))
            longest = c;
    }
    if (shortest == NULL)
        return;
    uint64_t low = ring_count(&shortest->ring);

    if (ring_count(&longest->ring) > low + low / UNEVEN_PART + UNEVEN_FROM)
        atomic_store_relaxed(&shortest->longer, longest->index + 1);
}

/* Work, sockets or timers that nobody is looking at although somebody sleeps. */
static void attend(void)
{
    bool unattended = atomic_load_relaxed(&pool.poller) != NULL && atomic_load_relaxed(&pool.leading) == 0;

    if (idle_count(&pool.idle) == 0) {
        if (pool_queued() > 0)
            pool_compensate(); /* an earlier attempt may have failed for want of threads or memory */
        return;
    }
    for (uint32_t i = 0; !unattended && i < atomic_load_acquire(&pool.count); i++)
        unattended = timers_wait(pool_carrier(i), TICK_NS);
    if (unattended)
        pool_wake_one(true);
}

static bool all_idle(void)
{
    return idle_count(&pool.idle) >= atomic_load_relaxed(&pool.running);
}

/* Who is reported takes as long as it likes, while all others are idle. */
static bool watches_hogs(void)
{
    bool hogged = false;

    if (!atomic_load_relaxed(&pool.hog_reports))
        return false;
    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count) && !hogged; i++)
        hogged = atomic_load_relaxed(&pool_carrier(i)->state) == CARRIER_HOGGED;
    return hogged;
}

static void sleep_deeply(void)
{
    atomic_store_relaxed(&pool.monitor_asleep, 1);
    barrier_heavy(); /* pairs with the light one in monitor_rouse */
    /* A timer may stand in the heap of a carrier that is blocked, unknown to those who sleep. */
    if (all_idle() && !watches_hogs() && !atomic_load_relaxed(&pool.monitor_stopping))
        futex_wait(&pool.monitor_token, 0, clock_sleep_until_ns(pool_earliest_ns()));
    atomic_store_relaxed(&pool.monitor_asleep, 0);
}

void monitor_rouse_slow(void)
{
    atomic_exchange_acq_rel(&pool.monitor_token, 1);
    futex_wake(&pool.monitor_token, 1);
}

static void *monitor_main(void *arg)
{
    int64_t last_ns = clock_monotonic_ns();
    uint32_t idle_ticks = 0;
    uint32_t ticks = 0;

    (void)arg;
    while (!atomic_load_acquire(&pool.monitor_stopping)) {
        int64_t now_ns;

        futex_wait(&pool.monitor_token, 0, last_ns + TICK_NS);
        atomic_store_relaxed(&pool.monitor_token, 0);
        now_ns = clock_monotonic_ns();
        for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++)
            measure_slice(pool_carrier(i), now_ns);
        if (now_ns - last_ns > HELD_UP_NS) {
            for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++)
                forget(pool_carrier(i), now_ns);
        } else {
            for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++)
                watch(pool_carrier(i), now_ns);
            for (uint32_t i = 0;
                 UNLIKELY(atomic_load_relaxed(&pool.hog_reports)) && i < atomic_load_acquire(&pool.count); i++)
                look_for_hog(pool_carrier(i), now_ns);
            attend();
            even_out();
        }
        if (++ticks % TICKS_PER_EPOCH == 0)
            atomic_fetch_add_relaxed(&pool.epoch, 1);
        idle_ticks = all_idle() && !watches_hogs() && pool_queued() == 0 ? idle_ticks + 1 : 0;
        if (idle_ticks > DEEP_AFTER_TICKS && !atomic_load_acquire(&pool.monitor_stopping)) {
            sleep_deeply();
            idle_ticks = 0;
        }
        last_ns = clock_monotonic_ns();
    }
    end_hogs();
    return NULL;
}

int monitor_start(void)
{
    int error;

    atomic_store_relaxed(&pool.monitor_token, 0);
    atomic_store_relaxed(&pool.monitor_stopping, false); /* the creation publishes */
    error = service_start(&pool.monitor, "vthread-monitor", monitor_main, NULL);
    pool.monitor_started = error == 0;
    return error;
}

void monitor_stop(void)
{
    if (!pool.monitor_started)
        return;
    atomic_store_release(&pool.monitor_stopping, true);
    monitor_rouse_slow();
    pthread_join(pool.monitor, NULL);
    pool.monitor_started = false;
}
