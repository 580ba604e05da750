/* SPDX-License-Identifier: MIT */
/* vthread_poll: poll(2)'s meaning, and what ends it. */
#include "net_test.h"

#include <sys/eventfd.h>

enum { ENTRIES_MAX = 300 };

/* A call in a thread of its own; the array is its frame's. */
struct call {
    struct pollfd fds[ENTRIES_MAX];
    nfds_t count;
    int64_t deadline_ns;
    int revents[ENTRIES_MAX]; /* found */
};

static void *do_poll(void *arg)
{
    struct call *call = arg;
    struct pollfd fds[ENTRIES_MAX];
    int n;

    memcpy(fds, call->fds, call->count * sizeof *fds);
    n = vthread_poll_until(fds, call->count, call->deadline_ns);
    for (nfds_t i = 0; i < call->count; i++)
        call->revents[i] = fds[i].revents;
    return (void *)(intptr_t)n;
}

static vthread_t start(struct call *call, bool platform)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    call->deadline_ns = VTHREAD_FOREVER;
    CHECK_EQ(vthread_create(&t, &attr, do_poll, call), 0);
    await_parked(t);
    return t;
}

static void stream_pair(int fds[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
}

static void pipe_pair(int fds[2])
{
    CHECK_EQ(pipe(fds), 0);
}

/* What vthread_poll says, at once and after waiting, is what poll(2) says. */
static void check_like_system(int fd, int events, int expected)
{
    struct pollfd ours = {fd, (short)events, 0x55};
    struct pollfd theirs = {fd, (short)events, 0};
    int n = poll(&theirs, 1, 0);

    CHECK_EQ(vthread_poll(&ours, 1), n);
    CHECK_EQ(ours.revents, theirs.revents);
    CHECK_EQ(ours.revents, expected);
}

static void test_meaning(void)
{
    struct sockaddr_in nowhere = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char path[] = "/tmp/vthread-test-XXXXXX";
    int file = mkstemp(path);
    int null = open("/dev/null", O_RDWR);
    int pipes[2];
    int fds[2];

    unlink(path);
    CHECK(file >= 0 && null >= 0);
    check_like_system(file, POLLIN | POLLOUT, POLLIN | POLLOUT);
    check_like_system(null, POLLIN | POLLOUT, POLLIN | POLLOUT);
    check_like_system(999, POLLIN, POLLNVAL);
    check_like_system(999, 0, POLLNVAL);

    CHECK_EQ(pipe(pipes), 0);
    check_like_system(pipes[1], POLLOUT, POLLOUT);
    CHECK_EQ(vthread_close(pipes[1]), 0);
    check_like_system(pipes[0], POLLIN, POLLHUP);
    check_like_system(pipes[0], 0, POLLHUP);
    CHECK_EQ(vthread_close(pipes[0]), 0);
    CHECK_EQ(pipe(pipes), 0);
    CHECK_EQ(vthread_close(pipes[0]), 0);
    check_like_system(pipes[1], POLLOUT, POLLOUT | POLLERR);
    CHECK_EQ(vthread_close(pipes[1]), 0);

    tcp_pair(fds);
    check_like_system(fds[0], POLLOUT | POLLIN, POLLOUT);
    CHECK_EQ(vthread_shutdown(fds[1], SHUT_WR), 0);
    CHECK_EQ(vthread_wait_fd(fds[0], POLLIN), POLLIN);
    check_like_system(fds[0], POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
    CHECK_EQ(vthread_shutdown(fds[0], SHUT_WR), 0);
    CHECK_EQ(vthread_wait_fd(fds[0], POLLIN) & POLLIN, POLLIN);
    check_like_system(fds[0], 0, POLLHUP);
    close_pair(fds);

    /* Not connected. */
    fds[0] = vthread_socket(AF_INET, SOCK_STREAM, 0);
    check_like_system(fds[0], POLLIN | POLLOUT, POLLOUT | POLLHUP);
    CHECK_EQ(vthread_connect(fds[0], (struct sockaddr *)&nowhere, sizeof nowhere), ECONNREFUSED);
    CHECK_EQ(vthread_close(fds[0]), 0);
    CHECK_EQ(vthread_close(file), 0);
    CHECK_EQ(vthread_close(null), 0);
}

static void test_at_once(void)
{
    struct pollfd fds[4];
    int64_t begin = vthread_now_ns();

    CHECK_EQ(vthread_poll_until(NULL, 0, VTHREAD_NOW), 0);
    CHECK_EQ(vthread_poll_until(NULL, 0, begin + 10 * MS), 0);
    CHECK(vthread_now_ns() >= begin + 10 * MS);
    CHECK_EQ(vthread_poll(NULL, 1), -EFAULT);
    fds[0] = (struct pollfd){-1, POLLIN, 0x77};
    fds[1] = (struct pollfd){-77, POLLOUT, 0x77};
    CHECK_EQ(vthread_poll_until(fds, 2, vthread_after_ms(5)), 0);
    CHECK_EQ(fds[0].revents, 0);
    CHECK_EQ(fds[1].revents, 0);
    fds[2] = (struct pollfd){999, POLLIN, 0};
    CHECK_EQ(vthread_poll(fds, 3), 1);
    CHECK_EQ(fds[2].revents, POLLNVAL);
    /* A file of which nothing is asked never has anything to say. */
    fds[0] = (struct pollfd){open("/dev/null", O_RDONLY), 0, 0};
    CHECK_EQ(vthread_poll_until(fds, 1, vthread_after_ms(5)), 0);
    CHECK_EQ(vthread_close(fds[0].fd), 0);
    CHECK_EQ(vthread_poll(fds, (nfds_t)1 << 40), -EINVAL);
}

/* One of many becomes ready; all the others are told to be not. */
static void test_one_of_many(void)
{
    enum { N = 100 };
    static struct call call;
    int fds[N][2];

    for (int i = 0; i < N; i++) {
        i % 3 == 0 ? tcp_pair(fds[i]) : i % 3 == 1 ? stream_pair(fds[i]) : pipe_pair(fds[i]);
        for (int k = 0; k < 3; k++) /* several entries of each */
            call.fds[3 * i + k] = (struct pollfd){fds[i][0], POLLIN, 0};
    }
    call.count = 3 * N;
    for (int round = 0; round < 6; round++) {
        int chosen = (round * 37 + 5) % N;
        vthread_t t = start(&call, round % 2);
        char c;

        CHECK_EQ(write(fds[chosen][1], "x", 1), 1);
        CHECK_EQ(join(t), 3);
        for (int i = 0; i < 3 * N; i++)
            CHECK_EQ(call.revents[i], i / 3 == chosen ? POLLIN : 0);
        CHECK_EQ(vthread_read(fds[chosen][0], &c, 1), 1);
    }
    for (int i = 0; i < N; i++)
        close_pair(fds[i]);
}

/* What neither POLLIN nor POLLOUT asks for. */
static void test_unusual(void)
{
    static struct call call;
    int pipes[2];
    int fds[2];

    for (int platform = 0; platform < 2; platform++) {
        /* Nothing but errors and hang-ups, while data come and go. */
        CHECK_EQ(pipe(pipes), 0);
        call.count = 2;
        call.fds[0] = (struct pollfd){pipes[0], 0, 0};
        call.fds[1] = (struct pollfd){pipes[0], POLLPRI, 0};
        vthread_t t = start(&call, platform);

        CHECK_EQ(write(pipes[1], "data", 4), 4);
        await_parked(t);
        CHECK_EQ(vthread_close(pipes[1]), 0);
        CHECK_EQ(join(t), 2);
        CHECK_EQ(call.revents[0], POLLHUP);
        CHECK_EQ(call.revents[1], POLLHUP);
        CHECK_EQ(vthread_close(pipes[0]), 0);

        /* An urgent byte; the same descriptor also in an ordinary entry. */
        tcp_pair(fds);
        call.count = 3;
        call.fds[0] = (struct pollfd){fds[0], POLLPRI, 0};
        call.fds[1] = (struct pollfd){fds[0], POLLRDHUP, 0};
        call.fds[2] = (struct pollfd){fds[1], POLLIN, 0};
        t = start(&call, platform);
        CHECK_EQ(vthread_write(fds[1], "data", 4), 4);
        await_parked(t);
        CHECK_EQ(vthread_send(fds[1], "!", 1, MSG_OOB), 1);
        CHECK_EQ(join(t), 1);
        CHECK_EQ(call.revents[0], POLLPRI);
        call.fds[0].fd = -1;
        t = start(&call, platform);
        CHECK_EQ(vthread_shutdown(fds[1], SHUT_WR), 0);
        CHECK_EQ(join(t), 1);
        CHECK_EQ(call.revents[1], POLLRDHUP);
        CHECK_EQ(call.revents[2], 0);
        close_pair(fds);
    }
}

static void test_deadline_and_interrupt(void)
{
    static struct call call;
    int fds[2];

    tcp_pair(fds);
    call.count = 2;
    call.fds[0] = (struct pollfd){fds[0], POLLIN, 0};
    call.fds[1] = (struct pollfd){fds[1], POLLPRI, 0};
    for (int platform = 0; platform < 2; platform++) {
        int64_t begin = vthread_now_ns();
        vthread_t t;

        call.deadline_ns = begin + 10 * MS;
        CHECK_EQ(vthread_create(&t, NULL, do_poll, &call), 0);
        CHECK_EQ(join(t), 0);
        CHECK(vthread_now_ns() >= begin + 10 * MS);
        CHECK_EQ(call.revents[0], 0);
        t = start(&call, platform);
        CHECK_EQ(vthread_interrupt(t), 0);
        CHECK_EQ(join(t), -EINTR);
    }
    call.deadline_ns = VTHREAD_NOW;
    CHECK_EQ((intptr_t)do_poll(&call), 0);
    vthread_interrupt(vthread_self());
    CHECK_EQ((intptr_t)do_poll(&call), -EINTR);
    CHECK(!vthread_is_interrupted(vthread_self()));
    close_pair(fds);
}

/* Closed meanwhile: told so, even when the number is another file's at once. */
static void test_close(void)
{
    static struct call call;
    int fds[2];

    for (int round = 0; round < 6; round++) {
        bool forget = round >= 4;
        vthread_t t;

        stream_pair(fds);
        call.count = 3;
        call.fds[0] = (struct pollfd){fds[0], POLLIN, 0};
        call.fds[1] = (struct pollfd){fds[1], (short)(round % 2 ? 0 : POLLIN), 0};
        call.fds[2] = (struct pollfd){fds[1], POLLPRI, 0};
        t = start(&call, round % 2);
        CHECK_EQ(forget ? vthread_fd_forget(fds[1]) : vthread_close(fds[1]), 0);
        if (!forget)
            CHECK_EQ(open("/dev/null", O_RDONLY | O_CLOEXEC), fds[1]);
        CHECK(join(t) >= 2);
        CHECK_EQ(call.revents[1], POLLNVAL);
        CHECK_EQ(call.revents[2], POLLNVAL);
        close_pair(fds);
    }
}

/* Without a descriptor left, what is usual works, and what needs one says so. */
static void test_out_of_descriptors(void)
{
    struct rlimit old;
    struct rlimit few;
    int fds[2];

    tcp_pair(fds);
    struct pollfd p = {fds[0], POLLIN, 0};

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = (struct rlimit){3, old.rlim_max}; /* all in use; and poll(2) wants no fewer than entries */
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    CHECK_EQ(vthread_poll_until(&p, 1, vthread_after_ms(2)), 0);
    p.events = POLLPRI;
    CHECK_EQ(vthread_poll(&p, 1), -EMFILE);
    CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
    p.events = POLLIN;
    CHECK_EQ(vthread_poll(&p, 1), 1);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    close_pair(fds);
}

/* It takes no turn: a reader that waits goes on waiting in its place, and both learn of the data. */
static void *read_one(void *arg)
{
    char c;

    return (void *)vthread_read((int)(intptr_t)arg, &c, 1);
}

static void test_beside_a_reader(void)
{
    static struct call call;
    int fds[2];

    for (int i = 0; i < 2; i++) {
        i == 0 ? tcp_pair(fds) : stream_pair(fds);
        vthread_t reader = spawn(read_one, fds[0]);

        await_parked(reader);
        call.count = 1;
        call.fds[0] = (struct pollfd){fds[0], POLLIN, 0};
        vthread_t poller = start(&call, false);

        CHECK_EQ(vthread_write(fds[1], "xy", 2), 2);
        CHECK_EQ(join(reader), 1);
        CHECK_EQ(join(poller), 1);
        close_pair(fds);
    }
}

/* A ring of threads, each of which polls its own eventfd and then rings the next: many at once, no wake lost. */
enum { RING = 64, ROUNDS = 20 };
static int ring[RING];

static void *ring_member(void *arg)
{
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct pollfd fds[2] = {{ring[me], POLLIN, 0}, {ring[(me + 7) % RING], POLLPRI, 0}};
        uint64_t value = 0;

        CHECK_EQ(vthread_poll(fds, 2), 1);
        CHECK_EQ(fds[0].revents, POLLIN);
        CHECK_EQ(vthread_read(ring[me], &value, sizeof value), 8);
        CHECK_EQ(value, 1);
        CHECK_EQ(vthread_write(ring[(me + 1) % RING], &value, sizeof value), 8);
    }
    return NULL;
}

static void test_ring(void)
{
    vthread_t t[RING];
    uint64_t one = 1;

    for (int i = 0; i < RING; i++)
        CHECK((ring[i] = eventfd(0, EFD_CLOEXEC)) >= 0);
    for (int i = 0; i < RING; i++)
        t[i] = spawn(ring_member, i);
    CHECK_EQ(vthread_write(ring[0], &one, sizeof one), 8);
    for (int i = 0; i < RING; i++)
        join(t[i]);
    for (int i = 0; i < RING; i++)
        CHECK_EQ(vthread_close(ring[i]), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"meaning", test_meaning, false},
        {"at once", test_at_once, false},
        {"one of many", test_one_of_many, false},
        {"unusual", test_unusual, false},
        {"deadline and interrupt", test_deadline_and_interrupt, false},
        {"close", test_close, false},
        {"out of descriptors", test_out_of_descriptors, false},
        {"beside a reader", test_beside_a_reader, false},
        {"ring", test_ring, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
