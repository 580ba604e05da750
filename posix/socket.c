/* SPDX-License-Identifier: MIT */
/*
 * accept and connect, which know no MSG_DONTWAIT.
 */
#include <errno.h>

#include "posix/file.h"
#include "posix/wait.h"

enum { BACKLOG_FULL_NS = 2 * 1000 * 1000 }; /* no event tells when a unix listener takes another */

/* ---- accept ---- */

static NOINLINE int accept_now(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    return RESULT(REAL(accept4)(fd, address, length, flags));
}

static int park_accept(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    int error = wait_may_begin();
    int64_t deadline_ns = VTHREAD_NOW;
    int accepted;

    if (error != 0)
        return posix_fail(error);
    if (file_is_nonblocking(fd))
        return (int)posix_result(accept_now(fd, address, length, flags));
    for (;;) {
        int ready;

        file_lock(fd);
        ready = file_poll(fd, POLLIN);
        accepted = ready != 0 ? accept_now(fd, address, length, flags) : -EAGAIN;
        file_unlock(fd);
        if (accepted != -EAGAIN)
            return (int)posix_result(accepted);
        if (deadline_ns == VTHREAD_NOW)
            deadline_ns = wait_deadline_of(fd, SO_RCVTIMEO);
        error = wait_fd(fd, POLLIN, deadline_ns);
        if (error != 0)
            return posix_fail(error == ETIMEDOUT ? EAGAIN : error);
    }
}

HOOK int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    return !PARKS() ? REAL(accept4)(fd, address, length, flags) : park_accept(fd, address, length, flags);
}

HOOK int accept(int fd, struct sockaddr *address, socklen_t *length)
{
    return !PARKS() ? REAL(accept)(fd, address, length) : park_accept(fd, address, length, 0);
}

/* ---- connect ---- */

/*
 * connect of a blocking socket, without touching O_NONBLOCK: with the shortest SO_SNDTIMEO there is, one tick of the
 * kernel, after which it says EINPROGRESS. On this machine it has succeeded or failed by then.
 */
static NOINLINE int connect_shortly(int fd, const struct sockaddr *address, socklen_t length)
{
    struct timeval limit = {0, 0};
    socklen_t size = sizeof limit;
    int n;

    if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &size) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){0, 1}, sizeof limit) != 0)
        return -errno;
    n = RESULT(REAL(connect)(fd, address, length));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, size);
    return n;
}

static NOINLINE int outcome(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 ? errno : error;
}

static NOINLINE int connect_now(int fd, const struct sockaddr *address, socklen_t length)
{
    return RESULT(REAL(connect)(fd, address, length));
}

static int park_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int64_t deadline_ns = wait_deadline_of(fd, SO_SNDTIMEO);
    int error;
    int n;

    for (;;) {
        n = connect_shortly(fd, address, length);
        if (n != -EAGAIN)
            break;
        if (deadline_ns <= vthread_now_ns())
            return -EAGAIN;
        error = wait_until(vthread_after_ns(BACKLOG_FULL_NS));
        if (error != 0)
            return -error;
    }
    if (n != -EINPROGRESS && n != -EALREADY)
        return n;
    error = wait_fd(fd, POLLOUT, deadline_ns);
    if (error == ETIMEDOUT)
        return -EINPROGRESS;
    return -(error != 0 ? error : outcome(fd));
}

HOOK int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int error;

    if (!PARKS())
        return REAL(connect)(fd, address, length);
    error = wait_may_begin();
    if (error != 0)
        return posix_fail(error);
    if (file_is_nonblocking(fd) || !file_is_stream_socket(fd))
        return (int)posix_result(connect_now(fd, address, length));
    return (int)posix_result(park_connect(fd, address, length));
}
