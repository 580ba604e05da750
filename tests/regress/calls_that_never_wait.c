/* SPDX-License-Identifier: MIT */
/*
 * Whose reads and writes never had to wait kept the carrier until the monitor rescued the others, 20 ms later: a server
 * whose calls take longer than its clients need to answer served one or two connections, and let a thousand wait.
 */
#include <sys/socket.h>

#include <vthread/net.h>

#include "regress.h"

enum { CALLS_MAX = 200 };

static atomic_bool others_ran;

static void *run_once(void *arg)
{
    atomic_store(&others_ran, true);
    return arg;
}

/* What one end is told is there to be read at the other. */
static void *never_wait(void *arg)
{
    intptr_t calls = 0;
    vthread_t other;
    int fds[2];
    char byte = 0;

    (void)arg;
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    EXPECT(vthread_create(&other, NULL, run_once, NULL) == 0);
    while (!atomic_load(&others_ran) && calls < CALLS_MAX) {
        EXPECT(vthread_write(fds[0], &byte, 1) == 1);
        EXPECT(vthread_read(fds[1], &byte, 1) == 1);
        calls += 2;
    }
    EXPECT(vthread_join(other, NULL) == 0);
    EXPECT(vthread_close(fds[0]) == 0);
    EXPECT(vthread_close(fds[1]) == 0);
    return (void *)calls;
}

int main(void)
{
    vthread_t t;
    void *calls;

    regress_configure(1, 0);
    EXPECT(vthread_create(&t, NULL, never_wait, NULL) == 0);
    EXPECT(vthread_join(t, &calls) == 0);
    printf("the other thread ran after %d calls\n", (int)(intptr_t)calls);
    EXPECT((intptr_t)calls < CALLS_MAX);
    return regress_end();
}
