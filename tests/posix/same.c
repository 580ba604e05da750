/* SPDX-License-Identifier: MIT */
/*
 * The same call, made by a platform thread (the C library's) and by a virtual one (the hook): the same result, errno,
 * bytes, addresses, and bytes left over; and it waits where the other one does.
 *
 * A table of calls, and a table of situations that they meet.  A situation prepares two connected descriptors, and a
 * peer that does something once the call waits.  errno has a value of its own before each call, so that one that is
 * changed by a call that succeeds is seen.
 */
#include "posix_test.h"

#include <sys/sendfile.h>
#include <sys/syscall.h>

enum { NOT_TOUCHED = 4242, ROOM = 32, LARGE = 1 << 20, SHORT_MS = 2, PARTLY = 1 << 30, HIGH_FD = 60 };

enum place { STREAM_PAIR, PACKET_PAIR, DATAGRAM_PAIR, TCP_PAIR, PIPE_PAIR, EVENT, PLACES };

enum {
    STREAMS = 1 << STREAM_PAIR | 1 << TCP_PAIR,
    SOCKETS = STREAMS | 1 << PACKET_PAIR | 1 << DATAGRAM_PAIR,
    CONNECTED = STREAMS | 1 << PACKET_PAIR | 1 << PIPE_PAIR,
    STAYS_FULL = ~(1 << TCP_PAIR), /* there an acknowledgement makes room, some time later */
    ALL = (1 << PLACES) - 1,
};

static const char *const place_names[] = {"unix stream", "unix packets", "unix datagrams", "tcp", "pipe", "eventfd"};

/* What the thread and its peer share. */
static struct scene {
    enum place place;
    int near; /* the call's */
    int far;  /* the peer's */
    int wait_ms;
    atomic_int tid;
    atomic_bool done;
    /* What is compared. */
    struct {
        intptr_t result;
        intptr_t error;
        intptr_t waited; /* before the peer did anything */
        intptr_t extra;
        intptr_t left;
        char bytes[ROOM];
    } out;
} now;

static char large[LARGE];

/* Not to be seen through by the compiler. */
static void *volatile bad_address = (void *)16;
static volatile int minus_one = -1;

static struct sockaddr_in nowhere = {.sin_family = AF_INET};

/* ---- calls ---- */

static intptr_t do_read(void)
{
    return read(now.near, now.out.bytes, 5);
}

static intptr_t do_read_8(void)
{
    return read(now.near, now.out.bytes, 8);
}

static intptr_t do_read_nothing(void)
{
    return read(now.near, now.out.bytes, 0);
}

static intptr_t do_read_nowhere(void)
{
    return read(now.near, bad_address, 5);
}

static intptr_t do_readv(void)
{
    struct iovec v[3] = {{now.out.bytes, 2}, {now.out.bytes, 0}, {now.out.bytes + 2, 3}};

    return readv(now.near, v, 3);
}

static intptr_t do_readv_wrong(void)
{
    struct iovec v = {now.out.bytes, 2};

    return readv(now.near, &v, minus_one);
}

static intptr_t do_readv_none(void)
{
    return readv(now.near, NULL, 0);
}

static intptr_t receive_with(int flags, size_t size)
{
    return recv(now.near, now.out.bytes, size, flags);
}

static intptr_t do_recv(void)
{
    return receive_with(0, 5);
}

static intptr_t do_recv_short(void)
{
    return receive_with(0, 3);
}

static intptr_t do_recv_trunc(void)
{
    return receive_with(MSG_TRUNC, 3);
}

static intptr_t do_recv_dontwait(void)
{
    return receive_with(MSG_DONTWAIT, 5);
}

static intptr_t do_recv_peek(void)
{
    return receive_with(MSG_PEEK, 5);
}

static intptr_t do_recv_waitall(void)
{
    return receive_with(MSG_WAITALL, 5);
}

static intptr_t do_recv_waitall_dontwait(void)
{
    return receive_with(MSG_WAITALL | MSG_DONTWAIT, 5);
}

static intptr_t do_recv_peek_waitall(void)
{
    return receive_with(MSG_WAITALL | MSG_PEEK, 5);
}

static intptr_t do_recv_urgent(void)
{
    return receive_with(MSG_OOB, 5);
}

static intptr_t do_recv_nothing(void)
{
    return receive_with(0, 0);
}

static intptr_t do_recvfrom(void)
{
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    intptr_t n = recvfrom(now.near, now.out.bytes, 5, 0, (struct sockaddr *)&from, &length);

    now.out.extra = (intptr_t)length;
    return n;
}

static intptr_t receive_message(int flags, bool control)
{
    struct iovec v[3] = {{now.out.bytes, 2}, {now.out.bytes, 0}, {now.out.bytes + 2, 3}};
    struct sockaddr_storage from;
    char more[64];
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = v, .msg_iovlen = 3};
    intptr_t n;

    if (control) {
        message.msg_control = more;
        message.msg_controllen = sizeof more;
    }
    n = recvmsg(now.near, &message, flags);
    if (n >= 0)
        now.out.extra = (intptr_t)(message.msg_namelen << 16 | message.msg_controllen << 8) | message.msg_flags;
    return n;
}

static intptr_t do_recvmsg(void)
{
    return receive_message(0, true);
}

static intptr_t do_recvmsg_peek(void)
{
    return receive_message(MSG_PEEK, false);
}

static intptr_t do_recvmsg_waitall(void)
{
    return receive_message(MSG_WAITALL, false);
}

static intptr_t do_recvmsg_waitall_control(void)
{
    return receive_message(MSG_WAITALL, true);
}

static intptr_t do_recvmsg_nothing(void)
{
    struct msghdr message = {.msg_iovlen = 0};

    return recvmsg(now.near, &message, 0);
}

static intptr_t do_recvmsg_wrong(void)
{
    struct msghdr message = {.msg_iovlen = 1};

    return recvmsg(now.near, &message, 0);
}

/* Two messages: which of them came, and how long they are. */
static intptr_t receive_messages(int flags, struct timespec *timeout)
{
    struct iovec v[2] = {{now.out.bytes, 5}, {now.out.bytes + 5, 5}};
    struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = &v[0], .msg_iovlen = 1}},
                                  {.msg_hdr = {.msg_iov = &v[1], .msg_iovlen = 1}}};
    intptr_t n = recvmmsg(now.near, messages, 2, flags, timeout);

    now.out.extra = (intptr_t)(messages[0].msg_len + 100 * messages[1].msg_len);
    return n;
}

static intptr_t do_recvmmsg_one(void)
{
    return receive_messages(MSG_WAITFORONE, NULL);
}

static intptr_t do_recvmmsg_timeout(void)
{
    return receive_messages(0, &(struct timespec){0, 1});
}

static intptr_t do_recvmmsg_wrong(void)
{
    return receive_messages(0, &(struct timespec){0, -1});
}

static intptr_t do_recvmmsg_dontwait(void)
{
    return receive_messages(MSG_DONTWAIT, NULL);
}

/* To where there is always room. */
static intptr_t do_splice(void)
{
    int sink[2];
    intptr_t n;

    CHECK_EQ(pipe(sink), 0);
    n = splice(now.near, NULL, sink[1], NULL, 5, 0);
    syscall(SYS_close, sink[0]); /* errno stays */
    syscall(SYS_close, sink[1]);
    return n;
}

static intptr_t do_tee(void)
{
    int sink[2];
    intptr_t n;

    CHECK_EQ(pipe(sink), 0);
    n = tee(now.near, sink[1], 5, 0);
    syscall(SYS_close, sink[0]);
    syscall(SYS_close, sink[1]);
    return n;
}

static intptr_t do_eventfd_read(void)
{
    eventfd_t value = 0;
    intptr_t n = eventfd_read(now.near, &value);

    now.out.extra = (intptr_t)value;
    return n;
}

static intptr_t do_write(void)
{
    return write(now.near, "hello", 5);
}

static intptr_t do_write_8(void)
{
    uint64_t value = 1;

    return write(now.near, &value, sizeof value);
}

static intptr_t do_write_nothing(void)
{
    return write(now.near, "", 0);
}

static intptr_t do_write_nowhere(void)
{
    return write(now.near, bad_address, 5);
}

static intptr_t do_write_large(void)
{
    return write(now.near, large, LARGE);
}

static intptr_t write_vector(size_t size)
{
    struct iovec v[4] = {
        {large, 1}, {large + 1, 0}, {large + 1, size / 2}, {large + 1 + size / 2, size - 1 - size / 2}};

    return writev(now.near, v, 4);
}

static intptr_t do_writev(void)
{
    return write_vector(5);
}

static intptr_t do_writev_large(void)
{
    return write_vector(LARGE);
}

static intptr_t do_writev_wrong(void)
{
    return writev(now.near, NULL, minus_one + 3);
}

static intptr_t do_send(void)
{
    return send(now.near, "hello", 5, 0);
}

static intptr_t do_send_large(void)
{
    return send(now.near, large, LARGE, 0);
}

static intptr_t do_send_dontwait(void)
{
    return send(now.near, large, LARGE, MSG_DONTWAIT);
}

static intptr_t do_send_more(void)
{
    return send(now.near, "hello", 5, MSG_NOSIGNAL | MSG_EOR);
}

static intptr_t do_sendto(void)
{
    return sendto(now.near, "hello", 5, 0, (struct sockaddr *)&nowhere, sizeof nowhere);
}

static intptr_t do_sendto_none(void)
{
    return sendto(now.near, "hello", 5, 0, NULL, 0);
}

static intptr_t send_message(size_t size)
{
    struct iovec v[3] = {{large, 1}, {large + 1, 0}, {large + 1, size > 0 ? size - 1 : 0}};
    struct msghdr message = {.msg_iov = v, .msg_iovlen = size > 0 ? 3 : 0};

    return sendmsg(now.near, &message, 0);
}

static intptr_t do_sendmsg(void)
{
    return send_message(5);
}

static intptr_t do_sendmsg_large(void)
{
    return send_message(LARGE);
}

static intptr_t do_sendmsg_nothing(void)
{
    return send_message(0);
}

static intptr_t send_messages(size_t size)
{
    struct iovec v[2] = {{large, size}, {large, 5}};
    struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = &v[0], .msg_iovlen = 1}},
                                  {.msg_hdr = {.msg_iov = &v[1], .msg_iovlen = 1}}};
    intptr_t n = sendmmsg(now.near, messages, 2, 0);

    if (n == 2)
        now.out.extra = (intptr_t)(messages[0].msg_len + messages[1].msg_len);
    return n;
}

static intptr_t do_sendmmsg(void)
{
    return send_messages(5);
}

static intptr_t do_sendmmsg_large(void)
{
    return send_messages(LARGE);
}

static int file_of(size_t size)
{
    char path[] = "/tmp/vthread-posix-XXXXXX";
    int fd = mkstemp(path);

    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static intptr_t send_file(size_t size, size_t count)
{
    int fd = file_of(size);
    off_t at = 1;
    intptr_t n = sendfile(now.near, fd, &at, count);

    if (n < 0 || (size_t)n == count)
        now.out.extra = at;
    syscall(SYS_close, fd);
    return n;
}

static intptr_t do_sendfile(void)
{
    return send_file(6, 5);
}

static intptr_t do_sendfile_to_the_end(void)
{
    return send_file(6, 100);
}

static intptr_t do_sendfile_large(void)
{
    return send_file(LARGE, LARGE - 1);
}

static intptr_t do_splice_out(void)
{
    int source[2];
    intptr_t n;

    CHECK_EQ(pipe(source), 0);
    CHECK_EQ(write(source[1], "hello", 5), 5);
    set_errno(NOT_TOUCHED);
    n = splice(source[0], NULL, now.near, NULL, 5, 0);
    syscall(SYS_close, source[0]);
    syscall(SYS_close, source[1]);
    return n;
}

static intptr_t do_eventfd_write(void)
{
    return eventfd_write(now.near, 3);
}

static intptr_t poll_for(int events)
{
    struct pollfd p[2] = {{.fd = now.near, .events = (short)events}, {.fd = -1}};
    intptr_t n = poll(p, 2, now.wait_ms);

    now.out.extra = p[0].revents;
    return n;
}

static intptr_t do_poll_in(void)
{
    return poll_for(POLLIN);
}

static intptr_t do_poll_in_etc(void)
{
    return poll_for(POLLIN | POLLRDNORM | POLLRDHUP | POLLPRI);
}

static intptr_t do_poll_out(void)
{
    return poll_for(POLLOUT | POLLWRNORM);
}

static intptr_t do_poll_now(void)
{
    struct pollfd p = {.fd = now.near, .events = POLLIN | POLLOUT};
    intptr_t n = ppoll(&p, 1, &(struct timespec){0, 0}, NULL);

    now.out.extra = p.revents;
    return n;
}

static intptr_t select_for(bool read, bool write)
{
    struct timeval timeout = {.tv_usec = now.wait_ms * 1000};
    fd_set sets[3];
    intptr_t n;

    for (int i = 0; i < 3; i++)
        FD_ZERO(&sets[i]);
    if (now.near >= 0) {
        FD_SET(now.near, &sets[0]);
        FD_SET(now.near, &sets[1]);
    }
    n = select(now.near + 1, read ? &sets[0] : NULL, write ? &sets[1] : NULL, &sets[2],
               now.wait_ms < 0 ? NULL : &timeout);
    if (now.near >= 0)
        now.out.extra = (FD_ISSET(now.near, &sets[0]) != 0) + 2 * (FD_ISSET(now.near, &sets[1]) != 0);
    return n;
}

static intptr_t do_select_in(void)
{
    return select_for(true, false);
}

static intptr_t do_select_out(void)
{
    return select_for(false, true);
}

static intptr_t epoll_for(uint32_t events, bool precise)
{
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = events};
    struct timespec timeout = {.tv_nsec = now.wait_ms * 1000000L};
    intptr_t n = epoll_ctl(set, EPOLL_CTL_ADD, now.near, &e);

    e.events = 0;
    if (n == 0)
        n = precise ? epoll_pwait2(set, &e, 1, now.wait_ms < 0 ? NULL : &timeout, NULL)
                    : epoll_wait(set, &e, 1, now.wait_ms);
    now.out.extra = (intptr_t)e.events;
    if (n >= 0)
        close(set);
    else
        syscall(SYS_close, set); /* errno stays */
    return n;
}

static intptr_t do_epoll_in(void)
{
    return epoll_for(EPOLLIN, false);
}

static intptr_t do_epoll_pwait2_in(void)
{
    return epoll_for(EPOLLIN | EPOLLRDHUP, true);
}

static intptr_t do_epoll_out(void)
{
    return epoll_for(EPOLLOUT, false);
}

/* Who listens, or listened. */
static struct sockaddr_in inet_address;
static struct sockaddr_un unix_address = {.sun_family = AF_UNIX};

static intptr_t accept_as(struct sockaddr *from, socklen_t *length, int flags)
{
    int fd = accept4(now.near, from, length, flags);

    if (fd < 0)
        return fd;
    now.out.extra = fcntl(fd, F_GETFL) << 8 | fcntl(fd, F_GETFD);
    syscall(SYS_close, fd);
    return 1;
}

static intptr_t do_accept(void)
{
    int fd = accept(now.near, NULL, NULL);

    if (fd >= 0)
        syscall(SYS_close, fd);
    return fd < 0 ? fd : 1;
}

static intptr_t do_accept4(void)
{
    return accept_as(NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static intptr_t do_accept_address(void)
{
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    intptr_t n = accept_as((struct sockaddr *)&from, &length, 0);

    now.out.left = n == 1 ? (intptr_t)length : 0;
    return n;
}

static intptr_t do_accept_wrong(void)
{
    return accept_as(NULL, NULL, 1);
}

static intptr_t do_connect_inet(void)
{
    return connect(now.near, (struct sockaddr *)&inet_address, sizeof inet_address);
}

static intptr_t do_connect_unix(void)
{
    return connect(now.near, (struct sockaddr *)&unix_address, sizeof unix_address);
}

static intptr_t do_connect_twice(void)
{
    intptr_t first = do_connect_inet();

    now.out.extra = outcome_of(do_connect_inet());
    return first;
}

static intptr_t do_connect_short(void)
{
    return connect(now.near, (struct sockaddr *)&inet_address, 1);
}

static intptr_t do_connect_nowhere(void)
{
    return connect(now.near, bad_address, sizeof inet_address);
}

static intptr_t do_connect_unspecified(void)
{
    struct sockaddr a = {.sa_family = AF_UNSPEC};

    return connect(now.near, &a, sizeof a);
}

struct call {
    const char *name;
    intptr_t (*make)(void);
    unsigned traits;
};

enum {
    WHOLE = 1, /* not content with less than it asks for */
    EIGHT = 2, /* not refused by an eventfd */
    NONE = 4,  /* asks for nothing; what TCP says to that when there is an error is inscrutable */
};

#define CALL(name, traits)                                                                                             \
    {                                                                                                                  \
#name, do_##name, traits                                                                                       \
    }

static const struct call reading[] = {
    CALL(read, 0),
    CALL(read_8, EIGHT),
    CALL(read_nothing, 0),
    CALL(read_nowhere, 0),
    CALL(readv, 0),
    CALL(readv_wrong, 0),
    CALL(readv_none, 0),
    CALL(recv, 0),
    CALL(recv_short, 0),
    CALL(recv_trunc, 0),
    CALL(recv_dontwait, 0),
    CALL(recv_peek, 0),
    CALL(recv_waitall, WHOLE),
    CALL(recv_waitall_dontwait, 0),
    CALL(recv_peek_waitall, WHOLE),
    CALL(recv_urgent, 0),
    CALL(recv_nothing, NONE),
    CALL(recvfrom, 0),
    CALL(recvmsg, 0),
    CALL(recvmsg_peek, 0),
    CALL(recvmsg_waitall, WHOLE),
    CALL(recvmsg_waitall_control, WHOLE),
    CALL(recvmsg_nothing, NONE),
    CALL(recvmsg_wrong, 0),
    CALL(recvmmsg_one, 0),
    CALL(recvmmsg_timeout, 0),
    CALL(recvmmsg_wrong, 0),
    CALL(recvmmsg_dontwait, 0),
    CALL(splice, 0),
    CALL(tee, 0),
    CALL(eventfd_read, EIGHT),
    CALL(poll_in, EIGHT),
    CALL(poll_in_etc, EIGHT),
    CALL(poll_now, EIGHT),
    CALL(select_in, EIGHT),
    CALL(epoll_in, EIGHT),
    CALL(epoll_pwait2_in, EIGHT),
    {NULL, NULL, 0},
};

static const struct call writing[] = {
    CALL(write, 0),
    CALL(write_8, EIGHT),
    CALL(write_nothing, 0),
    CALL(write_nowhere, 0),
    CALL(write_large, WHOLE),
    CALL(writev, 0),
    CALL(writev_large, WHOLE),
    CALL(writev_wrong, 0),
    CALL(send, 0),
    CALL(send_large, WHOLE),
    CALL(send_dontwait, 0),
    CALL(send_more, 0),
    CALL(sendto, 0),
    CALL(sendto_none, 0),
    CALL(sendmsg, 0),
    CALL(sendmsg_large, WHOLE),
    CALL(sendmsg_nothing, 0),
    CALL(sendmmsg, 0),
    CALL(sendmmsg_large, WHOLE),
    CALL(sendfile, 0),
    CALL(sendfile_to_the_end, 0),
    CALL(sendfile_large, WHOLE),
    CALL(splice_out, 0),
    CALL(eventfd_write, EIGHT),
    CALL(poll_out, EIGHT),
    CALL(poll_now, EIGHT),
    CALL(select_out, EIGHT),
    CALL(epoll_out, EIGHT),
    {NULL, NULL, 0},
};

static const struct call connecting[] = {
    CALL(accept, 0),          CALL(accept4, 0),
    CALL(accept_address, 0),  CALL(accept_wrong, 0),
    CALL(connect_inet, 0),    CALL(connect_unix, 0),
    CALL(connect_twice, 0),   CALL(connect_short, 0),
    CALL(connect_nowhere, 0), CALL(connect_unspecified, 0),
    {NULL, NULL, 0},
};

/* ---- situations ---- */

static void put(const char *text)
{
    uint64_t one = 1;

    if (now.place == EVENT)
        CHECK_EQ(write(now.far, &one, sizeof one), sizeof one);
    else
        CHECK_EQ(write(now.far, text, strlen(text)), (ssize_t)strlen(text));
    if (now.place == TCP_PAIR && atomic_load(&now.tid) == 0) { /* it takes a moment to arrive */
        struct pollfd p = {.fd = now.near, .events = POLLIN};

        CHECK_EQ(poll(&p, 1, 10000), 1);
    }
}

static void end(void)
{
    struct pollfd p = {.fd = now.near, .events = POLLRDHUP};

    if (now.place == PIPE_PAIR) {
        CHECK_EQ(close(now.far), 0);
        now.far = -1;
        return;
    }
    CHECK_EQ(shutdown(now.far, SHUT_WR), 0);
    CHECK_EQ(poll(&p, 1, 10000), 1);
}

/* The peer is gone, without having said so. */
static void vanish(void)
{
    struct linger at_once = {.l_onoff = 1};
    struct pollfd p = {.fd = now.near};

    if (now.place == TCP_PAIR)
        CHECK_EQ(setsockopt(now.far, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    CHECK_EQ(close(now.far), 0);
    now.far = -1;
    if (now.place == TCP_PAIR)
        CHECK_EQ(poll(&p, 1, 10000), 1);
}

static void make_nonblocking(int fd)
{
    CHECK_EQ(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static void has_data(void)
{
    put("abcde");
}

static void has_part(void)
{
    put("ab");
}

static void has_rest(void)
{
    put("cde");
}

static void has_part_and_end(void)
{
    put("ab");
    end();
}

static void is_nonblocking(void)
{
    make_nonblocking(now.near);
}

static void is_nonblocking_with_part(void)
{
    make_nonblocking(now.near);
    put("ab");
}

static void has_timeout(void)
{
    set_timeout(now.near, SO_RCVTIMEO, SHORT_MS);
    set_timeout(now.near, SO_SNDTIMEO, SHORT_MS);
}

static void has_timeout_and_part(void)
{
    has_timeout();
    put("ab");
}

static void is_reset_with_data(void)
{
    put("abcde");
    CHECK_EQ(write(now.near, "unread", 6), 6);
    vanish();
}

static void is_shut(void)
{
    CHECK_EQ(shutdown(now.near, SHUT_RDWR), 0);
}

static void is_not_open(void)
{
    CHECK_EQ(close(now.near), 0);
    now.near = HIGH_FD;
}

static void is_no_number(void)
{
    CHECK_EQ(close(now.near), 0);
    now.near = -1;
}

static void instead(int fd)
{
    CHECK(fd >= 0);
    CHECK_EQ(close(now.near), 0);
    now.near = fd;
}

static void is_a_file(void)
{
    char path[] = "/tmp/vthread-posix-XXXXXX";
    int fd = mkstemp(path);

    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(write(fd, "abcde", 5), 5);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    instead(fd);
}

static void is_a_directory(void)
{
    instead(open("/", O_RDONLY));
}

static void is_the_wrong_end(void)
{
    int other = now.near;

    now.near = now.far;
    now.far = other;
}

static void fill(void)
{
    uint64_t most = UINT64_MAX - 1;

    if (now.place == EVENT) {
        CHECK_EQ(write(now.near, &most, sizeof most), sizeof most);
        return;
    }
    make_nonblocking(now.near);
    while (write(now.near, large, 20000) > 0)
        ;
    while (write(now.near, large, 1) > 0)
        ;
    CHECK_EQ(fcntl(now.near, F_SETFL, fcntl(now.near, F_GETFL) & ~O_NONBLOCK), 0);
}

static void is_full_and_nonblocking(void)
{
    fill();
    make_nonblocking(now.near);
}

static void is_full_with_timeout(void)
{
    has_timeout();
    fill();
}

static void drain(void)
{
    static char into[65536];

    make_nonblocking(now.far);
    while (!atomic_load(&now.done))
        if (read(now.far, into, sizeof into) <= 0)
            usleep(100);
}

struct situation {
    const char *name;
    unsigned places;
    void (*prepare)(void);
    void (*act)(void); /* the peer, once the call waits, if it does; NULL: the call does not wait for ever */
    unsigned traits;   /* only for calls that have these */
};

static const struct situation to_read[] = {
    {"data", ALL, has_data, NULL, 0},
    {"data later", ALL & ~(1 << EVENT), NULL, has_data, 0},
    {"count later", 1 << EVENT, NULL, has_data, EIGHT},
    {"the rest later", STREAMS, has_part, has_rest, WHOLE},
    {"end", CONNECTED, end, NULL, 0},
    {"end later", CONNECTED, NULL, end, 0},
    {"part and end", CONNECTED, has_part_and_end, NULL, 0},
    {"part, end later", CONNECTED, has_part, end, 0},
    {"reset later", 1 << TCP_PAIR, NULL, vanish, 0},
    {"non-blocking", ALL, is_nonblocking, NULL, 0},
    {"non-blocking, part", ALL, is_nonblocking_with_part, NULL, 0},
    {"timeout", SOCKETS, has_timeout, NULL, 0},
    {"timeout, part", SOCKETS, has_timeout_and_part, NULL, 0},
    {"reset", STREAMS, is_reset_with_data, NULL, 0},
    {"shut", SOCKETS & ~(1 << DATAGRAM_PAIR), is_shut, NULL, 0},
    {"not open", 1 << STREAM_PAIR, is_not_open, NULL, 0},
    {"no number", 1 << STREAM_PAIR, is_no_number, NULL, 0},
    {"file", 1 << STREAM_PAIR, is_a_file, NULL, 0},
    {"directory", 1 << STREAM_PAIR, is_a_directory, NULL, 0},
    {"wrong end", 1 << PIPE_PAIR, is_the_wrong_end, NULL, 0},
    {NULL, 0, NULL, NULL, 0},
};

static const struct situation to_write[] = {
    {"room", ALL, NULL, drain, 0},
    {"full", ALL &STAYS_FULL & ~(1 << EVENT), fill, drain, 0},
    {"full count", 1 << EVENT, fill, drain, EIGHT},
    {"non-blocking", ALL, is_nonblocking, NULL, 0},
    {"full, non-blocking", ALL &STAYS_FULL, is_full_and_nonblocking, NULL, 0},
    {"full, timeout", SOCKETS &STAYS_FULL, is_full_with_timeout, NULL, 0},
    {"timeout", SOCKETS, has_timeout, NULL, 0},
    {"nobody", ALL & ~(1 << EVENT), vanish, NULL, 0},
    {"full, then nobody", CONNECTED &STAYS_FULL, fill, vanish, 0},
    {"nobody later", CONNECTED, NULL, vanish, WHOLE},
    {"shut", SOCKETS, is_shut, NULL, 0},
    {"not open", 1 << STREAM_PAIR, is_not_open, NULL, 0},
    {"no number", 1 << STREAM_PAIR, is_no_number, NULL, 0},
    {"file", 1 << STREAM_PAIR, is_a_file, NULL, 0},
    {"directory", 1 << STREAM_PAIR, is_a_directory, NULL, 0},
    {"wrong end", 1 << PIPE_PAIR, is_the_wrong_end, NULL, 0},
    {NULL, 0, NULL, NULL, 0},
};

static int unix_listener(void)
{
    static int serial;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    unix_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(unix_address.sun_path + 1, sizeof unix_address.sun_path - 1, "same-%d-%d", (int)getpid(), serial++);
    CHECK_EQ(bind(fd, (struct sockaddr *)&unix_address, sizeof unix_address), 0);
    CHECK_EQ(listen(fd, 0), 0);
    return fd;
}

static int client_of_listener(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)!connect(fd, (struct sockaddr *)&inet_address, sizeof inet_address); /* it may listen no more */
    return fd;
}

static void set_far(int fd)
{
    CHECK(fd >= 0);
    CHECK_EQ(close(now.far), 0);
    now.far = fd;
}

static void is_a_listener(void)
{
    instead(plain_listener(&inet_address));
}

static void calls_up(void)
{
    set_far(client_of_listener());
}

static void is_a_listener_with_caller(void)
{
    is_a_listener();
    calls_up();
}

static void is_a_nonblocking_listener(void)
{
    is_a_listener();
    make_nonblocking(now.near);
}

static void is_a_listener_with_timeout(void)
{
    is_a_listener();
    has_timeout();
}

static void is_a_unix_listener(void)
{
    instead(unix_listener());
}

static void unix_calls_up(void)
{
    set_far(socket(AF_UNIX, SOCK_STREAM, 0));
    (void)!connect(now.far, (struct sockaddr *)&unix_address, sizeof unix_address);
}

static void is_new_with_listener(void)
{
    set_far(plain_listener(&inet_address));
    instead(socket(AF_INET, SOCK_STREAM, 0));
}

static void is_new_with_nobody(void)
{
    is_new_with_listener();
    CHECK_EQ(close(now.far), 0);
    now.far = -1;
}

static void is_datagram(void)
{
    set_far(plain_listener(&inet_address));
    instead(socket(AF_INET, SOCK_DGRAM, 0));
}

static void is_new_of_unix(void)
{
    set_far(unix_listener());
    instead(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int filler = -1;

static void is_new_of_unix_and_full(void)
{
    is_new_of_unix();
    if (filler >= 0)
        CHECK_EQ(close(filler), 0);
    filler = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(connect(filler, (struct sockaddr *)&unix_address, sizeof unix_address), 0);
}

static void answers(void)
{
    CHECK_EQ(close(accept(now.far, NULL, NULL)), 0);
}

static void is_full_and_new_with_timeout(void)
{
    is_new_of_unix_and_full();
    has_timeout();
}

static void is_full_and_new_and_nonblocking(void)
{
    is_new_of_unix_and_full();
    make_nonblocking(now.near);
}

static const struct situation to_connect[] = {
    {"listener with a caller", 1 << STREAM_PAIR, is_a_listener_with_caller, NULL, 0},
    {"listener, caller later", 1 << STREAM_PAIR, is_a_listener, calls_up, 0},
    {"unix listener, caller later", 1 << STREAM_PAIR, is_a_unix_listener, unix_calls_up, 0},
    {"non-blocking listener", 1 << STREAM_PAIR, is_a_nonblocking_listener, NULL, 0},
    {"listener with timeout", 1 << STREAM_PAIR, is_a_listener_with_timeout, NULL, 0},
    {"connected, or no socket", 1 << STREAM_PAIR | 1 << DATAGRAM_PAIR | 1 << PIPE_PAIR | 1 << EVENT, NULL, NULL, 0},
    {"new", 1 << STREAM_PAIR, is_new_with_listener, NULL, 0},
    {"nobody listens", 1 << STREAM_PAIR, is_new_with_nobody, NULL, 0},
    {"datagrams", 1 << STREAM_PAIR, is_datagram, NULL, 0},
    {"unix", 1 << STREAM_PAIR, is_new_of_unix, NULL, 0},
    {"unix, full", 1 << STREAM_PAIR, is_new_of_unix_and_full, answers, 0},
    {"unix, full, timeout", 1 << STREAM_PAIR, is_full_and_new_with_timeout, NULL, 0},
    {"unix, full, non-blocking", 1 << STREAM_PAIR, is_full_and_new_and_nonblocking, NULL, 0},
    {"not open", 1 << STREAM_PAIR, is_not_open, NULL, 0},
    {"no number", 1 << STREAM_PAIR, is_no_number, NULL, 0},
    {"file", 1 << STREAM_PAIR, is_a_file, NULL, 0},
    {NULL, 0, NULL, NULL, 0},
};

/* ---- both ways ---- */

static void set_scene(enum place place, bool writes)
{
    int fds[2];

    switch (place) {
    case STREAM_PAIR:
        make_pair(STREAM, fds);
        break;
    case TCP_PAIR:
        make_pair(TCP, fds);
        break;
    case PACKET_PAIR:
        CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
        break;
    case DATAGRAM_PAIR:
        CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
        break;
    case PIPE_PAIR:
        make_pair(PIPE, fds);
        break;
    default:
        fds[0] = eventfd(0, 0);
        fds[1] = dup(fds[0]);
    }
    memset(&now, 0, sizeof now);
    now.place = place;
    now.near = fds[writes];
    now.far = fds[!writes];
    if (writes && (STREAMS & 1 << place))
        set_small_buffer(now.near);
}

static void *make_call(void *arg)
{
    intptr_t (*make)(void) = ((const struct call *)arg)->make;

    atomic_store(&now.tid, (int)syscall(SYS_gettid));
    set_errno(NOT_TOUCHED);
    now.out.result = make();
    now.out.error = get_errno();
    atomic_store(&now.done, true);
    return NULL;
}

static bool platform_waits(int tid)
{
    char path[64];
    char text[512];
    const char *state;
    FILE *file;
    size_t n;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    file = fopen(path, "r");
    if (file == NULL)
        return false;
    n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    state = strrchr(text, ')');
    return state != NULL && state[2] == 'S';
}

static bool await_wait_or_end(vthread_t t, bool is_virtual)
{
    while (!atomic_load(&now.done)) {
        vthread_public_state_t s = vthread_public_state(t);

        if (is_virtual ? s == VTHREAD_PUBLIC_WAITING || s == VTHREAD_PUBLIC_TIMED_WAITING
                       : atomic_load(&now.tid) != 0 && platform_waits(atomic_load(&now.tid)))
            return !atomic_load(&now.done);
        usleep(100);
    }
    return false;
}

static void play(const struct call *call, const struct situation *situation, enum place place, bool writes,
                 bool is_virtual)
{
    vthread_attr_t attr = {.kind = is_virtual ? VTHREAD_KIND_VIRTUAL : VTHREAD_KIND_PLATFORM};
    int left = 0;
    vthread_t t;

    set_scene(place, writes);
    if (situation->prepare != NULL)
        situation->prepare();
    now.wait_ms = situation->act != NULL ? -1 : SHORT_MS;
    CHECK_EQ(vthread_create(&t, &attr, make_call, (void *)(uintptr_t)call), 0);
    if (situation->act != NULL) {
        now.out.waited = await_wait_or_end(t, is_virtual);
        situation->act();
    }
    join(t);
    if (situation->act == vanish)
        now.out.extra &= ~(POLLOUT | POLLWRNORM); /* with the peer's queue room comes, a moment later */
    if (now.near >= 0 && !writes && (situation->act == NULL || now.out.waited) &&
        ioctl(now.near, FIONREAD, &left) == 0) /* else it is still coming, perhaps */
        now.out.left = left;
    if (writes && now.out.result > 0 && now.out.result < LARGE && now.out.result > 8)
        now.out.result = PARTLY; /* how much there is room for is the kernel's affair */
    if (now.near >= 0 && now.near != HIGH_FD)
        CHECK_EQ(close(now.near), 0);
    if (now.far >= 0)
        CHECK_EQ(close(now.far), 0);
}

static int differences;

static char playing[128];

static void tell_what_hangs(int signal)
{
    (void)signal;
    (void)!syscall(SYS_write, STDERR_FILENO, "it hangs: ", 10);
    (void)!syscall(SYS_write, STDERR_FILENO, playing, strlen(playing));
    _exit(1);
}

static void compare(const struct call *call, const struct situation *situation, enum place place, bool writes)
{
    __typeof__(now.out) libc;

    test_now = playing;
    snprintf(playing, sizeof playing, "%s, %s, %s", place_names[place], situation->name, call->name);
    play(call, situation, place, writes, false);
    libc = now.out;
    play(call, situation, place, writes, true);
    if (memcmp(&libc, &now.out, sizeof libc) == 0)
        return;
    differences++;
    fprintf(stderr,
            "%s, %s, %s: %ld errno %ld waited %ld extra %#lx left %ld '%.5s', and not %ld errno %ld waited %ld extra "
            "%#lx left "
            "%ld '%.5s'\n",
            place_names[place], situation->name, call->name, (long)now.out.result, (long)now.out.error,
            (long)now.out.waited, (long)now.out.extra, (long)now.out.left, now.out.bytes, (long)libc.result,
            (long)libc.error, (long)libc.waited, (long)libc.extra, (long)libc.left, libc.bytes);
}

static int compare_all(const struct call *calls, const struct situation *situations, bool writes)
{
    int n = 0;

    for (const struct situation *s = situations; s->name != NULL; s++)
        for (const struct call *c = calls; c->name != NULL; c++)
            for (enum place place = 0; place < PLACES; place++)
                if ((s->places & 1 << place) && (s->traits & ~c->traits) == 0 &&
                    !(place == TCP_PAIR && (c->traits & NONE))) {
                    compare(c, s, place, writes);
                    n++;
                }
    return n;
}

int main(void)
{
    vthread_runtime_params_t params = {.parallelism = 2};
    int n;

    signal(SIGALRM, tell_what_hangs);
    alarm(100);
    CHECK(vthread_has("posix"));
    signal(SIGPIPE, SIG_IGN); /* virtual threads get none */
    CHECK_EQ(vthread_runtime_configure(&params), 0);
    n = compare_all(reading, to_read, false);
    n += compare_all(writing, to_write, true);
    n += compare_all(connecting, to_connect, true);
    CHECK_EQ(vthread_runtime_shutdown(vthread_after_ms(10000)), 0);
    printf("%d calls compared, %d differ\n", n, differences);
    return differences > 0;
}
