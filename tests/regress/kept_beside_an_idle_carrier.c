/* SPDX-License-Identifier: MIT */
/*
 * A thread that was kept by its waker's carrier, which then computes, while the other carrier is busy at first and
 * idle later: it had to wait until the monitor took the carrier for stuck.
 */
#include "regress.h"

#include <vthread/sync.h>

enum { ROUNDS = 20 };

static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static atomic_bool got_it;

static void compute_until(int64_t until_ns)
{
    while (vthread_now_ns() < until_ns)
        ;
}

static void *wants_it(void *arg)
{
    EXPECT(vthread_mutex_lock(&mutex) == 0);
    atomic_store(&got_it, true);
    EXPECT(vthread_mutex_unlock(&mutex) == 0);
    return arg;
}

static void *is_busy(void *arg)
{
    compute_until(vthread_after_ms(7));
    return arg;
}

static void *lets_go_and_computes(void *arg)
{
    vthread_t waiter;
    vthread_t other;

    EXPECT(vthread_mutex_lock(&mutex) == 0);
    EXPECT(vthread_create(&waiter, NULL, wants_it, NULL) == 0);
    vthread_sleep_ns(150000); /* it queues up */
    EXPECT(vthread_mutex_unlock(&mutex) == 0);
    EXPECT(vthread_mutex_lock(&mutex) == 0); /* it is woken, and loses */
    vthread_sleep_ns(150000);
    EXPECT(vthread_create(&other, NULL, is_busy, NULL) == 0);
    compute_until(vthread_after_ns(100000));
    EXPECT(vthread_mutex_unlock(&mutex) == 0); /* it is woken, and kept */
    while (!atomic_load(&got_it))
        ;
    EXPECT(vthread_join(waiter, NULL) == 0);
    EXPECT(vthread_join(other, NULL) == 0);
    return arg;
}

int main(void)
{
    vthread_runtime_stats_t stats;

    regress_configure(2, 0);
    for (int i = 0; i < ROUNDS; i++) {
        vthread_t t;

        atomic_store(&got_it, false);
        EXPECT(vthread_create(&t, NULL, lets_go_and_computes, NULL) == 0);
        EXPECT(vthread_join(t, NULL) == 0);
    }
    /* A carrier that has lost its CPU for long is taken for stuck all the same, but not most times. */
    EXPECT(vthread_runtime_stats(&stats) == 0);
    EXPECT(stats.hogs <= ROUNDS / 2);
    return regress_end();
}
