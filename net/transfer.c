/* SPDX-License-Identifier: MIT */
/*
 * sendfile, splice and tee: from one descriptor to another, inside the kernel.
 *
 * sendfile is a write: it has its turn at `out`, waits there, and `in`, a file, needs no waiting.  It reads from a disk
 * perhaps, so it is a blocking section; a closer waits for that (as for a page fault in a buffer).
 *
 * splice and tee may have to wait for either side, and EAGAIN does not tell which.  It has a turn at both, so that each
 * is still the file it was, for the length of one attempt only; between attempts it watches the side that is not ready,
 * and the other one in case it is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include <vthread/net.h>

#include "base/attributes.h"
#include "base/memory.h"
#include "net/io.h"
#include "net/operation.h"
#include "net/option.h"
#include "net/poller.h"
#include "net/system.h"
#include "net/watch.h"
#include "vthread/thread.h"

enum { COPY_BYTES = 64 * 1024, COPY_BYTES_TO_PIPE = 4096 };

static uint32_t generation_of(const struct operation *op)
{
    return atomic_load_relaxed(&op->d->generation); /* of the file at which the operation has its turn */
}

/* ---- sendfile ---- */

static ssize_t read_piece(int in, const off_t *offset, void *buffer, size_t size)
{
    bool began = vthread_blocking_begin("sendfile") == 0;
    off_t at = offset != NULL ? *offset : system_seek(in, 0, SEEK_CUR);
    ssize_t n = at < 0 ? (ssize_t)at : system_pread(in, buffer, size, at);

    if (began)
        vthread_blocking_end();
    return n == -ESPIPE ? -EINVAL : n; /* no file */
}

/* The same as sendfile, through memory: for what would block, and does not let us say that it must not. */
static COLD ssize_t copy(struct operation *op, int in, off_t *offset, size_t count)
{
    size_t most = op->kind == KIND_SOCKET ? COPY_BYTES : COPY_BYTES_TO_PIPE;
    size_t size = count < most ? count : most;
    char *buffer = memory_alloc(size);
    ssize_t n;

    if (buffer == NULL)
        return -ENOMEM;
    n = read_piece(in, offset, buffer, size);
    if (n > 0) {
        n = io_try_write(op, buffer, (size_t)n);
        if (n > 0 && offset != NULL)
            *offset += n;
        else if (n > 0)
            system_seek(in, n, SEEK_CUR);
    }
    memory_free(buffer);
    return n;
}

static ssize_t send_directly(struct operation *op, int in, off_t *offset, size_t count)
{
    bool began = vthread_blocking_begin("sendfile") == 0;
    ssize_t n = system_sendfile(op->fd, in, offset, count);

    if (began)
        vthread_blocking_end();
    return n;
}

static bool may_send_directly(const struct operation *op)
{
    return op->kind == KIND_OWN_SOCKET || op->kind == KIND_NONBLOCKING || op->kind == KIND_FILE ||
           (op->kind == KIND_SOCKET && system_is_nonblocking(op->fd) == 1);
}

ssize_t vthread_sendfile_until(int out, int in, off_t *offset, size_t count, int64_t deadline_ns)
{
    struct operation op;
    struct descriptor *source;
    uint32_t generation;
    bool directly;
    ssize_t n = count > SSIZE_MAX ? -EINVAL : operation_begin(&op, out, SLOT_WRITE, deadline_ns);

    if (n != 0)
        return n;
    n = descriptor_get(in, &source);
    if (n != 0)
        return operation_end(&op, n);
    generation = atomic_load_relaxed(&source->generation);
    directly = may_send_directly(&op);
    while (n == 0) {
        n = directly ? send_directly(&op, in, offset, count) : copy(&op, in, offset, count);
        if (n != -EAGAIN)
            return operation_end(&op, n);
        n = operation_wait(&op);
        if (n == 0 && !descriptor_is_still(source, generation)) /* closed while we waited */
            return operation_end(&op, -ECANCELED);
    }
    return n;
}

ssize_t vthread_sendfile(int out, int in, off_t *offset, size_t count)
{
    return vthread_sendfile_until(out, in, offset, count, VTHREAD_FOREVER);
}

/* ---- splice ---- */

static bool is_file(int fd)
{
    struct descriptor *d;

    return descriptor_get(fd, &d) == 0 && atomic_load_relaxed(&d->kind) == KIND_FILE;
}

/* Both turns at once; while one is waited for, the other is not held.  0, or -Exxx. */
static int begin_both(struct operation *in, int in_fd, struct operation *out, int out_fd, int64_t deadline_ns)
{
    bool out_first = is_file(in_fd); /* an interrupt that came before ends no calls on files, but this one */

    for (;;) {
        int error = out_first ? operation_begin(out, out_fd, SLOT_WRITE, deadline_ns)
                              : operation_begin(in, in_fd, SLOT_READ, deadline_ns);

        if (error != 0)
            return error;
        error = out_first ? operation_try_begin(in, in_fd, SLOT_READ) : operation_try_begin(out, out_fd, SLOT_WRITE);
        if (error == 0)
            return 0;
        operation_end(out_first ? out : in, 0);
        if (error != -EBUSY)
            return error;
        out_first = !out_first; /* next wait for the one that was taken */
    }
}

static ssize_t end_both(struct operation *in, struct operation *out, ssize_t result)
{
    operation_end(in, 0);
    return operation_end(out, result);
}

/* A socket, foreign and blocking. */
static bool may_block(const struct operation *op)
{
    return op->kind == KIND_SOCKET && system_is_nonblocking(op->fd) == 0;
}

/* One splice, or one tee. */
struct move {
    int in;
    int out;
    off_t *in_offset;
    off_t *out_offset;
    size_t count;
    unsigned flags;
    bool keeps; /* tee: what is there is not taken */
};

static ssize_t try_move(const struct move *m, const struct operation *in, const struct operation *out)
{
    unsigned flags = m->flags | SPLICE_F_NONBLOCK;
    bool began;
    ssize_t n;

    if (m->keeps)
        return system_tee(m->in, m->out, m->count, flags);
    if (may_block(out))
        return -EINVAL;
    if (may_block(in) && system_poll(in->fd, POLLIN) == 0)
        return -EAGAIN;
    began = (in->kind == KIND_FILE || out->kind == KIND_FILE) && vthread_blocking_begin("splice") == 0;
    n = system_splice(m->in, m->in_offset, m->out, m->out_offset, m->count, flags);
    if (began)
        vthread_blocking_end();
    return n;
}

/* Outside of both turns, for the first of them.  0, or -Exxx; -ECANCELED: one is not that file any more. */
static int wait_for_side(const struct operation *waited, const struct watched files[2], int events, int64_t deadline_ns)
{
    int64_t until_ns = option_sooner(waited->d, waited->fd, (enum slot_direction)waited->direction, deadline_ns);
    int ready = watch_wait_of_two(files, events, until_ns);

    return ready < 0 ? ready : 0;
}

static ssize_t move(const struct move *m, int64_t deadline_ns)
{
    struct operation in;
    struct operation out;
    struct watched files[2] = {{.fd = m->in}, {.fd = m->out}};
    int error;
    ssize_t n;

    if (m->flags & SPLICE_F_NONBLOCK)
        deadline_ns = VTHREAD_NOW;
    n = net_enter(); /* begin_both looks at the records before an operation begins */
    if (n != 0)
        return n;
    if (thread_self(&error) == NULL)
        return -error;
    for (int attempt = 0;; attempt = 1) {
        bool in_is_ready;

        n = begin_both(&in, m->in, &out, m->out, deadline_ns);
        if (n != 0)
            break;
        if (attempt == 0) {
            files[0].generation = generation_of(&in);
            files[1].generation = generation_of(&out);
        } else if (files[0].generation != generation_of(&in) || files[1].generation != generation_of(&out)) {
            return end_both(&in, &out, -ECANCELED);
        }
        n = try_move(m, &in, &out);
        if (n != -EAGAIN)
            return end_both(&in, &out, n);
        in_is_ready = in.kind == KIND_FILE || system_poll(m->in, POLLIN) != 0;
        end_both(&in, &out, 0);
        n = in_is_ready ? wait_for_side(&out, (struct watched[]){files[1], files[0]}, POLLOUT, deadline_ns)
                        : wait_for_side(&in, files, POLLIN, deadline_ns);
        if (n != 0)
            break;
    }
    return n == -ETIMEDOUT && (m->flags & SPLICE_F_NONBLOCK) ? -EAGAIN : n;
}

ssize_t vthread_splice_until(int in, off_t *in_offset, int out, off_t *out_offset, size_t count, unsigned flags,
                             int64_t deadline_ns)
{
    struct move m = {
        .in = in, .in_offset = in_offset, .out = out, .out_offset = out_offset, .count = count, .flags = flags};

    return move(&m, deadline_ns);
}

ssize_t vthread_splice(int in, off_t *in_offset, int out, off_t *out_offset, size_t count, unsigned flags)
{
    return vthread_splice_until(in, in_offset, out, out_offset, count, flags, VTHREAD_FOREVER);
}

ssize_t vthread_tee_until(int in, int out, size_t count, unsigned flags, int64_t deadline_ns)
{
    struct move m = {.in = in, .out = out, .count = count, .flags = flags, .keeps = true};

    return move(&m, deadline_ns);
}

ssize_t vthread_tee(int in, int out, size_t count, unsigned flags)
{
    return vthread_tee_until(in, out, count, flags, VTHREAD_FOREVER);
}
