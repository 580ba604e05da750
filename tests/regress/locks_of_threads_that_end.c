/* SPDX-License-Identifier: MIT */
/*
 * Threads that lock, unlock and end at once, while deadlocks are looked for: there are none.  An owner
 * that had just ended was taken for one that had left its lock behind.
 */
#include "regress.h"

#include <vthread/sync.h>

enum { MAKERS = 4, ROUNDS = 6000, LOCKS = 2 };

static vthread_mutex_t mutexes[LOCKS];
static atomic_int running = MAKERS;
static _Atomic long entered;

static void *pass(void *arg)
{
    vthread_mutex_lock(arg);
    atomic_fetch_add(&entered, 1);
    vthread_yield();
    vthread_mutex_unlock(arg);
    return NULL;
}

static void *make(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        vthread_t threads[4];

        for (int k = 0; k < 4; k++)
            EXPECT(vthread_create(&threads[k], NULL, pass, &mutexes[(i + k) % LOCKS]) == 0);
        for (int k = 0; k < 4; k++)
            EXPECT(vthread_join(threads[k], NULL) == 0);
    }
    atomic_fetch_sub(&running, 1);
    return arg;
}

int main(void)
{
    vthread_t makers[MAKERS];

    regress_configure(2, 0);
    for (int i = 0; i < MAKERS; i++)
        EXPECT(vthread_create(&makers[i], NULL, make, NULL) == 0);
    while (atomic_load(&running) > 0)
        EXPECT(vthread_find_deadlocks(NULL, 0) == 0);
    for (int i = 0; i < MAKERS; i++)
        EXPECT(vthread_join(makers[i], NULL) == 0);
    EXPECT(atomic_load(&entered) == (long)MAKERS * ROUNDS * 4);
    EXPECT(vthread_runtime_shutdown(vthread_after_ms(30000)) == 0);
    return 0;
}
