/* SPDX-License-Identifier: MIT */
/*
 * A join that had timed out left its mark in the thread's word: when the thread had ended, the next join
 * looped for ever, and a detach leaked the record.
 */
#include "regress.h"

static void *park(void *arg)
{
    vthread_park();
    return arg;
}

int main(void)
{
    vthread_t t;
    void *value = NULL;

    regress_configure(2, 0);
    EXPECT(vthread_create(&t, NULL, park, &value) == 0);
    EXPECT(vthread_join_until(t, NULL, VTHREAD_NOW) == ETIMEDOUT);
    vthread_unpark(t);
    regress_wait_for(t, VTHREAD_TERMINATED);
    EXPECT(vthread_join(t, &value) == 0);
    EXPECT(value == &value);
    return regress_end();
}
