/* SPDX-License-Identifier: MIT */
/* No memory for a timer, for frozen frames, for a stack: threads wait in another way, or later, but none is lost. */
#include "fault.h"

enum { THREADS = 100 };

static atomic_int wrong;

static void *wait_timed(void *arg)
{
    int64_t deadline_ns = vthread_after_ms(2);
    volatile char frame[3000];

    memset((char *)frame, (int)(uintptr_t)arg, sizeof frame);
    if (vthread_sleep_until(deadline_ns) != 0 || vthread_now_ns() < deadline_ns)
        atomic_fetch_add(&wrong, 1);
    if (vthread_park_until(vthread_after_ns(100000)) != ETIMEDOUT)
        atomic_fetch_add(&wrong, 1);
    for (size_t i = 0; i < sizeof frame; i += 100)
        if (frame[i] != (char)(uintptr_t)arg)
            atomic_fetch_add(&wrong, 1);
    return NULL;
}

static const vthread_attr_t *attr;
static unsigned stacks;
static bool strict;

/* Everything from the runtime's start on, so that nothing is in stock; its own failure is not the subject. */
static int run_threads(void)
{
    vthread_runtime_params_t params = {.parallelism = 2, .stacks = stacks, .strict = strict};
    vthread_t threads[THREADS];

    fault_set_hook(NULL);
    EXPECT(vthread_runtime_configure(&params) == 0);
    fault_check_works();
    fault_set_hook(fault_at_number);
    for (int i = 0; i < THREADS; i++)
        while (vthread_create(&threads[i], attr, wait_timed, (void *)(uintptr_t)i) != 0)
            ;
    for (int i = 0; i < THREADS; i++)
        EXPECT(vthread_join(threads[i], NULL) == 0);
    return 0;
}

static void check(int error)
{
    (void)error;
    EXPECT(atomic_load(&wrong) == 0);
    fault_check_works();
    fault_check_shutdown();
}

static void *yield_with_frames(void *arg)
{
    volatile char frame[200];

    memset((char *)frame, (int)(uintptr_t)arg, sizeof frame);
    for (int i = 0; i < 20; i++)
        vthread_yield();
    for (size_t i = 0; i < sizeof frame; i++)
        if (frame[i] != (char)(uintptr_t)arg)
            atomic_fetch_add(&wrong, 1);
    return NULL;
}

static void *pin_and_park(void *arg)
{
    (void)arg;
    vthread_pin("without memory");
    vthread_park_until(vthread_after_ns(200000));
    if (!vthread_is_pinned(NULL))
        atomic_fetch_add(&wrong, 1);
    vthread_unpin();
    return NULL;
}

static int run_pinned_and_yielding(void)
{
    vthread_runtime_params_t params = {.parallelism = 1, .stacks = 1};
    vthread_t threads[20];

    fault_set_hook(NULL);
    EXPECT(vthread_runtime_configure(&params) == 0);
    fault_check_works();
    fault_set_hook(fault_at_number);
    for (int i = 0; i < 20; i++)
        while (vthread_create(&threads[i], NULL, i % 4 ? yield_with_frames : pin_and_park, (void *)(uintptr_t)i) != 0)
            ;
    for (int i = 0; i < 20; i++)
        EXPECT(vthread_join(threads[i], NULL) == 0);
    return 0;
}

int main(void)
{
    fault_each("stacks of their own", SITES_MEMORY, 1, false, run_threads, check);
    fault_each("stacks of their own, eight in a row", SITES_MEMORY, 8, false, run_threads, check);
    stacks = 1;
    fault_each("one shared stack", SITES_MEMORY, 1, false, run_threads, check);
    fault_each("one shared stack, eight in a row", SITES_MEMORY, 8, false, run_threads, check);
    fault_each("pinned stack-mates", SITES_MEMORY | 1 << FAULT_THREAD, 1, false, run_pinned_and_yielding, check);
    stacks = 0;
    strict = true;
    fault_each("strict", SITES_MEMORY, 1, false, run_threads, check);
    strict = false;
    attr = &(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED};
    fault_each("dedicated stacks", SITES_MEMORY, 1, false, run_threads, check);
    attr = &(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED, .stack_bytes = 300000};
    fault_each("dedicated stacks with a size", SITES_MEMORY, 1, false, run_threads, check);
    return 0;
}
