/* SPDX-License-Identifier: MIT */
/*
 * A pinned thread whose wait was over, and that waited for a stack-mate to leave the stack, kept its place
 * among the running carriers: with one place the mate never ran.
 */
#include "regress.h"

enum { MATES = 20 };

static vthread_t mates[MATES];
static atomic_bool started;

static void *pinned_in_turn(void *arg)
{
    uintptr_t number = (uintptr_t)arg;

    while (!atomic_load(&started))
        vthread_yield();
    for (int i = 0; i < 100; i++) {
        vthread_pin("in turn");
        vthread_unpark(mates[(number + 1) % MATES]);
        vthread_unpark(mates[(number + 7) % MATES]);
        vthread_park_until(vthread_after_ms(2));
        vthread_unpin();
        vthread_yield();
    }
    return NULL;
}

int main(void)
{
    regress_configure(1, 1);
    for (uintptr_t i = 0; i < MATES; i++)
        EXPECT(vthread_create(&mates[i], NULL, pinned_in_turn, (void *)i) == 0);
    atomic_store(&started, true);
    for (int i = 0; i < MATES; i++)
        EXPECT(vthread_join(mates[i], NULL) == 0);
    return regress_end();
}
