/* SPDX-License-Identifier: MIT */
/* connect of blocking sockets never waits inside the kernel, where it would keep its carrier. */
#include "connect_spy.h"
#include "posix_test.h"

static struct sockaddr_un name;
static struct sockaddr_in address;

static void *connect_unix(void *arg)
{
    int fd = socket(AF_UNIX, (int)(intptr_t)arg, 0);
    intptr_t result = outcome_of(connect(fd, (struct sockaddr *)&name, sizeof name));

    CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(close(fd), 0);
    return (void *)result;
}

static void *connect_tcp(void *arg)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    intptr_t result = outcome_of(connect(fd, (struct sockaddr *)&address, sizeof address));

    if (result == 0) {
        CHECK_EQ(getpeername(fd, (struct sockaddr *)&peer, &length), 0);
        FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), EISCONN);
    }
    CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(close(fd), 0);
    (void)arg;
    return (void *)result;
}

static int unix_listener(int type)
{
    static int serial;
    int fd = socket(AF_UNIX, type, 0);

    name = (struct sockaddr_un){.sun_family = AF_UNIX}; /* abstract: gone with its last user */
    snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "vthread-posix-%d-%d", (int)getpid(), serial++);
    CHECK_EQ(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    CHECK_EQ(listen(fd, 0), 0);
    return fd;
}

static void test_full_backlog(void)
{
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

    for (int i = 0; i < 2; i++) {
        int listener = unix_listener(types[i]);
        int filler = socket(AF_UNIX, types[i] | SOCK_NONBLOCK, 0);
        vthread_t t;
        int fd;

        CHECK_EQ(connect(filler, (struct sockaddr *)&name, sizeof name), 0);
        atomic_store(&connect_spy_blocking, 0);
        atomic_store(&connect_spy_calls, 0);
        t = spawn(connect_unix, types[i]);
        await_parked(t);
        while (atomic_load(&connect_spy_calls) < 3) /* it asks again and again */
            vthread_yield();
        fd = accept(listener, NULL, NULL);
        CHECK(fd >= 0);
        CHECK_EQ(join(t), 0);
        CHECK_EQ(atomic_load(&connect_spy_blocking), 0);
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(close(filler), 0);
        CHECK_EQ(close(listener), 0);
    }
}

static void test_tcp(void)
{
    int listener = plain_listener(&address);

    atomic_store(&connect_spy_blocking, 0);
    CHECK_EQ(join(spawn(connect_tcp, 0)), 0);
    CHECK_EQ(atomic_load(&connect_spy_blocking), 1); /* the one of a socket that is connected already: the libc's */
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(join(spawn(connect_tcp, 0)), -ECONNREFUSED);
    CHECK_EQ(atomic_load(&connect_spy_blocking), 1);
}

/* A profiler's signal, say. */
static void test_signals(void)
{
    int listener = plain_listener(&address);

    atomic_store(&connect_spy_interrupts, 2);
    CHECK_EQ(join(spawn(connect_tcp, 0)), 0);
    CHECK_EQ(close(listener), 0);
    listener = unix_listener(SOCK_STREAM);
    atomic_store(&connect_spy_interrupts, 1);
    CHECK_EQ(join(spawn(connect_unix, SOCK_STREAM)), 0);
    CHECK_EQ(close(listener), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"full backlog", test_full_backlog, false},
        {"tcp", test_tcp, false},
        {"signals", test_signals, false},
        {NULL, NULL, false},
    };

    CHECK(vthread_has("posix"));
    return run_tests(tests);
}
