/* SPDX-License-Identifier: MIT */
/* recv and send and their kind: flags, addresses, control data, several at once. */
#include "net_test.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/un.h>

static void datagram_socket(int *ret_fd, struct sockaddr_in *ret_address)
{
    socklen_t length = sizeof *ret_address;

    *ret_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *ret_fd = vthread_socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(*ret_fd >= 0);
    CHECK_EQ(bind(*ret_fd, (struct sockaddr *)ret_address, length), 0);
    CHECK_EQ(getsockname(*ret_fd, (struct sockaddr *)ret_address, &length), 0);
}

/* ---- what ends a wait ---- */

enum verb { RECV, RECV_ALL, RECVFROM, RECVMSG, RECVMMSG, SEND, SENDTO, SENDMSG, SENDMMSG, VERBS };

static struct {
    int fd;
    enum verb verb;
    int64_t deadline_ns;
} job;

static void *do_job(void *arg)
{
    static char much[1 << 20];
    struct iovec v = {much, job.verb < SEND ? 8 : sizeof much};
    struct mmsghdr m = {.msg_hdr = {.msg_iov = &v, .msg_iovlen = 1}};
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    ssize_t n;

    (void)arg;
    do
        switch (job.verb) {
        case RECV:
            return (void *)vthread_recv_until(job.fd, much, 8, 0, job.deadline_ns);
        case RECV_ALL:
            return (void *)vthread_recv_until(job.fd, much, 8, MSG_WAITALL, job.deadline_ns);
        case RECVFROM:
            return (void *)vthread_recvfrom_until(job.fd, much, 8, 0, (struct sockaddr *)&from, &length,
                                                  job.deadline_ns);
        case RECVMSG:
            return (void *)vthread_recvmsg_until(job.fd, &m.msg_hdr, 0, job.deadline_ns);
        case RECVMMSG:
            return (void *)(intptr_t)vthread_recvmmsg_until(job.fd, &m, 1, 0, job.deadline_ns);
        case SEND:
            n = vthread_send_until(job.fd, much, sizeof much, 0, job.deadline_ns);
            break;
        case SENDTO:
            n = vthread_sendto_until(job.fd, much, sizeof much, 0, NULL, 0, job.deadline_ns);
            break;
        case SENDMSG:
            n = vthread_sendmsg_until(job.fd, &m.msg_hdr, 0, job.deadline_ns);
            break;
        default:
            n = vthread_sendmmsg_until(job.fd, &m, 1, 0, job.deadline_ns);
            break;
        }
    while (n > 0); /* until there is no room */
    return (void *)n;
}

static vthread_t start(bool platform)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    CHECK_EQ(vthread_create(&t, &attr, do_job, NULL), 0);
    return t;
}

/* foreign: a pair that the program made, and that blocks. */
static void prepare(enum verb verb, bool foreign, int fds[2])
{
    if (foreign)
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    else
        tcp_pair(fds);
    set_small_buffer(fds[0]);
    job.fd = fds[0];
    job.verb = verb;
    job.deadline_ns = VTHREAD_FOREVER;
}

static void test_ends_of_waits(void)
{
    int fds[2];

    for (enum verb verb = 0; verb < VERBS; verb++)
        for (int variant = 0; variant < 4; variant++) {
            bool platform = variant % 2;
            vthread_t t[3];

            prepare(verb, variant / 2, fds);
            job.deadline_ns = vthread_after_ms(3);
            CHECK_EQ(join(start(platform)), -ETIMEDOUT);
            job.deadline_ns = VTHREAD_NOW;
            CHECK_EQ(join(start(platform)), -ETIMEDOUT);
            job.deadline_ns = VTHREAD_FOREVER;
            t[0] = start(platform);
            await_parked(t[0]);
            CHECK_EQ(vthread_interrupt(t[0]), 0);
            CHECK_EQ(join(t[0]), -EINTR);
            for (int i = 0; i < 3; i++) {
                t[i] = start(i == 1);
                await_parked(t[i]);
            }
            CHECK_EQ(vthread_close(fds[0]), 0);
            for (int i = 0; i < 3; i++)
                CHECK_EQ(join(t[i]), -ECANCELED);
            CHECK_EQ(vthread_close(fds[1]), 0);
        }
}

/* ---- flags ---- */

static void test_flags(void)
{
    int fds[2];
    char buffer[16];

    for (int i = 0; i < 2; i++) {
        i == 0 ? tcp_pair(fds) : unix_pair(fds);
        CHECK_EQ(vthread_recv(fds[0], buffer, 8, MSG_DONTWAIT), -EAGAIN);
        CHECK_EQ(vthread_recvfrom(fds[0], buffer, 8, MSG_DONTWAIT, NULL, NULL), -EAGAIN);
        CHECK_EQ(vthread_recv(fds[0], buffer, 8, MSG_DONTWAIT | MSG_WAITALL), -EAGAIN);
        CHECK_EQ(vthread_send(fds[1], "abcdef", 6, MSG_MORE | MSG_NOSIGNAL), 6);
        CHECK_EQ(vthread_send(fds[1], "gh", 2, 0), 2);
        CHECK_EQ(vthread_recv(fds[0], buffer, 3, MSG_PEEK), 3);
        /* A short peek has emptied nothing: the next call must not wait for more. */
        CHECK_EQ(vthread_recv(fds[0], buffer, 8, MSG_WAITALL), 8);
        CHECK(memcmp(buffer, "abcdefgh", 8) == 0);
        CHECK_EQ(vthread_send(fds[1], "xyz", 3, 0), 3);
        CHECK_EQ(vthread_wait_fd(fds[0], POLLIN) & POLLIN, POLLIN);
        CHECK_EQ(vthread_recv(fds[0], buffer, 16, MSG_PEEK), 3);
        CHECK_EQ(vthread_recv(fds[0], buffer, 16, MSG_PEEK), 3);
        CHECK_EQ(vthread_recv(fds[0], buffer, 16, MSG_DONTWAIT), 3);
        CHECK_EQ(vthread_recv(fds[0], buffer, 16, MSG_DONTWAIT), -EAGAIN);
        CHECK_EQ(vthread_recv(fds[0], buffer, 16, MSG_ERRQUEUE) < 0, 1);
        CHECK_EQ(vthread_close(fds[1]), 0);
        CHECK_EQ(vthread_recv(fds[0], buffer, 16, MSG_WAITALL), 0);
        CHECK_EQ(vthread_recv(fds[0], buffer, 16, 0), 0);
        CHECK_EQ(vthread_close(fds[0]), 0);
    }
}

/* MSG_DONTWAIT stays behind the reader whose turn it is; MSG_OOB and MSG_ERRQUEUE do not. */
static void test_turns(void)
{
    int fds[2];
    char c;
    vthread_t t;

    prepare(RECV_ALL, false, fds);
    t = start(false);
    await_parked(t);
    CHECK_EQ(vthread_recv(fds[0], &c, 1, MSG_DONTWAIT), -EAGAIN);
    CHECK_EQ(vthread_recv(fds[0], &c, 1, MSG_ERRQUEUE), -EAGAIN);
    CHECK_EQ(vthread_recv(fds[0], &c, 1, MSG_OOB), -EINVAL);
    CHECK_EQ(vthread_send(fds[1], "12345678", 8, 0), 8);
    CHECK_EQ(join(t), 8);
    CHECK_EQ(vthread_send(fds[1], "!", 1, MSG_OOB), 1);
    struct pollfd p = {fds[0], POLLPRI, 0};

    CHECK_EQ(vthread_poll(&p, 1), 1);
    CHECK_EQ(vthread_recv(fds[0], &c, 1, MSG_OOB), 1);
    CHECK_EQ(c, '!');
    close_pair(fds);
}

static void *send_slowly(void *arg)
{
    int fd = (int)(intptr_t)arg;

    for (int i = 0; i < 100; i++) {
        char c = (char)i;

        CHECK_EQ(vthread_send(fd, &c, 1, 0), 1);
        if (i % 10 == 0)
            vthread_sleep_ms(1);
    }
    return NULL;
}

static void test_wait_all(void)
{
    int fds[2];

    for (int i = 0; i < 4; i++) {
        char a[30];
        char b[70];
        struct iovec v[3] = {{a, sizeof a}, {NULL, 0}, {b, sizeof b}};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = 3};
        vthread_t t;

        i % 2 == 0 ? tcp_pair(fds) : unix_pair(fds);
        t = spawn(send_slowly, fds[1]);
        CHECK_EQ(vthread_recvmsg(fds[0], &m, MSG_WAITALL), 100);
        for (int k = 0; k < 100; k++)
            CHECK_EQ(k < 30 ? a[k] : b[k - 30], k);
        CHECK(v[0].iov_base == a && v[2].iov_base == b && v[2].iov_len == sizeof b); /* as they were given */
        join(t);
        /* The end, a deadline and an interrupt: what there is, and the rest is for later. */
        CHECK_EQ(vthread_send(fds[1], "abc", 3, 0), 3);
        CHECK_EQ(vthread_recv_until(fds[0], a, 10, MSG_WAITALL, vthread_after_ms(5)), 3);
        CHECK_EQ(vthread_recv_until(fds[0], a, 10, MSG_WAITALL, VTHREAD_NOW), -ETIMEDOUT);
        CHECK_EQ(vthread_send(fds[1], "defg", 4, 0), 4);
        if (i < 2) {
            CHECK_EQ(vthread_shutdown(fds[1], SHUT_WR), 0);
            CHECK_EQ(vthread_recv(fds[0], a, 10, MSG_WAITALL), 4);
            CHECK_EQ(vthread_recv(fds[0], a, 10, MSG_WAITALL), 0);
        } else {
            job.fd = fds[0];
            job.verb = RECV_ALL;
            job.deadline_ns = VTHREAD_FOREVER;
            t = start(false);
            await_parked(t);
            CHECK_EQ(vthread_interrupt(t), 0);
            CHECK_EQ(join(t), 4);
        }
        close_pair(fds);
    }
}

/* Until what was sent has arrived, and the reader has taken it. */
static void await_taken(const int fds[2])
{
    int on_the_way;
    int there;

    do {
        vthread_yield();
        CHECK_EQ(ioctl(fds[1], TIOCOUTQ, &on_the_way), 0);
        CHECK_EQ(ioctl(fds[0], FIONREAD, &there), 0);
    } while (on_the_way > 0 || there > 0);
}

static void *recv_then_again(void *arg)
{
    char buffer[8];

    CHECK_EQ(vthread_recv((int)(intptr_t)arg, buffer, 8, MSG_WAITALL), 3);
    return (void *)vthread_recv((int)(intptr_t)arg, buffer, 8, MSG_WAITALL);
}

/* What came after the data is told by the call after: an interrupt, a reset. */
static void test_wait_all_then_error(void)
{
    struct linger at_once = {1, 0};
    int fds[2];
    vthread_t t;

    tcp_pair(fds);
    t = spawn(recv_then_again, fds[0]);
    CHECK_EQ(vthread_send(fds[1], "abc", 3, 0), 3);
    await_taken(fds);
    await_parked(t);
    CHECK_EQ(vthread_interrupt(t), 0);
    CHECK_EQ(join(t), -EINTR);

    t = spawn(recv_then_again, fds[0]);
    CHECK_EQ(vthread_send(fds[1], "abc", 3, 0), 3);
    await_taken(fds);
    CHECK_EQ(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    CHECK_EQ(vthread_close(fds[1]), 0);
    CHECK_EQ(join(t), -ECONNRESET);
    CHECK_EQ(vthread_close(fds[0]), 0);
}

/* ---- addresses ---- */

static void test_addresses(void)
{
    struct sockaddr_in a, b, from;
    socklen_t length = sizeof from;
    char buffer[16];
    int fds[2];

    datagram_socket(&fds[0], &a);
    datagram_socket(&fds[1], &b);
    CHECK_EQ(vthread_sendto(fds[0], "hello", 5, 0, (struct sockaddr *)&b, sizeof b), 5);
    CHECK_EQ(vthread_sendto(fds[0], NULL, 0, 0, (struct sockaddr *)&b, sizeof b), 0);
    CHECK_EQ(vthread_sendto(fds[0], "longer", 6, 0, (struct sockaddr *)&b, sizeof b), 6);
    CHECK_EQ(vthread_sendto(fds[0], "x", 1, 0, NULL, 0), -EDESTADDRREQ);
    CHECK_EQ(vthread_recvfrom(fds[1], buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length), 5);
    CHECK_EQ(length, sizeof from);
    CHECK_EQ(from.sin_port, a.sin_port);
    CHECK_EQ(vthread_recv(fds[1], NULL, 0, 0), 0); /* takes the empty one */
    CHECK_EQ(vthread_recv(fds[1], buffer, 2, MSG_TRUNC | MSG_PEEK), 6);
    length = 4; /* a name that does not fit is cut, and its length told */
    CHECK_EQ(vthread_recvfrom(fds[1], buffer, 2, 0, (struct sockaddr *)&from, &length), 2);
    CHECK_EQ(length, sizeof from);
    CHECK_EQ(vthread_recvfrom(fds[1], buffer, 2, MSG_WAITALL | MSG_DONTWAIT, NULL, NULL), -EAGAIN);
    /* MSG_WAITALL is for streams. */
    CHECK_EQ(vthread_sendto(fds[0], "one", 3, 0, (struct sockaddr *)&b, sizeof b), 3);
    CHECK_EQ(vthread_recv(fds[1], buffer, sizeof buffer, MSG_WAITALL), 3);
    close_pair(fds);
}

static void *send_to_full(void *arg)
{
    const struct sockaddr_un *to = arg;
    int fd = vthread_socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t length = (socklen_t)sizeof *to;

    CHECK(fd >= 0);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(vthread_sendto(fd, &i, sizeof i, 0, (const struct sockaddr *)to, length), (int)sizeof i);
    CHECK_EQ(vthread_connect(fd, (const struct sockaddr *)to, length), 0);
    for (int i = 200; i < 400; i++)
        CHECK_EQ(vthread_send(fd, &i, sizeof i, 0), (int)sizeof i);
    CHECK_EQ(vthread_close(fd), 0);
    return NULL;
}

/* Unix datagrams are kept: who sends to a full socket waits, connected or not. */
static void test_unix_datagrams(void)
{
    static struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = vthread_socket(AF_UNIX, SOCK_DGRAM, 0);
    vthread_t t;

    snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "vthread-test-dgram-%d", (int)getpid());
    CHECK_EQ(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    t = spawn(send_to_full, (intptr_t)&name);
    await_parked(t);
    for (int i = 0; i < 400; i++) {
        int value = -1;

        CHECK_EQ(vthread_recv(fd, &value, sizeof value, 0), (int)sizeof value);
        CHECK_EQ(value, i);
    }
    join(t);
    CHECK_EQ(vthread_close(fd), 0);
}

/* ---- control data ---- */

static void send_descriptor(int over, int fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec v = {(void *)"fd", 2};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    CHECK_EQ(vthread_sendmsg(over, &m, 0), 2);
}

static void *receive_descriptor(void *arg)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    char buffer[16];
    struct iovec v = {buffer, sizeof buffer};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c;
    int fd;

    /* Control data end it, though there is room for more bytes: as in the kernel. */
    CHECK_EQ(vthread_recvmsg((int)(intptr_t)arg, &m, MSG_CMSG_CLOEXEC | MSG_WAITALL), 4);
    c = CMSG_FIRSTHDR(&m);
    CHECK(c != NULL && c->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return (void *)(intptr_t)fd;
}

static void test_descriptors(void)
{
    int fds[2];
    int sent = eventfd(5, EFD_CLOEXEC);

    for (int i = 0; i < 2; i++) {
        uint64_t value = 0;
        vthread_t t;
        int fd;

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        t = spawn(receive_descriptor, fds[0]);
        await_parked(t);
        CHECK_EQ(vthread_send(fds[1], "..", 2, 0), 2);
        await_taken(fds);
        send_descriptor(fds[1], sent);
        fd = (int)join(t);
        CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(vthread_read_until(fd, &value, sizeof value, VTHREAD_NOW), i == 0 ? 8 : -ETIMEDOUT);
        CHECK_EQ(vthread_close(fd), 0);
        close_pair(fds);
    }
    CHECK_EQ(vthread_close(sent), 0);
}

/* ---- several ---- */

static void test_many(void)
{
    enum { N = 5 };
    struct sockaddr_in a, b, from[N];
    char text[N][8];
    struct iovec v[N];
    struct mmsghdr m[N];
    int fds[2];

    datagram_socket(&fds[0], &a);
    datagram_socket(&fds[1], &b);
    for (int i = 0; i < N; i++) {
        v[i] = (struct iovec){text[i], (size_t)i + 1};
        memset(text[i], 'a' + i, sizeof text[i]);
        m[i] =
            (struct mmsghdr){.msg_hdr = {.msg_iov = &v[i], .msg_iovlen = 1, .msg_name = &b, .msg_namelen = sizeof b}};
    }
    CHECK_EQ(vthread_sendmmsg(fds[0], m, N, 0), N);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(m[i].msg_len, i + 1);
        v[i].iov_len = sizeof text[i];
        m[i].msg_hdr.msg_name = &from[i];
        memset(text[i], 0, sizeof text[i]);
    }
    CHECK_EQ(vthread_recvmmsg(fds[1], m, 2, 0), 2);
    CHECK_EQ(vthread_recvmmsg(fds[1], m + 2, N - 2, 0), N - 2);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(m[i].msg_len, i + 1);
        CHECK_EQ(text[i][i], 'a' + i);
        CHECK_EQ(from[i].sin_port, a.sin_port);
    }
    CHECK_EQ(vthread_recvmmsg(fds[1], m, N, MSG_DONTWAIT), -EAGAIN);
    close_pair(fds);
}

/* ---- several receivers are served in order ---- */

static void *recv_in_turn(void *arg)
{
    int me = (int)(intptr_t)arg;
    char buffer[4];

    CHECK_EQ(vthread_recv(job.fd, buffer, 4, MSG_WAITALL), 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(buffer[i], 'a' + me);
    return NULL;
}

static void test_receivers_in_order(void)
{
    enum { N = 7 };
    int fds[2];
    vthread_t t[N];

    tcp_pair(fds);
    job.fd = fds[0];
    for (int i = 0; i < N; i++) {
        t[i] = spawn(recv_in_turn, i);
        await_parked(t[i]);
    }
    for (int i = 0; i < 4 * N; i++) {
        char c = (char)('a' + i / 4);

        CHECK_EQ(vthread_send(fds[1], &c, 1, 0), 1);
    }
    for (int i = 0; i < N; i++)
        join(t[i]);
    close_pair(fds);
}

static void test_fast_open(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int port;
    int listener = listen_any(&port);
    int fds[2];
    char buffer[8];

    to.sin_port = htons((uint16_t)port);
    fds[0] = vthread_socket(AF_INET, SOCK_STREAM, 0);
    ssize_t n = vthread_sendto(fds[0], "early", 5, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof to);

    if (n == -EOPNOTSUPP) { /* switched off here */
        CHECK_EQ(vthread_close(fds[0]), 0);
        CHECK_EQ(vthread_close(listener), 0);
        return;
    }
    CHECK_EQ(n, 5);
    fds[1] = vthread_accept(listener, NULL, NULL);
    CHECK(fds[1] >= 0);
    CHECK_EQ(vthread_read_full(fds[1], buffer, 5), 5);
    close_pair(fds);
    CHECK_EQ(vthread_close(listener), 0);
}

static void test_refusals(void)
{
    struct msghdr m = {.msg_iovlen = 1};
    char buffer[4];
    int fds[2];
    struct sockaddr_in a = {.sin_family = AF_INET};

    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(vthread_recv(fds[0], buffer, 4, 0), -ENOTSOCK);
    CHECK_EQ(vthread_send(fds[1], buffer, 4, 0), -ENOTSOCK);
    CHECK_EQ(vthread_recv(fds[0], buffer, 4, MSG_OOB), -ENOTSOCK);
    CHECK_EQ(vthread_recvmmsg(fds[0], NULL, 0, 0), -ENOTSOCK);
    close_pair(fds);
    tcp_pair(fds);
    CHECK_EQ(vthread_recv(-1, buffer, 4, 0), -EBADF);
    CHECK_EQ(vthread_recv(fds[0], NULL, 4, 0), -EFAULT);
    CHECK_EQ(vthread_recv(fds[0], buffer, (size_t)-1, 0), -EINVAL);
    CHECK_EQ(vthread_recvfrom(fds[0], buffer, 4, 0, (struct sockaddr *)&a, NULL), -EFAULT);
    CHECK_EQ(vthread_recvmsg(fds[0], NULL, 0), -EFAULT);
    CHECK_EQ(vthread_recvmsg(fds[0], &m, 0), -EFAULT);
    CHECK_EQ(vthread_sendmsg(fds[0], NULL, 0), -EFAULT);
    CHECK_EQ(vthread_sendto(fds[0], buffer, 4, 0, (struct sockaddr *)&a, 1), -EINVAL);
    CHECK_EQ(vthread_sendmmsg(fds[0], NULL, 1, 0), -EFAULT);
    CHECK_EQ(vthread_close(fds[1]), 0);
    vthread_send(fds[0], "x", 1, 0);
    CHECK(vthread_wait_fd(fds[0], POLLIN) > 0);
    while (vthread_send(fds[0], "x", 1, 0) > 0)
        ;
    CHECK_EQ(vthread_send(fds[0], "x", 1, 0), -EPIPE); /* and no signal */
    CHECK_EQ(vthread_close(fds[0]), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"ends of waits", test_ends_of_waits, false},
        {"flags", test_flags, false},
        {"turns", test_turns, false},
        {"wait all", test_wait_all, false},
        {"wait all, then error", test_wait_all_then_error, false},
        {"addresses", test_addresses, false},
        {"unix datagrams", test_unix_datagrams, false},
        {"descriptors", test_descriptors, false},
        {"many", test_many, false},
        {"receivers in order", test_receivers_in_order, false},
        {"fast open", test_fast_open, false},
        {"refusals", test_refusals, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
