/* SPDX-License-Identifier: MIT */
#include "posix/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <termios.h>

#include <vthread/sync.h>

#include "posix/wait.h"

enum { LOCKS = 64 };

static vthread_mutex_t locks[LOCKS];

void file_lock(int fd)
{
    unsigned times = 0;

    while (vthread_mutex_trylock(&locks[(unsigned)fd % LOCKS]) != 0) {
        wait_turn();
        wait_again(&times, VTHREAD_FOREVER); /* it may be blocked after all, if others use the file */
    }
}

void file_unlock(int fd)
{
    vthread_mutex_unlock(&locks[(unsigned)fd % LOCKS]);
}

NOINLINE bool file_is_nonblocking(int fd)
{
    int flags = RESULT(REAL(fcntl)(fd, F_GETFL));

    return flags < 0 || (flags & O_NONBLOCK) != 0;
}

static bool is_terminal(int fd)
{
    struct termios t;

    return RESULT(tcgetattr(fd, &t)) == 0;
}

NOINLINE enum file_kind file_look(int fd)
{
    struct stat st;

    if (RESULT(fstat(fd, &st)) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) ||
        file_is_nonblocking(fd))
        return FILE_DIRECT;
    return S_ISCHR(st.st_mode) && is_terminal(fd) ? FILE_TERMINAL : FILE_STREAM;
}

NOINLINE int file_poll(int fd, int events)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    int n = RESULT(REAL(poll)(&p, 1, 0));

    return n > 0 ? p.revents : n;
}

NOINLINE int file_socket_type(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;

    return RESULT(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length)) == 0 ? type : 0;
}
