/* SPDX-License-Identifier: MIT */
/*
 * What the programs of this folder share: checks, threads, pairs of sockets.
 *
 * A program lists its tests; each runs on a virtual thread and on a platform
 * thread, with 1, 2 and 8 carriers, the runtime being shut down and started anew in
 * between.  `VTHREAD_TEST=name program` runs one of them; `VTHREAD_TEST_TIMES=100` lets those that do something many
 * times do it more often still, for as long as that takes.
 */
#ifndef TESTS_NET_NET_TEST_H
#define TESTS_NET_NET_TEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vthread/net.h>
#include <vthread/os.h>
#include <vthread/runtime.h>
#include <vthread/vthread.h>

struct test {
    const char *name;
    void (*run)(void);
    bool once; /* not for every number of carriers */
};

static const char *test_now = "?";

static inline void test_failed(const char *file, int line, const char *what, long long a, long long b)
{
    fprintf(stderr, "%s:%d: %s: %s (%lld, %lld)\n", file, line, test_now, what, a, b);
    fflush(NULL);
    _exit(1);
}

#define CHECK(x) ((x) ? (void)0 : test_failed(__FILE__, __LINE__, #x, 0, 0))
#define CHECK_EQ(a, b)                                                                                                 \
    do {                                                                                                               \
        long long check_a = (long long)(a);                                                                            \
        long long check_b = (long long)(b);                                                                            \
                                                                                                                       \
        if (check_a != check_b)                                                                                        \
            test_failed(__FILE__, __LINE__, #a " == " #b, check_a, check_b);                                           \
    } while (0)

#define MS 1000000LL

static inline int test_times(void)
{
    const char *times = getenv("VTHREAD_TEST_TIMES");

    return times != NULL ? atoi(times) : 1;
}

/* ---- threads ---- */

static inline vthread_t spawn(void *(*fn)(void *), intptr_t arg)
{
    vthread_t t;

    CHECK_EQ(vthread_create(&t, NULL, fn, (void *)arg), 0);
    return t;
}

static inline intptr_t join(vthread_t t)
{
    void *value = NULL;

    CHECK_EQ(vthread_join_until(t, &value, test_times() == 1 ? vthread_after_ms(30000) : VTHREAD_FOREVER), 0);
    return (intptr_t)value;
}

/* Until the thread waits for something. */
static inline void await_parked(vthread_t t)
{
    for (int i = 0; i < 50000; i++) {
        vthread_public_state_t s = vthread_public_state(t);

        if (s == VTHREAD_PUBLIC_WAITING || s == VTHREAD_PUBLIC_TIMED_WAITING)
            return;
        CHECK(s != VTHREAD_PUBLIC_TERMINATED);
        vthread_sleep_ns(100 * 1000);
    }
    CHECK(!"the thread parks");
}

/* ---- sockets ---- */

static inline int port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t length = sizeof a;

    CHECK_EQ(getsockname(fd, (struct sockaddr *)&a, &length), 0);
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static inline int listen_any(int *ret_port)
{
    int fd = vthread_listen_tcp("127.0.0.1:0", 0, 0);

    CHECK(fd >= 0);
    *ret_port = port_of(fd);
    return fd;
}

static inline int dial(int port)
{
    char address[64];
    int fd;

    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    fd = vthread_dial_tcp(address);
    if (fd < 0)
        fprintf(stderr, "dial: %s\n", strerror(-fd));
    CHECK(fd >= 0);
    return fd;
}

/* Both ends are ours. */
static inline void tcp_pair(int fds[2])
{
    int port;
    int listener = listen_any(&port);

    fds[0] = dial(port);
    fds[1] = vthread_accept(listener, NULL, NULL);
    CHECK(fds[1] >= 0);
    CHECK_EQ(vthread_close(listener), 0);
}

static inline void unix_pair(int fds[2])
{
    char path[64];
    int listener;
    static atomic_int counter;

    snprintf(path, sizeof path, "@vthread-test-%d-%d", (int)getpid(), atomic_fetch_add(&counter, 1));
    listener = vthread_listen_unix(path, 0, 0);
    CHECK(listener >= 0);
    fds[0] = vthread_dial_unix(path);
    CHECK(fds[0] >= 0);
    fds[1] = vthread_accept(listener, NULL, NULL);
    CHECK(fds[1] >= 0);
    CHECK_EQ(vthread_close(listener), 0);
}

static inline void close_pair(const int fds[2])
{
    CHECK_EQ(vthread_close(fds[0]), 0);
    CHECK_EQ(vthread_close(fds[1]), 0);
}

/* Not the receive buffer: with a tiny window TCP itself waits for its timers. */
static inline void set_small_buffer(int fd)
{
    int size = 4096;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

static inline int count_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- running ---- */

static inline void *run_body(void *arg)
{
    ((const struct test *)arg)->run();
    return NULL;
}

static inline int run_tests(const struct test *tests)
{
    static const unsigned carriers[] = {2, 1, 8};
    const char *only = getenv("VTHREAD_TEST");

    if (test_times() == 1)
        alarm(100);
    unsetenv("VTHREAD_PARALLELISM");
    for (unsigned i = 0; i < sizeof carriers / sizeof carriers[0]; i++) {
        for (const struct test *t = tests; t->name != NULL; t++) {
            vthread_runtime_params_t params = {.parallelism = carriers[i]};
            int descriptors = count_descriptors();

            if ((only != NULL && strcmp(only, t->name) != 0) || (t->once && i > 0))
                continue;
            test_now = t->name;
            CHECK_EQ(vthread_runtime_configure(&params), 0);
            int64_t begin = vthread_now_ns();
            join(spawn(run_body, (intptr_t)t));
            t->run();
            CHECK_EQ(vthread_runtime_shutdown(vthread_after_ms(10000)), 0);
            CHECK_EQ(count_descriptors(), descriptors);
            printf("ok %s, %u carriers, %lld ms\n", t->name, carriers[i],
                   (long long)(vthread_now_ns() - begin) / 1000000);
            fflush(stdout);
        }
    }
    return 0;
}

#endif
