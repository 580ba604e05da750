/* SPDX-License-Identifier: MIT */
/* Of a program that ended while named threads waited, LeakSanitizer said that it leaked their names: it fails in that
 * build. */
#include "regress.h"

static atomic_int waiting;

static void *wait_for_ever(void *arg)
{
    atomic_fetch_add(&waiting, 1);
    for (;;)
        vthread_park();
    return arg;
}

int main(void)
{
    vthread_attr_t attr = {.name = "sleeper"};

    for (int i = 0; i < 10; i++)
        EXPECT(vthread_create(NULL, &attr, wait_for_ever, NULL) == 0);
    while (atomic_load(&waiting) < 10)
        vthread_yield();
    return 0;
}
