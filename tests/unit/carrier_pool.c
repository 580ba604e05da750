/* SPDX-License-Identifier: MIT */
/* The pool with tasks that are mere counters: everything that is made runnable is run once. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "carrier/carrier.h"

TestSuite(pool, .timeout = 60);

struct job {
    struct task task;
    ATOMIC(uint32_t) runs;
    void (*body)(struct carrier *c, struct job *job);
};

static ATOMIC(uint32_t) done;
static ATOMIC(uint32_t) started;
static ATOMIC(uint32_t) stopped;
static ATOMIC(uint32_t) hogs;
static ATOMIC(uint32_t) hogs_ended;

static void run(struct carrier *c)
{
    struct task *task;

    while ((task = carrier_next(c)) != NULL) {
        struct job *job = container_of(task, struct job, task);

        atomic_fetch_add_relaxed(&job->runs, 1);
        if (job->body != NULL)
            job->body(c, job);
        atomic_fetch_add_acq_rel(&done, 1);
    }
}

static void on_start(struct carrier *c)
{
    (void)c;
    atomic_fetch_add_relaxed(&started, 1);
}

static void on_stop(struct carrier *c)
{
    (void)c;
    atomic_fetch_add_relaxed(&stopped, 1);
}

static bool on_hog(struct carrier *c, int64_t held_ns, bool computing, bool rescued)
{
    (void)c, (void)held_ns, (void)computing, (void)rescued;
    atomic_fetch_add_relaxed(&hogs, 1);
    return true;
}

static void on_hog_end(struct carrier *c, int64_t held_ns, bool rescued)
{
    (void)c, (void)held_ns, (void)rescued;
    atomic_fetch_add_relaxed(&hogs_ended, 1);
}

static struct job timed_jobs[1000];

static void on_timer_ahead(uint32_t id)
{
    (void)id;
}

static struct task *on_timer(uint32_t id, uint32_t sequence)
{
    return sequence == id * 3 ? &timed_jobs[id].task : NULL;
}

static const struct carrier_hooks hooks = {
    .carrier_bytes = sizeof(struct carrier),
    .start = on_start,
    .stop = on_stop,
    .run = run,
    .timer = on_timer,
    .timer_ahead = on_timer_ahead,
    .hog = on_hog,
    .hog_end = on_hog_end,
};

static void start(uint32_t parallelism)
{
    struct pool_params params = {
        .parallelism = parallelism, .max_pool_size = 64, .min_runnable = 1, .hog_report_ns = 20000000, .hooks = &hooks};

    timer_positions = calloc(1000, sizeof *timer_positions);
    cr_assert_eq(pool_start(&params), 0);
}

static void stop(void)
{
    pool_stop();
    free(timer_positions);
    cr_assert_eq(atomic_load_acquire(&started), atomic_load_acquire(&stopped));
}

static void wait_until_done(uint32_t n)
{
    for (int i = 0; i < 40000 && atomic_load_acquire(&done) < n; i++)
        usleep(500);
    cr_assert_eq(atomic_load_acquire(&done), n);
}

Test(pool, starts_and_stops)
{
    for (uint32_t n = 1; n < 10; n++) {
        start(n);
        stop();
    }
}

Test(pool, runs_what_is_injected)
{
    static struct job jobs[10000];

    start(3);
    for (int i = 0; i < 10000; i++)
        pool_inject(&jobs[i].task);
    wait_until_done(10000);
    for (int i = 0; i < 10000; i++)
        cr_assert_eq(atomic_load_relaxed(&jobs[i].runs), 1);
    stop();
}

/* One task makes more, on its own carrier's ring: the others steal. */
static struct job children[20000];

static void push_children(struct carrier *c, struct job *job)
{
    (void)job;
    for (int i = 0; i < 20000; i++)
        carrier_push(c, &children[i].task);
}

Test(pool, runs_what_is_pushed)
{
    struct job parent = {.body = push_children};

    start(4);
    pool_inject(&parent.task);
    wait_until_done(20001);
    for (int i = 0; i < 20000; i++)
        cr_assert_eq(atomic_load_relaxed(&children[i].runs), 1);
    stop();
}

/* A chain through sleeping carriers: each wake-up counts. */
static ATOMIC(uint32_t) hops;
static struct job hopping;

static void hop_elsewhere(struct carrier *c, struct job *job)
{
    uint32_t count = atomic_load_acquire(&pool.count);

    if (atomic_fetch_add_relaxed(&hops, 1) < 2000)
        carrier_deliver(pool_carrier((c->index + 1) % count), &job->task, true);
}

Test(pool, delivers_to_one_carrier)
{
    hopping.body = hop_elsewhere;
    start(3);
    pool_inject(&hopping.task);
    wait_until_done(2001);
    stop();
}

static void insert_timers(struct carrier *c, struct job *job)
{
    int64_t now_ns = clock_now_ns();

    (void)job;
    for (uint32_t i = 0; i < 1000; i++)
        if (!timer_insert(&c->timers, now_ns + (i * 7919) % 20000000, i, i % 10 == 0 ? 1 + i * 3 : i * 3))
            abort();
}

Test(pool, fires_timers)
{
    struct job inserter = {.body = insert_timers};

    start(2);
    pool_inject(&inserter.task);
    wait_until_done(901); /* every tenth is of a wait that is over */
    for (uint32_t i = 0; i < 1000; i++)
        cr_assert_eq(atomic_load_relaxed(&timed_jobs[i].runs), i % 10 == 0 ? 0 : 1);
    stop();
}

static ATOMIC(uint32_t) release_blocked;

static void block_until_released(struct carrier *c, struct job *job)
{
    (void)job;
    carrier_block(c);
    while (atomic_load_acquire(&release_blocked) == 0)
        usleep(200);
    carrier_unblock(c);
}

static void release(struct carrier *c, struct job *job)
{
    (void)c, (void)job;
    atomic_store_release(&release_blocked, 1);
}

Test(pool, spares_take_the_place_of_blocked_carriers)
{
    struct job blocking[5] = {{.body = block_until_released},
                              {.body = block_until_released},
                              {.body = block_until_released},
                              {.body = block_until_released},
                              {.body = block_until_released}};
    struct job releasing = {.body = release};

    start(2);
    for (int i = 0; i < 5; i++)
        pool_inject(&blocking[i].task);
    pool_inject(&releasing.task);
    wait_until_done(6);
    cr_assert_geq(atomic_load_acquire(&pool.count), 3);
    stop();
}

/* No spare, and a clock that stands still: only a busy carrier can fire what a blocked one has left. */
static ATOMIC(int64_t) standing_ns;

static int64_t standing_clock(void)
{
    return atomic_load_relaxed(&standing_ns);
}

static struct job going[2];

static void insert_and_block(struct carrier *c, struct job *job)
{
    uint32_t rounds;

    if (!timer_insert(&c->timers, 2000, 0, 0))
        abort();
    carrier_block(c);
    rounds = atomic_load_relaxed(&going[0].runs) + atomic_load_relaxed(&going[1].runs);
    while (atomic_load_relaxed(&going[0].runs) + atomic_load_relaxed(&going[1].runs) < rounds + 100000)
        usleep(200); /* the other one is busy from now on */
    atomic_store_relaxed(&standing_ns, 2000);
    while (atomic_load_acquire(&release_blocked) == 0)
        usleep(200);
    carrier_unblock(c);
    (void)job;
}

static void go_round_until_released(struct carrier *c, struct job *job)
{
    if (atomic_load_acquire(&release_blocked) == 0)
        carrier_push(c, &job->task);
}

Test(pool, timers_of_blocked_carriers_are_not_left_to_them, .timeout = 20)
{
    struct pool_params params = {.parallelism = 2, .max_pool_size = 2, .min_runnable = 1, .hooks = &hooks};
    struct job blocking = {.body = insert_and_block};

    going[0].body = going[1].body = go_round_until_released;
    atomic_store_relaxed(&standing_ns, 1000);
    clock_replace(standing_clock);
    timed_jobs[0].body = release;
    timer_positions = calloc(1000, sizeof *timer_positions);
    cr_assert_eq(pool_start(&params), 0);
    pool_inject(&going[0].task);
    pool_inject(&going[1].task);
    while (atomic_load_relaxed(&going[1].runs) == 0)
        usleep(100);
    pool_inject(&blocking.task);
    while (atomic_load_acquire(&release_blocked) == 0)
        usleep(100);
    stop();
    clock_replace(NULL);
}

static void spin_until_released(struct carrier *c, struct job *job)
{
    (void)c, (void)job;
    while (atomic_load_acquire(&release_blocked) == 0)
        cpu_pause();
}

Test(pool, the_monitor_rescues_work_from_a_hog)
{
    struct job spinning = {.body = spin_until_released};
    struct job releasing = {.body = release};

    start(1);
    pool_inject(&spinning.task);
    while (atomic_load_relaxed(&spinning.runs) == 0)
        usleep(100);
    pool_inject(&releasing.task);
    wait_until_done(2);
    for (int i = 0; i < 40000 && atomic_load_acquire(&pool.hogs) == 0; i++) /* counted last */
        usleep(500);
    cr_assert_geq(atomic_load_relaxed(&pool.hogs), 1);
    cr_assert_eq(atomic_load_relaxed(&hogs), 0, "nobody wanted to hear of it");
    stop();
}

Test(pool, hogs_are_told_to_those_who_want_to_hear_of_them)
{
    struct job spinning = {.body = spin_until_released};

    atomic_store_relaxed(&pool.hog_reports, true);
    start(1);
    pool_inject(&spinning.task);
    for (int i = 0; i < 40000 && atomic_load_acquire(&hogs) == 0; i++)
        usleep(500);
    cr_assert_eq(atomic_load_relaxed(&hogs), 1, "nothing waits, and yet it is one");
    cr_assert_eq(atomic_load_relaxed(&hogs_ended), 0);
    atomic_store_release(&release_blocked, 1);
    for (int i = 0; i < 40000 && atomic_load_acquire(&hogs_ended) == 0; i++)
        usleep(500);
    cr_assert_eq(atomic_load_relaxed(&hogs_ended), 1);
    stop();
    atomic_store_relaxed(&pool.hog_reports, false);
}

Test(pool, more_and_fewer_carriers_under_load)
{
    static struct job jobs[3000];

    start(1);
    for (int i = 0; i < 3000; i++) {
        pool_inject(&jobs[i].task);
        if (i % 100 == 0)
            pool_set_parallelism(1 + (uint32_t)(i / 100) % 8);
    }
    wait_until_done(3000);
    stop();
}

static ATOMIC(uint32_t) asked;
static uint32_t fail_after;

static bool fail_later(enum fault_site site)
{
    return (site == FAULT_THREAD || site == FAULT_ALLOC) && atomic_fetch_add_relaxed(&asked, 1) >= fail_after;
}

Test(pool, a_failing_start_leaves_nothing_behind)
{
    struct pool_params params = {.parallelism = 2, .max_pool_size = 64, .min_runnable = 1, .hooks = &hooks};
    int error = EAGAIN;
    uint32_t n;

    timer_positions = calloc(1000, sizeof *timer_positions);
    for (n = 0; n < 100 && error != 0; n++) {
        fail_after = n;
        atomic_store_relaxed(&asked, 0);
        fault_set_hook(fail_later);
        error = pool_start(&params);
        fault_set_hook(NULL);
        cr_assert(error == 0 || error == EAGAIN || error == ENOMEM);
        if (error != 0)
            cr_assert_eq(atomic_load_acquire(&pool.count), 0);
    }
    cr_assert_gt(n, 1);
    cr_assert_lt(n, 100);
    stop();
}
