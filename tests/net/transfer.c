/* SPDX-License-Identifier: MIT */
/* sendfile, splice and tee: the bytes, whatever they come from and go to; what ends a wait. */
#include "net_test.h"

#include <sys/eventfd.h>

enum { SIZE = 3 * 1000 * 1000 + 17 };

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 13);
}

static int make_file(size_t size)
{
    char path[] = "/tmp/vthread-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    unsigned char *data = malloc(size);

    CHECK(fd >= 0);
    unlink(path);
    for (size_t i = 0; i < size; i++)
        data[i] = byte_at(i);
    CHECK_EQ(write(fd, data, size), (ssize_t)size);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    free(data);
    return fd;
}

/* Reads to the end, slowly at first, and compares with the file from `begin` on.  Returns how many. */
struct check {
    int fd;
    size_t begin;
};

static void *read_and_check(void *arg)
{
    const struct check *c = arg;
    unsigned char *buffer = malloc(100 * 1000);
    size_t done = 0;
    ssize_t n;

    while ((n = vthread_read(c->fd, buffer, done < 10000 ? 1000 : 100 * 1000)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(buffer[i], byte_at(c->begin + done + (size_t)i));
        done += (size_t)n;
        if (done < 10000)
            vthread_sleep_ms(1);
    }
    CHECK_EQ(n, 0);
    free(buffer);
    return (void *)(intptr_t)done;
}

enum pair { TCP, OWN_UNIX, SOCKETPAIR, FOREIGN_TCP, PIPE, NONBLOCKING_PIPE, PAIRS };

static void foreign_tcp_pair(int fds[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK_EQ(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQ(listen(listener, 5), 0);
    a.sin_port = htons((uint16_t)port_of(listener));
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(fds[0], (struct sockaddr *)&a, sizeof a), 0);
    CHECK((fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    CHECK_EQ(close(listener), 0);
}

/* fds[0] is read, fds[1] written. */
static void make_pair(enum pair kind, int fds[2])
{
    switch (kind) {
    case TCP:
        tcp_pair(fds);
        break;
    case OWN_UNIX:
        unix_pair(fds);
        break;
    case SOCKETPAIR:
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        break;
    case FOREIGN_TCP:
        foreign_tcp_pair(fds);
        break;
    default:
        CHECK_EQ(pipe2(fds, O_CLOEXEC | (kind == PIPE ? 0 : O_NONBLOCK)), 0);
        return;
    }
    /* Far less than SIZE, but not so little that TCP waits for its timers. */
    int bytes = 128 * 1024;

    CHECK_EQ(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
}

/* ---- sendfile ---- */

static void test_sendfile(void)
{
    static struct check check;
    int file = make_file(SIZE);
    int fds[2];

    for (enum pair kind = 0; kind < PAIRS; kind++)
        for (int with_offset = 0; with_offset < 2; with_offset++) {
            off_t offset = 1234;
            size_t sum = 0;
            ssize_t n;
            vthread_t t;

            make_pair(kind, fds);
            check = (struct check){fds[0], with_offset ? (size_t)offset : 0};
            t = spawn(read_and_check, (intptr_t)&check);
            while ((n = vthread_sendfile(fds[1], file, with_offset ? &offset : NULL, SIZE)) > 0)
                sum += (size_t)n;
            CHECK_EQ(n, 0);
            CHECK_EQ(sum, SIZE - check.begin);
            CHECK_EQ(vthread_sendfile(fds[1], file, with_offset ? &offset : NULL, 0), 0);
            CHECK_EQ(with_offset ? offset : lseek(file, 0, SEEK_CUR), SIZE);
            CHECK_EQ(vthread_close(fds[1]), 0);
            CHECK_EQ(join(t), sum);
            CHECK_EQ(vthread_close(fds[0]), 0);
            CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
        }
    /* To a file. */
    int copy = make_file(1);

    CHECK_EQ(lseek(copy, 0, SEEK_SET), 0);
    CHECK_EQ(vthread_sendfile(copy, file, NULL, 1000), 1000);
    CHECK_EQ(lseek(copy, 0, SEEK_SET), 0);
    check = (struct check){copy, 0};
    CHECK_EQ(join(spawn(read_and_check, (intptr_t)&check)), 1000);
    close_pair((int[]){copy, file});
}

/* ---- what ends a wait ---- */

static struct {
    bool splice;
    int in;
    int out;
    int64_t deadline_ns;
    unsigned flags;
} job;

static void *do_job(void *arg)
{
    ssize_t n;

    (void)arg;
    do /* until there is no room, or nothing to take */
        n = job.splice ? vthread_splice_until(job.in, NULL, job.out, NULL, SIZE, job.flags, job.deadline_ns)
                       : vthread_sendfile_until(job.out, job.in, &(off_t){0}, SIZE, job.deadline_ns);
    while (n > 0);
    return (void *)n;
}

static vthread_t start(bool platform)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    CHECK_EQ(vthread_create(&t, &attr, do_job, NULL), 0);
    return t;
}

/* The job has to wait.  close_in: what else ends it is that `in` is closed. */
static void check_ends(bool close_in)
{
    vthread_t t;

    for (int platform = 0; platform < 2; platform++) {
        job.deadline_ns = VTHREAD_NOW;
        CHECK_EQ(join(start(platform)), -ETIMEDOUT);
        job.deadline_ns = vthread_after_ms(3);
        CHECK_EQ(join(start(platform)), -ETIMEDOUT);
        job.deadline_ns = VTHREAD_FOREVER;
        t = start(platform);
        await_parked(t);
        CHECK_EQ(vthread_interrupt(t), 0);
        CHECK_EQ(join(t), -EINTR);
    }
    t = start(false);
    await_parked(t);
    CHECK_EQ(vthread_close(close_in ? job.in : job.out), 0);
    CHECK_EQ(join(t), -ECANCELED);
    CHECK_EQ(vthread_close(close_in ? job.out : job.in), 0);
}

static void test_sendfile_ends(void)
{
    int fds[2];
    char c;

    job.splice = false;
    for (enum pair kind = 0; kind < PAIRS; kind++) {
        make_pair(kind, fds);
        job.in = make_file(SIZE);
        job.out = fds[1];
        check_ends(false);
        CHECK_EQ(vthread_close(fds[0]), 0);
    }
    /* `in` is not waited for; that it was closed is found afterwards, and the next file of its number is left alone. */
    make_pair(TCP, fds);
    job.in = make_file(SIZE);
    job.out = fds[1];
    job.deadline_ns = VTHREAD_FOREVER;
    vthread_t t = start(false);

    await_parked(t);
    CHECK_EQ(vthread_close(job.in), 0);
    CHECK_EQ(open("/dev/null", O_RDONLY | O_CLOEXEC), job.in);
    while (vthread_read_until(fds[0], &c, 1, VTHREAD_NOW) == 1)
        ;
    CHECK_EQ(join(t), -ECANCELED);
    CHECK_EQ(vthread_close(job.in), 0);
    close_pair(fds);
}

static void test_splice_ends(void)
{
    int in[2];
    int out[2];

    job.splice = true;
    for (int close_in = 0; close_in < 2; close_in++)
        for (enum pair kind = 0; kind < PAIRS; kind++) {
            /* Nothing comes in. */
            make_pair(kind, in);
            make_pair(PIPE, out);
            job.in = in[0];
            job.out = out[1];
            check_ends(close_in);
            close_pair((int[]){in[1], out[0]});
            /* No room: fill the pipe through another descriptor. */
            make_pair(kind, in);
            make_pair(PIPE, out);
            job.in = in[0];
            job.out = out[1];
            CHECK_EQ(fcntl(out[1], F_SETFL, O_NONBLOCK), 0);
            while (write(out[1], "0123456789", 10) > 0)
                ;
            CHECK_EQ(write(in[1], "x", 1), 1);
            job.flags = SPLICE_F_NONBLOCK;
            CHECK_EQ((intptr_t)do_job(NULL), -EAGAIN);
            job.flags = 0;
            check_ends(close_in);
            close_pair((int[]){in[1], out[0]});
        }
}

/* ---- splice ---- */

static void *pump(void *arg)
{
    const int *fds = arg; /* in, out */
    intptr_t sum = 0;
    ssize_t n;

    while ((n = vthread_splice(fds[0], NULL, fds[1], NULL, 1 << 20, SPLICE_F_MOVE)) > 0)
        sum += n;
    CHECK_EQ(n, 0);
    CHECK_EQ(vthread_close(fds[1]), 0);
    return (void *)sum;
}

/* A file, through a pipe, a connection of some kind, a pipe, into a reader. */
static void test_splice(void)
{
    for (enum pair kind = 0; kind < PAIRS; kind++) {
        static struct check check;
        static int stages[3][2];
        int file = make_file(SIZE);
        int a[2], b[2], c[2];
        vthread_t t[4];

        make_pair(kind == NONBLOCKING_PIPE ? PIPE : NONBLOCKING_PIPE, a);
        make_pair(kind, b);
        make_pair(PIPE, c);
        if (kind == SOCKETPAIR || kind == FOREIGN_TCP) {
            CHECK_EQ(vthread_splice(a[0], NULL, b[1], NULL, 1, 0), -EINVAL);
            CHECK_EQ(fcntl(b[1], F_SETFL, O_NONBLOCK), 0);
        }
        memcpy(stages, (int[3][2]){{file, a[1]}, {a[0], b[1]}, {b[0], c[1]}}, sizeof stages);
        check = (struct check){c[0], 0};
        for (int i = 0; i < 3; i++)
            t[i] = spawn(pump, (intptr_t)stages[i]);
        t[3] = spawn(read_and_check, (intptr_t)&check);
        for (int i = 0; i < 4; i++)
            CHECK_EQ(join(t[i]), SIZE);
        close_pair((int[]){file, a[0]});
        close_pair((int[]){b[0], c[0]});
    }
    /* From a pipe to a place in a file. */
    int file = make_file(100);
    int fds[2];
    off_t offset = 50;
    char buffer[8] = {0};

    make_pair(PIPE, fds);
    CHECK_EQ(vthread_write(fds[1], "abcdef", 6), 6);
    CHECK_EQ(vthread_splice(fds[0], NULL, file, &offset, 6, 0), 6);
    CHECK_EQ(offset, 56);
    CHECK_EQ(pread(file, buffer, 6, 50), 6);
    CHECK(memcmp(buffer, "abcdef", 6) == 0);
    offset = 50;
    CHECK_EQ(vthread_splice(file, &offset, fds[1], NULL, 3, 0), 3);
    CHECK_EQ(vthread_read(fds[0], buffer, 8), 3);
    close_pair(fds);
    CHECK_EQ(vthread_close(file), 0);
}

static void *tee_one(void *arg)
{
    (void)arg;
    return (void *)vthread_tee(job.in, job.out, 8, 0);
}

/* tee leaves what it copies, and copies it again. */
static void test_tee(void)
{
    char buffer[8] = {0};
    int a[2], b[2];
    vthread_t t;

    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        make_pair(nonblocking ? NONBLOCKING_PIPE : PIPE, a);
        make_pair(PIPE, b);
        CHECK_EQ(vthread_tee(a[0], b[1], 4, SPLICE_F_NONBLOCK), -EAGAIN);
        CHECK_EQ(vthread_write(a[1], "abcdef", 6), 6);
        CHECK_EQ(vthread_tee(a[0], b[1], 4, 0), 4);
        CHECK_EQ(vthread_tee(a[0], b[1], 2, SPLICE_F_NONBLOCK), 2);
        CHECK_EQ(vthread_read_full(b[0], buffer, 6), 6);
        CHECK(memcmp(buffer, "abcdab", 6) == 0);
        CHECK_EQ(vthread_read_full(a[0], buffer, 6), 6);
        CHECK(memcmp(buffer, "abcdef", 6) == 0);
        job.splice = false;
        job.in = a[0];
        job.out = b[1];
        t = spawn(tee_one, 0);
        await_parked(t);
        CHECK_EQ(vthread_write(a[1], "x", 1), 1);
        CHECK_EQ(join(t), 1);
        CHECK_EQ(vthread_tee(a[0], a[1], 1, 0), -EINVAL); /* to itself */
        CHECK_EQ(vthread_tee(-1, b[1], 1, 0), -EBADF);
        CHECK_EQ(vthread_close(a[1]), 0);
        CHECK_EQ(vthread_read(a[0], buffer, 1), 1);
        CHECK_EQ(vthread_tee(a[0], b[1], 1, 0), 0); /* the end */
        CHECK_EQ(vthread_close(a[0]), 0);
        close_pair(b);
    }
}

/* Several at both ends of one pipe, with readers and writers among them: nobody waits for another in a ring. */
static void *splice_some(void *arg)
{
    const int *fds = arg;

    for (int i = 0; i < 200; i++)
        CHECK_EQ(vthread_splice(fds[0], NULL, fds[1], NULL, 1, 0), 1);
    return NULL;
}

static void *copy_some(void *arg)
{
    const int *fds = arg;
    char c;

    for (int i = 0; i < 200; i++) {
        CHECK_EQ(vthread_read(fds[0], &c, 1), 1);
        CHECK_EQ(vthread_write(fds[1], &c, 1), 1);
    }
    return NULL;
}

static void test_splice_crosswise(void)
{
    static int ways[2][2];
    int a[2], b[2];
    vthread_t t[8];

    make_pair(PIPE, a);
    make_pair(NONBLOCKING_PIPE, b);
    memcpy(ways, (int[2][2]){{a[0], b[1]}, {b[0], a[1]}}, sizeof ways);
    for (int i = 0; i < 3; i++) { /* three tokens go round and round */
        CHECK_EQ(vthread_write(a[1], "x", 1), 1);
        CHECK_EQ(vthread_write(b[1], "x", 1), 1);
    }
    for (int i = 0; i < 8; i++)
        t[i] = spawn(i < 4 ? splice_some : copy_some, (intptr_t)ways[i % 2]);
    for (int i = 0; i < 8; i++)
        join(t[i]);
    close_pair(a);
    close_pair(b);
}

static void test_refusals(void)
{
    int file = make_file(100);
    int fds[2];
    int pipes[2];

    tcp_pair(fds);
    make_pair(PIPE, pipes);
    CHECK_EQ(vthread_sendfile(-1, file, NULL, 1), -EBADF);
    CHECK_EQ(vthread_sendfile(fds[0], -1, NULL, 1), -EBADF);
    CHECK_EQ(vthread_sendfile(fds[0], pipes[0], NULL, 1) < 0, 1);
    CHECK_EQ(vthread_sendfile(pipes[1], fds[0], NULL, 1), -EINVAL);
    CHECK_EQ(vthread_sendfile(fds[0], file, NULL, (size_t)-1), -EINVAL);
    CHECK_EQ(vthread_splice(fds[0], NULL, file, NULL, 1, 0), -EINVAL);
    CHECK_EQ(vthread_splice(-1, NULL, pipes[1], NULL, 1, 0), -EBADF);
    CHECK_EQ(vthread_splice(pipes[0], NULL, -1, NULL, 1, 0), -EBADF);
    CHECK_EQ(vthread_close(pipes[0]), 0);
    CHECK_EQ(vthread_sendfile(pipes[1], file, NULL, 1), -EPIPE); /* and no signal */
    CHECK_EQ(vthread_splice(file, NULL, pipes[1], NULL, 1, 0), -EPIPE);
    CHECK_EQ(vthread_close(pipes[1]), 0);
    close_pair(fds);
    CHECK_EQ(vthread_close(file), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"sendfile", test_sendfile, false},
        {"sendfile ends", test_sendfile_ends, false},
        {"splice ends", test_splice_ends, false},
        {"splice", test_splice, false},
        {"tee", test_tee, false},
        {"splice crosswise", test_splice_crosswise, false},
        {"refusals", test_refusals, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
