/* SPDX-License-Identifier: MIT */
/* poll, select, epoll_wait; accept and connect; sleeping. */
#include "posix_test.h"

#include <sys/time.h>

/* ---- poll and its kin: every way to wait for one descriptor, or for one of several ---- */

enum way { POLL, PPOLL, SELECT, PSELECT, EPOLL, EPOLL_PWAIT, WAYS };

static struct {
    enum way way;
    int fds[3];
    int n;
    int events;
    int timeout_ms;
} job;

/* Which descriptors are ready, as a mask; 0 none in time; -errno. */
static intptr_t wait_by_poll(void)
{
    struct timespec timeout = {.tv_sec = job.timeout_ms / 1000, .tv_nsec = job.timeout_ms % 1000 * 1000000L};
    struct pollfd p[4];
    intptr_t ready = 0;
    int n;

    for (int i = 0; i < job.n; i++)
        p[i] = (struct pollfd){.fd = job.fds[i], .events = (short)job.events};
    p[job.n] = (struct pollfd){.fd = -1, .events = POLLIN};
    if (job.way == POLL)
        n = poll(p, (nfds_t)job.n + 1, job.timeout_ms);
    else
        n = ppoll(p, (nfds_t)job.n + 1, job.timeout_ms < 0 ? NULL : &timeout, NULL);
    if (n < 0)
        return -get_errno();
    for (int i = 0; i < job.n; i++)
        if (p[i].revents != 0)
            ready |= 1 << i;
    CHECK_EQ(n, __builtin_popcount((unsigned)ready));
    return ready;
}

static intptr_t wait_by_select(void)
{
    struct timespec timespec = {.tv_sec = job.timeout_ms / 1000, .tv_nsec = job.timeout_ms % 1000 * 1000000L};
    struct timeval timeval = {.tv_sec = job.timeout_ms / 1000, .tv_usec = job.timeout_ms % 1000 * 1000};
    fd_set sets[2];
    intptr_t ready = 0;
    int last = 0;
    int n;

    FD_ZERO(&sets[0]);
    FD_ZERO(&sets[1]);
    for (int i = 0; i < job.n; i++) {
        if (job.events & POLLIN)
            FD_SET(job.fds[i], &sets[0]);
        if (job.events & POLLOUT)
            FD_SET(job.fds[i], &sets[1]);
        last = job.fds[i] > last ? job.fds[i] : last;
    }
    if (job.way == SELECT)
        n = select(last + 1, &sets[0], &sets[1], NULL, job.timeout_ms < 0 ? NULL : &timeval);
    else
        n = pselect(last + 1, &sets[0], &sets[1], NULL, job.timeout_ms < 0 ? NULL : &timespec, NULL);
    if (n < 0)
        return -get_errno();
    if (n == 0 && job.way == SELECT)
        CHECK(timeval.tv_sec == 0 && timeval.tv_usec == 0); /* Linux says what was left */
    for (int i = 0; i < job.n; i++)
        if (FD_ISSET(job.fds[i], &sets[0]) || FD_ISSET(job.fds[i], &sets[1]))
            ready |= 1 << i;
    return ready;
}

static intptr_t wait_by_epoll(void)
{
    int set = epoll_create1(0);
    struct epoll_event found[4];
    intptr_t ready = 0;
    int n;

    for (int i = 0; i < job.n; i++) {
        struct epoll_event e = {.events = (uint32_t)job.events, .data.u32 = (uint32_t)i};

        CHECK_EQ(epoll_ctl(set, EPOLL_CTL_ADD, job.fds[i], &e), 0);
    }
    n = job.way == EPOLL ? epoll_wait(set, found, 4, job.timeout_ms) : epoll_pwait(set, found, 4, job.timeout_ms, NULL);
    if (n < 0)
        ready = -get_errno();
    for (int i = 0; i < n; i++)
        ready |= 1 << found[i].data.u32;
    CHECK_EQ(close(set), 0);
    return ready;
}

static void *wait_somehow(void *arg)
{
    (void)arg;
    if (job.way <= PPOLL)
        return (void *)wait_by_poll();
    return (void *)(job.way <= PSELECT ? wait_by_select() : wait_by_epoll());
}

static void test_polls(void)
{
    int a[2];
    int b[2];
    char byte;

    make_pair(STREAM, a);
    make_pair(PIPE, b);
    for (job.way = 0; job.way < WAYS; job.way++)
        for (job.n = 1; job.n <= 2; job.n++) {
            vthread_t t;

            job.fds[0] = a[0];
            job.fds[1] = b[0];
            job.events = POLLIN;
            job.timeout_ms = -1;
            t = spawn(wait_somehow, 0);
            await_parked(t);
            CHECK_EQ(write(job.n == 1 ? a[1] : b[1], "x", 1), 1);
            CHECK_EQ(join(t), job.n);                      /* the last one's bit */
            CHECK_EQ((intptr_t)wait_somehow(NULL), job.n); /* it is still there */
            CHECK_EQ(read(job.n == 1 ? a[0] : b[0], &byte, 1), 1);
            job.timeout_ms = 0;
            CHECK_EQ((intptr_t)wait_somehow(NULL), 0);
            job.timeout_ms = 30;
            int64_t began_ns = vthread_now_ns();
            CHECK_EQ(join(spawn(wait_somehow, 0)), 0);
            CHECK(vthread_now_ns() - began_ns >= 30 * MS);
        }
    plain_close_pair(a);
    plain_close_pair(b);
}

static void test_writable(void)
{
    static char much[65536];
    int fds[2];

    make_pair(STREAM, fds);
    for (job.way = 0; job.way < WAYS; job.way++) {
        vthread_t t;

        while (send(fds[1], much, sizeof much, MSG_DONTWAIT) > 0)
            ;
        job.n = 1;
        job.fds[0] = fds[1];
        job.events = POLLOUT;
        job.timeout_ms = -1;
        t = spawn(wait_somehow, 0);
        await_parked(t);
        while (recv(fds[0], much, sizeof much, MSG_DONTWAIT) > 0)
            ;
        CHECK_EQ(join(t), 1);
    }
    plain_close_pair(fds);
}

static void *wait_in_vain(void *arg)
{
    (void)arg;
    CHECK_EQ((intptr_t)wait_somehow(NULL), -ECANCELED);
    CHECK_EQ((intptr_t)wait_somehow(NULL), -ECANCELED);
    CHECK(vthread_interrupted());
    return NULL;
}

static void test_interrupted_polls(void)
{
    int fds[2];

    make_pair(STREAM, fds);
    for (job.way = 0; job.way < WAYS; job.way++)
        for (job.n = 1; job.n <= 2; job.n++) {
            vthread_t t;

            job.fds[0] = job.n == 1 ? fds[0] : fds[1];
            job.fds[1] = fds[0];
            job.events = POLLIN;
            job.timeout_ms = job.n == 1 ? -1 : 100000;
            t = spawn(wait_in_vain, 0);
            await_parked(t);
            CHECK_EQ(vthread_interrupt(t), 0);
            join(t);
        }
    plain_close_pair(fds);
}

static void *wait_until_closed(void *arg)
{
    (void)arg;
    CHECK_EQ((intptr_t)wait_somehow(NULL), -ECANCELED);
    CHECK(!vthread_is_interrupted(vthread_self()));
    return NULL;
}

/* Any of several, whatever has its number then. */
static void test_closed_polls(void)
{
    int other = open("/dev/null", O_RDONLY);
    int fds[2];

    for (job.way = 0; job.way <= PSELECT; job.way++)
        for (job.n = 1; job.n <= 2; job.n++) {
            vthread_t t;

            make_pair(STREAM, fds);
            job.fds[0] = job.n == 1 ? fds[0] : fds[1];
            job.fds[1] = fds[0];
            job.events = POLLIN;
            job.timeout_ms = -1;
            t = spawn(wait_until_closed, 0);
            await_parked(t);
            CHECK_EQ(dup2(other, fds[0]), fds[0]);
            join(t);
            plain_close_pair(fds);
        }
    CHECK_EQ(close(other), 0);
}

/* Urgent data only an epoll set can watch, for which there is no number: the deadline holds, and what comes is seen. */
static void *poll_in_vain(void *arg)
{
    struct pollfd p[2] = {{.fd = (int)(intptr_t)arg, .events = POLLPRI}, {.fd = (int)(intptr_t)arg, .events = POLLERR}};
    struct timespec bad[] = {{.tv_nsec = 1000000000}, {.tv_nsec = -1}, {.tv_sec = -1}};

    for (int i = 0; i < 3; i++)
        FAILS(ppoll(p, 2, &bad[i], NULL), EINVAL);
    CHECK_EQ(poll(p, 2, 50), 0);
    return NULL;
}

static void *poll_urgent(void *arg)
{
    struct pollfd p[2] = {{.fd = (int)(intptr_t)arg, .events = POLLPRI}, {.fd = (int)(intptr_t)arg, .events = POLLERR}};

    CHECK_EQ(poll(p, 2, -1), 1);
    return (void *)(intptr_t)p[0].revents;
}

static void test_polls_without_a_descriptor(void)
{
    struct rlimit old;
    struct rlimit few = {.rlim_cur = 3}; /* poll takes as many entries */
    int fds[2];
    vthread_t t;
    char byte;

    make_pair(TCP, fds);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(vthread_read(fds[0], &byte, 1), 1); /* the runtime has its own descriptors now */
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    few.rlim_max = old.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    join(spawn(poll_in_vain, fds[0]));
    t = spawn(poll_urgent, fds[0]);
    await_parked(t);
    CHECK_EQ(send(fds[1], "!", 1, MSG_OOB), 1);
    CHECK_EQ(join(t), POLLPRI);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    plain_close_pair(fds);
}

static void *poll_odd(void *arg)
{
    struct pollfd p[3] = {{.fd = (int)(intptr_t)arg, .events = POLLRDHUP},
                          {.fd = (int)(intptr_t)arg, .events = POLLPRI}, /* the same again */
                          {.fd = -5, .events = POLLIN}};

    CHECK_EQ(poll(p, 3, 60000), 1);
    CHECK_EQ(p[0].revents, POLLRDHUP);
    CHECK_EQ(p[1].revents, 0);
    CHECK_EQ(p[2].revents, 0);
    return NULL;
}

static void *poll_for_the_end(void *arg)
{
    struct pollfd p = {.fd = (int)(intptr_t)arg, .events = 0};

    CHECK_EQ(poll(&p, 1, -1), 1);
    CHECK_EQ(p.revents, POLLHUP);
    return NULL;
}

static void test_odd_polls(void)
{
    struct pollfd p = {.fd = 12345, .events = POLLIN};
    int fds[2];
    vthread_t t;

    CHECK_EQ(poll(&p, 1, -1), 1);
    CHECK_EQ(p.revents, POLLNVAL);
    CHECK_EQ(poll(NULL, 0, 10), 0);
    FAILS(epoll_wait(12345, (struct epoll_event[1]){{0}}, 1, 10), EBADF);
    make_pair(TCP, fds);
    t = spawn(poll_odd, fds[0]);
    await_parked(t);
    CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
    join(t);
    t = spawn(poll_for_the_end, fds[0]);
    await_parked(t);
    CHECK_EQ(shutdown(fds[0], SHUT_RDWR), 0);
    join(t);
    plain_close_pair(fds);
}

/* ---- accept and connect ---- */

static void *accept_one(void *arg)
{
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    int fd = accept4((int)(intptr_t)arg, (struct sockaddr *)&from, &length, SOCK_CLOEXEC);

    if (fd < 0)
        return (void *)(intptr_t)-get_errno();
    CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(ntohl(from.sin_addr.s_addr), INADDR_LOOPBACK);
    return (void *)(intptr_t)fd;
}

static void *connect_to(void *arg)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)(intptr_t)arg)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = get_errno();

        CHECK_EQ(close(fd), 0);
        return (void *)(intptr_t)-error;
    }
    CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    return (void *)(intptr_t)fd;
}

static void test_accept(void)
{
    enum { MANY = 20 };
    struct sockaddr_in address;
    int listener = plain_listener(&address);
    vthread_t t[MANY];
    int fds[MANY];

    for (int i = 0; i < MANY; i++)
        t[i] = spawn(accept_one, listener);
    for (int i = 0; i < MANY; i++)
        await_parked(t[i]);
    for (int i = 0; i < MANY; i++) {
        fds[i] = (int)(intptr_t)connect_to((void *)(intptr_t)ntohs(address.sin_port));
        CHECK(fds[i] >= 0);
    }
    for (int i = 0; i < MANY; i++) {
        int fd = (int)join(t[i]);

        CHECK(fd >= 0);
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(close(fds[i]), 0);
    }
    set_timeout(listener, SO_RCVTIMEO, 30);
    CHECK_EQ(join(spawn(accept_one, listener)), -EAGAIN);
    CHECK_EQ(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    FAILS(accept(listener, NULL, NULL), EAGAIN);
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(join(spawn(connect_to, ntohs(address.sin_port))), -ECONNREFUSED);
}

static void *connect_unix(void *arg)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    intptr_t result;

    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/vthread-posix-%d", (int)getpid());
    if (arg != NULL)
        set_timeout(fd, SO_SNDTIMEO, 40);
    result = outcome_of(connect(fd, (struct sockaddr *)&address, sizeof address));
    CHECK_EQ(close(fd), 0);
    return (void *)result;
}

static int connecting;

static void *connect_until_closed(void *arg)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/vthread-posix-%d", (int)getpid());
    FAILS(connect(connecting, (struct sockaddr *)&address, sizeof address), ECANCELED);
    return arg;
}

/* A listener whose backlog is full: connect waits for room; and not on, when the number is another socket's. */
static void test_full_backlog(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    int filler = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un peer;
    socklen_t length = sizeof peer;
    vthread_t t;
    int stranger;
    int fd;

    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/vthread-posix-%d", (int)getpid());
    unlink(address.sun_path);
    CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_EQ(listen(listener, 0), 0);
    CHECK_EQ(connect(filler, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_EQ(join(spawn(connect_unix, 1)), -EAGAIN);
    connecting = socket(AF_UNIX, SOCK_STREAM, 0);
    t = spawn(connect_until_closed, 0);
    await_parked(t);
    stranger = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(dup2(stranger, connecting), connecting);
    fd = accept(listener, NULL, NULL); /* there is room now */
    join(t);
    FAILS(getpeername(stranger, (struct sockaddr *)&peer, &length), ENOTCONN);
    plain_close_pair((int[]){stranger, connecting});
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(close(filler), 0);
    filler = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_EQ(connect(filler, (struct sockaddr *)&address, sizeof address), 0);
    t = spawn(connect_unix, 0);
    await_parked(t);
    fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(join(t), 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(close(filler), 0);
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(unlink(address.sun_path), 0);
}

/* As client libraries do it: a non-blocking connect, poll, SO_ERROR, and then blocking. */
static void test_nonblocking_connect(void)
{
    struct sockaddr_in address;
    int listener = plain_listener(&address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = -1;
    socklen_t length = sizeof error;

    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        CHECK_EQ(get_errno(), EINPROGRESS);
    CHECK_EQ(poll(&p, 1, 10000), 1);
    CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
    CHECK_EQ(error, 0);
    CHECK_EQ(fcntl(fd, F_SETFL, 0), 0);
    (void)!connect(fd, (struct sockaddr *)&address, sizeof address); /* to Linux this one is the same attempt */
    FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), EISCONN);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(close(listener), 0);
}

/* ---- sleeping ---- */

enum { SLEEP, USLEEP, NANOSLEEP, CLOCK, CLOCK_ABSOLUTE, SLEEPS };

/* For a while, or for ever so long. */
static intptr_t sleep_somehow(int how, bool is_long)
{
    struct timespec ts = {.tv_sec = is_long ? 1000 : 0, .tv_nsec = is_long ? 0 : 20000000};
    struct timespec left = {0, 0};
    intptr_t result;

    switch (how) {
    case SLEEP:
        return sleep(is_long ? 1000 : 1) > 0 ? -get_errno() : 0;
    case USLEEP:
        return outcome_of(usleep(is_long ? 1000000000 : 20000));
    case NANOSLEEP:
        result = outcome_of(nanosleep(&ts, &left));
        break;
    case CLOCK:
        result = -clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &left);
        break;
    default:
        clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_sec += is_long ? 1000 : 1;
        return -clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL);
    }
    if (is_long)
        CHECK(left.tv_sec > 0 && left.tv_sec < 1000);
    return result;
}

static void *sleep_long(void *arg)
{
    CHECK_EQ(sleep_somehow((int)(intptr_t)arg, true), -ECANCELED);
    CHECK_EQ(sleep_somehow((int)(intptr_t)arg, true), -ECANCELED);
    CHECK(vthread_interrupted());
    return NULL;
}

static void *sleep_shortly(void *arg)
{
    int64_t began_ns = vthread_now_ns();

    CHECK_EQ(sleep_somehow((int)(intptr_t)arg, false), 0);
    CHECK(vthread_now_ns() - began_ns >= 19 * MS);
    return NULL;
}

static void test_sleeps(void)
{
    vthread_t t[SLEEPS];
    struct timespec bad = {.tv_sec = 0, .tv_nsec = 2000000000};

    for (int i = 0; i < SLEEPS; i++) {
        t[i] = spawn(sleep_long, i);
        await_parked(t[i]);
        CHECK_EQ(vthread_interrupt(t[i]), 0);
        join(t[i]);
        t[i] = spawn(sleep_shortly, i);
    }
    for (int i = 0; i < SLEEPS; i++)
        join(t[i]);
    FAILS(nanosleep(&bad, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL), EINVAL);
}

enum { SELECT_MOST = 1 << 16 }; /* more than any process's table of descriptors here */

static void *select_far(void *arg)
{
    static fd_mask set[SELECT_MOST / NFDBITS];
    int fd = (int)(intptr_t)arg;

    memset(set, 0, sizeof set);
    set[fd / NFDBITS] = (fd_mask)1 << fd % NFDBITS;
    set[SELECT_MOST / NFDBITS - 1] = -1;
    return (void *)outcome_of(select(SELECT_MOST, (fd_set *)(void *)set, NULL, NULL, NULL));
}

/* A number of descriptors that is too high, and what is there of the set is rubbish: the kernel does not look at it. */
static void test_select_beyond_the_table(void)
{
    vthread_t t;
    int fds[2];

    make_pair(PIPE, fds);
    t = spawn(select_far, fds[0]);
    await_parked(t);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(join(t), 1);
    plain_close_pair(fds);
}

static atomic_int turns;

static void *take_turns(void *arg)
{
    int me = (int)(intptr_t)arg;

    while (atomic_load(&turns) < 100) {
        if (atomic_load(&turns) % 2 == me)
            atomic_fetch_add(&turns, 1);
        CHECK_EQ(sched_yield(), 0);
    }
    return NULL;
}

/* On one carrier neither gets on unless the other yields to it. */
static void test_yield(void)
{
    vthread_t a;
    vthread_t b;

    atomic_store(&turns, 0);
    a = spawn(take_turns, 0);
    b = spawn(take_turns, 1);
    join(a);
    join(b);
}

int main(void)
{
    static const struct test tests[] = {
        {"polls", test_polls, false},
        {"writable", test_writable, false},
        {"interrupted polls", test_interrupted_polls, false},
        {"closed polls", test_closed_polls, false},
        {"polls without a descriptor", test_polls_without_a_descriptor, false},
        {"odd polls", test_odd_polls, false},
        {"select beyond the table", test_select_beyond_the_table, false},
        {"accept", test_accept, false},
        {"full backlog", test_full_backlog, false},
        {"non-blocking connect", test_nonblocking_connect, false},
        {"sleeps", test_sleeps, false},
        {"yield", test_yield, false},
        {NULL, NULL, false},
    };

    CHECK(vthread_has("posix"));
    return run_tests(tests);
}
