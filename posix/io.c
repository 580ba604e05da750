/* SPDX-License-Identifier: MIT */
/*
 * read, write, recv, send and their kin.
 *
 * The kernel is asked first, in a way that does not block: of a socket with MSG_DONTWAIT, whatever O_NONBLOCK says;
 * of what is no socket by asking poll. Only after EAGAIN it is asked whether the descriptor's user wanted that
 * EAGAIN, and until when to wait (SO_RCVTIMEO).  Then wait, and try again.
 *
 * A blocking write is of all that there is to write.  When it ends early, by an error or an interruption, with
 * something written, it returns how much that was, and the next call returns the error.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "posix/file.h"
#include "posix/wait.h"

/* ---- sockets ---- */

/* One call: into a buffer, or message. */
struct receive {
    int fd;
    int flags;
    void *buffer;
    size_t size;
    struct sockaddr *from;
    socklen_t *from_length;
    struct msghdr *message;
};

static NOINLINE ssize_t try_receive(const struct receive *r, size_t done)
{
    int flags = r->flags | MSG_DONTWAIT;

    if (r->message != NULL)
        return RESULT(REAL(recvmsg)(r->fd, r->message, flags));
    if (r->from == NULL)
        return RESULT(REAL(recv)(r->fd, (char *)r->buffer + done, r->size - done, flags));
    return RESULT(REAL(recvfrom)(r->fd, (char *)r->buffer + done, r->size - done, flags, r->from, r->from_length));
}

/* Does the call want more than the n bytes that there were? */
static bool wants_more(const struct receive *r, size_t done)
{
    return (r->flags & MSG_WAITALL) && done < r->size && r->message == NULL && file_socket_type(r->fd) == SOCK_STREAM;
}

/* After EAGAIN, or part of what is wanted. */
static NOINLINE ssize_t receive_slowly(const struct receive *r, size_t done)
{
    int64_t deadline_ns;
    unsigned times = 0;

    if (file_is_nonblocking(r->fd))
        return done > 0 ? (ssize_t)done : -EAGAIN;
    deadline_ns = wait_deadline_of(r->fd, SO_RCVTIMEO);
    for (;;) {
        int error = wait_fd(r->fd, POLLIN, deadline_ns);
        ssize_t n;

        if (error == 0)
            error = wait_again(&times, deadline_ns);
        if (error != 0)
            return done > 0 ? (ssize_t)done : -(error == ETIMEDOUT ? EAGAIN : error);
        n = try_receive(r, done);
        if (n == -EAGAIN)
            continue;
        if (n <= 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
        times = 0;
        if (!wants_more(r, done))
            return (ssize_t)done;
    }
}

/* What cannot be had in pieces: peeking until all is there, all of a message with what else may come with it. */
static void *receive_whole(void *arg)
{
    const struct receive *r = arg;
    ssize_t n = r->message != NULL
                    ? RESULT(REAL(recvmsg)(r->fd, r->message, r->flags))
                    : RESULT(REAL(recvfrom)(r->fd, r->buffer, r->size, r->flags, r->from, r->from_length));

    return (void *)(intptr_t)n;
}

/* -ENOTSOCK: it is something else. */
static ssize_t receive(const struct receive *r)
{
    int error = wait_may_begin();
    ssize_t n;

    if (UNLIKELY(error != 0))
        return -error;
    if ((r->flags & MSG_WAITALL) && (r->message != NULL || (r->flags & MSG_PEEK)))
        return (intptr_t)vthread_blocking_call(receive_whole, (void *)(uintptr_t)r);
    n = try_receive(r, 0);
    if (n == -EAGAIN)
        return receive_slowly(r, 0);
    if (UNLIKELY(n > 0 && wants_more(r, (size_t)n)))
        return receive_slowly(r, (size_t)n);
    return n;
}

struct transmit {
    int fd;
    int flags;
    const void *buffer;
    size_t size;
    const struct sockaddr *to;
    socklen_t to_length;
    const struct msghdr *message; /* size is its sum, then */
};

/* Of a message of which part has been sent: what is left of one of its buffers. */
static NOINLINE ssize_t try_rest(const struct transmit *t, size_t done)
{
    const struct iovec *v = t->message->msg_iov;

    while (done >= v->iov_len)
        done -= v++->iov_len;
    return RESULT(REAL(send)(t->fd, (const char *)v->iov_base + done, v->iov_len - done, t->flags | MSG_DONTWAIT));
}

static NOINLINE ssize_t try_transmit(const struct transmit *t, size_t done)
{
    int flags = t->flags | MSG_DONTWAIT;

    if (t->message != NULL)
        return done > 0 ? try_rest(t, done) : RESULT(REAL(sendmsg)(t->fd, t->message, flags));
    return RESULT(REAL(sendto)(t->fd, (const char *)t->buffer + done, t->size - done, flags, t->to, t->to_length));
}

static NOINLINE ssize_t transmit_slowly(const struct transmit *t, size_t done)
{
    int64_t deadline_ns;
    unsigned times = 0;

    if (file_is_nonblocking(t->fd))
        return done > 0 ? (ssize_t)done : -EAGAIN;
    deadline_ns = wait_deadline_of(t->fd, SO_SNDTIMEO);
    for (;;) {
        ssize_t n = try_transmit(t, done);
        int error;

        if (n >= 0) {
            done += (size_t)n;
            times = 0;
            if (done >= t->size)
                return (ssize_t)done;
            continue;
        }
        if (n != -EAGAIN)
            return done > 0 ? (ssize_t)done : n;
        error = wait_fd(t->fd, POLLOUT, deadline_ns);
        if (error == 0)
            error = wait_again(&times, deadline_ns);
        if (error != 0)
            return done > 0 ? (ssize_t)done : -(error == ETIMEDOUT ? EAGAIN : error);
    }
}

static ssize_t transmit(const struct transmit *t)
{
    int error = wait_may_begin();
    ssize_t n;

    if (UNLIKELY(error != 0))
        return -error;
    n = try_transmit(t, 0);
    if (LIKELY(n >= 0) && LIKELY((size_t)n >= t->size))
        return n;
    if (n >= 0 || n == -EAGAIN)
        return transmit_slowly(t, n > 0 ? (size_t)n : 0);
    return n;
}

static size_t sum(const struct iovec *vector, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += vector[i].iov_len;
    return size;
}

/* ---- what is no socket ---- */

static NOINLINE ssize_t read_now(int fd, const struct iovec *vector, int count)
{
    return RESULT(REAL(readv)(fd, vector, count));
}

static NOINLINE ssize_t write_now(int fd, const struct iovec *vector, int count)
{
    return RESULT(REAL(writev)(fd, vector, count));
}

static ssize_t read_file(int fd, const struct iovec *vector, int count)
{
    if (file_look(fd) == FILE_DIRECT)
        return read_now(fd, vector, count);
    for (;;) {
        ssize_t n = -EAGAIN;
        int ready;
        int error;

        file_lock(fd);
        ready = file_poll(fd, POLLIN);
        if (ready != 0)
            n = read_now(fd, vector, count);
        file_unlock(fd);
        if (ready != 0)
            return n;
        error = wait_fd(fd, POLLIN, VTHREAD_FOREVER);
        if (error != 0)
            return -error;
    }
}

/* Not more than a pipe takes at once when it is writable. */
static ssize_t write_piece(int fd, const struct iovec *vector, int count, size_t done, size_t size)
{
    struct iovec piece;

    if (done == 0 && size <= PIPE_BUF)
        return write_now(fd, vector, count); /* in one piece, then */
    while (done >= vector->iov_len)
        done -= vector++->iov_len;
    piece.iov_base = (char *)vector->iov_base + done;
    piece.iov_len = vector->iov_len - done;
    if (piece.iov_len > PIPE_BUF)
        piece.iov_len = PIPE_BUF;
    return write_now(fd, &piece, 1);
}

static ssize_t write_stream(int fd, const struct iovec *vector, int count, size_t size)
{
    size_t done = 0;

    for (;;) {
        ssize_t n = 0;
        int ready;
        int error;

        file_lock(fd);
        ready = file_poll(fd, POLLOUT);
        if (ready != 0)
            n = write_piece(fd, vector, count, done, size);
        file_unlock(fd);
        if (n < 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
        if (ready != 0 && (n == 0 || done >= size))
            return (ssize_t)done;
        error = wait_fd(fd, POLLOUT, VTHREAD_FOREVER);
        if (error != 0)
            return done > 0 ? (ssize_t)done : -error;
    }
}

static ssize_t write_file(int fd, const struct iovec *vector, int count)
{
    size_t size = sum(vector, (size_t)count);
    enum file_kind kind = file_look(fd);
    bool began;
    ssize_t n;

    if (kind == FILE_STREAM && size > 0)
        return write_stream(fd, vector, count, size);
    began = kind == FILE_TERMINAL && vthread_blocking_begin("write to a terminal") == 0;
    n = write_now(fd, vector, count);
    if (began)
        vthread_blocking_end();
    return n;
}

/* Not a vector that the kernel would complain of. */
static bool is_vector(const struct iovec *vector, int count)
{
    return vector != NULL && count > 0 && count <= IOV_MAX && sum(vector, (size_t)count) > 0;
}

/* ---- the hooks ---- */

static ssize_t park_read(int fd, void *buffer, size_t size)
{
    struct receive r = {.fd = fd, .buffer = buffer, .size = size};
    ssize_t n = receive(&r);

    if (n == -ENOTSOCK)
        n = read_file(fd, &(struct iovec){buffer, size}, 1);
    return posix_result(n);
}

HOOK ssize_t read(int fd, void *buffer, size_t size)
{
    return !PARKS() || size == 0 ? REAL(read)(fd, buffer, size) : park_read(fd, buffer, size);
}

HOOK ssize_t readv(int fd, const struct iovec *vector, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector, .msg_iovlen = (size_t)count};
    struct receive r = {.fd = fd, .message = &message};
    ssize_t n;

    if (!PARKS() || !is_vector(vector, count))
        return REAL(readv)(fd, vector, count);
    n = receive(&r);
    if (n == -ENOTSOCK)
        n = read_file(fd, vector, count);
    return posix_result(n);
}

HOOK ssize_t write(int fd, const void *buffer, size_t size)
{
    struct transmit t = {.fd = fd, .flags = MSG_NOSIGNAL, .buffer = buffer, .size = size};
    ssize_t n;

    if (!PARKS())
        return REAL(write)(fd, buffer, size);
    n = transmit(&t);
    if (n == -ENOTSOCK)
        n = write_file(fd, &(struct iovec){(void *)(uintptr_t)buffer, size}, 1);
    return posix_result(n);
}

HOOK ssize_t writev(int fd, const struct iovec *vector, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector, .msg_iovlen = (size_t)count};
    struct transmit t = {.fd = fd, .flags = MSG_NOSIGNAL, .message = &message};
    ssize_t n;

    if (!PARKS() || !is_vector(vector, count))
        return REAL(writev)(fd, vector, count);
    t.size = sum(vector, (size_t)count);
    n = transmit(&t);
    if (n == -ENOTSOCK)
        n = write_file(fd, vector, count);
    return posix_result(n);
}

enum { NEVER_WAITS = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB };

static ssize_t park_recv(int fd, void *buffer, size_t size, int flags, struct sockaddr *from, socklen_t *length)
{
    struct receive r = {.fd = fd, .flags = flags, .buffer = buffer, .size = size, .from = from, .from_length = length};

    return posix_result(receive(&r));
}

HOOK ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    return !PARKS() || (flags & NEVER_WAITS) ? REAL(recv)(fd, buffer, size, flags)
                                             : park_recv(fd, buffer, size, flags, NULL, NULL);
}

HOOK ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags, struct sockaddr *restrict from,
                      socklen_t *restrict length)
{
    return !PARKS() || (flags & NEVER_WAITS) ? REAL(recvfrom)(fd, buffer, size, flags, from, length)
                                             : park_recv(fd, buffer, size, flags, from, length);
}

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    struct receive r = {.fd = fd, .flags = flags, .message = message};

    return !PARKS() || (flags & NEVER_WAITS) || message == NULL ? REAL(recvmsg)(fd, message, flags)
                                                                : posix_result(receive(&r));
}

HOOK ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
    struct transmit t = {.fd = fd, .flags = flags | MSG_NOSIGNAL, .buffer = buffer, .size = size};

    return !PARKS() || (flags & MSG_DONTWAIT) ? REAL(send)(fd, buffer, size, flags) : posix_result(transmit(&t));
}

HOOK ssize_t sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *to, socklen_t length)
{
    struct transmit t = {
        .fd = fd, .flags = flags | MSG_NOSIGNAL, .buffer = buffer, .size = size, .to = to, .to_length = length};

    return !PARKS() || (flags & (MSG_DONTWAIT | MSG_FASTOPEN)) ? REAL(sendto)(fd, buffer, size, flags, to, length)
                                                               : posix_result(transmit(&t));
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct transmit t = {.fd = fd, .flags = flags | MSG_NOSIGNAL, .message = message};

    if (!PARKS() || (flags & (MSG_DONTWAIT | MSG_FASTOPEN)) || message == NULL ||
        !is_vector(message->msg_iov, (int)message->msg_iovlen))
        return REAL(sendmsg)(fd, message, flags);
    t.size = sum(message->msg_iov, message->msg_iovlen);
    return posix_result(transmit(&t));
}

/* ---- the same as Debian's builds call them, with the size of the buffer (_FORTIFY_SOURCE) ---- */

extern NORETURN void __chk_fail(void);
ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);
ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t size, size_t room, int flags, struct sockaddr *from,
                       socklen_t *length);

HOOK ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room)
{
    if (size > room)
        __chk_fail();
    return !PARKS() || size == 0 ? REAL(read)(fd, buffer, size) : park_read(fd, buffer, size);
}

HOOK ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags)
{
    if (size > room)
        __chk_fail();
    return !PARKS() || (flags & NEVER_WAITS) ? REAL(recv)(fd, buffer, size, flags)
                                             : park_recv(fd, buffer, size, flags, NULL, NULL);
}

HOOK ssize_t __recvfrom_chk(int fd, void *buffer, size_t size, size_t room, int flags, struct sockaddr *from,
                            socklen_t *length)
{
    if (size > room)
        __chk_fail();
    return !PARKS() || (flags & NEVER_WAITS) ? REAL(recvfrom)(fd, buffer, size, flags, from, length)
                                             : park_recv(fd, buffer, size, flags, from, length);
}
