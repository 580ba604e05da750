/* SPDX-License-Identifier: MIT */
/*
 * recvmmsg and sendmmsg: one message after the other, each as recvmsg and sendmsg do it.
 */
#include <errno.h>

#include "posix/file.h"
#include "posix/io.h"
#include "posix/wait.h"

/* The kernel looks at the time after each message, too, and no earlier.  Is it over? */
static bool time_is_up(struct timespec *timeout, int64_t deadline_ns)
{
    int64_t left_ns;

    if (timeout == NULL)
        return false;
    left_ns = deadline_ns - vthread_now_ns();
    left_ns = left_ns > 0 ? left_ns : 0;
    *timeout = (struct timespec){.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    return left_ns == 0;
}

static int park_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    int64_t deadline_ns = timeout != NULL ? wait_after(wait_ns_of(timeout)) : VTHREAD_FOREVER;
    int each = flags & ~MSG_WAITFORONE;
    unsigned done = 0;
    ssize_t n = -file_socket_error(fd); /* told before anything is received, unlike by recvmsg */

    while (n >= 0 && done < count) {
        n = io_receive_message(fd, &messages[done].msg_hdr, each);
        if (n < 0)
            break;
        messages[done++].msg_len = (unsigned)n;
        if (time_is_up(timeout, deadline_ns))
            break;
        if (flags & MSG_WAITFORONE)
            each |= MSG_DONTWAIT;
    }
    return done > 0 ? (int)done : (int)n;
}

HOOK int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    if (!PARKS() || (flags & (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB)) || messages == NULL || count == 0 ||
        (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)))
        return REAL(recvmmsg)(fd, messages, count, flags, timeout);
    return (int)posix_result(park_recvmmsg(fd, messages, count, flags, timeout));
}

static int park_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    unsigned done = 0;
    ssize_t n = 0;

    while (done < count) {
        n = io_send_message(fd, &messages[done].msg_hdr, flags);
        if (n < 0)
            break;
        messages[done++].msg_len = (unsigned)n;
        if ((size_t)n < io_size(messages[done - 1].msg_hdr.msg_iov, messages[done - 1].msg_hdr.msg_iovlen))
            break;
    }
    return done > 0 ? (int)done : (int)n;
}

HOOK int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    if (!PARKS() || (flags & (MSG_DONTWAIT | MSG_FASTOPEN)) || messages == NULL || count == 0)
        return REAL(sendmmsg)(fd, messages, count, flags);
    return (int)posix_result(park_sendmmsg(fd, messages, count, flags));
}
