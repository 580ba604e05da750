/* SPDX-License-Identifier: MIT */
/*
 * A thread known to park right after it has unparked another wakes no carrier for it, for its own is about
 * to be free.  If that park was pinned, nobody was: the other waited beside sleeping carriers.
 */
#include "regress.h"

static _Atomic uintptr_t partner;
static atomic_int balls;
static atomic_bool pinned_now;

static void *partner_body(void *arg)
{
    int seen = 0;

    atomic_store(&partner, (uintptr_t)vthread_self());
    while (seen < 1001) {
        while (atomic_load(&balls) == seen)
            vthread_park();
        seen++;
        vthread_unpark((vthread_t)arg);
    }
    return NULL;
}

static void *serve(void *arg)
{
    vthread_t t;

    (void)arg;
    if (vthread_create(&t, NULL, partner_body, vthread_self()) != 0)
        return NULL;
    while (atomic_load(&partner) == 0)
        vthread_yield();
    for (int i = 0; i < 1001; i++) {
        bool pinned = i == 1000; /* by now it has a record of parking at once */

        if (pinned)
            vthread_pin("this time");
        atomic_fetch_add(&balls, 1);
        vthread_unpark(t);
        vthread_park();
        if (pinned)
            vthread_unpin();
    }
    vthread_join(t, NULL);
    atomic_store(&pinned_now, true);
    return NULL;
}

int main(void)
{
    vthread_t t;

    regress_configure(4, 0);
    for (int i = 0; i < 20; i++) {
        atomic_store(&partner, 0);
        atomic_store(&balls, 0);
        EXPECT(vthread_create(&t, NULL, serve, NULL) == 0);
        EXPECT(vthread_join(t, NULL) == 0);
        EXPECT(atomic_exchange(&pinned_now, false));
    }
    return regress_end();
}
