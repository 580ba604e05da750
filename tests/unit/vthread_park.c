/* SPDX-License-Identifier: MIT */
/* Park, unpark, sleep, yield, interrupt, time. */
#include "vthread_help.h"

TestSuite(park, .fini = help_fini, .timeout = 60);

static void *permit_before_park(void *arg)
{
    (void)arg;
    vthread_unpark(vthread_self());
    CHECK(vthread_park() == 0);
    CHECK(vthread_park_until(VTHREAD_NOW) == ETIMEDOUT); /* it was one permit, and is consumed */
    return NULL;
}

static void *permits_do_not_add_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++)
        vthread_unpark(vthread_self());
    CHECK(vthread_park() == 0);
    CHECK(vthread_park_until(VTHREAD_NOW) == ETIMEDOUT);
    return NULL;
}

Test(park, a_permit_is_consumed_at_once)
{
    help_run(permit_before_park, NULL);
    cr_assert_null(permit_before_park(NULL), "on a platform thread as well");
}

Test(park, there_is_one_permit_however_often)
{
    help_run(permits_do_not_add_up, NULL);
    cr_assert_null(permits_do_not_add_up(NULL));
}

static void *park_once(void *arg)
{
    CHECK(vthread_park() == 0);
    return arg;
}

Test(park, unpark_ends_a_park)
{
    vthread_t t = help_start(park_once, NULL);

    cr_assert(REACHES(t, VTHREAD_PARKED));
    cr_assert_eq(vthread_unpark(t), 0);
    help_join(t);
}

static atomic_int message;
static atomic_bool go;

static void *read_message(void *arg)
{
    (void)arg;
    while (!atomic_load_explicit(&go, memory_order_relaxed))
        vthread_park();
    CHECK(atomic_load_explicit(&message, memory_order_relaxed) == 42);
    return NULL;
}

Test(park, what_was_done_before_the_unpark_is_seen_after_the_park)
{
    vthread_t t = help_start(read_message, NULL);

    atomic_store(&message, 42);
    atomic_store(&go, true);
    vthread_unpark(t);
    help_join(t);
}

static void *park_on_something(void *arg)
{
    CHECK(vthread_park_on(arg) == 0);
    CHECK(vthread_park_on_until(arg, vthread_after_ms(1)) == ETIMEDOUT);
    CHECK(vthread_park_on_until(NULL, VTHREAD_NOW) == ETIMEDOUT);
    return NULL;
}

Test(park, park_on)
{
    static int blocker;
    vthread_t t = help_start(park_on_something, &blocker);

    cr_assert(REACHES(t, VTHREAD_PARKED));
    vthread_unpark(t);
    help_join(t);
}

static void *deadlines(void *arg)
{
    int64_t start = vthread_now_ns();

    (void)arg;
    CHECK(vthread_park_until(VTHREAD_NOW) == ETIMEDOUT);
    CHECK(vthread_park_until(start - 1) == ETIMEDOUT);
    CHECK(vthread_park_until(INT64_MIN) == ETIMEDOUT);
    CHECK(vthread_park_until(start + 3000000) == ETIMEDOUT);
    CHECK(vthread_now_ns() >= start + 3000000);
    vthread_unpark(vthread_self());
    CHECK(vthread_park_until(VTHREAD_NOW) == 0); /* a permit is stronger than the deadline */
    vthread_unpark(vthread_self());
    CHECK(vthread_park_until(VTHREAD_FOREVER) == 0);
    return NULL;
}

Test(park, deadlines)
{
    help_run(deadlines, NULL);
    cr_assert_null(deadlines(NULL), "on a platform thread as well");
}

static void *park_until_far(void *arg)
{
    CHECK(vthread_park_until(vthread_after_ms(60000)) == 0);
    return arg;
}

Test(park, unpark_before_the_deadline)
{
    vthread_t t = help_start(park_until_far, NULL);

    cr_assert(REACHES(t, VTHREAD_TIMED_PARKED));
    vthread_unpark(t);
    help_join(t);
}

/* ---- interruption ---- */

static void *park_interrupted(void *arg)
{
    CHECK(vthread_park() == EINTR);
    CHECK(vthread_is_interrupted(vthread_self())); /* park keeps the flag ... */
    CHECK(vthread_park() == EINTR);                /* ... and does not wait while it is set */
    CHECK(vthread_park_until(VTHREAD_NOW) == EINTR);
    CHECK(vthread_park_on(arg) == EINTR);
    CHECK(vthread_interrupted());
    CHECK(!vthread_interrupted());
    CHECK(!vthread_is_interrupted(vthread_self()));
    CHECK(vthread_park_until(VTHREAD_NOW) == ETIMEDOUT);
    return NULL;
}

Test(park, an_interrupt_ends_a_park_and_is_kept)
{
    vthread_t t = help_start(park_interrupted, &go);

    cr_assert(REACHES(t, VTHREAD_PARKED));
    cr_assert_eq(vthread_interrupt(t), 0);
    help_join(t);
}

static void *interrupt_oneself(void *arg)
{
    vthread_interrupt(vthread_self());
    return park_interrupted(arg);
}

Test(park, an_interrupt_before_the_park)
{
    help_run(interrupt_oneself, &go);
    cr_assert_null(interrupt_oneself(&go), "on a platform thread as well");
}

static void *permit_and_interrupt(void *arg)
{
    (void)arg;
    vthread_unpark(vthread_self());
    vthread_interrupt(vthread_self());
    CHECK(vthread_park() == 0); /* the permit first; the flag is not lost */
    CHECK(vthread_park() == EINTR);
    CHECK(vthread_interrupted());
    return NULL;
}

Test(park, a_permit_and_an_interrupt)
{
    help_run(permit_and_interrupt, NULL);
    cr_assert_null(permit_and_interrupt(NULL));
}

static void *sleep_interrupted(void *arg)
{
    (void)arg;
    CHECK(vthread_sleep_ms(60000) == EINTR);
    CHECK(!vthread_interrupted()); /* delivered */
    vthread_interrupt(vthread_self());
    CHECK(vthread_sleep_ns(1) == EINTR);
    vthread_interrupt(vthread_self());
    CHECK(vthread_sleep_ns(0) == EINTR);
    vthread_interrupt(vthread_self());
    CHECK(vthread_sleep_until(VTHREAD_NOW) == EINTR);
    CHECK(vthread_sleep_until(VTHREAD_NOW) == 0);
    return NULL;
}

Test(park, an_interrupt_ends_a_sleep_and_is_consumed)
{
    vthread_t t = help_start(sleep_interrupted, NULL);

    cr_assert(REACHES(t, VTHREAD_TIMED_PARKED));
    vthread_interrupt(t);
    help_join(t);
}

/* ---- sleep ---- */

static void *sleeps(void *arg)
{
    int64_t start = vthread_now_ns();

    (void)arg;
    CHECK(vthread_sleep_ns(-1) == EINVAL);
    CHECK(vthread_sleep_ms(-1) == EINVAL);
    CHECK(vthread_sleep_ns(INT64_MIN) == EINVAL);
    CHECK(vthread_sleep_ns(0) == 0);
    CHECK(vthread_sleep_ms(0) == 0);
    CHECK(vthread_sleep_until(start) == 0);
    CHECK(vthread_sleep_ns(2000000) == 0);
    CHECK(vthread_now_ns() >= start + 2000000);
    CHECK(vthread_sleep_ms(2) == 0);
    CHECK(vthread_now_ns() >= start + 4000000);
    CHECK(vthread_sleep_until(start + 7000000) == 0);
    CHECK(vthread_now_ns() >= start + 7000000);
    return NULL;
}

Test(park, sleep)
{
    help_run(sleeps, NULL);
    cr_assert_null(sleeps(NULL), "on a platform thread as well");
}

static void *sleep_for_ever(void *arg)
{
    CHECK((arg != NULL ? vthread_sleep_ms(INT64_MAX) : vthread_sleep_ns(INT64_MAX)) == EINTR);
    return NULL;
}

Test(park, the_longest_sleep)
{
    vthread_t a = help_start(sleep_for_ever, NULL);
    vthread_t b = help_start(sleep_for_ever, &a);

    usleep(3000);
    cr_assert(vthread_is_alive(a) && vthread_is_alive(b));
    vthread_interrupt(a);
    vthread_interrupt(b);
    help_join(a);
    help_join(b);
}

static void *permit_during_sleep(void *arg)
{
    int64_t start = vthread_now_ns();

    (void)arg;
    CHECK(vthread_sleep_ms(30) == 0);
    CHECK(vthread_now_ns() >= start + 30000000);
    CHECK(vthread_park_until(VTHREAD_NOW) == 0); /* and the permit was kept */
    return NULL;
}

Test(park, a_permit_does_not_shorten_a_sleep)
{
    vthread_t t = help_start(permit_during_sleep, NULL);

    cr_assert(REACHES(t, VTHREAD_TIMED_PARKED));
    vthread_unpark(t);
    help_join(t);
}

static void *sleep_some(void *arg)
{
    CHECK(vthread_sleep_ms((int64_t)(intptr_t)arg) == 0);
    return NULL;
}

/* Each of the million is a few hundred bytes; none may be forgotten. */
Test(park, a_million_sleepers, .timeout = 120)
{
    enum { ALL = BUILT_WITH_TSAN ? 5000 : 1000000 / HELP_SLOW }; /* ThreadSanitizer knows 8,128 at most */
    vthread_t *threads = malloc(ALL * sizeof *threads);
    vthread_runtime_stats_t stats;

    for (int i = 0; i < ALL; i++)
        threads[i] = help_start(sleep_some, (void *)(intptr_t)(i % 300));
    for (int i = 0; i < ALL; i++)
        help_join(threads[i]);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.threads_alive, 0);
    cr_assert_geq(stats.threads_created, ALL);
    free(threads);
    help_shutdown();
}

/* ---- yield ---- */

static atomic_int turn;

static void *take_turns(void *arg)
{
    for (int i = 0; i < 100; i++) {
        int mine = 2 * i + (int)(intptr_t)arg;

        /* The other, if it is not its turn, yields to us; with one carrier a yield that did not would hang. */
        while (atomic_load(&turn) != mine)
            vthread_yield();
        atomic_store(&turn, mine + 1);
    }
    return NULL;
}

Test(park, yield_lets_the_other_run)
{
    vthread_t a;
    vthread_t b;

    help_configure(1);
    a = help_start(take_turns, (void *)0);
    b = help_start(take_turns, (void *)1);
    help_join(a);
    help_join(b);
    vthread_yield(); /* on a platform thread: harmless */
}

static void *checkpoint_often(void *arg)
{
    for (int i = 0; i < 100000; i++)
        vthread_checkpoint();
    return arg;
}

Test(park, checkpoint)
{
    vthread_t a = help_start(checkpoint_often, NULL);
    vthread_t b = help_start(checkpoint_often, NULL);

    vthread_checkpoint();
    vthread_spin_hint();
    help_join(a);
    help_join(b);
}

static atomic_bool other_has_run;

static void *note_that_it_ran(void *arg)
{
    atomic_store(&other_has_run, true);
    return arg;
}

/* One attempt to see a checkpoint that does not yield early in a slice; on a loaded machine the slice may be over. */
static void *checkpoint_early(void *arg)
{
    bool *has_yielded = arg;
    vthread_t other;

    for (int i = 0; i < 50; i++) {
        vthread_sleep_ns(1000);
        atomic_store(&other_has_run, false);
        other = NULL;
        CHECK(vthread_create(&other, NULL, note_that_it_ran, NULL) == 0);
        vthread_checkpoint();
        *has_yielded = atomic_load(&other_has_run);
        CHECK(vthread_join(other, NULL) == 0);
        if (!*has_yielded)
            break;
    }
    return NULL;
}

Test(park, a_checkpoint_early_in_the_slice_does_not_yield)
{
    static bool has_yielded;

    help_configure(1);
    help_run(checkpoint_early, &has_yielded);
    cr_assert_not(has_yielded);
}

static void *compute_with_checkpoints(void *arg)
{
    vthread_t other = NULL;

    CHECK(vthread_create(&other, NULL, note_that_it_ran, NULL) == 0);
    while (!atomic_load(&other_has_run)) /* there is one carrier, and the spare ones are not allowed */
        vthread_checkpoint();
    CHECK(vthread_join(other, NULL) == 0);
    return arg;
}

Test(park, a_checkpoint_after_the_slice_yields)
{
    vthread_runtime_params_t params = {.parallelism = 1, .max_pool_size = 1};
    vthread_runtime_stats_t stats;

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    help_run(compute_with_checkpoints, NULL);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.carriers, 1);
}

/* ---- time ---- */

Test(park, deadlines_from_now_saturate)
{
    int64_t now = vthread_now_ns();

    cr_assert_geq(vthread_after_ns(0), now);
    cr_assert_geq(vthread_after_ns(1000000), now + 1000000);
    cr_assert_geq(vthread_after_ms(1000), now + 1000000000);
    cr_assert_leq(vthread_after_ms(1000), vthread_now_ns() + 1000000000);
    cr_assert_eq(vthread_after_ns(INT64_MAX), VTHREAD_FOREVER);
    cr_assert_eq(vthread_after_ms(INT64_MAX), VTHREAD_FOREVER);
    cr_assert_eq(vthread_after_ms(INT64_MAX / 1000000), VTHREAD_FOREVER);
    cr_assert_eq(vthread_after_ns(-1), VTHREAD_NOW);
    cr_assert_eq(vthread_after_ms(-1), VTHREAD_NOW);
    cr_assert_eq(vthread_after_ms(INT64_MIN), VTHREAD_NOW);
}
