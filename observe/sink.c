/* SPDX-License-Identifier: MIT */
#include "observe/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool pipe_is_pending(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

void sink_begin(struct sink *sink, int fd)
{
    sigset_t set;

    sink->fd = fd;
    sink->error = 0;
    sink->used = 0;
    sink->pipe_was_pending = pipe_is_pending();
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &sink->mask);
    if (fcntl(fd, F_GETFL) < 0)
        sink->error = errno;
}

/* 0, or the error. */
static int write_some(int fd, const char *bytes, size_t size, size_t *ret_written)
{
    ssize_t n = write(fd, bytes, size);

    *ret_written = n > 0 ? (size_t)n : 0;
    if (n == 0) /* as nothing that is well does; for ever, perhaps */
        return EIO;
    if (n > 0 || errno == EINTR)
        return 0;
    if (errno != EAGAIN)
        return errno;
    poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1); /* somebody has made it non-blocking */
    return 0;
}

static void flush(struct sink *sink)
{
    size_t done = 0;

    while (done < sink->used && sink->error == 0) {
        size_t written;

        sink->error = write_some(sink->fd, sink->buffer + done, sink->used - done, &written);
        done += written;
    }
    sink->used = 0;
}

int sink_end(struct sink *sink)
{
    sigset_t set;

    flush(sink);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    if (sink->error == EPIPE && !sink->pipe_was_pending)
        sigtimedwait(&set, NULL, &(struct timespec){0, 0});
    pthread_sigmask(SIG_SETMASK, &sink->mask, NULL);
    return sink->error;
}

void sink_put(struct sink *sink, const char *bytes, size_t size)
{
    while (size > 0) {
        size_t room = sizeof sink->buffer - sink->used;
        size_t n = size < room ? size : room;

        memcpy(sink->buffer + sink->used, bytes, n);
        sink->used += n;
        bytes += n;
        size -= n;
        if (sink->used == sizeof sink->buffer)
            flush(sink);
    }
}

void sink_print(struct sink *sink, const char *format, ...)
{
    char text[1024];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        sink_put(sink, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}
