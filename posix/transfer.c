/* SPDX-License-Identifier: MIT */
/*
 * sendfile, splice, tee and vmsplice, where they may block: on sockets and pipes.
 *
 * None has a flag that keeps it from blocking on a socket.  sendfile is net.h's, which copies to what blocks, as often
 * as it takes.  The others may be content with less than was asked for: they wait until both sides are ready, and then
 * move no more than there is room for.
 */
#include <errno.h>
#include <limits.h>

#include "posix/file.h"
#include "posix/wait.h"

/* 0, or Exxx. */
static int await_side(int fd, int events, int64_t deadline_ns)
{
    return file_look(fd, events) == FILE_DIRECT ? 0 : wait_fd(fd, events, deadline_ns);
}

static int are_same(const struct wait_file files[2])
{
    int error = wait_is_same(&files[0]);

    return error != 0 ? error : wait_is_same(&files[1]);
}

/* A unix socket that was reset tells those who wait so; by the time of the next call all that is left is EPIPE. */
static ssize_t or_reset(int out, ssize_t n)
{
    int error = n == -EPIPE ? file_socket_error(out) : 0;

    return error != 0 ? -error : n;
}

/* ---- sendfile ---- */

/* Everything, as a blocking sendfile does; less at the file's end, or before an error. */
static ssize_t park_sendfile(int out, int in, off_t *offset, size_t count)
{
    int64_t deadline_ns = wait_deadline_of(out, SO_SNDTIMEO);
    int error = wait_may_begin();
    size_t done = 0;

    while (error == 0 && done < count) {
        ssize_t n = wait_sendfile(out, in, offset, count - done, deadline_ns);

        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
        else
            error = n == -ETIMEDOUT ? EAGAIN : (int)-n;
    }
    return done > 0 ? (ssize_t)done : -error;
}

static NOINLINE ssize_t sendfile_now(int out, int in, off_t *offset, size_t count)
{
    bool began = vthread_blocking_begin("sendfile") == 0; /* it may read a disk */
    ssize_t n = RESULT(REAL(sendfile)(out, in, offset, count));

    if (began)
        vthread_blocking_end();
    return n;
}

/* A pipe takes what there is room for, as in splice. */
static ssize_t park_sendfile_to_pipe(int out, int in, off_t *offset, size_t count)
{
    struct wait_file files[2] = {wait_remember(out), wait_remember(in)};
    int error = wait_may_begin();

    if (error == 0)
        error = await_side(out, POLLOUT, VTHREAD_FOREVER);
    if (error == 0)
        error = are_same(files);
    return error != 0 ? -error : sendfile_now(out, in, offset, count);
}

HOOK ssize_t sendfile(int out, int in, off_t *offset, size_t count)
{
    ssize_t n;

    if (!PARKS() || count == 0 || count > SSIZE_MAX)
        return REAL(sendfile)(out, in, offset, count);
    if (file_is_waited_for(in) || file_look(out, POLLOUT) == FILE_DIRECT)
        n = sendfile_now(out, in, offset, count);
    else if (file_is_pipe(out))
        n = park_sendfile_to_pipe(out, in, offset, count);
    else
        n = or_reset(out, park_sendfile(out, in, offset, count));
    return posix_result(n);
}

HOOK __attribute__((alias("sendfile"))) ssize_t sendfile64(int out, int in, __off64_t *offset, size_t count);

/* ---- pipes ---- */

/* Both at once: while one was waited for the other may have changed, or been closed and be another file. */
static int await_sides(int in, int out)
{
    struct wait_file files[2] = {wait_remember(in), wait_remember(out)};
    int64_t in_deadline_ns = wait_deadline_of(in, SO_RCVTIMEO);
    int64_t out_deadline_ns = wait_deadline_of(out, SO_SNDTIMEO);
    int error = wait_may_begin();

    while (error == 0) {
        error = await_side(in, POLLIN, in_deadline_ns);
        if (error == 0)
            error = await_side(out, POLLOUT, out_deadline_ns);
        if (error != 0 || file_look(in, POLLIN) == FILE_DIRECT || file_poll(in, POLLIN) != 0)
            break;
    }
    if (error == 0)
        error = are_same(files);
    return error == ETIMEDOUT ? EAGAIN : error;
}

/* What a socket that is writable takes at once. */
static size_t piece_for(int out, size_t count)
{
    return count > PIPE_BUF && file_socket_type(out) != 0 && !file_is_nonblocking(out) ? PIPE_BUF : count;
}

static NOINLINE ssize_t splice_now(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count,
                                   unsigned flags)
{
    bool began = vthread_blocking_begin("splice") == 0; /* it may read a disk */
    ssize_t n = RESULT(REAL(splice)(in, in_offset, out, out_offset, count, flags));

    if (began)
        vthread_blocking_end();
    return n;
}

HOOK ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count, unsigned flags)
{
    int error;

    if (!PARKS() || (flags & SPLICE_F_NONBLOCK) || count == 0 || !(file_is_pipe(in) || file_is_pipe(out)))
        return REAL(splice)(in, in_offset, out, out_offset, count, flags);
    error = await_sides(in, out);
    return posix_result(
        error != 0 ? -error : or_reset(out, splice_now(in, in_offset, out, out_offset, piece_for(out, count), flags)));
}

static NOINLINE ssize_t tee_now(int in, int out, size_t count, unsigned flags)
{
    return RESULT(REAL(tee)(in, out, count, flags));
}

HOOK ssize_t tee(int in, int out, size_t count, unsigned flags)
{
    int error;

    if (!PARKS() || (flags & SPLICE_F_NONBLOCK) || count == 0 || !file_is_pipe(in) || !file_is_pipe(out))
        return REAL(tee)(in, out, count, flags);
    error = await_sides(in, out);
    return posix_result(error != 0 ? -error : tee_now(in, out, count, flags));
}

static NOINLINE ssize_t vmsplice_now(int fd, const struct iovec *vector, size_t count, unsigned flags)
{
    return RESULT(REAL(vmsplice)(fd, vector, count, flags));
}

/* To a pipe, whatever its O_NONBLOCK is, it waits; from one it does not. */
HOOK ssize_t vmsplice(int fd, const struct iovec *vector, size_t count, unsigned flags)
{
    int error;

    if (!PARKS() || (flags & SPLICE_F_NONBLOCK) || !file_is_pipe(fd) || !file_is_writable(fd))
        return REAL(vmsplice)(fd, vector, count, flags);
    error = wait_may_begin();
    if (error == 0)
        error = wait_fd(fd, POLLOUT, VTHREAD_FOREVER);
    return posix_result(error != 0 ? -error : vmsplice_now(fd, vector, count, flags));
}
