/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing.
 */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include <vthread/net.h>

#include "base/attributes.h"
#include "net/io.h"
#include "net/operation.h"
#include "net/system.h"
#include "vthread/thread.h"

enum {
    STREAM_WRITE_MAX = 4096, /* PIPE_BUF: what a writable pipe takes without blocking */
    VECTOR_ON_STACK = 16,
};

/* ---- one attempt ---- */

static COLD ssize_t blocking(ssize_t (*call)(int fd, const struct iovec *vector, int count), int fd,
                             const struct iovec *vector, int count)
{
    bool began = vthread_blocking_begin("file") == 0;
    ssize_t n = call(fd, vector, count);

    if (began)
        vthread_blocking_end();
    return n;
}

static COLD ssize_t read_other(struct operation *op, const struct iovec *vector, int count)
{
    if (op->kind == KIND_FILE)
        return blocking(system_readv, op->fd, vector, count);
    if (op->kind != KIND_NONBLOCKING) {
        int ready = system_poll(op->fd, POLLIN);

        if (ready <= 0)
            return ready < 0 ? ready : -EAGAIN;
    }
    return system_readv(op->fd, vector, count);
}

/* The first PIPE_BUF bytes of the vector. */
static ssize_t write_piece(int fd, const struct iovec *vector, int count)
{
    struct iovec piece[VECTOR_ON_STACK];
    size_t left = STREAM_WRITE_MAX;
    int n = 0;

    for (; n < count && n < VECTOR_ON_STACK && left > 0; n++) {
        piece[n] = vector[n];
        if (piece[n].iov_len > left)
            piece[n].iov_len = left;
        left -= piece[n].iov_len;
    }
    return system_writev(fd, piece, n);
}

static COLD ssize_t write_other(struct operation *op, const struct iovec *vector, int count)
{
    int ready;

    if (op->kind == KIND_FILE)
        return blocking(system_writev, op->fd, vector, count);
    if (op->kind == KIND_NONBLOCKING)
        return system_writev(op->fd, vector, count);
    ready = system_poll(op->fd, POLLOUT);
    if (ready <= 0)
        return ready < 0 ? ready : -EAGAIN;
    return write_piece(op->fd, vector, count);
}

static inline bool is_socket(const struct operation *op)
{
    return op->kind == KIND_OWN_SOCKET || op->kind == KIND_SOCKET;
}

static inline ssize_t try_read(struct operation *op, void *buffer, size_t size)
{
    struct iovec vector;

    if (LIKELY(is_socket(op)))
        return system_recv(op->fd, buffer, size, 0);
    vector = (struct iovec){buffer, size};
    return read_other(op, &vector, 1);
}

static inline ssize_t try_write(struct operation *op, const void *buffer, size_t size)
{
    struct iovec vector;

    if (LIKELY(is_socket(op)))
        return system_send(op->fd, buffer, size, 0);
    vector = (struct iovec){(void *)(uintptr_t)buffer, size};
    return write_other(op, &vector, 1);
}

ssize_t io_try_write(struct operation *op, const void *buffer, size_t size)
{
    return try_write(op, buffer, size);
}

/* ---- whole calls ---- */

/* What is wrong with the buffer, or 0. */
static int check(const void *buffer, size_t size)
{
    if (size > SSIZE_MAX)
        return -EINVAL;
    return buffer == NULL && size > 0 ? -EFAULT : 0;
}

ssize_t vthread_read_until(int fd, void *buffer, size_t size, int64_t deadline_ns)
{
    struct operation op;
    ssize_t n = check(buffer, size);

    if (n == 0)
        n = operation_begin(&op, fd, SLOT_READ, deadline_ns);
    if (UNLIKELY(size == 0) && n == 0)
        return operation_end(&op, 0); /* asks for nothing, waits for nothing */
    if (n == 0)
        n = operation_wait_if_drained(&op);
    while (n == 0) {
        n = try_read(&op, buffer, size);
        if (n != -EAGAIN)
            return operation_end_read(&op, n, size);
        n = operation_wait(&op);
    }
    return n;
}

ssize_t vthread_write_until(int fd, const void *buffer, size_t size, int64_t deadline_ns)
{
    struct operation op;
    ssize_t n = check(buffer, size);

    if (n == 0)
        n = operation_begin(&op, fd, SLOT_WRITE, deadline_ns);
    while (n == 0) {
        n = try_write(&op, buffer, size);
        if (n != -EAGAIN)
            return operation_end(&op, n);
        n = operation_wait(&op);
    }
    return n;
}

ssize_t vthread_read_full_until(int fd, void *buffer, size_t size, int64_t deadline_ns)
{
    struct operation op;
    ssize_t n = check(buffer, size);
    size_t done = 0;

    if (n == 0)
        n = operation_begin(&op, fd, SLOT_READ, deadline_ns);
    if (size > 0 && n == 0)
        n = operation_wait_if_drained(&op);
    while (n == 0) {
        while (done < size && (n = try_read(&op, (char *)buffer + done, size - done)) > 0) {
            done += (size_t)n;
            if (done < size && operation_has_drained(&op)) {
                n = -EAGAIN;
                break;
            }
        }
        if (done == size || n != -EAGAIN)
            return operation_end(&op, n < 0 ? n : (ssize_t)done);
        n = operation_wait(&op);
    }
    return n;
}

ssize_t vthread_write_all_until(int fd, const void *buffer, size_t size, int64_t deadline_ns)
{
    struct operation op;
    ssize_t n = check(buffer, size);
    size_t done = 0;

    if (n == 0)
        n = operation_begin(&op, fd, SLOT_WRITE, deadline_ns);
    while (n == 0) {
        while (done < size && (n = try_write(&op, (const char *)buffer + done, size - done)) > 0)
            done += (size_t)n;
        if (done == size || (n != -EAGAIN && n != 0))
            return operation_end(&op, n < 0 ? n : (ssize_t)done);
        if (n == 0) /* a file that takes nothing, and says no more about it */
            return operation_end(&op, -EIO);
        n = operation_wait(&op);
    }
    return n;
}

static int check_vector(const struct iovec *vector, int count, size_t *ret_size)
{
    size_t size = 0;

    if (count < 0 || count > IOV_MAX)
        return -EINVAL;
    if (vector == NULL && count > 0)
        return -EFAULT;
    for (int i = 0; i < count; i++)
        if (__builtin_add_overflow(size, vector[i].iov_len, &size) || size > SSIZE_MAX)
            return -EINVAL;
    *ret_size = size;
    return 0;
}

ssize_t vthread_readv_until(int fd, const struct iovec *vector, int count, int64_t deadline_ns)
{
    struct operation op;
    size_t size = 0;
    ssize_t n = check_vector(vector, count, &size);

    if (n == 0)
        n = operation_begin(&op, fd, SLOT_READ, deadline_ns);
    if (UNLIKELY(size == 0) && n == 0)
        return operation_end(&op, 0);
    if (n == 0)
        n = operation_wait_if_drained(&op);
    while (n == 0) {
        n = LIKELY(is_socket(&op)) ? system_recv_vector(fd, vector, count) : read_other(&op, vector, count);
        if (n != -EAGAIN)
            return operation_end_read(&op, n, size);
        n = operation_wait(&op);
    }
    return n;
}

ssize_t vthread_writev_until(int fd, const struct iovec *vector, int count, int64_t deadline_ns)
{
    struct operation op;
    size_t size = 0;
    ssize_t n = check_vector(vector, count, &size);

    if (n == 0)
        n = operation_begin(&op, fd, SLOT_WRITE, deadline_ns);
    while (n == 0) {
        n = LIKELY(is_socket(&op)) ? system_send_vector(fd, vector, count) : write_other(&op, vector, count);
        if (n != -EAGAIN)
            return operation_end(&op, n);
        n = operation_wait(&op);
    }
    return n;
}

/* ---- without a deadline ---- */

ssize_t vthread_read(int fd, void *buffer, size_t size)
{
    return vthread_read_until(fd, buffer, size, VTHREAD_FOREVER);
}

ssize_t vthread_write(int fd, const void *buffer, size_t size)
{
    return vthread_write_until(fd, buffer, size, VTHREAD_FOREVER);
}

ssize_t vthread_read_full(int fd, void *buffer, size_t size)
{
    return vthread_read_full_until(fd, buffer, size, VTHREAD_FOREVER);
}

ssize_t vthread_write_all(int fd, const void *buffer, size_t size)
{
    return vthread_write_all_until(fd, buffer, size, VTHREAD_FOREVER);
}

ssize_t vthread_readv(int fd, const struct iovec *vector, int count)
{
    return vthread_readv_until(fd, vector, count, VTHREAD_FOREVER);
}

ssize_t vthread_writev(int fd, const struct iovec *vector, int count)
{
    return vthread_writev_until(fd, vector, count, VTHREAD_FOREVER);
}
