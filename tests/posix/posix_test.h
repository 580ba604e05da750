/* SPDX-License-Identifier: MIT */
/*
 * Tests of libvthread-posix: plain system calls, on descriptors that block, made elsewhere.
 *
 * Each test runs on a virtual and on a platform thread, with 1, 2 and 8 carriers; the threads it spawns are
 * virtual.  That a thread has parked is seen from its state: one that blocks its carrier is RUNNABLE.
 */
#ifndef TESTS_POSIX_POSIX_TEST_H
#define TESTS_POSIX_POSIX_TEST_H

#include "../net/net_test.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

#include <vthread/posix.h>
#include <vthread/sync.h>
#include <vthread/version.h>

/*
 * errno, found anew each time.  Compilers keep its address over a call; that is right where a thread stays on its
 * carrier, and wrong with VTHREAD_POSIX_MIGRATE, in which these tests run, too.
 */
static __attribute__((noinline, unused)) int get_errno(void)
{
    return errno;
}

static __attribute__((noinline, unused)) void set_errno(int error)
{
    errno = error;
}

/* A call that fails with that error. */
#define FAILS(call, error)                                                                                             \
    do {                                                                                                               \
        set_errno(0);                                                                                                  \
        CHECK_EQ(call, -1);                                                                                            \
        CHECK_EQ(get_errno(), error);                                                                                  \
    } while (0)

enum kind { STREAM, TCP, PIPE, KINDS };

static inline int plain_listener(struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof *ret_address;

    *ret_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(fd >= 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)ret_address, sizeof *ret_address), 0);
    CHECK_EQ(listen(fd, 128), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)ret_address, &length), 0);
    return fd;
}

/* fds[0] is to be read from, fds[1] to be written to. */
static inline void make_pair(enum kind kind, int fds[2])
{
    struct sockaddr_in address;
    int listener;

    switch (kind) {
    case STREAM:
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        return;
    case PIPE:
        CHECK_EQ(pipe(fds), 0);
        return;
    default:
        listener = plain_listener(&address);
        fds[1] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK_EQ(connect(fds[1], (struct sockaddr *)&address, sizeof address), 0);
        fds[0] = accept(listener, NULL, NULL);
        CHECK(fds[0] >= 0);
        CHECK_EQ(close(listener), 0);
    }
}

static inline void plain_close_pair(const int fds[2])
{
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

static inline void set_timeout(int fd, int option, int ms)
{
    struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    CHECK_EQ(setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit), 0);
}

/* Results of a call and its errno as one number: -errno if it failed. */
static inline intptr_t outcome_of(ssize_t n)
{
    return n < 0 ? -get_errno() : n;
}

#endif
