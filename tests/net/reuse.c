/* SPDX-License-Identifier: MIT */
/*
 * Descriptor numbers go from file to file while others use them: every reader gets
 * what was meant for it, or the reason why not, and nothing else.
 */
#include "net_test.h"

enum { WORKERS = 8, ROUNDS = 600 };

static void *read_id(void *arg)
{
    intptr_t fd = (intptr_t)arg;
    uint64_t id = 0;
    ssize_t n = vthread_read_full((int)fd, &id, sizeof id);

    return (void *)(intptr_t)(n == sizeof id ? (int64_t)id : n);
}

/* Parked, or done: a thread that has not begun its call must not find the number closed. */
static void await_inside(vthread_t t)
{
    vthread_public_state_t s;

    while ((s = vthread_public_state(t)) != VTHREAD_PUBLIC_WAITING && s != VTHREAD_PUBLIC_TERMINATED)
        vthread_yield();
}

static void one_round(const int fds[2], uint64_t id)
{
    vthread_t reader = spawn(read_id, fds[1]);

    switch (id % 4) {
    case 0:
        CHECK_EQ(vthread_write_all(fds[0], &id, sizeof id), sizeof id);
        CHECK_EQ(join(reader), id);
        close_pair(fds);
        break;
    case 1:
        await_inside(reader);
        CHECK_EQ(vthread_close(fds[1]), 0);
        CHECK_EQ(join(reader), -ECANCELED);
        CHECK_EQ(vthread_close(fds[0]), 0);
        break;
    case 2:
        CHECK_EQ(vthread_close(fds[0]), 0);
        CHECK_EQ(join(reader), 0);
        CHECK_EQ(vthread_close(fds[1]), 0);
        break;
    default:
        await_inside(reader);
        vthread_interrupt(reader);
        CHECK_EQ(join(reader), -EINTR);
        close_pair(fds);
        break;
    }
}

static void *work(void *arg)
{
    uint64_t me = (uint64_t)(uintptr_t)arg;
    char path[64];
    int listener;

    snprintf(path, sizeof path, "@vthread-reuse-%d-%d", (int)getpid(), (int)me);
    listener = vthread_listen_unix(path, 0, 0);
    CHECK(listener >= 0);
    for (uint64_t i = 1; i <= (uint64_t)ROUNDS * test_times(); i++) {
        uint64_t id = i * WORKERS * 4 + me * 4 + (i + me) % 4;
        int fds[2];

        if (i % 8 == 0) { /* every so often a foreign pair of the same numbers */
            CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        } else {
            fds[0] = vthread_dial_unix(path);
            fds[1] = vthread_accept(listener, NULL, NULL);
            CHECK(fds[0] >= 0 && fds[1] >= 0);
        }
        one_round(fds, id);
    }
    CHECK_EQ(vthread_close(listener), 0);
    return NULL;
}

static void test_reuse(void)
{
    vthread_t t[WORKERS];

    for (int i = 0; i < WORKERS; i++)
        t[i] = spawn(work, i);
    for (int i = 0; i < WORKERS; i++)
        join(t[i]);
}

/* Closing while another thread is about to read, again and again: an end, never a hang or somebody else's byte. */
static struct {
    atomic_int fd;
    atomic_bool stop;
} target;

/*
 * ThreadSanitizer (nobody else has these) is right that no program should read a number that may have been
 * given out again; here it is the subject.
 */
__attribute__((weak)) void AnnotateIgnoreReadsBegin(const char *file, int line);
__attribute__((weak)) void AnnotateIgnoreReadsEnd(const char *file, int line);

static ssize_t read_stale(int fd)
{
    ssize_t n;
    char c;

    if (AnnotateIgnoreReadsBegin != NULL)
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    n = vthread_read_until(fd, &c, 1, vthread_after_ms(5000));
    if (AnnotateIgnoreReadsEnd != NULL)
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    return n;
}

static void *read_whatever(void *arg)
{
    intptr_t reads = 0;

    (void)arg;
    while (!atomic_load(&target.stop)) {
        int fd = atomic_load(&target.fd);
        ssize_t n = fd < 0 ? 0 : read_stale(fd);

        CHECK(n != 1 && n != -ETIMEDOUT); /* nobody ever writes */
        reads++;
        if (n == 0 || reads % 16 == 0)
            vthread_yield();
    }
    return (void *)reads;
}

static void test_close_race(void)
{
    vthread_t readers[3];
    char path[64];
    int listener;

    snprintf(path, sizeof path, "@vthread-race-%d", (int)getpid());
    listener = vthread_listen_unix(path, 0, 0);
    atomic_store(&target.fd, -1);
    atomic_store(&target.stop, false);
    for (int i = 0; i < 3; i++)
        readers[i] = spawn(read_whatever, 0);
    for (int i = 0; i < 1200 * test_times(); i++) {
        int fds[2] = {vthread_dial_unix(path), vthread_accept(listener, NULL, NULL)};

        CHECK(fds[0] >= 0 && fds[1] >= 0);
        atomic_store(&target.fd, fds[1]);
        for (int k = 0; k < i % 4; k++)
            vthread_yield();
        /* Withdrawn before it is closed; a reader may have the number in hand still. */
        atomic_store(&target.fd, -1);
        CHECK_EQ(vthread_close(fds[1]), 0);
        CHECK_EQ(vthread_close(fds[0]), 0);
    }
    atomic_store(&target.stop, true);
    for (int i = 0; i < 3; i++) {
        await_inside(readers[i]);
        vthread_interrupt(readers[i]);
        join(readers[i]);
    }
    CHECK_EQ(vthread_close(listener), 0);
}

/* Accepting and dialling TCP as fast as it goes, several at a time. */
static struct {
    int listener;
    int port;
} server;

static void *serve_one(void *arg)
{
    int fd = (int)(intptr_t)arg;
    uint64_t id;

    CHECK_EQ(vthread_read_full(fd, &id, sizeof id), sizeof id);
    CHECK_EQ(vthread_write_all(fd, &id, sizeof id), sizeof id);
    CHECK_EQ(vthread_close(fd), 0);
    return NULL;
}

static void *accept_all(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = vthread_accept(server.listener, NULL, NULL);

        if (fd == -ECANCELED)
            return NULL;
        CHECK(fd >= 0);
        CHECK_EQ(vthread_create(NULL, NULL, serve_one, (void *)(intptr_t)fd), 0);
    }
}

static void *be_client(void *arg)
{
    uint64_t me = (uint64_t)(uintptr_t)arg;

    for (uint64_t i = 0; i < 150 * (uint64_t)test_times(); i++) {
        int fd = dial(server.port);
        uint64_t id = (me << 32) + i;
        uint64_t answer = 0;

        CHECK_EQ(vthread_write_all(fd, &id, sizeof id), sizeof id);
        CHECK_EQ(vthread_read_full(fd, &answer, sizeof answer), sizeof answer);
        CHECK_EQ(answer, id);
        CHECK_EQ(vthread_close(fd), 0);
    }
    return NULL;
}

static void test_connections(void)
{
    vthread_t acceptors[3];
    vthread_t clients[WORKERS];

    server.listener = listen_any(&server.port);
    for (int i = 0; i < 3; i++)
        acceptors[i] = spawn(accept_all, 0);
    for (int i = 0; i < WORKERS; i++)
        clients[i] = spawn(be_client, i);
    for (int i = 0; i < WORKERS; i++)
        join(clients[i]);
    for (int i = 0; i < 3; i++)
        await_inside(acceptors[i]);
    CHECK_EQ(vthread_close(server.listener), 0);
    for (int i = 0; i < 3; i++)
        join(acceptors[i]);
}

int main(void)
{
    static const struct test tests[] = {
        {"reuse", test_reuse, false},
        {"close race", test_close_race, false},
        {"connections", test_connections, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
