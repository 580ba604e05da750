/* SPDX-License-Identifier: MIT */
/*
 * A platform thread closes a descriptor while another shuts the runtime down: what is known of the descriptor was freed
 * under its hands.
 *
 * The C library's close is replaced by one in which the shutdown begins, and has to wait.
 */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <vthread/net.h>

#include "regress.h"

enum { AS_LONG_AS_A_SHUTDOWN_TAKES_MS = 200 };

static _Thread_local bool closes;
static atomic_bool done;
static pthread_t other;

static void *shut_down(void *arg)
{
    EXPECT(vthread_runtime_shutdown(vthread_after_ms(20000)) == 0);
    atomic_store(&done, true);
    return arg;
}

int close(int fd)
{
    if (closes) {
        closes = false;
        EXPECT(pthread_create(&other, NULL, shut_down, NULL) == 0);
        for (int i = 0; i < AS_LONG_AS_A_SHUTDOWN_TAKES_MS && !atomic_load(&done); i++)
            usleep(1000);
        EXPECT(!atomic_load(&done));
    }
    return (int)syscall(SYS_close, fd);
}

int main(void)
{
    int fd;

    regress_configure(2, 0);
    fd = vthread_socket(AF_INET, SOCK_STREAM, 0);
    EXPECT(fd >= 0);
    closes = true;
    EXPECT(vthread_close(fd) == 0);
    EXPECT(pthread_join(other, NULL) == 0);
    EXPECT(atomic_load(&done));
    EXPECT(vthread_close(fd) == EBADF);
    return regress_end();
}
