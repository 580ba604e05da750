/* SPDX-License-Identifier: MIT */
#include "posix/file.h"

#include <errno.h>
#include <sys/stat.h>

#include <vthread/sync.h>

#include "posix/wait.h"

enum { LOCKS = 64 };

static vthread_mutex_t locks[LOCKS];

void file_lock(int fd)
{
    bool stays = wait_stay();

    vthread_mutex_lock(&locks[(unsigned)fd % LOCKS]);
    wait_leave(stays);
}

void file_unlock(int fd)
{
    vthread_mutex_unlock(&locks[(unsigned)fd % LOCKS]);
}

NOINLINE bool file_is_nonblocking(int fd)
{
    int flags = REAL(fcntl)(fd, F_GETFL);

    return flags < 0 || (flags & O_NONBLOCK) != 0;
}

enum file_kind file_look(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) ||
        file_is_nonblocking(fd))
        return FILE_DIRECT;
    return S_ISCHR(st.st_mode) && isatty(fd) ? FILE_TERMINAL : FILE_STREAM;
}

NOINLINE int file_poll(int fd, int events)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    int n = RESULT(REAL(poll)(&p, 1, 0));

    return n > 0 ? p.revents : n;
}

NOINLINE bool file_is_stream_socket(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}
