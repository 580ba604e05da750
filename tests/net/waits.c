/* SPDX-License-Identifier: MIT */
/* What ends a wait: data, deadline, interrupt, close; and whose turn it is. */
#include "net_test.h"

enum verb { READ, WRITE, ACCEPT, CONNECT_READ_FULL, WAIT_FD, PIPE_READ, VERBS };

static struct {
    int fd;
    enum verb verb;
    int64_t deadline_ns;
} job;

static void *do_job(void *arg)
{
    static char much[1 << 20];
    char buffer[8];

    (void)arg;
    switch (job.verb) {
    case WRITE:
        return (void *)vthread_write_all_until(job.fd, much, sizeof much, job.deadline_ns);
    case ACCEPT:
        return (void *)(intptr_t)vthread_accept_until(job.fd, NULL, NULL, job.deadline_ns);
    case CONNECT_READ_FULL:
        return (void *)vthread_read_full_until(job.fd, buffer, 8, job.deadline_ns);
    case WAIT_FD:
        return (void *)(intptr_t)vthread_wait_fd_until(job.fd, POLLIN, job.deadline_ns);
    default:
        return (void *)vthread_read_until(job.fd, buffer, 8, job.deadline_ns);
    }
}

/* Descriptors for a job that has to wait.  fds[1] is the other end, or a second thing to close. */
static void prepare(enum verb verb, int fds[2])
{
    int port;

    job.verb = verb;
    job.deadline_ns = VTHREAD_FOREVER;
    if (verb == PIPE_READ) {
        CHECK_EQ(pipe(fds), 0);
    } else if (verb == ACCEPT) {
        fds[0] = listen_any(&port);
        fds[1] = dup(0);
    } else {
        tcp_pair(fds);
        set_small_buffer(fds[0]);
    }
    job.fd = fds[0];
}

static vthread_t start_platform(void)
{
    vthread_attr_t attr = {.kind = VTHREAD_KIND_PLATFORM};
    vthread_t t;

    CHECK_EQ(vthread_create(&t, &attr, do_job, NULL), 0);
    return t;
}

static vthread_t start(bool platform)
{
    return platform ? start_platform() : spawn(do_job, 0);
}

static void test_deadlines(void)
{
    int fds[2];

    for (enum verb verb = 0; verb < VERBS; verb++)
        for (int platform = 0; platform < 2; platform++) {
            prepare(verb, fds);
            if (verb != WRITE) {
                job.deadline_ns = VTHREAD_NOW;
                CHECK_EQ(join(start(platform)), -ETIMEDOUT);
            }
            int64_t begin = vthread_now_ns();

            job.deadline_ns = begin + 10 * MS;
            CHECK_EQ(join(start(platform)), -ETIMEDOUT);
            CHECK(vthread_now_ns() - begin >= 10 * MS);
            CHECK(vthread_now_ns() - begin < 2000 * MS);
            close_pair(fds);
        }
}

static void test_interrupts(void)
{
    int fds[2];

    for (enum verb verb = 0; verb < VERBS; verb++)
        for (int platform = 0; platform < 2; platform++) {
            vthread_t t;

            prepare(verb, fds);
            t = start(platform);
            await_parked(t);
            CHECK_EQ(vthread_interrupt(t), 0);
            CHECK_EQ(join(t), -EINTR);
            close_pair(fds);
        }
}

static void *interrupted_before(void *arg)
{
    char c;

    (void)arg;
    vthread_interrupt(vthread_self());
    CHECK_EQ(vthread_read(job.fd, &c, 1), -EINTR);
    CHECK(!vthread_is_interrupted(vthread_self()));
    CHECK_EQ(vthread_read(job.fd, &c, 1), 1); /* nothing was lost */
    return NULL;
}

static void test_interrupted_before(void)
{
    int fds[2];

    prepare(READ, fds);
    CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
    join(spawn(interrupted_before, 0));
    close_pair(fds);
}

/* Close wakes everybody: the one who waits, and those who queue behind. */
static void test_close(void)
{
    int fds[2];

    for (enum verb verb = 0; verb < VERBS; verb++)
        for (int n = 1; n <= 5; n += 2) {
            vthread_t t[5];

            prepare(verb, fds);
            for (int i = 0; i < n; i++) {
                t[i] = start(i == 3);
                await_parked(t[i]);
            }
            CHECK_EQ(vthread_close(fds[0]), 0);
            for (int i = 0; i < n; i++)
                CHECK_EQ(join(t[i]), -ECANCELED);
            CHECK_EQ(vthread_close(fds[1]), 0);
        }
}

static void test_forget(void)
{
    int fds[2];
    vthread_t t;
    char c;

    CHECK_EQ(pipe(fds), 0);
    job.verb = PIPE_READ;
    job.deadline_ns = VTHREAD_FOREVER;
    job.fd = fds[0];
    t = spawn(do_job, 0);
    await_parked(t);
    CHECK_EQ(vthread_fd_forget(fds[0]), 0);
    CHECK_EQ(join(t), -ECANCELED);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(vthread_read(fds[0], &c, 1), 1);
    CHECK_EQ(vthread_fd_forget(fds[0]), 0);
    CHECK_EQ(vthread_fd_forget(fds[1]), 0);
    close(fds[0]);
    close(fds[1]);
}

static void *read_in_turn(void *arg)
{
    int me = (int)(intptr_t)arg;
    char buffer[4];

    if (vthread_read_full(job.fd, buffer, 4) != 4)
        return (void *)-1;
    for (int i = 0; i < 4; i++)
        CHECK_EQ(buffer[i], 'a' + me);
    return NULL;
}

/* Each gets four bytes in one piece, in the order in which they came, however the bytes arrive. */
static void test_readers_in_order(void)
{
    enum { N = 9 };
    int fds[2];
    vthread_t t[N];

    tcp_pair(fds);
    job.fd = fds[0];
    for (int i = 0; i < N; i++) {
        t[i] = spawn(read_in_turn, i);
        await_parked(t[i]);
    }
    for (int i = 0; i < 4 * N; i++) {
        char c = (char)('a' + i / 4);

        CHECK_EQ(vthread_write_all(fds[1], &c, 1), 1);
        if (i % 3 == 0)
            vthread_yield();
    }
    for (int i = 0; i < N; i++)
        CHECK_EQ(join(t[i]), 0);
    close_pair(fds);
}

static void *write_block(void *arg)
{
    enum { SIZE = 100 * 1000 };
    int me = (int)(intptr_t)arg;
    char *block = malloc(SIZE);

    memset(block, 'a' + me, SIZE);
    CHECK_EQ(vthread_write_all(job.fd, block, SIZE), SIZE);
    free(block);
    return NULL;
}

/* Blocks of several writers are not mixed. */
static void test_writers_in_turn(void)
{
    enum { N = 6, SIZE = 100 * 1000 };
    int fds[2];
    vthread_t t[N];
    char *block = malloc(SIZE);

    tcp_pair(fds);
    set_small_buffer(fds[0]);
    job.fd = fds[0];
    for (int i = 0; i < N; i++)
        t[i] = spawn(write_block, i);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(vthread_read_full(fds[1], block, SIZE), SIZE);
        for (int k = 1; k < SIZE; k++)
            CHECK_EQ(block[k], block[0]);
    }
    for (int i = 0; i < N; i++)
        join(t[i]);
    free(block);
    close_pair(fds);
}

/* Those in the middle of the queue give up; the others still get their turn. */
static void test_queue_with_leavers(void)
{
    enum { N = 8 };
    int fds[2];
    vthread_t t[N];

    prepare(READ, fds);
    for (int i = 0; i < N; i++) {
        job.deadline_ns = i % 3 == 1 ? vthread_after_ms(20) : VTHREAD_FOREVER;
        t[i] = spawn(do_job, 0);
        await_parked(t[i]);
    }
    vthread_interrupt(t[2]);
    vthread_interrupt(t[0]);
    CHECK_EQ(join(t[2]), -EINTR);
    CHECK_EQ(join(t[0]), -EINTR);
    for (int i = 1; i < N; i += 3)
        CHECK_EQ(join(t[i]), -ETIMEDOUT);
    for (int i = 3; i < N; i++)
        if (i % 3 != 1) {
            CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
            CHECK_EQ(join(t[i]), 1);
        }
    close_pair(fds);
}

/* A reader and a writer of one socket at once, both blocked, both served. */
static void *echo_until_end(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[1000];
    ssize_t n;

    while ((n = vthread_read(fd, buffer, sizeof buffer)) > 0)
        CHECK_EQ(vthread_write_all(fd, buffer, (size_t)n), n);
    CHECK_EQ(vthread_shutdown(fd, SHUT_WR), 0);
    return (void *)n;
}

static void *write_megabyte(void *arg)
{
    int fd = (int)(intptr_t)arg;
    static char data[1 << 20];

    CHECK_EQ(vthread_write_all(fd, data, sizeof data), sizeof data);
    CHECK_EQ(vthread_shutdown(fd, SHUT_WR), 0);
    return NULL;
}

static void test_full_duplex(void)
{
    int fds[2];
    char *buffer = malloc(1 << 20);

    for (int i = 0; i < 2; i++) {
        i == 0 ? tcp_pair(fds) : unix_pair(fds);
        set_small_buffer(fds[0]);
        set_small_buffer(fds[1]);
        vthread_t echo = spawn(echo_until_end, fds[1]);
        vthread_t writer = spawn(write_megabyte, fds[0]);

        CHECK_EQ(vthread_read_full(fds[0], buffer, 1 << 20), 1 << 20);
        CHECK_EQ(vthread_read(fds[0], buffer, 1), 0);
        join(writer);
        CHECK_EQ(join(echo), 0);
        close_pair(fds);
    }
    free(buffer);
}

/* Two watchers and a reader of the same byte. */
/*
 * Carriers asleep in the poller's own set have to come out when libevent gets something to wait for, and they go
 * back when it has nothing left.  The pipe is written to behind the library's back.
 */
static void *write_later(void *arg)
{
    usleep(3000);
    CHECK_EQ(write((int)(intptr_t)arg, "p", 1), 1);
    return NULL;
}

static void *echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char c;

    while (vthread_read(fd, &c, 1) == 1)
        CHECK_EQ(vthread_write(fd, &c, 1), 1);
    return NULL;
}

static void test_both_sets(void)
{
    int pipes[2];
    int fds[2];
    char c;
    vthread_t t;

    CHECK_EQ(pipe(pipes), 0);
    tcp_pair(fds);
    t = spawn(echo, fds[1]);
    for (int i = 0; i < 20; i++) {
        pthread_t writer;

        CHECK_EQ(pthread_create(&writer, NULL, write_later, (void *)(intptr_t)pipes[1]), 0);
        CHECK_EQ(vthread_read_until(pipes[0], &c, 1, vthread_after_ms(20000)), 1);
        pthread_join(writer, NULL);
        for (int k = 0; k < 5; k++) {
            CHECK_EQ(vthread_write(fds[0], "s", 1), 1);
            CHECK_EQ(vthread_read_until(fds[0], &c, 1, vthread_after_ms(20000)), 1);
        }
        CHECK_EQ(vthread_read_until(pipes[0], &c, 1, vthread_after_ms(1)), -ETIMEDOUT);
    }
    CHECK_EQ(vthread_close(fds[0]), 0);
    join(t);
    CHECK_EQ(vthread_close(fds[1]), 0);
    CHECK_EQ(vthread_close(pipes[0]), 0);
    CHECK_EQ(vthread_close(pipes[1]), 0);
}

static void test_watchers(void)
{
    int fds[2];
    vthread_t t[3];

    prepare(WAIT_FD, fds);
    for (int i = 0; i < 2; i++) {
        t[i] = spawn(do_job, 0);
        await_parked(t[i]);
    }
    CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(join(t[i]), POLLIN);
    job.verb = READ;
    CHECK_EQ(join(spawn(do_job, 0)), 1);
    close_pair(fds);
}

int main(void)
{
    static const struct test tests[] = {
        {"deadlines", test_deadlines, false},
        {"interrupts", test_interrupts, false},
        {"interrupted before", test_interrupted_before, false},
        {"close", test_close, false},
        {"forget", test_forget, false},
        {"readers in order", test_readers_in_order, false},
        {"writers in turn", test_writers_in_turn, false},
        {"queue with leavers", test_queue_with_leavers, false},
        {"full duplex", test_full_duplex, false},
        {"watchers", test_watchers, false},
        {"both sets", test_both_sets, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
