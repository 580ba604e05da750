/* SPDX-License-Identifier: MIT */
/* What is said about a descriptor once: deadlines of its own, and that an interrupt closes it. */
#include "net_test.h"

#include <sys/file.h>

enum verb { READ, RECV, ACCEPT, WRITE, VERBS };

struct call {
    int fd;
    enum verb verb;
    int64_t deadline_ns;
    bool interrupted; /* found: the flag, after it */
};

static void *do_call(void *arg)
{
    static char much[4 << 20];
    struct call *call = arg;
    char buffer[8];
    ssize_t n;

    switch (call->verb) {
    case WRITE:
        n = vthread_write_all_until(call->fd, much, sizeof much, call->deadline_ns);
        break;
    case ACCEPT:
        n = vthread_accept_until(call->fd, NULL, NULL, call->deadline_ns);
        break;
    case RECV:
        n = vthread_recv_until(call->fd, buffer, sizeof buffer, 0, call->deadline_ns);
        break;
    default:
        n = vthread_read_until(call->fd, buffer, sizeof buffer, call->deadline_ns);
        break;
    }
    call->interrupted = vthread_interrupted();
    return (void *)n;
}

static vthread_t start(struct call *call, bool platform)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    CHECK_EQ(vthread_create(&t, &attr, do_call, call), 0);
    return t;
}

/* fds[1]: the peer, or something else to close. */
static struct call prepare(enum verb verb, bool foreign, int fds[2])
{
    int port;

    if (verb == ACCEPT) {
        fds[0] = listen_any(&port);
        fds[1] = dup(0);
    } else if (!foreign) {
        tcp_pair(fds);
        set_small_buffer(fds[0]);
    } else if (verb == READ) {
        CHECK_EQ(pipe(fds), 0);
    } else {
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    }
    return (struct call){.fd = fds[0], .verb = verb, .deadline_ns = VTHREAD_FOREVER};
}

static void set_deadline(const struct call *call, int64_t deadline_ns)
{
    int64_t other = VTHREAD_FOREVER;

    CHECK_EQ(vthread_fd_set_deadline(call->fd, call->verb == WRITE ? other : deadline_ns,
                                     call->verb == WRITE ? deadline_ns : other),
             0);
}

static void test_deadlines(void)
{
    int fds[2];

    for (enum verb verb = 0; verb < VERBS; verb++)
        for (int variant = 0; variant < 4; variant++) {
            static struct call call;
            bool platform = variant % 2;
            int64_t begin = vthread_now_ns();
            vthread_t t;

            call = prepare(verb, variant / 2, fds);
            /* Set before the call; the sooner of both holds. */
            set_deadline(&call, begin + 5 * MS);
            CHECK_EQ(join(start(&call, platform)), -ETIMEDOUT);
            CHECK(vthread_now_ns() >= begin + 5 * MS);
            CHECK_EQ(join(start(&call, platform)), -ETIMEDOUT);
            set_deadline(&call, VTHREAD_FOREVER);
            call.deadline_ns = vthread_after_ms(3);
            CHECK_EQ(join(start(&call, platform)), -ETIMEDOUT);
            /* In the call: moved away, taken back, brought near. */
            call.deadline_ns = VTHREAD_FOREVER;
            set_deadline(&call, vthread_after_ms(30000));
            t = start(&call, platform);
            await_parked(t);
            set_deadline(&call, vthread_after_ms(20000));
            await_parked(t);
            set_deadline(&call, VTHREAD_FOREVER);
            await_parked(t);
            set_deadline(&call, VTHREAD_NOW);
            CHECK_EQ(join(t), -ETIMEDOUT);
            close_pair(fds);
        }
}

/* It does not keep from what is there, nor does it hold for the other direction. */
static void test_deadline_of_the_ready(void)
{
    int fds[2];
    char c;

    tcp_pair(fds);
    CHECK_EQ(vthread_fd_set_deadline(fds[0], VTHREAD_NOW, VTHREAD_FOREVER), 0);
    CHECK_EQ(vthread_read(fds[0], &c, 1), -ETIMEDOUT);
    CHECK_EQ(vthread_write(fds[0], "x", 1), 1);
    CHECK_EQ(vthread_write(fds[1], "y", 1), 1);
    CHECK_EQ(vthread_wait_fd(fds[0], POLLIN), POLLIN);
    CHECK_EQ(vthread_read(fds[0], &c, 1), 1);
    close_pair(fds);
    /* The next file of that number has none. */
    int again[2];

    tcp_pair(again);
    CHECK(again[0] == fds[0] || again[0] == fds[1] || again[1] == fds[0] || again[1] == fds[1]);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(vthread_read_until(again[i], &c, 1, vthread_after_ms(1)), -ETIMEDOUT);
    static struct call call;
    vthread_t t;

    call = (struct call){.fd = again[0], .verb = READ, .deadline_ns = VTHREAD_FOREVER};
    t = start(&call, false);
    await_parked(t);
    CHECK_EQ(vthread_write(again[1], "z", 1), 1);
    CHECK_EQ(join(t), 1);
    close_pair(again);
}

/* Those who queue behind the one whose turn it is end with it. */
static void test_deadline_of_a_queue(void)
{
    enum { N = 9 };
    static struct call calls[N];
    int fds[2];
    vthread_t t[N];

    for (int foreign = 0; foreign < 2; foreign++) {
        for (int i = 0; i < N; i++) {
            calls[i] = i == 0 ? prepare(READ, foreign, fds) : calls[0];
            t[i] = start(&calls[i], i % 4 == 3);
            await_parked(t[i]);
        }
        CHECK_EQ(vthread_fd_set_deadline(fds[0], vthread_after_ms(5), VTHREAD_FOREVER), 0);
        for (int i = 0; i < N; i++)
            CHECK_EQ(join(t[i]), -ETIMEDOUT);
        /* And one that is put off keeps none of them from getting what comes. */
        CHECK_EQ(vthread_fd_set_deadline(fds[0], vthread_after_ms(30000), VTHREAD_FOREVER), 0);
        for (int i = 0; i < N; i++) {
            t[i] = start(&calls[i], i % 4 == 3);
            await_parked(t[i]);
        }
        CHECK_EQ(vthread_fd_set_deadline(fds[0], VTHREAD_FOREVER, VTHREAD_FOREVER), 0);
        for (int i = 0; i < N; i++) {
            CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
            CHECK_EQ(join(t[i]), 1);
        }
        close_pair(fds);
    }
}

/* A reader and one who moves its deadline about: no wait goes by a past one, or misses data. */
static atomic_bool done;

static void *move_deadline(void *arg)
{
    int fd = (int)(intptr_t)arg;

    for (int i = 0; !atomic_load(&done); i++) {
        CHECK_EQ(vthread_fd_set_deadline(fd, i % 2 ? VTHREAD_FOREVER : vthread_after_ms(20000), VTHREAD_FOREVER), 0);
        if (i % 16 == 0)
            vthread_yield();
    }
    CHECK_EQ(vthread_fd_set_deadline(fd, VTHREAD_NOW, VTHREAD_FOREVER), 0);
    return NULL;
}

static void *read_until_deadline(void *arg)
{
    intptr_t n = 0;
    char buffer[64];
    ssize_t got;

    while ((got = vthread_read((int)(intptr_t)arg, buffer, sizeof buffer)) > 0)
        n += got;
    CHECK_EQ(got, -ETIMEDOUT);
    return (void *)n;
}

static void test_deadline_moved_about(void)
{
    enum { BYTES = 2000 };
    int fds[2];
    vthread_t reader, mover;

    atomic_store(&done, false);
    tcp_pair(fds);
    reader = spawn(read_until_deadline, fds[0]);
    mover = spawn(move_deadline, fds[0]);
    for (int i = 0; i < BYTES; i++)
        CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
    struct pollfd p = {fds[0], POLLIN, 0};

    do /* until it has taken all of them, deadline or not */
        vthread_yield();
    while (vthread_poll_until(&p, 1, VTHREAD_NOW) != 0);
    atomic_store(&done, true);
    join(mover);
    CHECK_EQ(join(reader), BYTES);
    close_pair(fds);
}

/* ---- closed by an interrupt ---- */

static void test_interrupt_closes(void)
{
    int fds[2];

    for (enum verb verb = 0; verb < VERBS; verb++)
        for (int variant = 0; variant < 8; variant++) {
            static struct call call;
            static struct call others[2];
            bool queued = variant & 4; /* the one who is interrupted is not the one whose turn it is */
            vthread_t t[3];
            char c;

            call = others[0] = others[1] = prepare(verb, variant & 1, fds);
            CHECK_EQ(vthread_fd_set_interrupt_closes(fds[0], true), 0);
            t[0] = start(queued ? &others[0] : &call, false);
            await_parked(t[0]);
            t[1] = start(queued ? &call : &others[0], variant & 2);
            await_parked(t[1]);
            t[2] = start(&others[1], false);
            await_parked(t[2]);
            CHECK_EQ(vthread_interrupt(t[queued]), 0);
            for (int i = 0; i < 3; i++)
                CHECK_EQ(join(t[i]), -ECANCELED);
            CHECK(call.interrupted);
            CHECK(!others[0].interrupted && !others[1].interrupted);

            /* The file is gone, the number is not. */
            CHECK(fcntl(fds[0], F_GETFD) == FD_CLOEXEC);
            CHECK_EQ((intptr_t)do_call(&call), -ECANCELED);
            CHECK(!call.interrupted);
            CHECK_EQ(vthread_write(fds[0], "x", 1), -ECANCELED);
            CHECK_EQ(vthread_flock(fds[0], LOCK_EX | LOCK_NB), ECANCELED);
            CHECK(vthread_wait_fd(fds[0], POLLIN) & POLLHUP);
            if (verb != ACCEPT && verb != WRITE && !(verb == READ && (variant & 1)))
                CHECK_EQ(vthread_read(fds[1], &c, 1), 0); /* the peer has seen the end */
            close_pair(fds);
            CHECK(fcntl(fds[0], F_GETFD) < 0);
        }
}

static void *interrupt_self_then_read(void *arg)
{
    struct call *call = arg;

    CHECK_EQ(vthread_interrupt(vthread_self()), 0);
    return do_call(call);
}

static void test_interrupt_closes_or_not(void)
{
    static struct call call;
    int fds[2];
    char c;
    vthread_t t;

    call = prepare(READ, false, fds);
    /* Switched off again: as ever. */
    CHECK_EQ(vthread_fd_set_interrupt_closes(fds[0], true), 0);
    CHECK_EQ(vthread_fd_set_interrupt_closes(fds[0], false), 0);
    CHECK_EQ(join(spawn(interrupt_self_then_read, (intptr_t)&call)), -EINTR);
    t = start(&call, false);
    await_parked(t);
    CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
    CHECK_EQ(join(t), 1);
    /* An interrupt before the call closes, too. */
    CHECK_EQ(vthread_fd_set_interrupt_closes(fds[0], true), 0);
    CHECK_EQ(join(spawn(interrupt_self_then_read, (intptr_t)&call)), -ECANCELED);
    CHECK(call.interrupted);
    CHECK_EQ(vthread_read(fds[1], &c, 1), 0);
    close_pair(fds);
    /* The next file of the number is an ordinary one. */
    call = prepare(READ, false, fds);
    CHECK_EQ(join(spawn(interrupt_self_then_read, (intptr_t)&call)), -EINTR);
    CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
    CHECK_EQ(vthread_read(fds[0], &c, 1), 1);
    close_pair(fds);
}

/* The flag stays set, and the next calls say the same, for as long as the program looks at their results only. */
static void *read_after_read(void *arg)
{
    const struct call *call = arg;
    char c;

    for (int i = 0; i < 3; i++)
        CHECK_EQ(vthread_read(call->fd, &c, 1), -ECANCELED);
    CHECK_EQ(vthread_write(call->fd, "x", 1), -ECANCELED);
    CHECK(vthread_interrupted());
    CHECK_EQ(vthread_read(call->fd, &c, 1), -ECANCELED);
    return NULL;
}

static void test_calls_after_an_interrupt(void)
{
    static struct call call;
    int fds[2];
    vthread_t t;

    for (int foreign = 0; foreign < 2; foreign++) {
        call = prepare(READ, foreign, fds);
        CHECK_EQ(vthread_fd_set_interrupt_closes(fds[0], true), 0);
        t = spawn(read_after_read, (intptr_t)&call);
        await_parked(t);
        CHECK_EQ(vthread_interrupt(t), 0);
        join(t);
        close_pair(fds);
    }
}

/* Files are not waited for, so no interrupt ends a call on them, or closes them. */
static void *use_file(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char c;

    CHECK_EQ(vthread_interrupt(vthread_self()), 0);
    CHECK_EQ(vthread_write(fd, "ab", 2), 2);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(vthread_read(fd, &c, 1), 1);
    CHECK(vthread_interrupted());
    CHECK_EQ(vthread_read(fd, &c, 1), 1);
    return NULL;
}

static void test_interrupts_and_files(void)
{
    char path[] = "/tmp/vthread-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    CHECK(fd >= 0);
    unlink(path);
    CHECK_EQ(vthread_fd_set_interrupt_closes(fd, true), 0);
    join(spawn(use_file, fd));
    CHECK_EQ(vthread_close(fd), 0);
}

/* Many are interrupted at once, and the descriptor closed by its owner meanwhile: once, and nobody else's. */
static void test_interrupts_and_close(void)
{
    enum { N = 8, ROUNDS = 30 };
    int fds[2];

    for (int round = 0; round < ROUNDS; round++) {
        static struct call calls[N];
        vthread_t t[N];

        for (int i = 0; i < N; i++) {
            calls[i] = i == 0 ? prepare(READ, round % 2, fds) : calls[0];
            if (i == 0)
                CHECK_EQ(vthread_fd_set_interrupt_closes(fds[0], true), 0);
            t[i] = start(&calls[i], false);
            await_parked(t[i]);
        }
        for (int i = 0; i < N; i++)
            CHECK_EQ(vthread_interrupt(t[i]), 0);
        CHECK_EQ(vthread_close(fds[0]), 0);
        /* Who has the number now is left alone. */
        int mine = open("/dev/null", O_RDONLY | O_CLOEXEC);

        for (int i = 0; i < N; i++)
            CHECK_EQ(join(t[i]), -ECANCELED);
        char c;

        CHECK_EQ(read(mine, &c, 1), 0);
        CHECK_EQ(vthread_close(mine), 0);
        CHECK_EQ(vthread_close(fds[1]), 0);
    }
}

static void test_refusals(void)
{
    int file = open("/dev/null", O_RDWR);
    char c;

    CHECK_EQ(vthread_fd_set_deadline(-1, VTHREAD_NOW, VTHREAD_NOW), EBADF);
    CHECK_EQ(vthread_fd_set_deadline(999, VTHREAD_NOW, VTHREAD_NOW), EBADF);
    CHECK_EQ(vthread_fd_set_interrupt_closes(-1, true), EBADF);
    CHECK_EQ(vthread_fd_set_interrupt_closes(999, true), EBADF);
    CHECK_EQ(vthread_fd_set_deadline(file, VTHREAD_NOW, VTHREAD_NOW), 0);
    CHECK_EQ(vthread_read(file, &c, 1), 0);
    CHECK_EQ(vthread_close(file), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"deadlines", test_deadlines, false},
        {"deadline of the ready", test_deadline_of_the_ready, false},
        {"deadline of a queue", test_deadline_of_a_queue, false},
        {"deadline moved about", test_deadline_moved_about, false},
        {"interrupt closes", test_interrupt_closes, false},
        {"interrupt closes or not", test_interrupt_closes_or_not, false},
        {"calls after an interrupt", test_calls_after_an_interrupt, false},
        {"interrupts and files", test_interrupts_and_files, false},
        {"interrupts and close", test_interrupts_and_close, false},
        {"refusals", test_refusals, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
