/* SPDX-License-Identifier: MIT */
/*
 * The same calls on everything that can be waited for: sockets of all families and types, pipes, eventfds, terminals,
 * made by the library or elsewhere, blocking or not.
 */
#include "net_test.h"

#include <sys/eventfd.h>
#include <sys/un.h>
#include <termios.h>

enum kind {
    TCP,
    FOREIGN_TCP,
    UDP,
    FOREIGN_UDP,
    UNIX_STREAM,
    UNIX_DATAGRAM,
    UNIX_PACKET,
    PIPE,
    NONBLOCKING_PIPE,
    EVENTFD,
    NONBLOCKING_EVENTFD,
    TERMINAL,
    NONBLOCKING_TERMINAL,
    KINDS
};

static void udp_pair(bool own, int fds[2])
{
    struct sockaddr_in a[2];
    socklen_t length = sizeof a[0];

    for (int i = 0; i < 2; i++) {
        fds[i] = own ? vthread_socket(AF_INET, SOCK_DGRAM, 0) : socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        a[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        CHECK_EQ(bind(fds[i], (struct sockaddr *)&a[i], length), 0);
        CHECK_EQ(getsockname(fds[i], (struct sockaddr *)&a[i], &length), 0);
    }
    for (int i = 0; i < 2; i++)
        CHECK_EQ(vthread_connect(fds[i], (struct sockaddr *)&a[1 - i], length), 0);
}

static void foreign_tcp_pair(int fds[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK_EQ(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQ(listen(listener, 5), 0);
    a.sin_port = htons((uint16_t)port_of(listener));
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(vthread_connect(fds[0], (struct sockaddr *)&a, sizeof a), 0);
    CHECK((fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    CHECK_EQ(close(listener), 0);
}

/* What is written to the master can be read from the terminal as it is. */
static void terminal_pair(int flags, int fds[2])
{
    struct termios raw;

    fds[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | flags);
    CHECK(fds[1] >= 0);
    CHECK_EQ(grantpt(fds[1]), 0);
    CHECK_EQ(unlockpt(fds[1]), 0);
    fds[0] = open(ptsname(fds[1]), O_RDWR | O_NOCTTY | O_CLOEXEC | flags);
    CHECK(fds[0] >= 0);
    CHECK_EQ(tcgetattr(fds[0], &raw), 0);
    cfmakeraw(&raw);
    CHECK_EQ(tcsetattr(fds[0], TCSANOW, &raw), 0);
}

/* What is written to fds[1] is read from fds[0]. */
static void make_pair(enum kind kind, int fds[2])
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

    switch (kind) {
    case TCP:
        tcp_pair(fds);
        break;
    case FOREIGN_TCP:
        foreign_tcp_pair(fds);
        break;
    case UDP:
    case FOREIGN_UDP:
        udp_pair(kind == UDP, fds);
        break;
    case UNIX_STREAM:
    case UNIX_DATAGRAM:
    case UNIX_PACKET:
        CHECK_EQ(socketpair(AF_UNIX, types[kind - UNIX_STREAM] | SOCK_CLOEXEC, 0, fds), 0);
        break;
    case PIPE:
    case NONBLOCKING_PIPE:
        CHECK_EQ(pipe2(fds, O_CLOEXEC | (kind == PIPE ? 0 : O_NONBLOCK)), 0);
        break;
    case EVENTFD:
    case NONBLOCKING_EVENTFD:
        fds[0] = eventfd(0, EFD_CLOEXEC | (kind == EVENTFD ? 0 : EFD_NONBLOCK));
        CHECK(fds[0] >= 0);
        fds[1] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
        CHECK(fds[1] >= 0);
        break;
    default:
        terminal_pair(kind == TERMINAL ? 0 : O_NONBLOCK, fds);
        break;
    }
}

static const uint64_t message = 0x0102030405060708;

static struct {
    int fd;
    int64_t deadline_ns;
    bool watch;
} job;

static void *do_job(void *arg)
{
    uint64_t value = 0;
    struct pollfd p = {job.fd, POLLIN, 0};
    ssize_t n;

    (void)arg;
    if (job.watch) {
        int events = vthread_poll_until(&p, 1, job.deadline_ns);

        return (void *)(intptr_t)(events == 1 ? p.revents : events == 0 ? -ETIMEDOUT : events);
    }
    n = vthread_read_full_until(job.fd, &value, sizeof value, job.deadline_ns);
    if (n == sizeof value)
        CHECK_EQ(value, message);
    return (void *)n;
}

static vthread_t start(bool platform)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    CHECK_EQ(vthread_create(&t, &attr, do_job, NULL), 0);
    return t;
}

static void test_kinds(void)
{
    for (enum kind kind = 0; kind < KINDS; kind++)
        for (int variant = 0; variant < 4; variant++) {
            bool platform = variant & 1;
            int fds[2];
            vthread_t t[2];

            make_pair(kind, fds);
            job.fd = fds[0];
            job.watch = variant & 2;
            job.deadline_ns = VTHREAD_NOW;
            CHECK_EQ(join(start(platform)), -ETIMEDOUT);
            job.deadline_ns = vthread_after_ms(2);
            CHECK_EQ(join(start(platform)), -ETIMEDOUT);
            job.deadline_ns = VTHREAD_FOREVER;
            t[0] = start(platform);
            await_parked(t[0]);
            CHECK_EQ(vthread_interrupt(t[0]), 0);
            CHECK_EQ(join(t[0]), -EINTR);
            for (int i = 0; i < 2; i++) {
                t[0] = start(platform);
                await_parked(t[0]);
                CHECK_EQ(vthread_write_all(fds[1], &message, sizeof message), sizeof message);
                CHECK_EQ(join(t[0]), job.watch ? POLLIN : (int)sizeof message);
                if (job.watch) {
                    job.watch = false;
                    CHECK_EQ((intptr_t)do_job(NULL), sizeof message);
                    job.watch = true;
                }
            }
            for (int i = 0; i < 2; i++) {
                t[i] = start(i != platform);
                await_parked(t[i]);
            }
            CHECK_EQ(vthread_close(fds[0]), 0);
            for (int i = 0; i < 2; i++)
                CHECK_EQ(join(t[i]), job.watch ? POLLNVAL : -ECANCELED);
            CHECK_EQ(vthread_close(fds[1]), 0);
        }
}

/* Their flags are as the program set them. */
static void test_flags(void)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        int fds[2];
        int flags[2];
        uint64_t value;

        make_pair(kind, fds);
        for (int i = 0; i < 2; i++)
            flags[i] = fcntl(fds[i], F_GETFL);
        CHECK_EQ(vthread_write(fds[1], &message, sizeof message), sizeof message);
        CHECK_EQ(vthread_read(fds[0], &value, sizeof value), sizeof value);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(fcntl(fds[i], F_GETFL), flags[i]);
        close_pair(fds);
    }
}

int main(void)
{
    static const struct test tests[] = {
        {"kinds", test_kinds, false},
        {"flags", test_flags, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
