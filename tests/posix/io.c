/* SPDX-License-Identifier: MIT */
/* read, write, recv, send: what they return, and that they park. */
#include "posix_test.h"

enum verb { READ, READV, RECV, RECVFROM, RECVMSG, WAITALL, VERBS };

static struct {
    enum verb verb;
    int fd;
    char data[64];
    size_t size;
} job;

static void *do_job(void *arg)
{
    struct iovec vector[2] = {{job.data, 1}, {job.data + 1, job.size - 1}};
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = 2};

    (void)arg;
    switch (job.verb) {
    case READV:
        return (void *)outcome_of(readv(job.fd, vector, 2));
    case RECV:
        return (void *)outcome_of(recv(job.fd, job.data, job.size, 0));
    case RECVFROM:
        return (void *)outcome_of(recvfrom(job.fd, job.data, job.size, 0, NULL, NULL));
    case RECVMSG:
        return (void *)outcome_of(recvmsg(job.fd, &message, 0));
    case WAITALL:
        return (void *)outcome_of(recv(job.fd, job.data, job.size, MSG_WAITALL));
    default:
        return (void *)outcome_of(read(job.fd, job.data, job.size));
    }
}

static vthread_t start(enum verb verb, int fd, size_t size)
{
    vthread_t t;

    job.verb = verb;
    job.fd = fd;
    job.size = size;
    memset(job.data, 0, sizeof job.data);
    t = spawn(do_job, 0);
    await_parked(t);
    return t;
}

static bool takes(enum verb verb, enum kind kind)
{
    return kind != PIPE || verb == READ || verb == READV;
}

static void test_reads_park(void)
{
    int fds[2];

    for (enum kind kind = 0; kind < KINDS; kind++)
        for (enum verb verb = 0; verb < VERBS; verb++) {
            vthread_t t;

            if (!takes(verb, kind))
                continue;
            make_pair(kind, fds);
            t = start(verb, fds[0], 5);
            CHECK_EQ(write(fds[1], "hello", 5), 5);
            CHECK_EQ(join(t), 5);
            CHECK(memcmp(job.data, "hello", 5) == 0);
            t = start(verb, fds[0], 5); /* and the end */
            CHECK_EQ(close(fds[1]), 0);
            CHECK_EQ(join(t), 0);
            CHECK_EQ(close(fds[0]), 0);
        }
}

static void test_partial_reads(void)
{
    int fds[2];

    for (enum kind kind = 0; kind < KINDS; kind++) {
        char data[16];

        make_pair(kind, fds);
        CHECK_EQ(write(fds[1], "abc", 3), 3);
        CHECK_EQ(read(fds[0], data, sizeof data), 3);
        CHECK_EQ(write(fds[1], "abcdef", 6), 6);
        CHECK_EQ(read(fds[0], data, 2), 2);
        CHECK_EQ(read(fds[0], data, sizeof data), 4);
        CHECK(memcmp(data, "cdef", 4) == 0);
        CHECK_EQ(read(fds[0], data, 0), 0);
        plain_close_pair(fds);
    }
}

static void test_waitall(void)
{
    char data[8] = "";
    int fds[2];
    vthread_t t;

    make_pair(TCP, fds);
    t = start(WAITALL, fds[0], 6);
    CHECK_EQ(write(fds[1], "abc", 3), 3);
    for (int i = 0; i < 20; i++)
        vthread_yield();
    await_parked(t); /* it wants more */
    CHECK_EQ(write(fds[1], "def", 3), 3);
    CHECK_EQ(join(t), 6);
    CHECK(memcmp(job.data, "abcdef", 6) == 0);

    /* What there was before the end. */
    t = start(WAITALL, fds[0], 6);
    CHECK_EQ(write(fds[1], "xy", 2), 2);
    CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
    CHECK_EQ(join(t), 2);
    plain_close_pair(fds);

    make_pair(STREAM, fds);
    CHECK_EQ(write(fds[1], "abc", 3), 3);
    CHECK_EQ(recv(fds[0], data, 2, MSG_PEEK), 2);
    CHECK_EQ(recv(fds[0], data, 3, MSG_PEEK | MSG_WAITALL), 3);
    CHECK_EQ(recv(fds[0], data, 8, MSG_DONTWAIT), 3);
    FAILS(recv(fds[0], data, 8, MSG_DONTWAIT), EAGAIN);
    plain_close_pair(fds);
}

static void test_datagrams(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_port = 0};
    socklen_t length = sizeof address;
    int a = socket(AF_INET, SOCK_DGRAM, 0);
    int b = socket(AF_INET, SOCK_DGRAM, 0);
    char data[8];
    vthread_t t;

    CHECK_EQ(bind(a, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_EQ(getsockname(a, (struct sockaddr *)&address, &length), 0);
    t = start(WAITALL, a, 8); /* which means nothing to datagrams */
    CHECK_EQ(sendto(b, "abc", 3, 0, (struct sockaddr *)&address, length), 3);
    CHECK_EQ(join(t), 3);
    CHECK_EQ(sendto(b, "", 0, 0, (struct sockaddr *)&address, length), 0);
    CHECK_EQ(sendto(b, "defgh", 5, 0, (struct sockaddr *)&address, length), 5);
    length = sizeof from;
    CHECK_EQ(recvfrom(a, data, 8, 0, (struct sockaddr *)&from, &length), 0);
    CHECK_EQ(recvfrom(a, data, 2, MSG_TRUNC, (struct sockaddr *)&from, &length), 5);
    CHECK_EQ(ntohs(from.sin_port), port_of(b));
    CHECK_EQ(close(a), 0);
    CHECK_EQ(close(b), 0);
}

enum { MUCH = 1 << 20 };

static char much[MUCH];

static void *write_much(void *arg)
{
    return (void *)outcome_of(write((int)(intptr_t)arg, much, MUCH));
}

static void *writev_much(void *arg)
{
    struct iovec vector[3] = {{much, 10}, {much + 10, MUCH / 2}, {much + 10 + MUCH / 2, MUCH / 2 - 10}};

    return (void *)outcome_of(writev((int)(intptr_t)arg, vector, 3));
}

static void *send_much(void *arg)
{
    return (void *)outcome_of(send((int)(intptr_t)arg, much, MUCH, 0));
}

static void read_all(int fd)
{
    static char data[10000];
    size_t sum = 0;

    while (sum < MUCH) {
        ssize_t n = read(fd, data, sizeof data);

        CHECK(n > 0);
        CHECK(memcmp(data, much + sum, (size_t)n) == 0);
        sum += (size_t)n;
    }
}

static void test_writes_are_whole(void)
{
    void *(*const writers[])(void *) = {write_much, writev_much, send_much};
    int fds[2];

    for (size_t i = 0; i < MUCH; i++)
        much[i] = (char)(i % 251);
    for (enum kind kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 3 - (kind == PIPE); i++) {
            vthread_t t;

            make_pair(kind, fds);
            if (kind != PIPE)
                set_small_buffer(fds[1]);
            t = spawn(writers[i], fds[1]);
            await_parked(t);
            read_all(fds[0]);
            CHECK_EQ(join(t), MUCH);
            plain_close_pair(fds);
        }
}

static void *vmsplice_byte(void *arg)
{
    struct iovec v = {much, 1};

    return (void *)outcome_of(vmsplice((int)(intptr_t)arg, &v, 1, 0));
}

static void test_vmsplice(void)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) { /* which it does not care for */
        int fds[2];
        vthread_t t;

        CHECK_EQ(pipe2(fds, O_NONBLOCK), 0);
        while (write(fds[1], much, 65536) > 0)
            ;
        if (!nonblocking)
            CHECK_EQ(fcntl(fds[1], F_SETFL, 0), 0);
        t = spawn(vmsplice_byte, fds[1]);
        await_parked(t);
        CHECK(read(fds[0], much, 65536) > 0);
        CHECK_EQ(join(t), 1);
        plain_close_pair(fds);
    }
}

static void test_nonblocking(void)
{
    char data[8];
    int fds[2];

    for (enum kind kind = 0; kind < KINDS; kind++) {
        ssize_t n;

        make_pair(kind, fds);
        CHECK_EQ(fcntl(fds[0], F_SETFL, fcntl(fds[0], F_GETFL) | O_NONBLOCK), 0);
        CHECK_EQ(fcntl(fds[1], F_SETFL, fcntl(fds[1], F_GETFL) | O_NONBLOCK), 0);
        FAILS(read(fds[0], data, sizeof data), EAGAIN);
        n = write(fds[1], much, MUCH);
        CHECK(n > 0); /* as much as there is room for */
        while ((n = write(fds[1], much, MUCH)) > 0)
            ;
        CHECK_EQ(get_errno(), EAGAIN);
        plain_close_pair(fds);
    }
}

/* Nobody changes the flags of a descriptor for us. */
static void test_flags_stay(void)
{
    int fds[2];

    for (enum kind kind = 0; kind < KINDS; kind++) {
        vthread_t t;

        make_pair(kind, fds);
        t = start(READ, fds[0], 4);
        CHECK_EQ(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
        CHECK_EQ(write(fds[1], "abcd", 4), 4);
        CHECK_EQ(join(t), 4);
        CHECK_EQ(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
        CHECK_EQ(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
        plain_close_pair(fds);
    }
}

static void test_timeouts(void)
{
    char data[8];
    int64_t began_ns;
    int fds[2];

    for (enum kind kind = 0; kind <= TCP; kind++) {
        ssize_t n;

        make_pair(kind, fds);
        set_timeout(fds[0], SO_RCVTIMEO, 50);
        began_ns = vthread_now_ns();
        FAILS(read(fds[0], data, sizeof data), EAGAIN);
        CHECK(vthread_now_ns() - began_ns >= 45 * MS);
        FAILS(recv(fds[0], data, sizeof data, MSG_WAITALL), EAGAIN);
        CHECK_EQ(write(fds[1], "ab", 2), 2);
        CHECK_EQ(recv(fds[0], data, sizeof data, MSG_WAITALL), 2); /* what there was until then */
        set_timeout(fds[1], SO_SNDTIMEO, 50);
        began_ns = vthread_now_ns();
        while ((n = write(fds[1], much, MUCH)) == MUCH)
            ;
        CHECK(n > 0 || get_errno() == EAGAIN);
        CHECK(vthread_now_ns() - began_ns >= 45 * MS);
        plain_close_pair(fds);
    }
}

static vthread_latch_t was_interrupted;

static void *interrupted_read(void *arg)
{
    char data[8];
    int fd = (int)(intptr_t)arg;

    FAILS(read(fd, data, sizeof data), ECANCELED);
    CHECK(vthread_is_interrupted(vthread_self()));
    FAILS(read(fd, data, sizeof data), ECANCELED);
    FAILS(write(fd, data, sizeof data), ECANCELED);
    CHECK(vthread_interrupted());
    vthread_latch_count_down(&was_interrupted);
    return (void *)outcome_of(read(fd, data, sizeof data));
}

static void test_interrupts(void)
{
    int fds[2];

    for (enum kind kind = 0; kind < KINDS; kind++) {
        vthread_t t;

        make_pair(kind, fds);
        CHECK_EQ(vthread_latch_init(&was_interrupted, 1), 0);
        t = spawn(interrupted_read, fds[0]);
        await_parked(t);
        CHECK_EQ(vthread_interrupt(t), 0);
        CHECK_EQ(vthread_latch_wait(&was_interrupted), 0); /* data that is there would be returned */
        CHECK_EQ(write(fds[1], "abcd", 4), 4);
        CHECK_EQ(join(t), 4);
        plain_close_pair(fds);
    }
}

/* What does not wait is not interrupted. */
static void *use_file(void *arg)
{
    char path[] = "/tmp/vthread-posix-XXXXXX";
    int fd = mkstemp(path);
    char data[8];

    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(vthread_interrupt(vthread_self()), 0);
    CHECK_EQ(write(fd, "abcd", 4), 4);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(read(fd, data, sizeof data), 4);
    CHECK(vthread_interrupted());
    CHECK_EQ(close(fd), 0);
    return arg;
}

static void test_interrupted_files(void)
{
    join(spawn(use_file, 0));
}

/* Part of it has gone out: the count first, then the error. */
static void *interrupted_write(void *arg)
{
    ssize_t n = write((int)(intptr_t)arg, much, MUCH);

    CHECK(n > 0 && n < MUCH);
    CHECK(vthread_is_interrupted(vthread_self()));
    FAILS(write((int)(intptr_t)arg, much, MUCH), ECANCELED);
    return NULL;
}

static void test_interrupted_writes(void)
{
    int fds[2];

    for (enum kind kind = 0; kind < KINDS; kind++) {
        vthread_t t;

        make_pair(kind, fds);
        if (kind != PIPE)
            set_small_buffer(fds[1]);
        t = spawn(interrupted_write, fds[1]);
        await_parked(t);
        CHECK_EQ(vthread_interrupt(t), 0);
        join(t);
        plain_close_pair(fds);
    }
}

static void *write_to_nobody(void *arg)
{
    FAILS(write((int)(intptr_t)arg, "x", 1), EPIPE);
    return NULL;
}

static void test_broken_pipes(void)
{
    int fds[2];

    for (enum kind kind = 0; kind < KINDS; kind++) {
        if (kind == TCP)
            continue; /* there it takes a while */
        make_pair(kind, fds);
        CHECK_EQ(close(fds[0]), 0);
        join(spawn(write_to_nobody, fds[1]));
        CHECK_EQ(close(fds[1]), 0);
    }
}

static void test_files(void)
{
    char path[] = "/tmp/vthread-posix-XXXXXX";
    int fd = mkstemp(path);
    struct iovec vector[2];
    char data[16];

    CHECK(fd >= 0);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(write(fd, "abcdef", 6), 6);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    vector[0] = (struct iovec){data, 2};
    vector[1] = (struct iovec){data + 2, 10};
    CHECK_EQ(readv(fd, vector, 2), 6);
    CHECK_EQ(read(fd, data, sizeof data), 0);
    CHECK_EQ(pread(fd, data, 3, 3), 3);
    CHECK_EQ(close(fd), 0);
    FAILS(read(fd, data, 1), EBADF);
    FAILS(write(fd, data, 1), EBADF);
    FAILS(recv(fd, data, 1, 0), EBADF);
    FAILS(read(-1, data, 1), EBADF);
    fd = open("/dev/zero", O_RDWR);
    CHECK_EQ(read(fd, data, sizeof data), sizeof data);
    CHECK_EQ(write(fd, data, sizeof data), sizeof data);
    FAILS(recv(fd, data, 1, 0), ENOTSOCK);
    CHECK_EQ(close(fd), 0);
}

static void *read_event(void *arg)
{
    uint64_t value;

    return (void *)(intptr_t)(read((int)(intptr_t)arg, &value, sizeof value) == sizeof value ? (int)value : -1);
}

static void test_eventfd(void)
{
    int fd = eventfd(0, 0);
    uint64_t value = 7;
    vthread_t t = spawn(read_event, fd);

    await_parked(t);
    CHECK_EQ(write(fd, &value, sizeof value), sizeof value);
    CHECK_EQ(join(t), 7);
    CHECK_EQ(close(fd), 0);
}

static atomic_int writer_tid;

static void *write_too_much(void *arg)
{
    atomic_store(&writer_tid, gettid());
    return (void *)(intptr_t)eventfd_write((int)(intptr_t)arg, 0xfffffffffffffffe);
}

static bool sleeps_in_the_kernel(int tid)
{
    char text[256] = "";
    char path[64];
    const char *state;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    file = fopen(path, "r");
    CHECK(file != NULL);
    CHECK(fgets(text, sizeof text, file) != NULL);
    fclose(file);
    state = strrchr(text, ')');
    return state != NULL && state[2] == 'S';
}

/* A value for which a writable eventfd has no room is written once it has been read from, by another thread. */
static void test_eventfd_without_room(void)
{
    int fd = eventfd(1, 0);
    eventfd_t value;
    vthread_t t;

    atomic_store(&writer_tid, 0);
    t = spawn(write_too_much, fd);
    while (atomic_load(&writer_tid) == 0 || !sleeps_in_the_kernel(atomic_load(&writer_tid)))
        vthread_sleep_ns(100 * 1000);
    CHECK_EQ(eventfd_read(fd, &value), 0);
    CHECK_EQ(value, 1);
    CHECK_EQ(join(t), 0);
    CHECK_EQ(eventfd_read(fd, &value), 0);
    CHECK(value == 0xfffffffffffffffe);
    CHECK_EQ(close(fd), 0);
}

/* Several read from one pipe: each byte goes to one of them, and none blocks a carrier. */
static void *read_one(void *arg)
{
    char byte;

    return (void *)(intptr_t)read((int)(intptr_t)arg, &byte, 1);
}

static void test_many_readers(void)
{
    enum { READERS = 50 };
    vthread_t t[READERS];
    int fds[2];

    make_pair(PIPE, fds);
    for (int i = 0; i < READERS; i++)
        t[i] = spawn(read_one, fds[0]);
    for (int i = 0; i < READERS; i++)
        await_parked(t[i]);
    for (int i = 0; i < READERS; i++)
        CHECK_EQ(write(fds[1], "x", 1), 1);
    for (int i = 0; i < READERS; i++)
        CHECK_EQ(join(t[i]), 1);
    plain_close_pair(fds);
}

int main(void)
{
    static const struct test tests[] = {
        {"reads park", test_reads_park, false},
        {"partial reads", test_partial_reads, false},
        {"waitall, peek", test_waitall, false},
        {"datagrams", test_datagrams, false},
        {"writes are whole", test_writes_are_whole, false},
        {"vmsplice", test_vmsplice, false},
        {"non-blocking", test_nonblocking, false},
        {"flags stay", test_flags_stay, false},
        {"timeouts", test_timeouts, false},
        {"interrupts", test_interrupts, false},
        {"interrupted files", test_interrupted_files, false},
        {"interrupted writes", test_interrupted_writes, false},
        {"broken pipes", test_broken_pipes, false},
        {"files", test_files, false},
        {"eventfd", test_eventfd, false},
        {"eventfd without room", test_eventfd_without_room, false},
        {"many readers", test_many_readers, false},
        {NULL, NULL, false},
    };
    const char *name = NULL;

    vthread_posix_check(&name);
    if (name != NULL)
        fprintf(stderr, "not ours: %s\n", name);
    CHECK(vthread_has("posix"));
    return run_tests(tests);
}
