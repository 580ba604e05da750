/* SPDX-License-Identifier: MIT */
/* No spare carrier, no larger ring: whatever is runnable is run all the same. */
#include "fault.h"

static atomic_bool released;

static void *block(void *arg)
{
    EXPECT(vthread_blocking_begin("until released") == 0);
    while (!atomic_load(&released))
        usleep(200);
    EXPECT(vthread_blocking_end() == 0);
    return arg;
}

static void *release(void *arg)
{
    atomic_store(&released, true);
    return arg;
}

/* The only carrier blocks, and the spare cannot be had at once: somebody must ask again. */
static int wait_for_a_spare(void)
{
    vthread_runtime_params_t params = {.parallelism = 1};
    vthread_t a = NULL;
    vthread_t b = NULL;

    fault_set_hook(NULL);
    atomic_store(&released, false);
    EXPECT(vthread_runtime_configure(&params) == 0);
    fault_check_works();
    fault_set_hook(fault_at_number);
    while (vthread_create(&a, NULL, block, NULL) != 0)
        ;
    while (vthread_create(&b, NULL, release, NULL) != 0)
        ;
    EXPECT(vthread_join(b, NULL) == 0);
    EXPECT(vthread_join(a, NULL) == 0);
    return 0;
}

static void check(int error)
{
    (void)error;
    fault_check_works();
    fault_check_shutdown();
}

/* Many more runnable threads than a ring has room for, made by one of them. */
static atomic_int ran;

static void *count(void *arg)
{
    atomic_fetch_add(&ran, 1);
    return arg;
}

static void *create_many(void *arg)
{
    for (int i = 0; i < 3000; i++)
        while (vthread_create(NULL, NULL, count, NULL) != 0)
            ;
    return arg;
}

static int fill_the_ring(void)
{
    vthread_runtime_params_t params = {.parallelism = 2};
    vthread_t t = NULL;

    fault_set_hook(NULL);
    atomic_store(&ran, 0);
    EXPECT(vthread_runtime_configure(&params) == 0);
    fault_check_works();
    fault_set_hook(fault_at_number);
    while (vthread_create(&t, NULL, create_many, NULL) != 0)
        ;
    EXPECT(vthread_join(t, NULL) == 0);
    for (int i = 0; i < 20000 && atomic_load(&ran) < 3000; i++)
        usleep(500);
    EXPECT(atomic_load(&ran) == 3000);
    return 0;
}

static int more_carriers(void)
{
    for (unsigned n = 1; n <= 12; n++)
        EXPECT(vthread_runtime_set_parallelism(n) == 0);
    EXPECT(vthread_runtime_set_parallelism(2) == 0);
    return 0;
}

static void check_alive(int error)
{
    (void)error;
    fault_check_works();
}

int main(void)
{
    fault_each("a spare", 1 << FAULT_THREAD | 1 << FAULT_ALLOC, 1, false, wait_for_a_spare, check);
    fault_each("a spare, at the tenth attempt", 1 << FAULT_THREAD | 1 << FAULT_ALLOC, 10, false, wait_for_a_spare,
               check);
    fault_each("the ring", SITES_MEMORY, 1, false, fill_the_ring, check);
    fault_each("the ring, eight in a row", SITES_MEMORY, 8, false, fill_the_ring, check);
    fault_check_works();
    fault_each("more carriers", SITES_ALL, 1, false, more_carriers, check_alive);
    fault_check_shutdown();
    return 0;
}
