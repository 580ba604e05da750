/* SPDX-License-Identifier: MIT */
/*
 * accept and connect, which know no MSG_DONTWAIT.
 */
#include <errno.h>

#include "posix/descriptor.h"
#include "posix/file.h"
#include "posix/wait.h"

enum { BACKLOG_FULL_NS = 2 * 1000 * 1000 };

/* ---- accept ---- */

static NOINLINE int accept_now(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    return RESULT(REAL(accept4)(fd, address, length, flags));
}

static int park_accept(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    int error = wait_may_begin();
    struct wait w = {.fd = fd, .events = POLLIN};
    int accepted;

    if (error != 0)
        return posix_fail(error);
    if (file_is_nonblocking(fd))
        return (int)posix_result(accept_now(fd, address, length, flags));
    for (;;) {
        int ready;

        file_lock(fd, POLLIN);
        ready = file_poll(fd, POLLIN);
        accepted = ready != 0 ? accept_now(fd, address, length, flags) : -EAGAIN;
        file_unlock(fd, POLLIN);
        if (accepted != -EAGAIN)
            return (int)posix_result(accepted);
        if (!w.has_begun) {
            if (!file_is_listening(fd))
                return (int)posix_result(accept_now(fd, address, length, flags)); /* an error */
            w.deadline_ns = wait_deadline_of(fd, SO_RCVTIMEO);
        }
        error = wait_next(&w);
        if (error != 0)
            return posix_fail(error == ETIMEDOUT ? EAGAIN : error);
    }
}

HOOK int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    if (own_is_library(__builtin_return_address(0)))
        return REAL(accept4)(fd, address, length, flags);
    return descriptor_born(!PARKS() || (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
                               ? REAL(accept4)(fd, address, length, flags)
                               : park_accept(fd, address, length, flags));
}

HOOK int accept(int fd, struct sockaddr *address, socklen_t *length)
{
    if (own_is_library(__builtin_return_address(0)))
        return REAL(accept)(fd, address, length);
    return descriptor_born(!PARKS() ? REAL(accept)(fd, address, length) : park_accept(fd, address, length, 0));
}

/* ---- connect ---- */

/*
 * Begin to connect, or ask how far it has got, without blocking.  There is no flag for that: O_NONBLOCK is set for this
 * one system call.  Nobody else has use for a socket that is not connected yet, unless it connects it, too: the lock
 * keeps those from taking the flag that is set here for the user's.
 */
static NOINLINE int connect_without_blocking(int fd, const struct sockaddr *address, socklen_t length)
{
    int flags = RESULT(REAL(fcntl)(fd, F_GETFL));
    int n;

    if (flags < 0)
        return flags;
    REAL(fcntl)(fd, F_SETFL, flags | O_NONBLOCK);
    n = RESULT(REAL(connect)(fd, address, length));
    REAL(fcntl)(fd, F_SETFL, flags);
    return n;
}

MAY_SWITCH
static int try_connect(const struct wait_file *file, const struct sockaddr *address, socklen_t length)
{
    int n;

    file_lock(file->fd, POLLOUT);
    n = -wait_is_same(file);
    if (n == 0)
        n = connect_without_blocking(file->fd, address, length);
    file_unlock(file->fd, POLLOUT);
    return n;
}

static NOINLINE int connect_now(int fd, const struct sockaddr *address, socklen_t length)
{
    return RESULT(REAL(connect)(fd, address, length));
}

/* Would the libc's connect wait?  A connected one may be in use, and a datagram socket always. */
static NOINLINE bool may_wait_to_connect(int fd)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;

    return !file_is_nonblocking(fd) && file_socket_type(fd) != SOCK_DGRAM &&
           RESULT(getpeername(fd, (struct sockaddr *)&peer, &length)) == -ENOTCONN;
}

static int park_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int64_t deadline_ns = wait_deadline_of(fd, SO_SNDTIMEO);
    struct wait_file file = wait_remember(fd);
    int first = try_connect(&file, address, length);
    int n = first;
    int error;

    while (n == -EINPROGRESS || n == -EALREADY || n == -EAGAIN || n == -EINTR) {
        if (n == -EAGAIN) { /* a unix listener's backlog is full; no event tells when it takes another */
            int64_t until_ns = vthread_after_ns(BACKLOG_FULL_NS);

            error = deadline_ns <= vthread_now_ns() ? ETIMEDOUT
                                                    : wait_until(until_ns < deadline_ns ? until_ns : deadline_ns);
        } else {
            error = n == -EINTR ? 0 : wait_fd(fd, POLLOUT, deadline_ns);
        }
        if (error != 0)
            return error == ETIMEDOUT ? first : -error;
        n = try_connect(&file, address, length); /* the outcome, and the socket knows that we know it */
        if (n == -EISCONN)
            return 0;
    }
    return n;
}

HOOK int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int error;

    if (!PARKS())
        return REAL(connect)(fd, address, length);
    error = wait_may_begin();
    if (error != 0)
        return posix_fail(error);
    return (int)posix_result(may_wait_to_connect(fd) ? park_connect(fd, address, length)
                                                     : connect_now(fd, address, length));
}

int __connect(int fd, const struct sockaddr *address, socklen_t length);
HOOK __attribute__((alias("connect"))) int __connect(int fd, const struct sockaddr *address, socklen_t length);
