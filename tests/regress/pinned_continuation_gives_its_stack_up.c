/* SPDX-License-Identifier: MIT */
/*
 * A thread that waited inside a pinned continuation kept its own stack, on which the continuation had been run: a
 * stack-mate that was to wake it never ran.
 */
#include "regress.h"

#include <vthread/continuation.h>

static vthread_cont_scope_t scope = {.name = "regress"};
static _Atomic uintptr_t waiter;

static void *body(void *arg)
{
    EXPECT(vthread_cont_pin("waits for a stack-mate") == 0);
    atomic_store(&waiter, (uintptr_t)vthread_self());
    EXPECT(vthread_park() == 0);
    EXPECT(vthread_cont_unpin() == 0);
    return arg;
}

static void *run(void *arg)
{
    vthread_cont_t *c;
    void *value = NULL;

    EXPECT(vthread_cont_new(&c, &scope, body, arg) == 0);
    EXPECT(vthread_cont_run(c, &value) == ENODATA && value == arg);
    EXPECT(vthread_cont_free(c) == 0);
    return arg;
}

static void *wake(void *arg)
{
    volatile char mine[4000];

    for (size_t i = 0; i < sizeof mine; i++) /* where the waiter's frames were */
        mine[i] = 'x';
    while (atomic_load(&waiter) == 0 || vthread_state((vthread_t)atomic_load(&waiter)) != VTHREAD_PINNED)
        vthread_sleep_ms(1);
    vthread_unpark((vthread_t)atomic_load(&waiter));
    return arg;
}

int main(void)
{
    vthread_t threads[2];
    void *value = NULL;

    regress_configure(1, 1);
    EXPECT(vthread_create(&threads[0], NULL, run, &waiter) == 0);
    EXPECT(vthread_create(&threads[1], NULL, wake, NULL) == 0);
    EXPECT(vthread_join(threads[0], &value) == 0 && value == &waiter);
    EXPECT(vthread_join(threads[1], NULL) == 0);
    return regress_end();
}
