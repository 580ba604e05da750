/* SPDX-License-Identifier: MIT */
/* Stands between libvthread-posix and the C library: what connect is asked for there, and a signal now and then. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>

#include "connect_spy.h"

atomic_int connect_spy_calls;
atomic_int connect_spy_blocking;
atomic_int connect_spy_interrupts;

SPY int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int (*real)(int, const struct sockaddr *, socklen_t);

    *(void **)(void *)&real = dlsym(RTLD_NEXT, "connect");
    atomic_fetch_add(&connect_spy_calls, 1);
    if (!(fcntl(fd, F_GETFL) & O_NONBLOCK))
        atomic_fetch_add(&connect_spy_blocking, 1);
    if (atomic_load(&connect_spy_interrupts) > 0) {
        atomic_fetch_sub(&connect_spy_interrupts, 1);
        errno = EINTR;
        return -1;
    }
    return real(fd, address, length);
}
