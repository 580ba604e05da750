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
#include <sys/eventfd.h>

#include "posix/file.h"
#include "posix/io.h"
#include "posix/wait.h"

/* ---- sockets ---- */

/* What is left of one of the buffers, when `done` bytes are through. */
static struct iovec rest_of(const struct msghdr *message, size_t done)
{
    const struct iovec *v = message->msg_iov;

    while (done >= v->iov_len)
        done -= v++->iov_len;
    return (struct iovec){(char *)v->iov_base + done, v->iov_len - done};
}

/* One call: into a buffer, or message. */
struct receive {
    int fd;
    int flags;
    void *buffer;
    size_t size; /* of a message: the sum */
    struct sockaddr *from;
    socklen_t *from_length;
    struct msghdr *message;
    size_t control_size; /* the message's, before it has been told how much there was */
};

/* What is left of a message of which no part has brought more than bytes so far. */
static ssize_t try_rest_of_message(const struct receive *r, size_t done, int flags)
{
    struct iovec rest = rest_of(r->message, done);
    struct msghdr part = {
        .msg_iov = &rest, .msg_iovlen = 1, .msg_control = r->message->msg_control, .msg_controllen = r->control_size};
    ssize_t n = RESULT(REAL(recvmsg)(r->fd, &part, flags));

    if (n > 0) {
        r->message->msg_controllen = part.msg_controllen;
        r->message->msg_flags |= part.msg_flags;
    }
    return n;
}

static NOINLINE ssize_t try_receive(const struct receive *r, size_t done)
{
    int flags = r->flags | MSG_DONTWAIT;

    if (r->message != NULL && done > 0)
        return try_rest_of_message(r, done, flags);
    if (r->message != NULL)
        return RESULT(REAL(recvmsg)(r->fd, r->message, flags));
    if (r->from == NULL)
        return RESULT(REAL(recv)(r->fd, (char *)r->buffer + done, r->size - done, flags));
    return RESULT(REAL(recvfrom)(r->fd, (char *)r->buffer + done, r->size - done, flags, r->from, r->from_length));
}

/* Does the call want more than the n bytes that there were?  Not after descriptors, say, have come: as the kernel. */
static bool wants_more(const struct receive *r, size_t done)
{
    return (r->flags & MSG_WAITALL) && !(r->flags & MSG_PEEK) && done < r->size &&
           (r->message == NULL || r->message->msg_controllen == 0) && file_socket_type(r->fd) == SOCK_STREAM;
}

/* After EAGAIN, or part of what is wanted. */
static NOINLINE ssize_t receive_slowly(const struct receive *r, size_t done)
{
    struct wait w = {.fd = r->fd, .events = POLLIN};

    if (file_is_nonblocking(r->fd))
        return done > 0 ? (ssize_t)done : -EAGAIN;
    w.deadline_ns = wait_deadline_of(r->fd, SO_RCVTIMEO);
    for (;;) {
        int error = wait_next(&w);
        ssize_t n;

        if (error != 0)
            return done > 0 ? (ssize_t)done : -(error == ETIMEDOUT ? EAGAIN : error);
        n = try_receive(r, done);
        if (n == -EAGAIN)
            continue;
        if (n <= 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
        w.times = 0;
        if (!wants_more(r, done))
            return (ssize_t)done;
    }
}

/* MSG_PEEK until all is there, which no event tells: look now and then.  (A unix socket shows what it has.) */
static ssize_t peek_whole(const struct receive *r)
{
    int64_t deadline_ns = wait_deadline_of(r->fd, SO_RCVTIMEO);
    struct wait_file file = wait_remember(r->fd);
    unsigned times = 0;
    bool stops = file_is_nonblocking(r->fd) || file_socket_type(r->fd) != SOCK_STREAM;

    for (;;) {
        ssize_t n = try_receive(r, 0);
        int error;

        if ((n < 0 && n != -EAGAIN) || n == 0 || (n > 0 && (size_t)n >= r->size) || stops)
            return n;
        if (n > 0 && (file_poll(r->fd, POLLRDHUP) & (POLLRDHUP | POLLERR | POLLHUP)))
            stops = true; /* that is all there will be; look once more, some may have come since */
        else if ((error = n > 0 ? wait_again(&times, deadline_ns) : wait_fd(r->fd, POLLIN, deadline_ns)) == ETIMEDOUT)
            stops = true;
        else if (error != 0)
            return n > 0 ? n : -error;
        if (wait_is_same(&file) != 0)
            return n > 0 ? n : -ECANCELED;
    }
}

/* An interrupted thread's calls on what cannot be waited for go on. */
static COLD ssize_t not_begun(int fd, int error)
{
    return file_is_waited_for(fd) ? -error : -ENOTSOCK;
}

/* -ENOTSOCK: it is something else. */
static ssize_t receive(const struct receive *r)
{
    int error = wait_may_begin();
    ssize_t n;

    if (UNLIKELY(error != 0))
        return not_begun(r->fd, error);
    if (UNLIKELY((r->flags & MSG_WAITALL) && (r->flags & MSG_PEEK)) && file_socket_domain(r->fd) != AF_UNIX)
        return peek_whole(r);
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

static NOINLINE ssize_t try_rest(const struct transmit *t, size_t done)
{
    struct iovec rest = rest_of(t->message, done);

    return RESULT(REAL(send)(t->fd, rest.iov_base, rest.iov_len, t->flags | MSG_DONTWAIT));
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
    struct wait w = {.fd = t->fd, .events = POLLOUT};

    if (file_is_nonblocking(t->fd))
        return done > 0 ? (ssize_t)done : -EAGAIN;
    w.deadline_ns = wait_deadline_of(t->fd, SO_SNDTIMEO);
    for (;;) {
        ssize_t n = try_transmit(t, done);
        int error;

        if (n >= 0) {
            done += (size_t)n;
            w.times = 0;
            if (done >= t->size)
                return (ssize_t)done;
            continue;
        }
        if (n == -EPIPE && done == 0 && (error = file_socket_error(t->fd)) != 0)
            return -error; /* what a unix socket tells those who wait: it was reset */
        if (n != -EAGAIN)
            return done > 0 ? (ssize_t)done : n;
        error = wait_next(&w);
        if (error != 0)
            return done > 0 ? (ssize_t)done : -(error == ETIMEDOUT ? EAGAIN : error);
    }
}

static ssize_t transmit(const struct transmit *t)
{
    int error = wait_may_begin();
    ssize_t n;

    if (UNLIKELY(error != 0))
        return not_begun(t->fd, error);
    n = try_transmit(t, 0);
    if (LIKELY(n >= 0) && LIKELY((size_t)n >= t->size))
        return n;
    if (n >= 0 || n == -EAGAIN)
        return transmit_slowly(t, n > 0 ? (size_t)n : 0);
    return n;
}

size_t io_size(const struct iovec *vector, size_t count)
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
    struct wait w = {.fd = fd, .events = POLLIN, .deadline_ns = VTHREAD_FOREVER};

    if (file_look(fd, POLLIN) == FILE_DIRECT)
        return read_now(fd, vector, count);
    for (;;) {
        ssize_t n = -EAGAIN;
        int ready;
        int error;

        file_lock(fd, POLLIN);
        ready = file_poll(fd, POLLIN);
        if (ready != 0)
            n = read_now(fd, vector, count);
        file_unlock(fd, POLLIN);
        if (ready != 0)
            return n;
        error = wait_next(&w);
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
    struct wait w = {.fd = fd, .events = POLLOUT, .deadline_ns = VTHREAD_FOREVER};
    size_t done = 0;

    for (;;) {
        ssize_t n = 0;
        int ready;
        int error;

        file_lock(fd, POLLOUT);
        ready = file_poll(fd, POLLOUT);
        if (ready != 0)
            n = write_piece(fd, vector, count, done, size);
        file_unlock(fd, POLLOUT);
        if (n < 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
        if (ready != 0 && (n == 0 || done >= size))
            return (ssize_t)done;
        if (n > 0) { /* there may be room for more */
            w.times = 0;
            continue;
        }
        error = wait_next(&w);
        if (error != 0)
            return done > 0 ? (ssize_t)done : -error;
    }
}

static ssize_t write_blocking(int fd, const struct iovec *vector, int count)
{
    bool began = vthread_blocking_begin("write") == 0;
    ssize_t n = write_now(fd, vector, count);

    if (began)
        vthread_blocking_end();
    return n;
}

/* Of an eventfd: it is writable if it takes a 1, but whether it takes this value nobody tells but the write. */
static ssize_t write_value(int fd, const struct iovec *vector, int count)
{
    struct wait w = {.fd = fd, .events = POLLOUT, .deadline_ns = VTHREAD_FOREVER};
    int error = 0;

    while (error == 0 && file_poll(fd, POLLOUT) == 0)
        error = wait_next(&w);
    return error != 0 ? -error : write_blocking(fd, vector, count);
}

static ssize_t write_file(int fd, const struct iovec *vector, int count)
{
    size_t size = io_size(vector, (size_t)count);
    enum file_kind kind = file_look(fd, POLLOUT);

    if (kind == FILE_STREAM && size == sizeof(eventfd_t) && !file_is_pipe(fd))
        return write_value(fd, vector, count);
    if (kind == FILE_STREAM && size > 0)
        return write_stream(fd, vector, count, size);
    return kind == FILE_TERMINAL ? write_blocking(fd, vector, count) : write_now(fd, vector, count);
}

/* Not a vector that the kernel would complain of. */
static bool is_vector(const struct iovec *vector, int count)
{
    return vector != NULL && count > 0 && count <= IOV_MAX && io_size(vector, (size_t)count) > 0;
}

/* The same, but there are messages of no bytes. */
static bool is_message(const struct msghdr *message)
{
    return message->msg_iovlen == 0 || (message->msg_iov != NULL && message->msg_iovlen <= IOV_MAX);
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

static NOINLINE ssize_t write_nothing(int fd)
{
    return RESULT(REAL(write)(fd, "", 0));
}

static ssize_t park_write(int fd, const void *buffer, size_t size)
{
    struct transmit t = {.fd = fd, .flags = MSG_NOSIGNAL, .buffer = buffer, .size = size};
    ssize_t n = transmit(&t);

    if (n == -ENOTSOCK)
        n = size > 0 ? write_file(fd, &(struct iovec){(void *)(uintptr_t)buffer, size}, 1) : write_nothing(fd);
    return posix_result(n);
}

HOOK ssize_t write(int fd, const void *buffer, size_t size)
{
    return PARKS() ? park_write(fd, buffer, size) : REAL(write)(fd, buffer, size);
}

HOOK ssize_t writev(int fd, const struct iovec *vector, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector, .msg_iovlen = (size_t)count};
    struct transmit t = {.fd = fd, .flags = MSG_NOSIGNAL, .message = &message};
    ssize_t n;

    if (!PARKS() || !is_vector(vector, count))
        return REAL(writev)(fd, vector, count);
    t.size = io_size(vector, (size_t)count);
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

static NOINLINE ssize_t recvmsg_now(int fd, struct msghdr *message, int flags)
{
    return RESULT(REAL(recvmsg)(fd, message, flags));
}

ssize_t io_receive_message(int fd, struct msghdr *message, int flags)
{
    struct receive r = {.fd = fd, .flags = flags, .message = message};

    if ((flags & NEVER_WAITS) || message == NULL || !is_message(message))
        return recvmsg_now(fd, message, flags);
    r.size = io_size(message->msg_iov, message->msg_iovlen);
    r.control_size = message->msg_controllen;
    return receive(&r);
}

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    return PARKS() ? posix_result(io_receive_message(fd, message, flags)) : REAL(recvmsg)(fd, message, flags);
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

static NOINLINE ssize_t sendmsg_now(int fd, const struct msghdr *message, int flags)
{
    return RESULT(REAL(sendmsg)(fd, message, flags));
}

ssize_t io_send_message(int fd, const struct msghdr *message, int flags)
{
    struct transmit t = {.fd = fd, .flags = flags | MSG_NOSIGNAL, .message = message};

    if ((flags & (MSG_DONTWAIT | MSG_FASTOPEN)) || message == NULL || !is_message(message))
        return sendmsg_now(fd, message, flags);
    t.size = io_size(message->msg_iov, message->msg_iovlen);
    return transmit(&t);
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return PARKS() ? posix_result(io_send_message(fd, message, flags)) : REAL(sendmsg)(fd, message, flags);
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

/* ---- and by the names that the C library has beside ---- */

ssize_t __read(int fd, void *buffer, size_t size);
ssize_t __write(int fd, const void *buffer, size_t size);
ssize_t __send(int fd, const void *buffer, size_t size, int flags);

HOOK __attribute__((alias("read"))) ssize_t __read(int fd, void *buffer, size_t size);
HOOK __attribute__((alias("write"))) ssize_t __write(int fd, const void *buffer, size_t size);
HOOK __attribute__((alias("send"))) ssize_t __send(int fd, const void *buffer, size_t size, int flags);

HOOK int eventfd_read(int fd, eventfd_t *value)
{
    return (PARKS() ? park_read(fd, value, sizeof *value) : REAL(read)(fd, value, sizeof *value)) == sizeof *value ? 0
                                                                                                                   : -1;
}

HOOK int eventfd_write(int fd, eventfd_t value)
{
    return (PARKS() ? park_write(fd, &value, sizeof value) : REAL(write)(fd, &value, sizeof value)) == sizeof value
               ? 0
               : -1;
}
