/* SPDX-License-Identifier: MIT */
#include "posix/wait.h"

#include <errno.h>
#include <string.h>
#include <sys/time.h>

enum { PAUSE_NS = 1000 * 1000 };

static bool migrates;

__attribute__((constructor)) static void look_at_environment(void)
{
    const char *text = getenv("VTHREAD_POSIX_MIGRATE");

    migrates = text != NULL && strcmp(text, "1") == 0;
}

bool wait_stay(void)
{
    return !migrates && vthread_stay_begin() == 0;
}

void wait_leave(bool stays)
{
    if (stays)
        vthread_stay_end();
}

int wait_may_begin(void)
{
    return vthread_is_interrupted(vthread_self_virtual()) ? ECANCELED : 0;
}

static int not_interrupted(int error)
{
    if (error != EINTR)
        return error;
    vthread_interrupt(vthread_self_virtual());
    return ECANCELED;
}

int wait_fd(int fd, int events, int64_t deadline_ns)
{
    bool stays;
    int n;

    stays = wait_stay();
    n = vthread_wait_fd_until(fd, events, deadline_ns);
    n = n < 0 ? not_interrupted(-n) : 0;
    wait_leave(stays);
    return n;
}

int wait_poll(struct pollfd *fds, nfds_t count, int64_t deadline_ns)
{
    bool stays = wait_stay();
    int n = vthread_poll_until(fds, count, deadline_ns);

    if (n < 0)
        n = -not_interrupted(-n);
    wait_leave(stays);
    for (nfds_t i = 0; n > 0 && i < count; i++)
        if (fds[i].revents & POLLNVAL)
            return -ECANCELED;
    return n;
}

ssize_t wait_sendfile(int out, int in, off_t *offset, size_t count, int64_t deadline_ns)
{
    bool stays = wait_stay();
    ssize_t n = vthread_sendfile_until(out, in, offset, count, deadline_ns);

    if (n < 0)
        n = -not_interrupted((int)-n);
    wait_leave(stays);
    return n;
}

int wait_until(int64_t deadline_ns)
{
    bool stays;
    int error;

    stays = wait_stay();
    error = not_interrupted(vthread_sleep_until(deadline_ns));
    wait_leave(stays);
    return error;
}

void wait_turn(void)
{
    bool stays = wait_stay();

    vthread_yield();
    wait_leave(stays);
}

int wait_again(unsigned *times, int64_t deadline_ns)
{
    int64_t until_ns;
    int error;

    if ((*times)++ < 2)
        return 0;
    if (deadline_ns <= vthread_now_ns())
        return ETIMEDOUT;
    until_ns = vthread_after_ns(PAUSE_NS);
    error = wait_until(until_ns < deadline_ns ? until_ns : deadline_ns);
    return error;
}

struct wait_file wait_remember(int fd)
{
    return (struct wait_file){.fd = fd, .generation = vthread_fd_generation(fd)};
}

int wait_is_same(const struct wait_file *file)
{
    return vthread_fd_generation(file->fd) == file->generation ? 0 : ECANCELED;
}

int wait_next(struct wait *w)
{
    int error;

    if (!w->has_begun) {
        w->file = wait_remember(w->fd);
        w->has_begun = true;
    }
    error = wait_fd(w->fd, w->events, w->deadline_ns);
    if (error == 0)
        error = wait_again(&w->times, w->deadline_ns);
    return error != 0 ? error : wait_is_same(&w->file);
}

NOINLINE int64_t wait_deadline_of(int fd, int option)
{
    struct timeval limit = {0, 0};
    socklen_t length = sizeof limit;

    if (RESULT(getsockopt(fd, SOL_SOCKET, option, &limit, &length)) != 0 || (limit.tv_sec == 0 && limit.tv_usec == 0))
        return VTHREAD_FOREVER;
    return vthread_after_ns(wait_ns_of(&(struct timespec){limit.tv_sec, limit.tv_usec * 1000}));
}

int64_t wait_ns_of(const struct timespec *ts)
{
    int64_t ns;

    if (__builtin_mul_overflow((int64_t)ts->tv_sec, (int64_t)1000000000, &ns) ||
        __builtin_add_overflow(ns, ts->tv_nsec, &ns))
        return INT64_MAX;
    return ns;
}
