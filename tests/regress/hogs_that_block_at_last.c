/* SPDX-License-Identifier: MIT */
/*
 * Threads that compute for a while, and then block their carriers unannounced, were taken for computing for ever; so
 * no carrier was lent to the one that was to wake them.
 */
#include "regress.h"

#include <time.h>

enum { HOGS = 3, COMPUTE_NS = 15 * 1000 * 1000 };

static int pipes[HOGS][2];

static void *compute_and_block(void *arg)
{
    int *ends = arg;
    struct timespec begun, now;
    char byte;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begun);
    do
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    while ((now.tv_sec - begun.tv_sec) * 1000000000 + now.tv_nsec - begun.tv_nsec < COMPUTE_NS);
    EXPECT(read(ends[0], &byte, 1) == 1);
    return NULL;
}

static void *wake_all(void *arg)
{
    for (int i = 0; i < HOGS; i++)
        EXPECT(write(pipes[i][1], "", 1) == 1);
    return arg;
}

int main(void)
{
    vthread_t hogs[HOGS], waker;

    regress_configure(1, 0);
    for (int i = 0; i < HOGS; i++) {
        EXPECT(pipe(pipes[i]) == 0);
        EXPECT(vthread_create(&hogs[i], NULL, compute_and_block, pipes[i]) == 0);
    }
    EXPECT(vthread_create(&waker, NULL, wake_all, NULL) == 0);
    EXPECT(vthread_join(waker, NULL) == 0);
    for (int i = 0; i < HOGS; i++)
        EXPECT(vthread_join(hogs[i], NULL) == 0);
    return regress_end();
}
