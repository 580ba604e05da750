/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"

TestSuite(clock);

static int64_t read_monotonic(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

Test(clock, is_monotonic_time)
{
    int64_t before = read_monotonic();
    int64_t now = clock_now_ns();

    cr_assert_geq(now, before);
    cr_assert_leq(now, read_monotonic());
    cr_assert_leq(now, clock_monotonic_ns());
}

static int64_t fixed(void)
{
    return 4711;
}

Test(clock, can_be_replaced_and_brought_back)
{
    clock_replace(fixed);
    cr_assert_eq(clock_now_ns(), 4711);
    cr_assert_neq(clock_monotonic_ns(), 4711, "the real one can still be read");
    clock_replace(NULL);
    cr_assert_neq(clock_now_ns(), 4711);
}

Test(clock, cpu_time_passes_by_computing)
{
    int64_t start = clock_process_cpu_ns();

    while (clock_process_cpu_ns() - start < 1000000)
        ;
    cr_assert_gt(clock_process_cpu_ns(), start);
}
