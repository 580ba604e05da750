/* SPDX-License-Identifier: MIT */
/*
 * Sockets as such: make, accept, connect, shut down, close.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>

#include <vthread/net.h>

#include "base/attributes.h"
#include "base/clock.h"
#include "net/operation.h"
#include "net/poller.h"
#include "net/socket.h"
#include "net/system.h"
#include "vthread/thread.h"

enum {
    STARVED_FOR_NS = 100 * 1000 * 1000, /* how long accept holds -EMFILE back */
    CONNECT_RETRY_NS = 2 * 1000 * 1000, /* a unix socket's full backlog reports no event */
};

int socket_adopt_as(int fd, bool is_tcp)
{
    int error;

    if (fd < 0)
        return fd;
    error = descriptor_opened(fd, is_tcp);
    if (error != 0)
        system_close(fd);
    return error != 0 ? error : fd;
}

int socket_adopt(int fd)
{
    return socket_adopt_as(fd, fd >= 0 && system_protocol(fd) == IPPROTO_TCP);
}

int vthread_socket(int domain, int type, int protocol)
{
    int error = net_enter();

    return error != 0 ? error : socket_adopt(system_socket(domain, type, protocol));
}

/* ---- accept ---- */

/* What became of one connection, or of the network under it, before it was accepted: not the listener's error. */
static bool concerns_one_connection(int error)
{
    switch (error) {
    case -ECONNABORTED:
    case -EPROTO:
    case -ENOPROTOOPT:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENONET:
        return true;
    default:
        return false;
    }
}

static int try_accept(struct operation *op, struct sockaddr *address, socklen_t *length)
{
    socklen_t room = length != NULL ? *length : 0;
    int fd;

    /* A blocking listener that somebody else made: ask first. */
    if (op->kind != KIND_OWN_SOCKET && system_is_nonblocking(op->fd) == 0) {
        fd = system_poll(op->fd, POLLIN);
        if (fd <= 0)
            return fd < 0 ? fd : -EAGAIN;
    }
    do {
        if (length != NULL)
            *length = room;
        fd = system_accept(op->fd, address, length);
    } while (concerns_one_connection(fd));
    return fd;
}

static bool is_exhaustion(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

int vthread_accept_until(int fd, struct sockaddr *address, socklen_t *length, int64_t deadline_ns)
{
    struct operation op;
    int64_t give_up_ns = 0;
    int n = operation_begin_uncounted(&op, fd, SLOT_READ, deadline_ns);

    while (n == 0) {
        if (op.kind != KIND_OWN_SOCKET && op.kind != KIND_SOCKET)
            return (int)operation_end(&op, -ENOTSOCK);
        n = try_accept(&op, address, length);
        if (UNLIKELY(is_exhaustion(n))) {
            int64_t now_ns = clock_now_ns();

            if (give_up_ns == 0)
                give_up_ns = now_ns + STARVED_FOR_NS;
            operation_want_descriptor(&op);
            n = try_accept(&op, address, length);
            if (is_exhaustion(n) && now_ns < give_up_ns) {
                n = operation_pause(&op, give_up_ns - now_ns);
                continue;
            }
        }
        if (n != -EAGAIN) {
            bool is_tcp = atomic_load_relaxed(&op.d->is_tcp); /* inherited, as the protocol is */

            operation_end(&op, 0);
            return socket_adopt_as(n, is_tcp);
        }
        n = operation_wait(&op);
    }
    return n;
}

int vthread_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    return vthread_accept_until(fd, address, length, VTHREAD_FOREVER);
}

/* ---- connect ---- */

/* A foreign, blocking socket: there is no other way, since its flags are not ours to change. */
static COLD int connect_blocking(int fd, const struct sockaddr *address, socklen_t length)
{
    bool began = vthread_blocking_begin("connect") == 0;
    int error = system_connect(fd, address, length);

    if (began)
        vthread_blocking_end();
    return error;
}

static int connect_with(struct operation *op, const struct sockaddr *address, socklen_t length)
{
    bool under_way = false;
    int n = 0;

    while (n == 0) {
        n = system_connect(op->fd, address, length);
        if (n == -EAGAIN && address->sa_family == AF_UNIX) {
            n = operation_pause(op, CONNECT_RETRY_NS);
            continue;
        }
        if (n == -EISCONN && under_way) /* asked again, the kernel tells what became of it */
            n = 0;
        if (n == -EINPROGRESS || n == -EALREADY) {
            under_way = true;
            n = -EAGAIN;
        }
        if (n != -EAGAIN)
            return (int)operation_end(op, n);
        n = operation_wait(op);
    }
    return n;
}

int socket_connect(int fd, const struct sockaddr *address, socklen_t length, int64_t deadline_ns)
{
    struct operation op;
    int n = operation_begin(&op, fd, SLOT_WRITE, deadline_ns);

    if (n != 0)
        return n;
    if (op.kind != KIND_OWN_SOCKET && op.kind != KIND_SOCKET)
        return (int)operation_end(&op, -ENOTSOCK);
    if (op.kind == KIND_SOCKET && system_is_nonblocking(fd) == 0) {
        operation_end(&op, 0); /* a slot is not held while blocking */
        return connect_blocking(fd, address, length);
    }
    return connect_with(&op, address, length);
}

int vthread_connect_until(int fd, const struct sockaddr *address, socklen_t length, int64_t deadline_ns)
{
    if (address == NULL)
        return EFAULT;
    if (length < sizeof address->sa_family)
        return EINVAL;
    return -socket_connect(fd, address, length, deadline_ns);
}

int vthread_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    return vthread_connect_until(fd, address, length, VTHREAD_FOREVER);
}

/* ---- the end ---- */

int vthread_shutdown(int fd, int how)
{
    return runtime_forked() ? ENOTSUP : -system_shutdown(fd, how);
}

int vthread_close(int fd)
{
    struct descriptor *d;
    bool looks;
    int error = descriptor_begin_look(fd, &d, &looks);

    if (error != 0)
        return error;
    if (d != NULL) {
        uint32_t generation = descriptor_begin_close(d, fd);

        error = system_close(fd);
        descriptor_finish_close(d, generation);
    } else {
        error = system_close(fd);
    }
    if (looks) {
        operation_descriptor_freed(); /* others' records: within the look */
        descriptor_end_look();
    }
    return -error;
}

int vthread_fd_forget(int fd)
{
    if (runtime_forked())
        return ENOTSUP;
    return fd < 0 ? EBADF : descriptor_renewed(fd);
}

int64_t vthread_fd_generation(int fd)
{
    struct descriptor *d;
    int64_t generation;
    int error = descriptor_begin_use(fd, &d);

    if (error != 0)
        return error;
    descriptor_await_close(d); /* what is being closed is no more */
    generation = atomic_load_relaxed(&d->generation); /* relaxed: whoever closes it now is later */
    descriptor_end_look();
    return generation;
}
