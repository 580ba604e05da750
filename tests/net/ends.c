/* SPDX-License-Identifier: MIT */
/*
 * Every call of net.h and os.h that waits, and everything that ends a wait other than what is waited for: deadlines,
 * the call's and the descriptor's; interrupts, before and in the call; closing, forgetting, closing by an interrupt.
 * (vthread_getaddrinfo, and a dial that looks up a name, need a name server that hangs: names.c.)
 */
#include "net_test.h"

#include <netinet/tcp.h>
#include <sys/file.h>

enum scene {
    EMPTY,      /* nothing to read */
    FULL,       /* no room to write */
    LISTENING,  /* nobody connects */
    CONNECTING, /* nobody accepts: job.address */
    PIPE_EMPTY, /* job.fd is empty, job.other has room */
    PIPE_ONLY,  /* the same, job.fd being a pipe */
    PIPE_FULL,  /* job.other has something, job.fd has no room */
    SILENT,     /* no descriptor: job.text is an address that does not answer */
    PATH,       /* the same, a unix socket's */
    LOCKED,     /* another has the lock of the file job.fd */
    CHILD,      /* job.pid runs */
    NOTHING
};

static struct {
    enum scene scene;
    int fd;
    int other;   /* the second descriptor of a call that has two, or -1 */
    int keep[5]; /* more to be closed at the end, or -1 */
    int file;
    struct sockaddr_in address;
    char text[64];
    pid_t pid;
    int64_t deadline_ns;
    bool interrupted_before;
    int (*call)(void);
    atomic_bool left_interrupted;
} job;

/* ---- the calls: what they return, or -Exxx ---- */

static char bytes[64];

static struct msghdr message(void)
{
    static struct iovec vector = {bytes, sizeof bytes};

    return (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1};
}

static int do_read(void)
{
    return (int)vthread_read_until(job.fd, bytes, 8, job.deadline_ns);
}

static int do_readv(void)
{
    return (int)vthread_readv_until(job.fd, &(struct iovec){bytes, 8}, 1, job.deadline_ns);
}

static int do_read_full(void)
{
    return (int)vthread_read_full_until(job.fd, bytes, 8, job.deadline_ns);
}

static int do_recv(void)
{
    return (int)vthread_recv_until(job.fd, bytes, 8, 0, job.deadline_ns);
}

static int do_recv_all(void)
{
    return (int)vthread_recv_until(job.fd, bytes, 8, MSG_WAITALL, job.deadline_ns);
}

static int do_recvfrom(void)
{
    return (int)vthread_recvfrom_until(job.fd, bytes, 8, 0, NULL, NULL, job.deadline_ns);
}

static int do_recvmsg(void)
{
    struct msghdr m = message();

    return (int)vthread_recvmsg_until(job.fd, &m, 0, job.deadline_ns);
}

static int do_recvmmsg(void)
{
    struct mmsghdr m = {.msg_hdr = message()};

    return vthread_recvmmsg_until(job.fd, &m, 1, 0, job.deadline_ns);
}

static int do_wait_readable(void)
{
    return vthread_wait_fd_until(job.fd, POLLIN, job.deadline_ns);
}

static int do_poll_for(short events)
{
    struct pollfd p = {job.fd, events, 0};
    int n = vthread_poll_until(&p, 1, job.deadline_ns);

    if (n == 0)
        return -ETIMEDOUT;
    if (n == 1 && p.revents == POLLNVAL)
        return -ECANCELED;
    return n < 0 ? n : p.revents;
}

static int do_poll_in(void)
{
    return do_poll_for(POLLIN);
}

static int do_poll_unusual(void)
{
    return do_poll_for(POLLPRI);
}

static int do_write(void)
{
    return (int)vthread_write_until(job.fd, bytes, 8, job.deadline_ns);
}

static int do_writev(void)
{
    return (int)vthread_writev_until(job.fd, &(struct iovec){bytes, 8}, 1, job.deadline_ns);
}

static int do_write_all(void)
{
    return (int)vthread_write_all_until(job.fd, bytes, 8, job.deadline_ns);
}

static int do_send(void)
{
    return (int)vthread_send_until(job.fd, bytes, 8, 0, job.deadline_ns);
}

static int do_sendto(void)
{
    return (int)vthread_sendto_until(job.fd, bytes, 8, 0, NULL, 0, job.deadline_ns);
}

static int do_sendmsg(void)
{
    struct msghdr m = message();

    return (int)vthread_sendmsg_until(job.fd, &m, 0, job.deadline_ns);
}

static int do_sendmmsg(void)
{
    struct mmsghdr m = {.msg_hdr = message()};

    return vthread_sendmmsg_until(job.fd, &m, 1, 0, job.deadline_ns);
}

static int do_sendfile(void)
{
    return (int)vthread_sendfile_until(job.fd, job.file, &(off_t){0}, 8, job.deadline_ns);
}

static int do_wait_writable(void)
{
    return vthread_wait_fd_until(job.fd, POLLOUT, job.deadline_ns);
}

static int do_poll_out(void)
{
    return do_poll_for(POLLOUT);
}

static int do_accept(void)
{
    return vthread_accept_until(job.fd, NULL, NULL, job.deadline_ns);
}

static int do_connect(void)
{
    return -vthread_connect_until(job.fd, (struct sockaddr *)&job.address, sizeof job.address, job.deadline_ns);
}

static int do_splice(void)
{
    bool fills = job.scene == PIPE_FULL;

    return (int)vthread_splice_until(fills ? job.other : job.fd, NULL, fills ? job.fd : job.other, NULL, 8, 0,
                                     job.deadline_ns);
}

static int do_tee(void)
{
    bool fills = job.scene == PIPE_FULL;

    return (int)vthread_tee_until(fills ? job.other : job.fd, fills ? job.fd : job.other, 8, 0, job.deadline_ns);
}

static int do_dial_tcp(void)
{
    return vthread_dial_tcp_until(job.text, job.deadline_ns);
}

static int do_dial_unix(void)
{
    return vthread_dial_unix_until(job.text, job.deadline_ns);
}

static int do_flock(void)
{
    return -vthread_flock_until(job.fd, LOCK_EX, job.deadline_ns);
}

static int do_waitpid(void)
{
    return vthread_waitpid_until(job.pid, NULL, 0, job.deadline_ns);
}

static int do_waitpid_any(void)
{
    return vthread_waitpid_until(-1, NULL, 0, job.deadline_ns);
}

static int do_signal_wait(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return vthread_signal_wait_until(&set, job.deadline_ns);
}

static int do_poll_nothing(void)
{
    int n = vthread_poll_until(NULL, 0, job.deadline_ns);

    return n == 0 ? -ETIMEDOUT : n;
}

enum {
    HAS_TURN = 1, /* the descriptor's deadlines and vthread_fd_set_interrupt_closes hold for it */
    WATCHES = 2,  /* it waits beside those who have */
    TWO = 4,      /* it waits for two descriptors in turn, and does not notice new deadlines while it does */
};

static const struct {
    const char *name;
    int (*call)(void);
    enum scene scene;
    unsigned flags;
} calls[] = {
    {"read", do_read, EMPTY, HAS_TURN},
    {"readv", do_readv, EMPTY, HAS_TURN},
    {"read_full", do_read_full, EMPTY, HAS_TURN},
    {"recv", do_recv, EMPTY, HAS_TURN},
    {"recv all", do_recv_all, EMPTY, HAS_TURN},
    {"recvfrom", do_recvfrom, EMPTY, HAS_TURN},
    {"recvmsg", do_recvmsg, EMPTY, HAS_TURN},
    {"recvmmsg", do_recvmmsg, EMPTY, HAS_TURN},
    {"wait_fd in", do_wait_readable, EMPTY, WATCHES},
    {"poll in", do_poll_in, EMPTY, WATCHES},
    {"poll unusual", do_poll_unusual, EMPTY, WATCHES},
    {"write", do_write, FULL, HAS_TURN},
    {"writev", do_writev, FULL, HAS_TURN},
    {"write_all", do_write_all, FULL, HAS_TURN},
    {"send", do_send, FULL, HAS_TURN},
    {"sendto", do_sendto, FULL, HAS_TURN},
    {"sendmsg", do_sendmsg, FULL, HAS_TURN},
    {"sendmmsg", do_sendmmsg, FULL, HAS_TURN},
    {"sendfile", do_sendfile, FULL, HAS_TURN},
    {"wait_fd out", do_wait_writable, FULL, WATCHES},
    {"poll out", do_poll_out, FULL, WATCHES},
    {"accept", do_accept, LISTENING, HAS_TURN},
    {"connect", do_connect, CONNECTING, HAS_TURN},
    {"splice from", do_splice, PIPE_EMPTY, TWO},
    {"splice to", do_splice, PIPE_FULL, TWO},
    {"tee from", do_tee, PIPE_ONLY, TWO},
    {"tee to", do_tee, PIPE_FULL, TWO},
    {"dial_tcp", do_dial_tcp, SILENT, 0},
    {"dial_unix", do_dial_unix, PATH, 0},
    {"flock", do_flock, LOCKED, WATCHES},
    {"waitpid", do_waitpid, CHILD, 0},
    {"waitpid any", do_waitpid_any, CHILD, 0},
    {"signal_wait", do_signal_wait, NOTHING, 0},
    {"poll nothing", do_poll_nothing, NOTHING, 0},
};

enum { CALLS = sizeof calls / sizeof calls[0] };

/* ---- scenes ---- */

static void fill(int fd)
{
    static const char much[4096];

    for (size_t size = sizeof much; size > 0; size /= 64)
        while (send(fd, much, size, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ;
}

static void fill_pipe(int fd)
{
    CHECK_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    while (write(fd, bytes, sizeof bytes) > 0)
        ;
    CHECK_EQ(fcntl(fd, F_SETFL, 0), 0);
}

/* As many wait to be accepted as may. */
static bool is_full(int listener)
{
    struct tcp_info info;
    socklen_t length = sizeof info;

    CHECK_EQ(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    return info.tcpi_unacked > info.tcpi_sacked; /* of a listener: how many wait, and how many may */
}

/* A listener that drops what comes; with those that fill it in keep[1...]. */
static void make_silent(void)
{
    int n = 1;

    job.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    job.keep[0] = vthread_socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(bind(job.keep[0], (struct sockaddr *)&job.address, sizeof job.address), 0);
    CHECK_EQ(listen(job.keep[0], 0), 0);
    job.address.sin_port = htons((uint16_t)port_of(job.keep[0]));
    snprintf(job.text, sizeof job.text, "127.0.0.1:%d", port_of(job.keep[0]));
    while (!is_full(job.keep[0])) {
        CHECK(n < 5);
        job.keep[n] = vthread_socket(AF_INET, SOCK_STREAM, 0);
        int error = vthread_connect_until(job.keep[n++], (struct sockaddr *)&job.address, sizeof job.address,
                                          vthread_after_ms(500));

        CHECK(error == 0 || error == ETIMEDOUT);
        vthread_sleep_ms(1); /* it counts once the last packet of the handshake has come */
    }
}

static void make_full_path(void)
{
    snprintf(job.text, sizeof job.text, "@vthread-ends-%d", (int)getpid());
    job.keep[0] = vthread_listen_unix(job.text, 1, 0);
    for (int i = 1; i < 3; i++) /* one more than the backlog */
        CHECK((job.keep[i] = vthread_dial_unix(job.text)) >= 0);
}

static int make_file(void)
{
    char path[] = "/tmp/vthread-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    CHECK(fd >= 0);
    unlink(path);
    return fd;
}

static void make_child(void)
{
    job.pid = fork();
    CHECK(job.pid >= 0);
    if (job.pid == 0) {
        pause();
        _exit(0);
    }
}

static void make_pair(bool foreign, int fds[2])
{
    if (foreign)
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    else
        unix_pair(fds);
}

static void prepare(enum scene scene, bool foreign)
{
    int port;
    int fds[2];
    int more[2];

    job.scene = scene;
    job.fd = job.other = -1;
    memset(job.keep, -1, sizeof job.keep);
    switch (scene) {
    case EMPTY:
    case FULL:
        if (scene == EMPTY && !foreign)
            tcp_pair(fds);
        else
            make_pair(foreign, fds);
        job.fd = fds[0];
        job.keep[0] = fds[1];
        if (scene == FULL)
            fill(job.fd);
        break;
    case LISTENING:
        job.fd = listen_any(&port);
        break;
    case CONNECTING:
        make_silent();
        job.fd = vthread_socket(AF_INET, SOCK_STREAM, 0);
        break;
    case PIPE_EMPTY:
    case PIPE_ONLY:
        if (scene == PIPE_EMPTY)
            make_pair(foreign, fds);
        else
            CHECK_EQ(pipe2(fds, O_CLOEXEC | (foreign ? 0 : O_NONBLOCK)), 0);
        CHECK_EQ(pipe2(more, O_CLOEXEC), 0);
        job.fd = fds[0];
        job.other = more[1];
        job.keep[0] = fds[1];
        job.keep[1] = more[0];
        break;
    case PIPE_FULL:
        CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
        CHECK_EQ(pipe2(more, O_CLOEXEC), 0);
        fill_pipe(fds[1]);
        CHECK_EQ(write(more[1], "x", 1), 1);
        job.fd = fds[1];
        job.other = more[0];
        job.keep[0] = fds[0];
        job.keep[1] = more[1];
        break;
    case SILENT:
        make_silent();
        break;
    case PATH:
        make_full_path();
        break;
    case LOCKED:
        job.fd = make_file();
        snprintf(job.text, sizeof job.text, "/proc/self/fd/%d", job.fd);
        job.keep[0] = open(job.text, O_RDWR | O_CLOEXEC);
        CHECK(job.keep[0] >= 0);
        CHECK_EQ(flock(job.keep[0], LOCK_SH), 0);
        break;
    case CHILD:
        make_child();
        break;
    case NOTHING:
        break;
    }
}

static void clean_up(void)
{
    if (job.fd >= 0)
        CHECK_EQ(vthread_close(job.fd), 0);
    if (job.other >= 0)
        CHECK_EQ(vthread_close(job.other), 0);
    for (int i = 0; i < 5; i++)
        if (job.keep[i] >= 0)
            CHECK_EQ(vthread_close(job.keep[i]), 0);
    if (job.scene == CHILD) {
        CHECK_EQ(kill(job.pid, SIGKILL), 0);
        CHECK_EQ(vthread_waitpid(job.pid, NULL, 0), job.pid);
    }
}

/* ---- what ends them ---- */

static void *do_job(void *arg)
{
    int result;

    (void)arg;
    if (job.interrupted_before)
        CHECK_EQ(vthread_interrupt(vthread_self()), 0);
    result = job.call();
    atomic_store(&job.left_interrupted, vthread_interrupted());
    return (void *)(intptr_t)result;
}

static vthread_t start(bool platform, int64_t deadline_ns)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    job.deadline_ns = deadline_ns;
    CHECK_EQ(vthread_create(&t, &attr, do_job, NULL), 0);
    return t;
}

static vthread_t start_and_park(bool platform)
{
    vthread_t t = start(platform, VTHREAD_FOREVER);

    await_parked(t);
    return t;
}

/* Neither takes anything from what the calls after it find. */
static void check_deadlines_and_interrupts(bool platform)
{
    int64_t soon = vthread_after_ms(2);
    vthread_t t;

    CHECK_EQ(join(start(platform, VTHREAD_NOW)), -ETIMEDOUT);
    CHECK_EQ(join(start(platform, soon)), -ETIMEDOUT);
    CHECK(vthread_now_ns() >= soon);
    CHECK(!atomic_load(&job.left_interrupted));
    job.interrupted_before = true;
    CHECK_EQ(join(start(platform, VTHREAD_FOREVER)), -EINTR);
    CHECK(!atomic_load(&job.left_interrupted));
    job.interrupted_before = false;
    t = start_and_park(platform);
    CHECK_EQ(vthread_interrupt(t), 0);
    CHECK_EQ(join(t), -EINTR);
    CHECK(!atomic_load(&job.left_interrupted));
}

static void check_deadlines_of_the_descriptor(unsigned flags, bool platform)
{
    vthread_t t;

    CHECK_EQ(vthread_fd_set_deadline(job.fd, VTHREAD_NOW, VTHREAD_NOW), 0);
    if (flags & WATCHES) { /* they are none of its business */
        t = start_and_park(platform);
        CHECK_EQ(vthread_interrupt(t), 0);
        CHECK_EQ(join(t), -EINTR);
    } else {
        CHECK_EQ(join(start(platform, VTHREAD_FOREVER)), -ETIMEDOUT);
    }
    CHECK_EQ(vthread_fd_set_deadline(job.fd, VTHREAD_FOREVER, VTHREAD_FOREVER), 0);
    if (flags & HAS_TURN) {
        t = start_and_park(platform);
        CHECK_EQ(vthread_fd_set_deadline(job.fd, VTHREAD_NOW, VTHREAD_NOW), 0);
        CHECK_EQ(join(t), -ETIMEDOUT);
        CHECK_EQ(vthread_fd_set_deadline(job.fd, VTHREAD_FOREVER, VTHREAD_FOREVER), 0);
    }
}

/* One that waits first, and one that comes after it, perhaps in the queue. */
static void check_ended_together(bool platform, int (*end)(int fd))
{
    vthread_t t[2] = {start_and_park(platform), start_and_park(!platform)};

    CHECK_EQ(end(job.fd), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(join(t[i]), -ECANCELED);
}

static void check_closed_by_an_interrupt(bool platform)
{
    vthread_t t[2];

    CHECK_EQ(vthread_fd_set_interrupt_closes(job.fd, true), 0);
    t[0] = start_and_park(platform);
    t[1] = start_and_park(!platform);
    CHECK_EQ(vthread_interrupt(t[1]), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(join(t[i]), -ECANCELED);
    CHECK_EQ(join(start(platform, VTHREAD_FOREVER)), -ECANCELED);
}

static void check_not_open(void)
{
    int fd = job.fd;

    job.fd = -1;
    CHECK_EQ(join(start(false, VTHREAD_FOREVER)), -EBADF);
    job.fd = fd;
}

/* foreign: descriptors that are made elsewhere, where there may be such. */
static void test_call(int i, bool platform, bool foreign)
{
    unsigned flags = calls[i].flags;

    job.call = calls[i].call;
    prepare(calls[i].scene, foreign);
    check_deadlines_and_interrupts(platform);
    if (job.fd >= 0) {
        bool polls = job.call == do_poll_in || job.call == do_poll_out || job.call == do_poll_unusual;

        if (!polls) /* for which there is nothing wrong with such an entry */
            check_not_open();
        check_deadlines_of_the_descriptor(flags, platform);
        check_ended_together(platform, vthread_fd_forget);
        if (flags & HAS_TURN) {
            check_closed_by_an_interrupt(platform);
        } else {
            check_ended_together(platform, vthread_close);
            job.fd = -1;
        }
    }
    clean_up();
    if (!(flags & HAS_TURN))
        return;
    prepare(calls[i].scene, foreign);
    check_ended_together(platform, vthread_close);
    job.fd = -1;
    clean_up();
}

static void test_calls(void)
{
    job.file = make_file();
    CHECK_EQ(write(job.file, bytes, sizeof bytes), sizeof bytes);
    for (int i = 0; i < CALLS; i++)
        for (int platform = 0; platform < 2; platform++) {
            test_now = calls[i].name;
            test_call(i, platform, platform == vthread_is_virtual(vthread_self())); /* both ways in two runs */
        }
    test_now = "calls";
    CHECK_EQ(vthread_close(job.file), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"calls", test_calls, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
