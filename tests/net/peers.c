/* SPDX-License-Identifier: MIT */
/*
 * Peers that are killed while thousands wait for them, start again, half close, reset, or read slowly.
 *
 * The server is a process of its own, this very program, on a port that it is handed: what its end does to its
 * connections the kernel does.
 */
#include "net_test.h"

#include <vthread/sync.h>

enum { CLIENTS = 2000, BIG = 100 << 20 };

/* ---- the server ---- */

/* It greets who connects, and then neither reads nor writes; until it is killed. */
static int serve(int listener)
{
    int fd;

    while ((fd = accept(listener, NULL, NULL)) >= 0)
        if (write(fd, "!", 1) != 1)
            return 1;
    perror("accept");
    return 1;
}

static struct {
    const char *program;
    struct sockaddr_in address;
    pid_t pid;
} server;

/* Its listener is made here, so that it can be connected to from now on; only the server keeps it. */
static void start_server(void)
{
    char number[16];
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof server.address;

    CHECK(listener >= 0);
    CHECK_EQ(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
    CHECK_EQ(bind(listener, (struct sockaddr *)&server.address, length), 0);
    CHECK_EQ(listen(listener, 4096), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&server.address, &length), 0);
    snprintf(number, sizeof number, "%d", listener);
    server.pid = fork();
    CHECK(server.pid >= 0);
    if (server.pid == 0) {
        execl(server.program, server.program, "serve", number, (char *)NULL);
        _exit(1);
    }
    CHECK_EQ(close(listener), 0);
}

static void kill_server(void)
{
    int status;

    CHECK_EQ(kill(server.pid, SIGKILL), 0);
    CHECK_EQ(vthread_waitpid(server.pid, &status, 0), server.pid);
    CHECK_EQ(WTERMSIG(status), SIGKILL);
}

/* ---- its clients ---- */

static struct {
    atomic_int blocked; /* have been greeted, and are about to wait */
    atomic_int ends;    /* saw the connection end */
    atomic_int refused; /* dialled again while there was no server */
    vthread_latch_t restarted;
} seen;

/* It was killed, with or without bytes that it had not read. */
static bool is_end(ssize_t n)
{
    return n == 0 || n == -ECONNRESET || n == -EPIPE;
}

static int dial_server(void)
{
    int fd = vthread_socket(AF_INET, SOCK_STREAM, 0);
    int error;

    CHECK(fd >= 0);
    error = vthread_connect(fd, (struct sockaddr *)&server.address, sizeof server.address);
    if (error != 0) {
        CHECK(error == ECONNREFUSED || error == ECONNRESET);
        CHECK_EQ(vthread_close(fd), 0);
        return -error;
    }
    return fd;
}

static void await_greeting(int fd)
{
    char c = 0;

    CHECK_EQ(vthread_read(fd, &c, 1), 1);
    CHECK_EQ(c, '!');
}

/* In one of the calls that can wait for it. */
static ssize_t wait_for_server(int fd, int how)
{
    static const char much[1 << 20];
    char buffer[16];
    struct iovec vector = {buffer, sizeof buffer};
    ssize_t n;

    switch (how % 6) {
    case 0:
        return vthread_read(fd, buffer, sizeof buffer);
    case 1:
        return vthread_recv(fd, buffer, sizeof buffer, 0);
    case 2:
        return vthread_readv(fd, &vector, 1);
    case 3:
        return vthread_read_full(fd, buffer, sizeof buffer);
    case 4: /* nobody reads it */
        set_small_buffer(fd);
        while ((n = vthread_write_all(fd, much, sizeof much)) > 0)
            ;
        return n;
    default:
        CHECK(vthread_wait_fd(fd, POLLIN) & POLLIN);
        return vthread_read(fd, buffer, sizeof buffer);
    }
}

static void *be_client(void *arg)
{
    int how = (int)(intptr_t)arg;
    int fd = dial_server();

    CHECK(fd >= 0);
    await_greeting(fd);
    atomic_fetch_add(&seen.blocked, 1);
    CHECK(is_end(wait_for_server(fd, how)));
    atomic_fetch_add(&seen.ends, 1);
    CHECK_EQ(vthread_close(fd), 0);
    /*
     * Perhaps it is not quite dead.  What connects to a listener that is just being closed may stay connected to
     * nobody, until it says something: so such a one waits for no greeting.
     */
    while ((fd = dial_server()) != -ECONNREFUSED)
        if (fd >= 0)
            CHECK_EQ(vthread_close(fd), 0);
    atomic_fetch_add(&seen.refused, 1);
    CHECK_EQ(vthread_latch_wait(&seen.restarted), 0);
    fd = dial_server();
    CHECK(fd >= 0);
    await_greeting(fd);
    return (void *)(intptr_t)fd;
}

static int clients_allowed(void)
{
    struct rlimit limit;

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_max >= CLIENTS + 100 ? CLIENTS : (int)limit.rlim_max - 100;
}

static void test_killed(void)
{
    static vthread_t t[CLIENTS];
    int n = clients_allowed();

    if (!vthread_is_virtual(vthread_self()))
        return; /* those who wait are the same; once is enough */
    memset(&seen, 0, sizeof seen);
    CHECK_EQ(vthread_latch_init(&seen.restarted, 1), 0);
    server.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    start_server();
    for (int i = 0; i < n; i++)
        t[i] = spawn(be_client, i);
    while (atomic_load(&seen.blocked) < n)
        vthread_sleep_ms(1);
    for (int i = 0; i < n; i++)
        await_parked(t[i]);
    kill_server();
    while (atomic_load(&seen.ends) < n || atomic_load(&seen.refused) < n)
        vthread_sleep_ms(1);
    start_server();
    vthread_latch_count_down(&seen.restarted);
    for (int i = 0; i < n; i++)
        CHECK_EQ(vthread_close((int)join(t[i])), 0);
    kill_server();
}

/* ---- slow readers ---- */

static char pattern(size_t i)
{
    return (char)(i * 2654435761u >> 17);
}

static void *write_big(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char *data = malloc(BIG);

    CHECK(data != NULL);
    for (size_t i = 0; i < BIG; i++)
        data[i] = pattern(i);
    CHECK_EQ(vthread_write_all(fd, data, BIG), BIG);
    CHECK_EQ(vthread_shutdown(fd, SHUT_WR), 0);
    free(data);
    /* The other direction is open still. */
    char c = 0;

    CHECK_EQ(vthread_read_full(fd, &c, 1), 1);
    CHECK_EQ(vthread_read(fd, &c, 1), 0);
    return (void *)(intptr_t)c;
}

/* 100 MB in one write, to somebody who looks away after every megabyte until the writer waits. */
static void test_slow_reader(void)
{
    enum { PIECE = 1 << 20 };
    char *buffer;
    int fds[2];
    size_t sum = 0;
    ssize_t n;
    vthread_t t;

    if (!vthread_is_virtual(vthread_self()))
        return; /* as above */
    buffer = malloc(PIECE);
    CHECK(buffer != NULL);
    tcp_pair(fds);
    t = spawn(write_big, fds[1]);
    do {
        if (sum < BIG - (32u << 20)) /* more is to come than may be under way */
            await_parked(t);
        n = vthread_read_full(fds[0], buffer, PIECE);
        for (ssize_t i = 0; i < n; i++)
            if (buffer[i] != pattern(sum + (size_t)i))
                CHECK_EQ(buffer[i], pattern(sum + (size_t)i));
        sum += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    CHECK_EQ(n, 0);
    CHECK_EQ(sum, BIG);
    CHECK_EQ(vthread_write(fds[0], "h", 1), 1);
    CHECK_EQ(vthread_shutdown(fds[0], SHUT_WR), 0);
    CHECK_EQ(join(t), 'h');
    free(buffer);
    close_pair(fds);
}

/* It goes away in the middle: the writer learns of it, by FIN and what follows it or by RST. */
static void *write_in_vain(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char *data = calloc(1, BIG);
    ssize_t n = vthread_write_all(fd, data, BIG);

    free(data);
    return (void *)n;
}

static void test_reader_that_leaves(void)
{
    static char buffer[1 << 16];

    for (int reset = 0; reset < 2; reset++) {
        struct linger now = {reset, 0};
        int fds[2];
        vthread_t t;
        intptr_t n;

        tcp_pair(fds);
        t = spawn(write_in_vain, fds[1]);
        CHECK_EQ(vthread_read_full(fds[0], buffer, sizeof buffer), sizeof buffer);
        await_parked(t);
        CHECK_EQ(setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
        CHECK_EQ(vthread_close(fds[0]), 0);
        n = join(t);
        CHECK(n == -ECONNRESET || n == -EPIPE);
        CHECK_EQ(vthread_write(fds[1], "x", 1), -EPIPE);
        CHECK_EQ(vthread_read(fds[1], buffer, 1), 0);
        CHECK_EQ(vthread_close(fds[1]), 0);
    }
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"killed", test_killed, true},
        {"slow reader", test_slow_reader, true},
        {"reader that leaves", test_reader_that_leaves, false},
        {NULL, NULL, false},
    };
    struct rlimit limit;

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (argc == 3)
        return serve(atoi(argv[2]));
    server.program = argv[0];
    return run_tests(tests);
}
