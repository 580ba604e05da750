/* SPDX-License-Identifier: MIT */
/* Staying on a carrier over waits. */
#include "vthread_help.h"

TestSuite(stay, .fini = help_fini, .timeout = 60);

enum { WAITS = 50 };

static void configure_to_migrate(void)
{
    setenv("VTHREAD_FORCE_MIGRATE", "1", 1);
    help_configure(2);
}

static void wait_somehow(int i)
{
    if (i % 2 == 0)
        vthread_yield();
    else
        vthread_sleep_ns(1000);
}

static void *stay(void *arg)
{
    pid_t here;
    bool moved = false;

    (void)arg;
    for (int round = 0; round < 3; round++) {
        CHECK(vthread_stay_begin() == 0);
        CHECK(vthread_stay_begin() == 0);
        here = help_os_thread();
        for (int i = 0; i < WAITS; i++) {
            wait_somehow(i);
            CHECK(help_os_thread() == here);
        }
        CHECK(vthread_stay_end() == 0);
        wait_somehow(0);
        CHECK(help_os_thread() == here); /* one is still open */
        CHECK(vthread_stay_end() == 0);
        CHECK(vthread_stay_end() == EINVAL);
        for (int i = 0; i < WAITS; i++) {
            wait_somehow(i);
            moved = moved || help_os_thread() != here;
        }
    }
    CHECK(moved);
    return NULL;
}

Test(stay, on_one_carrier_where_everything_moves, .init = configure_to_migrate)
{
    vthread_t threads[8];

    for (int i = 0; i < 8; i++)
        threads[i] = help_start(stay, NULL);
    for (int i = 0; i < 8; i++)
        help_join(threads[i]);
}

static void *block(void *arg)
{
    (void)arg;
    vthread_blocking_begin("test");
    usleep(20000);
    vthread_blocking_end();
    return NULL;
}

static void *stay_while_carriers_retire(void *arg)
{
    pid_t here;

    (void)arg;
    CHECK(vthread_stay_begin() == 0);
    here = help_os_thread();
    for (int i = 0; i < 20; i++) {
        vthread_sleep_ms(2);
        CHECK(help_os_thread() == here);
    }
    CHECK(vthread_stay_end() == 0);
    return NULL;
}

Test(stay, while_spares_come_and_go)
{
    vthread_t staying[8];
    vthread_t blocking[8];

    help_configure(2);
    for (int i = 0; i < 8; i++) {
        blocking[i] = help_start(block, NULL);
        staying[i] = help_start(stay_while_carriers_retire, NULL);
    }
    for (int i = 0; i < 8; i++) {
        help_join(blocking[i]);
        help_join(staying[i]);
    }
}

static void *end_staying(void *arg)
{
    (void)arg;
    CHECK(vthread_stay_begin() == 0);
    vthread_yield();
    return NULL;
}

static void *no_longer(void *arg)
{
    (void)arg;
    CHECK(vthread_stay_end() == EINVAL);
    return NULL;
}

Test(stay, ends_with_the_thread)
{
    help_configure(1);
    for (int i = 0; i < 100; i++)
        help_run(end_staying, NULL);
    help_run(no_longer, NULL);             /* a record that was used before */
    cr_assert_eq(vthread_stay_begin(), 0); /* nothing, on a platform thread */
    cr_assert_eq(vthread_stay_end(), 0);
}

static void *too_deep(void *arg)
{
    (void)arg;
    for (int i = 0; i < 7; i++)
        CHECK(vthread_stay_begin() == 0);
    CHECK(vthread_stay_begin() == EAGAIN);
    return NULL;
}

Test(stay, nests)
{
    help_run(too_deep, NULL);
}
