/* SPDX-License-Identifier: MIT */
/*
 * The list of a thread's joiners went through the same link as the run queues and a stack's waiters: a
 * joiner whose deadline had passed, and that now waited for its stack, took the others with it.
 */
#include "regress.h"

enum { JOINERS = 30 };

static vthread_t target;
static atomic_int timed_out;

static void *park(void *arg)
{
    while (!atomic_load((atomic_bool *)arg))
        vthread_park();
    return NULL;
}

static void *join_with_deadline(void *arg)
{
    for (int i = 0; i < 50; i++)
        if (vthread_join_until(target, NULL, vthread_after_ns((int64_t)(uintptr_t)arg * 2000)) == ETIMEDOUT)
            atomic_fetch_add(&timed_out, 1);
    return NULL;
}

int main(void)
{
    static atomic_bool done;
    vthread_t joiners[JOINERS];

    regress_configure(4, 1);
    EXPECT(vthread_create(&target, NULL, park, &done) == 0);
    for (uintptr_t i = 0; i < JOINERS; i++)
        EXPECT(vthread_create(&joiners[i], NULL, join_with_deadline, (void *)(i + 1)) == 0);
    for (int i = 0; i < JOINERS; i++)
        EXPECT(vthread_join(joiners[i], NULL) == 0);
    EXPECT(atomic_load(&timed_out) == JOINERS * 50);
    atomic_store(&done, true);
    vthread_unpark(target);
    EXPECT(vthread_join(target, NULL) == 0);
    return regress_end();
}
