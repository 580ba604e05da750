/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <sched.h>

#include "carrier/carrier.h"

TestSuite(parallelism, .timeout = 20);

static cpu_set_t allowed(void)
{
    cpu_set_t set;

    cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
    return set;
}

Test(parallelism, between_one_and_the_cpus_allowed)
{
    cpu_set_t set = allowed();

    cr_assert_geq(parallelism_available(), 1);
    cr_assert_leq(parallelism_available(), (uint32_t)CPU_COUNT(&set));
}

Test(parallelism, one_cpu_allowed)
{
    cpu_set_t set = allowed();
    cpu_set_t one;
    int cpu = 0;

    while (!CPU_ISSET(cpu, &set))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_assert_eq(parallelism_available(), 1);
}
