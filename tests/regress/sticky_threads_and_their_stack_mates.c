/* SPDX-License-Identifier: MIT */
/*
 * A thread that must go on on one carrier was handed its shared stack, and kept it while that carrier was blocked by
 * a pinned thread. That one waited for a mutex, whose owner wanted the stack.
 */
#include "regress.h"

#include <vthread/sync.h>

enum { THREADS = 40, ROUNDS = 20 };

static vthread_mutex_t mutex;

static void *pin_and_lock(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        EXPECT(vthread_pin("test") == 0);
        vthread_mutex_lock(&mutex); /* many wait for it, each with its carrier */
        if (i % 4 == 0)
            vthread_sleep_ns(100000);
        EXPECT(vthread_mutex_unlock(&mutex) == 0);
        EXPECT(vthread_unpin() == 0);
        if (i % 2 == 0)
            EXPECT(vthread_stay_begin() == 0);
        vthread_sleep_ns(10000);
        if (i % 2 == 0)
            EXPECT(vthread_stay_end() == 0);
    }
    return arg;
}

int main(void)
{
    vthread_t threads[THREADS];

    regress_configure(2, 2);
    for (int i = 0; i < THREADS; i++) {
        vthread_attr_t attr = {.sticky_carrier = i % 2 == 0};

        EXPECT(vthread_create(&threads[i], &attr, pin_and_lock, NULL) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        EXPECT(vthread_join(threads[i], NULL) == 0);
    return regress_end();
}
