/* SPDX-License-Identifier: MIT */
/* Every call of net.h once, on every kind of descriptor it takes, and what it refuses. */
#include "net_test.h"

#include <sys/eventfd.h>

static void *dial_and_greet(void *arg)
{
    int fd = dial((int)(intptr_t)arg);

    CHECK_EQ(vthread_write_all(fd, "hello", 5), 5);
    return (void *)(intptr_t)fd;
}

static void test_tcp(void)
{
    static const char *const addresses[] = {"127.0.0.1:0", "localhost:0", ":0", "[::1]:0", NULL};
    char buffer[16];
    struct sockaddr_storage peer;

    for (int i = 0; addresses[i] != NULL; i++) {
        int listener = vthread_listen_tcp(addresses[i], 16, VTHREAD_LISTEN_REUSEPORT);
        socklen_t length = sizeof peer;
        char to[64];
        int fd;

        if (listener == -EADDRNOTAVAIL || listener == -EAFNOSUPPORT)
            continue; /* no IPv6 here */
        CHECK(listener >= 0);
        snprintf(to, sizeof to, i == 3 ? "[::1]:%d" : i == 1 ? "LocalHost:%d" : ":%d", port_of(listener));
        int client = vthread_dial_tcp(to);

        CHECK(client >= 0);
        fd = vthread_accept(listener, (struct sockaddr *)&peer, &length);
        CHECK(fd >= 0);
        CHECK(length >= sizeof(struct sockaddr_in));
        CHECK_EQ(vthread_write(client, "abc", 3), 3);
        CHECK_EQ(vthread_read(fd, buffer, sizeof buffer), 3);
        CHECK(memcmp(buffer, "abc", 3) == 0);
        CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        close_pair((int[]){fd, client});
        CHECK_EQ(vthread_close(listener), 0);
    }
}

/* accept before dial, and a read before there is something to read. */
static void test_waits(void)
{
    int port;
    int listener = listen_any(&port);
    vthread_t t = spawn(dial_and_greet, port);
    int fd = vthread_accept(listener, NULL, NULL);
    char buffer[16];

    CHECK(fd >= 0);
    CHECK_EQ(vthread_read_full(fd, buffer, 5), 5);
    CHECK(memcmp(buffer, "hello", 5) == 0);
    int client = (int)join(t);

    CHECK_EQ(vthread_close(client), 0);
    CHECK_EQ(vthread_read(fd, buffer, sizeof buffer), 0);
    CHECK_EQ(vthread_close(fd), 0);
    CHECK_EQ(vthread_close(listener), 0);
}

static void *write_in_pieces(void *arg)
{
    int fd = (int)(intptr_t)arg;

    for (int i = 0; i < 10; i++) {
        struct iovec v[3] = {{(void *)"ab", 2}, {NULL, 0}, {(void *)"cde", 3}};

        CHECK_EQ(vthread_writev(fd, v, 3), 5);
        vthread_sleep_ms(1);
    }
    CHECK_EQ(vthread_shutdown(fd, SHUT_WR), 0);
    return NULL;
}

static void vectors_on(int from, int to)
{
    char a[3];
    char b[60] = {0};
    struct iovec v[2] = {{a, sizeof a}, {b, 0}};
    ssize_t n;
    vthread_t t = spawn(write_in_pieces, from);

    n = vthread_readv(to, v, 2);
    CHECK(n >= 1 && n <= 3);
    CHECK_EQ(a[0], 'a');
    CHECK_EQ(vthread_read_full(to, b, sizeof b), 50 - n);
    CHECK_EQ(vthread_read_full(to, b, sizeof b), 0);
    join(t);
}

static void test_vectors(void)
{
    int fds[2];

    tcp_pair(fds);
    vectors_on(fds[0], fds[1]);
    close_pair(fds);
    unix_pair(fds);
    vectors_on(fds[0], fds[1]);
    close_pair(fds);
}

static void test_unix(void)
{
    char path[64];
    char buffer[8];
    int listener;
    int fds[2];

    snprintf(path, sizeof path, "/tmp/vthread-test-%d.sock", (int)getpid());
    unlink(path);
    CHECK_EQ(vthread_dial_unix(path), -ENOENT);
    listener = vthread_listen_unix(path, 0, 0);
    CHECK(listener >= 0);
    CHECK_EQ(vthread_listen_unix(path, 0, 0), -EADDRINUSE);
    CHECK_EQ(vthread_close(listener), 0);
    CHECK_EQ(vthread_dial_unix(path), -ECONNREFUSED);
    listener = vthread_listen_unix(path, 1, VTHREAD_LISTEN_REPLACE);
    CHECK(listener >= 0);
    fds[0] = vthread_dial_unix(path);
    fds[1] = vthread_accept(listener, NULL, NULL);
    CHECK(fds[0] >= 0 && fds[1] >= 0);
    CHECK_EQ(vthread_write_all(fds[1], "xyz", 3), 3);
    CHECK_EQ(vthread_read(fds[0], buffer, sizeof buffer), 3);
    close_pair(fds);
    /* A full backlog reports no event: dial tries again by itself. */
    int waiting[2] = {vthread_dial_unix(path), vthread_dial_unix(path)};

    CHECK(waiting[0] >= 0 && waiting[1] >= 0);
    CHECK_EQ(vthread_dial_unix_until(path, vthread_after_ms(20)), -ETIMEDOUT);
    close_pair(waiting);
    CHECK_EQ(vthread_close(listener), 0);
    unlink(path);
}

static void *write_slowly(void *arg)
{
    int fd = (int)(intptr_t)arg;

    for (int i = 0; i < 5; i++) {
        vthread_sleep_ms(1);
        CHECK_EQ(vthread_write_all(fd, "0123456789", 10), 10);
    }
    CHECK_EQ(vthread_close(fd), 0);
    return NULL;
}

static void *write_much(void *arg)
{
    enum { SIZE = 300 * 1000 };
    int fd = (int)(intptr_t)arg;
    char *data = calloc(1, SIZE);

    CHECK_EQ(vthread_write_all(fd, data, SIZE), SIZE);
    free(data);
    return NULL;
}

/* Foreign: as the program made them, blocking or not. */
static void test_pipes(void)
{
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        char buffer[4096];
        int fds[2];
        size_t sum = 0;
        ssize_t n;
        vthread_t t;

        CHECK_EQ(pipe2(fds, flags), 0);
        t = spawn(write_slowly, fds[1]);
        CHECK_EQ(vthread_read_full(fds[0], buffer, sizeof buffer), 50);
        join(t);
        CHECK_EQ(fcntl(fds[0], F_GETFL) & O_NONBLOCK, flags);
        CHECK_EQ(vthread_close(fds[0]), 0);

        CHECK_EQ(pipe2(fds, flags), 0);
        t = spawn(write_much, fds[1]);
        while (sum < 300 * 1000) {
            n = vthread_read(fds[0], buffer, sizeof buffer);
            CHECK(n > 0);
            sum += (size_t)n;
        }
        CHECK_EQ(sum, 300 * 1000);
        join(t);
        /* No reader: an error, and no signal. */
        CHECK_EQ(vthread_close(fds[0]), 0);
        CHECK_EQ(vthread_write(fds[1], "x", 1), -EPIPE);
        CHECK_EQ(vthread_close(fds[1]), 0);
    }
}

static void test_foreign_sockets(void)
{
    for (int flags = 0; flags <= SOCK_NONBLOCK; flags += SOCK_NONBLOCK) {
        int fds[2];

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | flags, 0, fds), 0);
        vectors_on(fds[0], fds[1]);
        CHECK_EQ(vthread_fd_forget(fds[0]), 0);
        close(fds[0]);
        CHECK_EQ(vthread_write(fds[1], "x", 1), -EPIPE);
        CHECK_EQ(vthread_close(fds[1]), 0);
    }
    /* A blocking listener and a blocking client, as other libraries make them. */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_EQ(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQ(listen(listener, 5), 0);
    a.sin_port = htons((uint16_t)port_of(listener));
    CHECK_EQ(vthread_accept_until(listener, NULL, NULL, VTHREAD_NOW), -ETIMEDOUT);
    CHECK_EQ(vthread_accept_until(listener, NULL, NULL, vthread_after_ms(5)), -ETIMEDOUT);
    CHECK_EQ(vthread_connect(client, (struct sockaddr *)&a, sizeof a), 0);
    int fd = vthread_accept(listener, NULL, NULL);
    char c;

    CHECK(fd >= 0);
    CHECK_EQ(vthread_read_until(client, &c, 1, vthread_after_ms(5)), -ETIMEDOUT);
    CHECK_EQ(vthread_write_all(fd, "z", 1), 1);
    CHECK_EQ(vthread_read(client, &c, 1), 1);
    close_pair((int[]){fd, client});
    CHECK_EQ(vthread_close(listener), 0);
}

static void test_files(void)
{
    char path[] = "/tmp/vthread-test-XXXXXX";
    char buffer[8] = {0};
    int fd = mkstemp(path);
    int null = open("/dev/null", O_RDWR);
    uint64_t value = 3;

    CHECK(fd >= 0 && null >= 0);
    CHECK_EQ(vthread_write_all(fd, "file", 4), 4);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(vthread_read_full(fd, buffer, sizeof buffer), 4);
    CHECK_EQ(vthread_read(fd, buffer, sizeof buffer), 0);
    CHECK(vthread_wait_fd(fd, POLLIN) & POLLIN);
    CHECK_EQ(vthread_close(fd), 0);
    unlink(path);
    CHECK_EQ(vthread_read(null, buffer, 8), 0);
    CHECK_EQ(vthread_write(null, buffer, 8), 8);
    CHECK_EQ(vthread_close(null), 0);
    fd = open("/tmp", O_RDONLY | O_DIRECTORY);
    CHECK_EQ(vthread_read(fd, buffer, 8), -EISDIR);
    CHECK_EQ(vthread_accept(fd, NULL, NULL), -ENOTSOCK);
    CHECK_EQ(vthread_close(fd), 0);

    fd = eventfd(0, 0);
    CHECK_EQ(vthread_read_until(fd, &value, sizeof value, vthread_after_ms(5)), -ETIMEDOUT);
    CHECK_EQ(vthread_write(fd, &value, sizeof value), 8);
    value = 0;
    CHECK_EQ(vthread_read(fd, &value, sizeof value), 8);
    CHECK_EQ(value, 3);
    CHECK_EQ(vthread_close(fd), 0);
}

static void test_connect(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int port;
    int listener = listen_any(&port);
    int fd = vthread_socket(AF_INET, SOCK_STREAM, 0);

    a.sin_port = htons((uint16_t)port);
    CHECK(fd >= 0);
    CHECK_EQ(vthread_connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQ(vthread_connect(fd, (struct sockaddr *)&a, sizeof a), EISCONN);
    CHECK_EQ(vthread_close(fd), 0);
    CHECK_EQ(vthread_close(listener), 0);
    fd = vthread_socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(vthread_connect(fd, (struct sockaddr *)&a, sizeof a), ECONNREFUSED);
    CHECK_EQ(vthread_close(fd), 0);
}

static void test_datagrams(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof a;
    int to = vthread_socket(AF_INET, SOCK_DGRAM, 0);
    int from = vthread_socket(AF_INET, SOCK_DGRAM, 0);
    char buffer[64];

    CHECK_EQ(bind(to, (struct sockaddr *)&a, length), 0);
    CHECK_EQ(getsockname(to, (struct sockaddr *)&a, &length), 0);
    CHECK_EQ(vthread_connect(from, (struct sockaddr *)&a, length), 0);
    CHECK_EQ(vthread_read_until(to, buffer, sizeof buffer, vthread_after_ms(5)), -ETIMEDOUT);
    CHECK_EQ(vthread_write(from, "one", 3), 3);
    CHECK_EQ(vthread_write(from, "", 0), 0);
    CHECK_EQ(vthread_write(from, "three", 5), 5);
    CHECK_EQ(vthread_read(to, buffer, sizeof buffer), 3);
    CHECK_EQ(vthread_read(to, buffer, sizeof buffer), 0);
    CHECK_EQ(vthread_read(to, buffer, sizeof buffer), 5);
    close_pair((int[]){from, to});
}

static void test_wait_fd(void)
{
    int fds[2];
    char c;

    tcp_pair(fds);
    CHECK_EQ(vthread_wait_fd(fds[0], POLLOUT), POLLOUT);
    CHECK_EQ(vthread_wait_fd(fds[0], POLLIN | POLLOUT), POLLOUT);
    CHECK_EQ(vthread_wait_fd_until(fds[0], POLLIN, VTHREAD_NOW), -ETIMEDOUT);
    CHECK_EQ(vthread_wait_fd_until(fds[0], POLLIN, vthread_after_ms(5)), -ETIMEDOUT);
    for (int i = 0; i < 20; i++) {
        vthread_t t = spawn(write_in_pieces, fds[1]);

        CHECK_EQ(vthread_wait_fd(fds[0], POLLIN) & POLLIN, POLLIN);
        join(t);
        if (i > 0)
            break; /* it has shut its end down */
        while (vthread_read(fds[0], &c, 1) > 0)
            ;
        CHECK_EQ(vthread_wait_fd(fds[0], POLLIN) & POLLIN, POLLIN);
        close_pair(fds);
        CHECK_EQ(pipe(fds), 0);
        CHECK_EQ(vthread_wait_fd_until(fds[0], POLLIN, vthread_after_ms(2)), -ETIMEDOUT);
        t = spawn(write_slowly, fds[1]);
        CHECK_EQ(vthread_wait_fd(fds[0], POLLIN) & POLLIN, POLLIN);
        join(t);
        CHECK_EQ(vthread_close(fds[0]), 0);
        return;
    }
}

/* Not inlined: the address of errno may not be kept across a call that may switch. */
__attribute__((noinline)) static int swap_errno(int value)
{
    int before = errno;

    errno = value;
    return before;
}

static void test_refusals(void)
{
    char buffer[4];
    int fds[2];
    sigset_t set;

    tcp_pair(fds);
    swap_errno(77);
    CHECK_EQ(vthread_read(-1, buffer, 4), -EBADF);
    CHECK_EQ(vthread_read(999, buffer, 4), -EBADF);
    CHECK_EQ(vthread_read(1 << 30, buffer, 4), -EBADF);
    CHECK_EQ(vthread_read(-1, buffer, 0), -EBADF);
    CHECK_EQ(vthread_write(-1, buffer, 4), -EBADF);
    CHECK_EQ(vthread_accept(-1, NULL, NULL), -EBADF);
    CHECK_EQ(vthread_accept(fds[0], NULL, NULL), -EINVAL);
    CHECK_EQ(vthread_wait_fd(-1, POLLIN), -EBADF);
    CHECK_EQ(vthread_wait_fd(fds[0], 0), -EINVAL);
    CHECK_EQ(vthread_wait_fd(fds[0], POLLPRI), -EINVAL);
    CHECK_EQ(vthread_close(-1), EBADF);
    CHECK_EQ(vthread_close(999), EBADF);
    CHECK_EQ(vthread_fd_forget(-1), EBADF);
    CHECK_EQ(vthread_shutdown(-1, SHUT_RD), EBADF);
    CHECK_EQ(vthread_connect(fds[0], NULL, 0), EFAULT);
    CHECK_EQ(vthread_connect(fds[0], (struct sockaddr *)buffer, 1), EINVAL);
    CHECK_EQ(vthread_read(fds[0], NULL, 4), -EFAULT);
    CHECK_EQ(vthread_write(fds[0], NULL, 4), -EFAULT);
    CHECK_EQ(vthread_read(fds[0], NULL, 0), 0);
    CHECK_EQ(vthread_read(fds[0], buffer, (size_t)-1), -EINVAL);
    CHECK_EQ(vthread_readv(fds[0], NULL, 1), -EFAULT);
    CHECK_EQ(vthread_readv(fds[0], NULL, -1), -EINVAL);
    CHECK_EQ(vthread_writev(fds[0], NULL, 100000), -EINVAL);
    CHECK_EQ(vthread_read_full(fds[0], NULL, 0), 0);
    CHECK_EQ(vthread_write_all(fds[0], NULL, 0), 0);
    CHECK_EQ(vthread_socket(12345, SOCK_STREAM, 0), -EAFNOSUPPORT);
    CHECK_EQ(vthread_listen_tcp(NULL, 0, 0), -EINVAL);
    CHECK_EQ(vthread_listen_tcp("localhost", 0, 0), -EINVAL);
    CHECK_EQ(vthread_listen_tcp("localhost:", 0, 0), -EINVAL);
    CHECK_EQ(vthread_listen_tcp("::1:80", 0, 0), -EINVAL);
    CHECK_EQ(vthread_listen_tcp("[::1:80", 0, 0), -EINVAL);
    CHECK_EQ(vthread_listen_tcp("127.0.0.1:0", -1, 0), -EINVAL);
    CHECK_EQ(vthread_listen_tcp("127.0.0.1:0", 0, 0x80), -EINVAL);
    CHECK_EQ(vthread_listen_tcp("127.0.0.1:no-such-service", 0, 0), -EINVAL);
    CHECK_EQ(vthread_listen_tcp("127.0.0.1:99999999", 0, 0) < 0, 1);
    CHECK_EQ(vthread_dial_tcp("127.0.0.1:1"), -ECONNREFUSED);
    CHECK_EQ(vthread_dial_unix(NULL), -EINVAL);
    CHECK_EQ(vthread_dial_unix(""), -EINVAL);
    CHECK_EQ(vthread_signal_wait(NULL), -EINVAL);
    sigemptyset(&set);
    CHECK_EQ(vthread_signal_wait(&set), -EINVAL);
    sigaddset(&set, SIGKILL);
    CHECK_EQ(vthread_signal_wait(&set), -EINVAL);
    CHECK_EQ(swap_errno(0), 77);
    close_pair(fds);
    CHECK_EQ(vthread_read(fds[0], buffer, 4), -EBADF);
    CHECK_EQ(vthread_close(fds[0]), EBADF);
}

int main(void)
{
    static const struct test tests[] = {
        {"tcp", test_tcp, false},
        {"waits", test_waits, false},
        {"vectors", test_vectors, false},
        {"unix", test_unix, false},
        {"pipes", test_pipes, false},
        {"foreign sockets", test_foreign_sockets, false},
        {"files", test_files, false},
        {"connect", test_connect, false},
        {"datagrams", test_datagrams, false},
        {"wait_fd", test_wait_fd, false},
        {"refusals", test_refusals, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
