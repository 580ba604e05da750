/* SPDX-License-Identifier: MIT */
/* Pins, blocking sections, and what the monitor does about those who forget them. */
#include "vthread_help.h"

#include <time.h>

TestSuite(pin, .fini = help_fini, .timeout = 60);

static struct help_messages messages;

static void *nest(void *arg)
{
    const char *reason = NULL;

    (void)arg;
    CHECK(!vthread_is_pinned(NULL));
    CHECK(vthread_pin("outer") == 0);
    CHECK(vthread_pin("inner") == 0);
    CHECK(vthread_is_pinned(&reason));
    CHECK(strcmp(reason, "outer") == 0);
    CHECK(vthread_unpin() == 0);
    CHECK(vthread_is_pinned(NULL));
    CHECK(vthread_unpin() == 0);
    CHECK(!vthread_is_pinned(NULL));
    CHECK(vthread_pin("again") == 0);
    CHECK(vthread_is_pinned(&reason) && strcmp(reason, "again") == 0);
    CHECK(vthread_unpin() == 0);
    return NULL;
}

Test(pin, pins_nest)
{
    help_run(nest, NULL);
}

static void *pin_deep(void *arg)
{
    (void)arg;
    for (int i = 0; i < 255; i++)
        CHECK(vthread_pin("deep") == 0);
    CHECK(vthread_pin("too deep") == EAGAIN);
    CHECK(vthread_blocking_begin("not too deep: counted apart") == 0);
    CHECK(vthread_blocking_end() == 0);
    for (int i = 0; i < 255; i++)
        CHECK(vthread_unpin() == 0);
    CHECK(!vthread_is_pinned(NULL));
    return NULL;
}

Test(pin, there_is_a_limit)
{
    help_run(pin_deep, NULL);
}

static void *unpin_too_often(void *arg)
{
    (void)arg;
    CHECK(vthread_unpin() == EINVAL);
    CHECK(vthread_pin("once") == 0);
    CHECK(vthread_unpin() == 0);
    CHECK(vthread_unpin() == EINVAL);
    CHECK(vthread_blocking_end() == EINVAL);
    return NULL;
}

Test(pin, unpinning_below_zero_is_misuse)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    help_run_with(&(vthread_attr_t){.name = "careless"}, unpin_too_often, NULL);
    cr_assert_eq(atomic_load(&messages.count), 3);
    cr_assert_not_null(strstr(messages.last, "careless"), "%s", messages.last);
    cr_assert_not_null(strstr(messages.last, "vthread_blocking_end"), "%s", messages.last);
}

static void *unpin_a_section(void *arg)
{
    (void)arg;
    CHECK(vthread_blocking_begin("section") == 0);
    CHECK(vthread_unpin() == EINVAL); /* that pin is the section's */
    CHECK(vthread_is_pinned(NULL));
    CHECK(vthread_blocking_end() == 0);
    CHECK(!vthread_is_pinned(NULL));
    return NULL;
}

Test(pin, a_sections_pin_is_not_for_unpin)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    help_run(unpin_a_section, NULL);
    cr_assert_eq(atomic_load(&messages.count), 1);
}

Test(pin, on_a_platform_thread_nothing_happens)
{
    cr_assert_eq(vthread_pin("main"), 0);
    cr_assert_not(vthread_is_pinned(NULL));
    cr_assert_eq(vthread_unpin(), 0);
    cr_assert_eq(vthread_unpin(), 0);
    cr_assert_eq(vthread_blocking_begin("main"), 0);
    cr_assert_eq(vthread_blocking_end(), 0);
}

static void *stay_on_os_thread(void *arg)
{
    pid_t here;

    (void)arg;
    CHECK(vthread_pin("stay") == 0);
    here = help_os_thread();
    for (int i = 0; i < 20; i++) {
        vthread_yield(); /* returns at once */
        CHECK(vthread_park_until(vthread_after_ns(100000)) == ETIMEDOUT);
        CHECK(vthread_sleep_ns(100000) == 0);
        CHECK(help_os_thread() == here);
    }
    CHECK(vthread_unpin() == 0);
    return NULL;
}

Test(pin, a_pinned_thread_stays_on_its_os_thread)
{
    vthread_t threads[8];

    help_configure(2);
    for (int i = 0; i < 8; i++)
        threads[i] = help_start(stay_on_os_thread, NULL);
    for (int i = 0; i < 8; i++)
        help_join(threads[i]);
}

/* ---- a pinned park lets others run, even on the same stack ---- */

static _Atomic uintptr_t pinned_thread;

static void *park_pinned(void *arg)
{
    volatile int local[50];

    (void)arg;
    for (int i = 0; i < 50; i++)
        local[i] = i;
    CHECK(vthread_pin("waits for a mate") == 0);
    atomic_store(&pinned_thread, (uintptr_t)vthread_self());
    CHECK(vthread_park() == 0);
    CHECK(vthread_unpin() == 0);
    for (int i = 0; i < 50; i++)
        CHECK(local[i] == i);
    return NULL;
}

static void *wake_pinned(void *arg)
{
    volatile int local[500];

    for (int i = 0; i < 500; i++)
        local[i] = -1;
    CHECK(EVENTUALLY_HERE(atomic_load(&pinned_thread) != 0 &&
                          vthread_state((vthread_t)atomic_load(&pinned_thread)) == VTHREAD_PINNED));
    vthread_unpark((vthread_t)atomic_load(&pinned_thread));
    (void)local[arg != NULL];
    return NULL;
}

static void run_pinned_and_waker(unsigned stacks, bool strict)
{
    vthread_runtime_params_t params = {
        .parallelism = 1, .stacks = stacks, .sole_stacks = stacks ? UINT_MAX : 0, .strict = strict};
    vthread_t a;
    vthread_t b;

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    a = help_start(park_pinned, NULL);
    b = help_start(wake_pinned, NULL);
    help_join(a);
    help_join(b);
    help_shutdown();
}

Test(pin, another_wakes_a_pinned_thread)
{
    run_pinned_and_waker(0, false);
}

Test(pin, a_stack_mate_wakes_a_pinned_thread)
{
    run_pinned_and_waker(1, false);
}

Test(pin, one_of_two_stacks)
{
    run_pinned_and_waker(2, false);
}

Test(pin, a_stack_mate_in_strict_mode)
{
    run_pinned_and_waker(1, true);
}

/* More pinned waiters than carriers, which only one more can wake, one after the other. */
static atomic_int now_serving;
static _Atomic uintptr_t queue[20];

static void *wait_in_line(void *arg)
{
    int number = (int)(intptr_t)arg;

    CHECK(vthread_pin("in line") == 0);
    atomic_store(&queue[number], (uintptr_t)vthread_self());
    while (atomic_load(&now_serving) < number)
        vthread_park();
    atomic_store(&now_serving, number + 1);
    if (number + 1 < 20)
        vthread_unpark((vthread_t)atomic_load(&queue[number + 1]));
    CHECK(vthread_unpin() == 0);
    return NULL;
}

Test(pin, many_pinned_waiters_with_few_carriers)
{
    vthread_t threads[20];
    vthread_runtime_stats_t stats;

    help_configure(2);
    atomic_store(&now_serving, -1);
    for (int i = 0; i < 20; i++)
        threads[i] = help_start(wait_in_line, (void *)(intptr_t)i);
    for (int i = 0; i < 20; i++)
        cr_assert(REACHES(threads[i], VTHREAD_PINNED));
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_geq(stats.pinned_parks, 20);
    cr_assert_geq(stats.carriers, 20);
    atomic_store(&now_serving, 0);
    vthread_unpark(threads[0]);
    for (int i = 0; i < 20; i++)
        help_join(threads[i]);
    /* The spares are spares again. */
    cr_assert(EVENTUALLY(vthread_runtime_stats(&stats) == 0 && stats.carriers_running <= stats.parallelism));
}

static void *park_pinned_until_interrupted(void *arg)
{
    (void)arg;
    CHECK(vthread_pin("interrupted") == 0);
    CHECK(vthread_park() == EINTR);
    CHECK(vthread_interrupted());
    CHECK(vthread_park_until(vthread_after_ns(1000)) == ETIMEDOUT);
    vthread_unpark(vthread_self());
    CHECK(vthread_park() == 0);
    CHECK(vthread_unpin() == 0);
    return NULL;
}

Test(pin, an_interrupt_ends_a_pinned_park)
{
    vthread_t t = help_start(park_pinned_until_interrupted, NULL);

    cr_assert(REACHES(t, VTHREAD_PINNED));
    vthread_interrupt(t);
    help_join(t);
}

/* ---- blocking sections ---- */

static atomic_bool released;

static void block_for_real(void)
{
    struct timespec shortly = {0, 1000000};

    while (!atomic_load(&released))
        nanosleep(&shortly, NULL);
}

static void *block_in_section(void *arg)
{
    pid_t here = help_os_thread();

    (void)arg;
    CHECK(vthread_blocking_begin("test") == 0);
    CHECK(vthread_is_pinned(NULL));
    block_for_real(); /* until another virtual thread has run: there is one place for it */
    CHECK(vthread_blocking_end() == 0);
    CHECK(!vthread_is_pinned(NULL));
    CHECK(help_os_thread() == here);
    return NULL;
}

static void *release(void *arg)
{
    atomic_store(&released, true);
    return arg;
}

Test(pin, others_run_while_one_blocks)
{
    vthread_runtime_stats_t stats;
    vthread_t t;

    help_configure(1);
    t = help_start(block_in_section, NULL);
    cr_assert(EVENTUALLY(vthread_state(t) == VTHREAD_RUNNING));
    help_run(release, NULL);
    help_join(t);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.hogs, 0, "the section said so; nobody had to find out");
}

static void *fill(void *arg)
{
    int *numbers = arg; /* the caller's locals: fine */

    for (int i = 0; i < 10; i++)
        numbers[i] = i * i;
    block_for_real();
    return numbers + 3;
}

static void *call_blocking(void *arg)
{
    int numbers[10] = {0};

    (void)arg;
    CHECK(vthread_blocking_call(fill, numbers) == numbers + 3);
    for (int i = 0; i < 10; i++)
        CHECK(numbers[i] == i * i);
    return NULL;
}

Test(pin, blocking_call)
{
    int numbers[10];
    vthread_t t;

    help_configure(1);
    t = help_start(call_blocking, NULL);
    help_run(release, NULL);
    help_join(t);
    cr_assert_eq(vthread_blocking_call(fill, numbers), (void *)(numbers + 3), "on a platform thread");
}

static void *nest_sections(void *arg)
{
    vthread_runtime_stats_t stats;

    (void)arg;
    CHECK(vthread_blocking_begin("outer") == 0);
    CHECK(vthread_blocking_begin("inner") == 0);
    CHECK(vthread_pin("pinned") == 0);
    CHECK(vthread_blocking_end() == 0);
    CHECK(vthread_is_pinned(NULL));
    /* A wait inside gives the place back to nobody. */
    CHECK(vthread_park_until(vthread_after_ms(1)) == ETIMEDOUT);
    CHECK(vthread_runtime_stats(&stats) == 0);
    CHECK(stats.carriers_running <= stats.parallelism);
    block_for_real();
    CHECK(vthread_blocking_end() == 0);
    CHECK(vthread_unpin() == 0);
    CHECK(!vthread_is_pinned(NULL));
    return NULL;
}

Test(pin, sections_nest_and_may_wait_inside)
{
    vthread_runtime_stats_t stats;
    vthread_t t;

    help_configure(1);
    t = help_start(nest_sections, NULL);
    usleep(5000);
    help_run(release, NULL);
    help_join(t);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.hogs, 0);
}

static void *begin_often(void *arg)
{
    int depth = 0;

    (void)arg;
    while (vthread_blocking_begin("deep") == 0)
        depth++;
    CHECK(depth >= 16 && depth < 256);
    while (depth-- > 0)
        CHECK(vthread_blocking_end() == 0);
    CHECK(!vthread_is_pinned(NULL));
    return NULL;
}

Test(pin, sections_have_a_limit)
{
    help_run(begin_often, NULL);
}

/* ---- the monitor ---- */

static void *count_ticks(void *arg)
{
    atomic_int *ticks = arg;

    for (int i = 0; i < 20; i++) {
        CHECK(vthread_sleep_ms(1) == 0);
        atomic_fetch_add(ticks, 1);
    }
    return NULL;
}

static atomic_bool stop;

Test(pin, a_long_computation_does_not_stop_the_others)
{
    atomic_int ticks = 0;
    vthread_runtime_stats_t stats;
    vthread_t hog;

    help_configure(1);
    hog = help_start(help_spin, &stop);
    cr_assert(REACHES(hog, VTHREAD_RUNNING));
    help_run(count_ticks, &ticks);
    cr_assert_eq(vthread_state(hog), VTHREAD_RUNNING);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_geq(stats.hogs, 1);
    atomic_store(&stop, true);
    help_join(hog);
}

static void *block_unannounced(void *arg)
{
    struct timespec half_a_second = {0, 500000000};

    (void)arg;
    nanosleep(&half_a_second, NULL);
    return NULL;
}

Test(pin, a_blocking_call_that_nobody_announced)
{
    atomic_int ticks = 0;
    vthread_t hog;

    help_configure(1);
    hog = help_start(block_unannounced, NULL);
    cr_assert(REACHES(hog, VTHREAD_RUNNING));
    help_run(count_ticks, &ticks);
    cr_assert_eq(vthread_state(hog), VTHREAD_RUNNING, "the others were done before it");
    help_join(hog);
}

static void *sleep_and_note(void *arg)
{
    CHECK(vthread_sleep_ms(20) == 0);
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

static void *sleeper_then_block(void *arg)
{
    vthread_t t = NULL;

    (void)arg;
    CHECK(vthread_create(&t, NULL, sleep_and_note, &released) == 0);
    vthread_yield(); /* it goes to sleep on this carrier */
    CHECK(vthread_blocking_begin("with a timer left behind") == 0);
    block_for_real(); /* until the sleeper has woken: somebody else must look after its timer */
    CHECK(vthread_blocking_end() == 0);
    CHECK(vthread_join(t, NULL) == 0);
    return NULL;
}

Test(pin, timers_of_a_blocked_carrier_fire)
{
    help_configure(2);
    usleep(10000); /* both idle */
    help_run(sleeper_then_block, NULL);
}
