/* SPDX-License-Identifier: MIT */
/* What travels with a thread: errno, floating point control; and the clock that deadlines read. */
#include "vthread_help.h"

#include <fenv.h>

#include "base/clock.h"

TestSuite(context, .fini = help_fini, .timeout = 60);

/* The address of errno must not be remembered across a wait, so it is read out of line. */
NOINLINE static void set_errno(int value)
{
    __asm__ volatile("");
    errno = value;
}

NOINLINE static int get_errno(void)
{
    __asm__ volatile("");
    return errno;
}

static void *keep_errno(void *arg)
{
    int mine = (int)(intptr_t)arg;

    CHECK(get_errno() == 0);
    set_errno(mine);
    for (int i = 0; i < 100; i++) {
        vthread_yield();
        CHECK(get_errno() == mine);
        CHECK(vthread_sleep_ns(1000) == 0);
        CHECK(get_errno() == mine);
        if (i == 50)
            vthread_pin("on the spot");
        CHECK(vthread_park_until(vthread_after_ns(1000)) == ETIMEDOUT);
        CHECK(get_errno() == mine);
        if (i == 60)
            vthread_unpin();
    }
    return NULL;
}

static void run_many(void *(*fn)(void *arg))
{
    vthread_t threads[30];

    for (int i = 0; i < 30; i++)
        threads[i] = help_start(fn, (void *)(intptr_t)(i + 1));
    for (int i = 0; i < 30; i++)
        help_join(threads[i]);
}

Test(context, errno_travels_with_the_thread)
{
    setenv("VTHREAD_FORCE_MIGRATE", "1", 1);
    help_configure(3);
    run_many(keep_errno);
}

Test(context, errno_on_shared_stacks)
{
    setenv("VTHREAD_STACKS", "2", 1);
    help_configure(2);
    run_many(keep_errno);
}

static void *keep_rounding(void *arg)
{
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    int mine = modes[(intptr_t)arg % 4];

    CHECK(fegetround() == FE_TONEAREST); /* as in a new thread, whoever creates it */
    CHECK(fesetround(mine) == 0);
    for (int i = 0; i < 100; i++) {
        vthread_yield();
        CHECK(fegetround() == mine);
        CHECK(vthread_sleep_ns(1000) == 0);
        CHECK(fegetround() == mine);
    }
    return NULL;
}

Test(context, rounding_travels_with_the_thread)
{
    setenv("VTHREAD_FORCE_MIGRATE", "1", 1);
    help_configure(3);
    run_many(keep_rounding);
}

static void *end_with_odd_rounding(void *arg)
{
    fesetround(FE_UPWARD);
    return arg;
}

static void *has_default_rounding(void *arg)
{
    CHECK(fegetround() == FE_TONEAREST);
    return arg;
}

Test(context, rounding_does_not_outlive_the_thread)
{
    help_configure(1);
    for (int i = 0; i < 10; i++) {
        help_run(end_with_odd_rounding, NULL);
        help_run(has_default_rounding, NULL);
    }
}

/* ---- the clock ---- */

static _Atomic int64_t virtual_now;

static int64_t read_virtual_clock(void)
{
    return atomic_load(&virtual_now);
}

static const int64_t hour_ns = (int64_t)3600 * 1000000000;

static void *sleep_an_hour(void *arg)
{
    CHECK(vthread_sleep_until(vthread_now_ns() + hour_ns) == 0);
    return arg;
}

static void *park_an_hour(void *arg)
{
    CHECK(vthread_park_until(vthread_now_ns() + hour_ns) == ETIMEDOUT);
    return arg;
}

Test(context, deadlines_follow_a_replaced_clock)
{
    vthread_t a;
    vthread_t b;

    atomic_store(&virtual_now, 1000); /* long past on the real one */
    clock_replace(read_virtual_clock);
    cr_assert_eq(vthread_now_ns(), 1000);
    cr_assert_eq(vthread_after_ns(5), 1005);
    a = help_start(sleep_an_hour, NULL);
    b = help_start(park_an_hour, NULL);
    cr_assert(REACHES(a, VTHREAD_TIMED_PARKED));
    cr_assert(REACHES(b, VTHREAD_TIMED_PARKED));
    usleep(20000);
    cr_assert_eq(vthread_state(a), VTHREAD_TIMED_PARKED, "real time does not count");
    atomic_store(&virtual_now, 1000 + hour_ns);
    cr_assert_eq(vthread_join(a, NULL), 0);
    cr_assert_eq(vthread_join(b, NULL), 0);
    clock_replace(NULL);
    cr_assert_gt(vthread_now_ns(), 0);
}

static void *sleep_an_hour_pinned(void *arg)
{
    vthread_pin("a test");
    CHECK(vthread_sleep_until(vthread_now_ns() + hour_ns) == 0);
    vthread_unpin();
    return arg;
}

static void *sleep_an_hour_and_tell(void *arg)
{
    void *wrong = sleep_an_hour(NULL);

    atomic_store((atomic_bool *)arg, true);
    return wrong;
}

/* A clock that stands far ahead of the real one or far behind, and that moves without a word to anybody. */
static void all_waits_follow(int64_t now_ns)
{
    static const vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};
    static atomic_bool slept;
    vthread_t pinned;
    vthread_t os;

    atomic_store(&slept, false);
    atomic_store(&virtual_now, now_ns);
    clock_replace(read_virtual_clock);
    help_configure(2);
    help_start(sleep_an_hour_and_tell, &slept);
    pinned = help_start(sleep_an_hour_pinned, NULL);
    os = help_start_with(&platform, sleep_an_hour, NULL);
    cr_assert(REACHES(pinned, VTHREAD_TIMED_PINNED));
    cr_assert(REACHES(os, VTHREAD_TIMED_PINNED));
    usleep(20000);
    cr_assert_eq(vthread_state(pinned), VTHREAD_TIMED_PINNED);
    cr_assert_eq(vthread_state(os), VTHREAD_TIMED_PINNED);
    cr_assert_not(atomic_load(&slept));
    atomic_store(&virtual_now, now_ns + hour_ns);
    cr_assert(EVENTUALLY(atomic_load(&slept)), "a carrier that sleeps");
    cr_assert(EVENTUALLY(!vthread_is_alive(pinned)), "a pinned wait");
    cr_assert(EVENTUALLY(!vthread_is_alive(os)), "a platform thread");
    help_join(pinned);
    help_join(os);
    clock_replace(NULL);
    help_shutdown();
}

Test(context, all_waits_follow_a_replaced_clock)
{
    all_waits_follow(1000);
    all_waits_follow(clock_monotonic_ns() + 10 * hour_ns);
}

/* One that is ahead of the real clock: whoever moves it wakes the runtime, here by any new thread. */
Test(context, a_replaced_clock_may_be_ahead)
{
    vthread_t a;

    atomic_store(&virtual_now, clock_monotonic_ns());
    clock_replace(read_virtual_clock);
    a = help_start(sleep_an_hour, NULL);
    cr_assert(REACHES(a, VTHREAD_TIMED_PARKED));
    atomic_fetch_add(&virtual_now, hour_ns);
    cr_assert_eq(vthread_join(help_start(help_nothing, NULL), NULL), 0);
    cr_assert_eq(vthread_join(a, NULL), 0);
    clock_replace(NULL);
}
