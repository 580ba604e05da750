/* SPDX-License-Identifier: MIT */
/*
 * hello: three virtual threads greet, each after a nap, and main waits for them.
 */
#include <stdint.h>
#include <stdio.h>

#include <vthread/vthread.h>

static void *greet(void *arg)
{
    static const char *const names[] = {"Ada", "Barbara", "Edsger"};
    intptr_t i = (intptr_t)arg;

    vthread_sleep_ms(10 * (3 - i));
    printf("Hello from %s, virtual thread %llu\n", names[i], (unsigned long long)vthread_id(vthread_self()));
    return arg;
}

int main(void)
{
    vthread_t threads[3];
    void *value;

    for (intptr_t i = 0; i < 3; i++)
        if (vthread_create(&threads[i], NULL, greet, (void *)i) != 0)
            return 1;
    for (intptr_t i = 0; i < 3; i++)
        if (vthread_join(threads[i], &value) != 0 || value != (void *)i)
            return 1;
    return 0;
}
