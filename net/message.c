/* SPDX-License-Identifier: MIT */
/*
 * Messages: recv and send, from and to addresses, with control data, several at once.
 *
 * What the flags change is decided here, for the kernel is always told MSG_DONTWAIT:
 *
 *   MSG_DONTWAIT    a deadline that has passed; -EAGAIN is then the caller's
 *   MSG_WAITALL     collected piece by piece, on streams
 *   MSG_OOB, MSG_ERRQUEUE   never wait, and ask for something other than what readers wait for: they take no turn
 */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include <vthread/net.h>

#include "base/attributes.h"
#include "base/memory.h"
#include "net/operation.h"
#include "net/poller.h"
#include "net/system.h"
#include "vthread/thread.h"

enum {
    NO_TURN = MSG_OOB | MSG_ERRQUEUE,
    /* Flags with which a read takes what there is, so that a short one has emptied the socket. */
    PLAIN = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC | MSG_WAITALL,
    RETRY_NS = 2 * 1000 * 1000, /* a unix socket that is not our peer, and full: no event tells when it is not */
};

/* ---- both directions ---- */

static int begin(struct operation *op, int fd, enum slot_direction direction, int flags, int64_t deadline_ns)
{
    int error = operation_begin(op, fd, direction, (flags & MSG_DONTWAIT) ? VTHREAD_NOW : deadline_ns);

    if (error == 0 && op->kind != KIND_OWN_SOCKET && op->kind != KIND_SOCKET)
        return (int)operation_end(op, -ENOTSOCK);
    return error;
}

static inline ssize_t outcome(ssize_t n, int flags)
{
    return n == -ETIMEDOUT && (flags & MSG_DONTWAIT) ? -EAGAIN : n;
}

static int check(const void *buffer, size_t size)
{
    if (size > SSIZE_MAX)
        return -EINVAL;
    return buffer == NULL && size > 0 ? -EFAULT : 0;
}

/* How much the message's vector holds; what is wrong with it the kernel tells. */
static size_t size_of(const struct msghdr *message)
{
    size_t size = 0;

    for (size_t i = 0; i < message->msg_iovlen && i < IOV_MAX; i++)
        if (__builtin_add_overflow(size, message->msg_iov[i].iov_len, &size))
            return SIZE_MAX;
    return size;
}

/* ---- receiving ---- */

static ssize_t end_receive(struct operation *op, ssize_t n, size_t size, int flags)
{
    return (flags & ~PLAIN) ? operation_end(op, n) : operation_end_read(op, n, size);
}

/* The message without its first bytes.  count: of the vector that is left. */
static void advance(struct msghdr *rest, size_t bytes)
{
    while (rest->msg_iovlen > 0 && bytes >= rest->msg_iov->iov_len) {
        bytes -= rest->msg_iov->iov_len;
        rest->msg_iov++;
        rest->msg_iovlen--;
    }
    if (bytes > 0) {
        rest->msg_iov->iov_base = (char *)rest->msg_iov->iov_base + bytes;
        rest->msg_iov->iov_len -= bytes;
    }
}

/* A part has arrived, and no more comes for now: what the call returns.  Interruption is left to the next call. */
static COLD ssize_t end_early(struct operation *op, ssize_t error, ssize_t done)
{
    if (done == 0 || error == -ECANCELED)
        return error;
    if (error == -EINTR)
        vthread_interrupt(thread_handle(op->self));
    return done;
}

/*
 * The owner's turn, to its end: MSG_WAITALL.  rest's vector is ours to change.  Control data are received with the
 * piece they came with, which is the last then, as in the kernel.
 */
static ssize_t receive_pieces(struct operation *op, struct msghdr *message, struct msghdr *rest, size_t size, int flags)
{
    ssize_t done = 0;
    ssize_t n = 0;

    while (n == 0) {
        size_t room = rest->msg_controllen;

        /* An error that follows data is left for the next call: to report it would take it away. */
        if (done > 0 && system_has_only_error(op->fd))
            return operation_end(op, done);
        n = system_receive(op->fd, rest, flags & ~MSG_WAITALL);
        if (n > 0) {
            done += n;
            message->msg_flags = rest->msg_flags;
            message->msg_namelen = rest->msg_namelen;
            message->msg_controllen = rest->msg_controllen;
            if ((size_t)done == size || rest->msg_controllen > 0)
                return operation_end(op, done);
            rest->msg_controllen = room;
            advance(rest, (size_t)n);
            n = operation_has_drained(op) ? operation_wait(op) : 0;
        } else if (n == -EAGAIN) {
            n = operation_wait(op);
        } else {
            return operation_end(op, done > 0 ? done : n);
        }
    }
    return end_early(op, n, done);
}

static ssize_t receive_all(struct operation *op, struct msghdr *message, size_t size, int flags)
{
    struct msghdr rest = *message;
    struct iovec *vector = memory_alloc(message->msg_iovlen * sizeof *vector);
    ssize_t n;

    if (vector == NULL)
        return operation_end(op, -ENOMEM);
    memcpy(vector, message->msg_iov, message->msg_iovlen * sizeof *vector);
    rest.msg_iov = vector;
    n = receive_pieces(op, message, &rest, size, flags);
    memory_free(vector);
    return n;
}

static ssize_t receive(int fd, struct msghdr *message, int flags, int64_t deadline_ns)
{
    struct operation op;
    size_t size = size_of(message);
    ssize_t n;

    if (flags & NO_TURN) {
        n = net_enter();
        return n != 0 ? n : system_receive(fd, message, flags);
    }
    n = begin(&op, fd, SLOT_READ, flags, deadline_ns);
    if (n == 0)
        n = operation_wait_if_drained(&op);
    if (n == 0 && (flags & (MSG_WAITALL | MSG_DONTWAIT | MSG_PEEK)) == MSG_WAITALL && size > 0 &&
        message->msg_iovlen <= IOV_MAX && system_socket_type(fd) == SOCK_STREAM)
        return receive_all(&op, message, size, flags);
    while (n == 0) {
        n = system_receive(fd, message, flags);
        if (n != -EAGAIN)
            return end_receive(&op, n, size, flags);
        n = operation_wait(&op);
    }
    return outcome(n, flags);
}

ssize_t vthread_recvmsg_until(int fd, struct msghdr *message, int flags, int64_t deadline_ns)
{
    if (message == NULL || (message->msg_iov == NULL && message->msg_iovlen > 0))
        return -EFAULT;
    return receive(fd, message, flags, deadline_ns);
}

ssize_t vthread_recvfrom_until(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
                               socklen_t *length, int64_t deadline_ns)
{
    struct iovec vector = {buffer, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    ssize_t n = check(buffer, size);

    if (n != 0)
        return n;
    if (address != NULL && length == NULL)
        return -EFAULT;
    message.msg_name = address;
    message.msg_namelen = address != NULL ? *length : 0;
    n = receive(fd, &message, flags, deadline_ns);
    if (n >= 0 && address != NULL)
        *length = message.msg_namelen;
    return n;
}

ssize_t vthread_recv_until(int fd, void *buffer, size_t size, int flags, int64_t deadline_ns)
{
    struct operation op;
    ssize_t n = check(buffer, size);

    if (n != 0)
        return n;
    if (flags & (NO_TURN | MSG_WAITALL))
        return vthread_recvfrom_until(fd, buffer, size, flags, NULL, NULL, deadline_ns);
    n = begin(&op, fd, SLOT_READ, flags, deadline_ns);
    if (n == 0)
        n = operation_wait_if_drained(&op);
    while (n == 0) {
        n = system_recv(fd, buffer, size, flags);
        if (n != -EAGAIN)
            return end_receive(&op, n, size, flags);
        n = operation_wait(&op);
    }
    return outcome(n, flags);
}

int vthread_recvmmsg_until(int fd, struct mmsghdr *messages, unsigned count, int flags, int64_t deadline_ns)
{
    struct operation op;
    int n;

    if (messages == NULL && count > 0)
        return -EFAULT;
    n = (flags & NO_TURN) ? net_enter() : begin(&op, fd, SLOT_READ, flags, deadline_ns);
    if (n != 0)
        return (int)outcome(n, flags);
    if (flags & NO_TURN)
        return system_receive_many(fd, messages, count, flags);
    n = operation_wait_if_drained(&op);
    while (n == 0) {
        n = system_receive_many(fd, messages, count, flags);
        if (n != -EAGAIN)
            return (int)operation_end(&op, n);
        n = operation_wait(&op);
    }
    return (int)outcome(n, flags);
}

/* ---- sending ---- */

/*
 * After -EAGAIN.  A unix socket that is addressed by name and full tells nobody when it is not: asked about it, our own
 * socket is writable all the time.  A connected one does tell.
 */
static int wait_to_send(struct operation *op, const struct sockaddr *address)
{
    if (UNLIKELY(address != NULL) && address->sa_family == AF_UNIX)
        return operation_pause(op, RETRY_NS);
    return operation_wait(op);
}

static ssize_t transmit(int fd, const struct msghdr *message, int flags, int64_t deadline_ns)
{
    struct operation op;
    ssize_t n = begin(&op, fd, SLOT_WRITE, flags, deadline_ns);

    while (n == 0) {
        n = system_transmit(fd, message, flags);
        if (n == -EINPROGRESS && (flags & MSG_FASTOPEN)) { /* it connects first, in the ordinary way */
            flags &= ~MSG_FASTOPEN;
            n = -EAGAIN;
        }
        if (n != -EAGAIN)
            return operation_end(&op, n);
        n = wait_to_send(&op, message->msg_name);
    }
    return outcome(n, flags);
}

ssize_t vthread_sendmsg_until(int fd, const struct msghdr *message, int flags, int64_t deadline_ns)
{
    if (message == NULL || (message->msg_iov == NULL && message->msg_iovlen > 0))
        return -EFAULT;
    if (message->msg_name != NULL && message->msg_namelen < sizeof(sa_family_t))
        return -EINVAL;
    return transmit(fd, message, flags, deadline_ns);
}

ssize_t vthread_sendto_until(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *address,
                             socklen_t length, int64_t deadline_ns)
{
    struct iovec vector = {(void *)(uintptr_t)buffer, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    ssize_t n = check(buffer, size);

    if (n != 0)
        return n;
    if (address != NULL && length < sizeof address->sa_family)
        return -EINVAL;
    message.msg_name = (struct sockaddr *)(uintptr_t)address;
    message.msg_namelen = address != NULL ? length : 0;
    return transmit(fd, &message, flags, deadline_ns);
}

ssize_t vthread_send_until(int fd, const void *buffer, size_t size, int flags, int64_t deadline_ns)
{
    struct operation op;
    ssize_t n = check(buffer, size);

    if (n == 0)
        n = begin(&op, fd, SLOT_WRITE, flags, deadline_ns);
    while (n == 0) {
        n = system_send(fd, buffer, size, flags);
        if (n != -EAGAIN)
            return operation_end(&op, n);
        n = operation_wait(&op);
    }
    return outcome(n, flags);
}

int vthread_sendmmsg_until(int fd, struct mmsghdr *messages, unsigned count, int flags, int64_t deadline_ns)
{
    struct operation op;
    int n;

    if (messages == NULL && count > 0)
        return -EFAULT;
    n = begin(&op, fd, SLOT_WRITE, flags, deadline_ns);
    while (n == 0) {
        n = system_transmit_many(fd, messages, count, flags);
        if (n != -EAGAIN)
            return (int)operation_end(&op, n);
        n = wait_to_send(&op, messages->msg_hdr.msg_name);
    }
    return (int)outcome(n, flags);
}

/* ---- without a deadline ---- */

ssize_t vthread_recv(int fd, void *buffer, size_t size, int flags)
{
    return vthread_recv_until(fd, buffer, size, flags, VTHREAD_FOREVER);
}

ssize_t vthread_send(int fd, const void *buffer, size_t size, int flags)
{
    return vthread_send_until(fd, buffer, size, flags, VTHREAD_FOREVER);
}

ssize_t vthread_recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *address, socklen_t *length)
{
    return vthread_recvfrom_until(fd, buffer, size, flags, address, length, VTHREAD_FOREVER);
}

ssize_t vthread_sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *address,
                       socklen_t length)
{
    return vthread_sendto_until(fd, buffer, size, flags, address, length, VTHREAD_FOREVER);
}

ssize_t vthread_recvmsg(int fd, struct msghdr *message, int flags)
{
    return vthread_recvmsg_until(fd, message, flags, VTHREAD_FOREVER);
}

ssize_t vthread_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return vthread_sendmsg_until(fd, message, flags, VTHREAD_FOREVER);
}

int vthread_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    return vthread_recvmmsg_until(fd, messages, count, flags, VTHREAD_FOREVER);
}

int vthread_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    return vthread_sendmmsg_until(fd, messages, count, flags, VTHREAD_FOREVER);
}
