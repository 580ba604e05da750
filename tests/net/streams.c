/* SPDX-License-Identifier: MIT */
/* Peers that behave badly: slow, half closed, reset, urgent, silent, too many. */
#include "net_test.h"

static struct {
    int fd;
    size_t size;
} job;

/* ---- data, and then an end of some kind ---- */

enum ending { FIN, RST, HALF, URGENT, ENDINGS };

static struct {
    int fd;
    enum ending ending;
    int delay; /* yields between data and end */
} peer;

static void *end_somehow(void *arg)
{
    struct linger now = {1, 0};

    (void)arg;
    CHECK_EQ(vthread_write_all(peer.fd, "data", 4), 4);
    for (int i = 0; i < peer.delay; i++)
        vthread_yield();
    switch (peer.ending) {
    case RST:
        setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        __attribute__((fallthrough));
    case FIN:
        CHECK_EQ(vthread_close(peer.fd), 0);
        break;
    case URGENT:
        CHECK_EQ(send(peer.fd, "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
        CHECK_EQ(vthread_write_all(peer.fd, "more", 4), 4);
        __attribute__((fallthrough));
    default:
        CHECK_EQ(vthread_shutdown(peer.fd, SHUT_WR), 0);
        break;
    }
    return NULL;
}

static void test_endings(void)
{
    char buffer[100]; /* more than there is: every read is short */

    for (int round = 0; round < 40; round++)
        for (enum ending ending = 0; ending < ENDINGS; ending++) {
            int fds[2];
            ssize_t n;
            ssize_t sum = 0;
            vthread_t t;

            round % 2 == 0 || ending == URGENT ? tcp_pair(fds) : unix_pair(fds);
            peer.fd = fds[1];
            peer.ending = ending;
            peer.delay = round / 2 % 4;
            t = spawn(end_somehow, 0);
            while ((n = vthread_read(fds[0], buffer, sizeof buffer)) > 0)
                sum += n;
            if (ending == RST && n < 0)
                CHECK_EQ(n, -ECONNRESET);
            else
                CHECK_EQ(sum, ending == URGENT ? 8 : 4);
            join(t);
            if (ending == HALF || ending == URGENT) {
                CHECK_EQ(vthread_write_all(fds[0], "still", 5), 5);
                CHECK_EQ(vthread_read_full(fds[1], buffer, 5), 5);
                CHECK_EQ(vthread_close(fds[1]), 0);
            }
            CHECK_EQ(vthread_close(fds[0]), 0);
        }
}

/* ---- the saved read: net/README.md ---- */

static void *read_some(void *arg)
{
    char buffer[100];

    (void)arg;
    return (void *)vthread_read(job.fd, buffer, sizeof buffer);
}

/* Both ends registered; fds[0] drained by a read that waited. */
static void drained_pair(int fds[2])
{
    char buffer[100];

    tcp_pair(fds);
    CHECK_EQ(vthread_read_until(fds[0], buffer, sizeof buffer, vthread_after_ms(1)), -ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
        CHECK_EQ(vthread_read(fds[0], buffer, sizeof buffer), 1);
    }
}

static void test_drained(void)
{
    char buffer[100];
    int fds[2];
    ssize_t n;

    /* An end of any kind, before the next read and during it. */
    for (int round = 0; round < 6; round++)
        for (enum ending ending = 0; ending < ENDINGS; ending++) {
            ssize_t sum = 0;
            vthread_t t;

            drained_pair(fds);
            peer.fd = fds[1];
            peer.ending = ending;
            peer.delay = round % 3;
            t = spawn(end_somehow, 0);
            if (round >= 3)
                join(t);
            while ((n = vthread_read_until(fds[0], buffer, sizeof buffer, vthread_after_ms(20000))) > 0)
                sum += n;
            if (ending == RST && n < 0)
                CHECK_EQ(n, -ECONNRESET);
            else
                CHECK_EQ(n < 0 ? n : sum, ending == URGENT ? 8 : 4);
            if (round < 3)
                join(t);
            if (ending == HALF || ending == URGENT)
                CHECK_EQ(vthread_close(fds[1]), 0);
            CHECK_EQ(vthread_close(fds[0]), 0);
        }

    /* A deadline that has passed: the call is made once all the same, whether the poller has come round or not. */
    for (int i = 0; i < 20; i++) {
        drained_pair(fds);
        CHECK_EQ(vthread_read_until(fds[0], buffer, sizeof buffer, VTHREAD_NOW), -ETIMEDOUT);
        CHECK_EQ(vthread_write(fds[1], "now", 3), 3);
        CHECK_EQ(vthread_read_until(fds[0], buffer, sizeof buffer, VTHREAD_NOW), 3);
        CHECK_EQ(vthread_read_until(fds[0], buffer, sizeof buffer, vthread_after_ms(1)), -ETIMEDOUT);
        /* One's own shutdown. */
        CHECK_EQ(vthread_shutdown(fds[0], SHUT_RD), 0);
        CHECK_EQ(vthread_read_until(fds[0], buffer, sizeof buffer, vthread_after_ms(20000)), 0);
        close_pair(fds);
    }

    /* Interruption and close find one who waits without having tried. */
    drained_pair(fds);
    job.fd = fds[0];
    vthread_t t = spawn(read_some, 0);

    await_parked(t);
    vthread_interrupt(t);
    CHECK_EQ(join(t), -EINTR);
    t = spawn(read_some, 0);
    await_parked(t);
    CHECK_EQ(vthread_close(fds[0]), 0);
    CHECK_EQ(join(t), -ECANCELED);
    CHECK_EQ(vthread_close(fds[1]), 0);
}

/* A blocked writer learns of a reset. */
static void *write_forever(void *arg)
{
    static char data[65536];
    ssize_t n;

    (void)arg;
    while ((n = vthread_write_all(job.fd, data, sizeof data)) > 0)
        ;
    return (void *)n;
}

static void test_reset_writer(void)
{
    for (int i = 0; i < 10; i++) {
        struct linger now = {1, 0};
        int fds[2];
        vthread_t t;
        ssize_t n;

        i % 2 == 0 ? tcp_pair(fds) : unix_pair(fds);
        job.fd = fds[0];
        t = spawn(write_forever, 0);
        await_parked(t);
        if (i % 4 >= 2)
            setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &now, sizeof now);
        CHECK_EQ(vthread_close(fds[1]), 0);
        n = join(t);
        CHECK(n == -ECONNRESET || n == -EPIPE);
        CHECK_EQ(vthread_write(fds[0], "x", 1), -EPIPE);
        CHECK_EQ(vthread_close(fds[0]), 0);
    }
}

/* ---- slow ---- */

static void *drip(void *arg)
{
    int fd = (int)(intptr_t)arg;

    for (int i = 0; i < 200; i++) {
        char c = (char)i;

        CHECK_EQ(vthread_write(fd, &c, 1), 1);
        if (i % 20 == 0)
            vthread_sleep_ms(1);
        else
            vthread_yield();
    }
    CHECK_EQ(vthread_close(fd), 0);
    return NULL;
}

static void test_byte_by_byte(void)
{
    unsigned char buffer[200];
    int fds[2];
    vthread_t t;

    tcp_pair(fds);
    t = spawn(drip, fds[1]);
    CHECK_EQ(vthread_read_full(fds[0], buffer, sizeof buffer), 200);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(buffer[i], i);
    CHECK_EQ(vthread_read(fds[0], buffer, 1), 0);
    join(t);
    CHECK_EQ(vthread_close(fds[0]), 0);
}

/* ---- big ---- */

static uint32_t next(uint32_t *state)
{
    return *state = *state * 1664525 + 1013904223;
}

static void *write_big(void *arg)
{
    uint32_t state = 1;
    uint8_t *data = malloc(job.size);

    (void)arg;
    for (size_t i = 0; i < job.size; i++)
        data[i] = (uint8_t)(next(&state) >> 24);
    CHECK_EQ(vthread_write_all(job.fd, data, job.size), job.size);
    CHECK_EQ(vthread_shutdown(job.fd, SHUT_WR), 0);
    free(data);
    return NULL;
}

static void big(const int fds[2])
{
    uint8_t *buffer = malloc(70000);
    uint32_t state = 1;
    size_t sum = 0;
    ssize_t n;
    int reads = 0;
    vthread_t t;

    job.fd = fds[1];
    job.size = (size_t)test_times() * (20 << 20);
    t = spawn(write_big, 0);
    while ((n = vthread_read(fds[0], buffer, reads % 3 == 0 ? 70000 : 5000)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(buffer[i], (uint8_t)(next(&state) >> 24));
        sum += (size_t)n;
        if (++reads % 50 == 0)
            vthread_sleep_ms(1);
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(sum, job.size);
    join(t);
    free(buffer);
}

static void test_big(void)
{
    int fds[2];

    tcp_pair(fds);
    big(fds);
    close_pair(fds);
    unix_pair(fds);
    big(fds);
    close_pair(fds);
}

/* ---- many that say nothing ---- */

static void *read_until_end(void *arg)
{
    char buffer[64];
    ssize_t n;
    ssize_t sum = 0;
    int fd = (int)(intptr_t)arg;

    while ((n = vthread_read(fd, buffer, sizeof buffer)) > 0)
        sum += n;
    CHECK_EQ(n, 0);
    CHECK_EQ(vthread_close(fd), 0);
    return (void *)sum;
}

static void test_idle(void)
{
    enum { N = 300 };
    static vthread_t t[N];
    static int clients[N];
    char path[64];
    int listener;

    snprintf(path, sizeof path, "@vthread-idle-%d", (int)getpid());
    listener = vthread_listen_unix(path, 0, 0);
    for (int i = 0; i < N; i++) {
        int fd;

        clients[i] = vthread_dial_unix(path);
        fd = vthread_accept(listener, NULL, NULL);
        CHECK(clients[i] >= 0 && fd >= 0);
        t[i] = spawn(read_until_end, fd);
    }
    await_parked(t[N - 1]);
    for (int i = 0; i < N; i += 7)
        CHECK_EQ(vthread_write_all(clients[i], "wake", 4), 4);
    for (int i = N - 1; i >= 0; i--)
        CHECK_EQ(vthread_close(clients[i]), 0);
    for (int i = 0; i < N; i++)
        CHECK_EQ(join(t[i]), i % 7 == 0 ? 4 : 0);
    CHECK_EQ(vthread_close(listener), 0);
}

/* Connections that are gone before they are accepted. */
static void test_gone_before_accept(void)
{
    struct linger now = {1, 0};
    int port;
    int listener = listen_any(&port);
    char c;

    for (int i = 0; i < 20; i++) {
        int fd = dial(port);

        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        CHECK_EQ(vthread_close(fd), 0);
    }
    int last = dial(port);

    CHECK_EQ(vthread_write_all(last, "L", 1), 1);
    for (;;) {
        int fd = vthread_accept_until(listener, NULL, NULL, vthread_after_ms(5000));
        ssize_t n;

        CHECK(fd >= 0);
        n = vthread_read(fd, &c, 1);
        CHECK_EQ(vthread_close(fd), 0);
        if (n == 1)
            break;
        CHECK(n == -ECONNRESET || n == 0);
    }
    CHECK_EQ(vthread_close(last), 0);
    CHECK_EQ(vthread_close(listener), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"drained", test_drained, false},
        {"endings", test_endings, false},
        {"reset writer", test_reset_writer, false},
        {"byte by byte", test_byte_by_byte, false},
        {"big", test_big, false},
        {"idle", test_idle, false},
        {"gone before accept", test_gone_before_accept, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
