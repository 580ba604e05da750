/* SPDX-License-Identifier: MIT */
/*
 * The join that consumed a referenced thread and the release of the last reference both freed its record,
 * and a reference could be taken while it was being freed.
 */
#include <pthread.h>

#include "regress.h"

static _Atomic uintptr_t shown;
static atomic_bool stop;

static void *return_it(void *arg)
{
    return arg;
}

static void *hold_and_release(void *arg)
{
    while (!atomic_load(&stop)) {
        vthread_t t = (vthread_t)atomic_load(&shown);

        if (vthread_ref(t) == 0)
            EXPECT(vthread_unref(t) == 0);
    }
    return arg;
}

int main(void)
{
    pthread_t holders[2];

    regress_configure(2, 0);
    for (int i = 0; i < 2; i++)
        EXPECT(pthread_create(&holders[i], NULL, hold_and_release, NULL) == 0);
    for (uintptr_t i = 1; i < 20000; i++) {
        void *value = NULL;
        vthread_t t;

        EXPECT(vthread_new(&t, NULL, return_it, (void *)i) == 0);
        atomic_store(&shown, (uintptr_t)t);
        if (i % 7 == 0) {
            EXPECT(vthread_detach(t) == 0);
            continue;
        }
        EXPECT(vthread_start(t) == 0);
        EXPECT(vthread_join(t, &value) == 0);
        EXPECT(value == (void *)i);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(holders[i], NULL);
    return regress_end();
}
