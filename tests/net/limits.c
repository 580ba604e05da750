/* SPDX-License-Identifier: MIT */
/* Running out of descriptors, a fork, signals. */
#include "net_test.h"

#include <netdb.h>

static struct {
    int listener;
    int port;
} server;

/* ---- no descriptors ---- */

static void *accept_some(void *arg)
{
    intptr_t failures = 0;
    int fd;

    (void)arg;
    while ((fd = vthread_accept(server.listener, NULL, NULL)) < 0) {
        CHECK_EQ(fd, -EMFILE);
        failures++;
    }
    CHECK_EQ(vthread_close(fd), 0);
    return (void *)failures;
}

static int use_up(int *fds, int max)
{
    int n = 0;

    while (n < max && (fds[n] = dup(0)) >= 0)
        n++;
    CHECK(n < max);
    return n;
}

static void test_out_of_descriptors(void)
{
    enum { MAX = 2048 };
    static int fds[MAX];
    struct rlimit old;
    struct rlimit few = {256, 0};
    int client;
    int n;
    int64_t begin;
    vthread_t t;

    server.listener = listen_any(&server.port);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    few.rlim_max = old.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    client = dial(server.port);
    n = use_up(fds, MAX);
    CHECK_EQ(vthread_socket(AF_INET, SOCK_STREAM, 0), -EMFILE);
    CHECK_EQ(vthread_dial_tcp("127.0.0.1:1"), -EMFILE);

    /* The naive loop does not spin ... */
    begin = vthread_now_ns();
    t = spawn(accept_some, 0);
    await_parked(t);
    vthread_sleep_ms(250);
    /* ... its deadline and interruption work meanwhile ... */
    CHECK_EQ(vthread_accept_until(server.listener, NULL, NULL, vthread_after_ms(5)), -ETIMEDOUT);
    /* ... and it goes on as soon as one is free. */
    CHECK_EQ(vthread_close(fds[--n]), 0);
    intptr_t failures = join(t);

    CHECK(failures <= (vthread_now_ns() - begin) / (90 * MS));
    while (n > 0)
        CHECK_EQ(vthread_close(fds[--n]), 0);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    CHECK_EQ(vthread_close(client), 0);
    CHECK_EQ(vthread_close(server.listener), 0);
}

/* ---- fork ---- */

static bool new_calls_refuse(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    struct sockaddr_in any = {.sin_family = AF_INET};
    struct addrinfo *list;
    char host[64];
    char c;

    return vthread_recv(fd, &c, 1, 0) == -ENOTSUP && vthread_recv(fd, &c, 1, MSG_OOB) == -ENOTSUP &&
           vthread_send(fd, &c, 1, 0) == -ENOTSUP && vthread_poll(&p, 1) == -ENOTSUP &&
           vthread_sendfile(fd, fd, NULL, 1) == -ENOTSUP && vthread_splice(fd, NULL, fd, NULL, 1, 0) == -ENOTSUP &&
           vthread_tee(fd, fd, 1, 0) == -ENOTSUP && vthread_fd_set_deadline(fd, VTHREAD_NOW, VTHREAD_NOW) == ENOTSUP &&
           vthread_fd_set_interrupt_closes(fd, true) == ENOTSUP && vthread_waitpid(-1, NULL, 0) == -ENOTSUP &&
           vthread_getaddrinfo("127.0.0.1", "1", NULL, &list) == EAI_SYSTEM &&
           vthread_getnameinfo((struct sockaddr *)&any, sizeof any, host, sizeof host, NULL, 0, NI_NUMERICHOST) ==
               EAI_SYSTEM &&
           vthread_open("/dev/null", O_RDONLY, 0) == -ENOTSUP && vthread_pread(fd, &c, 1, 0) == -ENOTSUP &&
           vthread_fsync(fd) == ENOTSUP && vthread_flock(fd, 1) == ENOTSUP;
}

static void test_fork(void)
{
    int fds[2];
    int status;
    pid_t pid;
    char c;

    tcp_pair(fds);
    pid = fork();
    if (pid == 0) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        if (vthread_read(fds[0], &c, 1) != -ENOTSUP || vthread_write(fds[0], "x", 1) != -ENOTSUP ||
            vthread_close(fds[0]) != ENOTSUP || vthread_accept(fds[0], NULL, NULL) != -ENOTSUP ||
            vthread_dial_tcp("127.0.0.1:1") != -ENOTSUP || vthread_socket(AF_INET, SOCK_STREAM, 0) != -ENOTSUP ||
            vthread_listen_unix("@x", 0, 0) != -ENOTSUP || vthread_wait_fd(fds[0], POLLIN) != -ENOTSUP ||
            vthread_fd_forget(fds[0]) != ENOTSUP || vthread_shutdown(fds[0], SHUT_RD) != ENOTSUP ||
            vthread_signal_wait(&set) != -ENOTSUP || !new_calls_refuse(fds[0]))
            _exit(1);
        execl("/bin/true", "true", (char *)NULL);
        _exit(2);
    }
    CHECK(pid > 0);
    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    CHECK_EQ(status, 0);
    CHECK_EQ(vthread_write(fds[1], "x", 1), 1); /* the parent is as before */
    CHECK_EQ(vthread_read(fds[0], &c, 1), 1);
    close_pair(fds);
}

/* ---- signals ---- */

static void *wait_for_signal(void *arg)
{
    intptr_t signal = (intptr_t)arg;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, (int)signal);
    if (signal == SIGUSR1)
        sigaddset(&set, SIGHUP);
    return (void *)(intptr_t)vthread_signal_wait_until(&set, vthread_after_ms(20000));
}

static void test_signals(void)
{
    sigset_t set;
    sigset_t old;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    for (int blocked = 0; blocked < 2; blocked++) {
        vthread_t a = spawn(wait_for_signal, SIGUSR1);
        vthread_t b = spawn(wait_for_signal, SIGUSR2);

        await_parked(a);
        await_parked(b);
        CHECK_EQ(kill(getpid(), SIGUSR2), 0);
        CHECK_EQ(join(b), SIGUSR2);
        CHECK_EQ(kill(getpid(), SIGHUP), 0);
        CHECK_EQ(join(a), SIGHUP);
    }
    /* Nobody waits: it is kept. */
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);
    CHECK_EQ(vthread_signal_wait_until(&set, vthread_after_ms(20000)), SIGUSR2);
    CHECK_EQ(vthread_signal_wait_until(&set, VTHREAD_NOW), -ETIMEDOUT);
    CHECK_EQ(vthread_signal_wait_until(&set, vthread_after_ms(5)), -ETIMEDOUT);

    vthread_t t = spawn(wait_for_signal, SIGUSR2);

    await_parked(t);
    vthread_interrupt(t);
    CHECK_EQ(join(t), -EINTR);

    /* With several waiting, each gets one. */
    vthread_t three[3];

    for (int i = 0; i < 3; i++) {
        three[i] = spawn(wait_for_signal, SIGUSR2);
        await_parked(three[i]);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(kill(getpid(), SIGUSR2), 0);
        CHECK_EQ(join(three[i]), SIGUSR2);
    }
    (void)old;
}

/* Blocked in every thread, as programs that use sigwait have it: main does it before the runtime starts. */
static void test_blocked_signals(void)
{
    test_signals();
}

/* A handler on the program's own threads, while they are in calls of ours: nothing of it is seen. */
static atomic_int handled;

static void handler(int signal)
{
    (void)signal;
    atomic_fetch_add(&handled, 1);
}

static void *disturb(void *arg)
{
    int fd = (int)(intptr_t)arg;

    for (int i = 0; i < 50; i++) {
        kill(getpid(), SIGWINCH);
        vthread_sleep_ns(100 * 1000);
    }
    CHECK_EQ(vthread_write_all(fd, "done", 4), 4);
    return NULL;
}

static void test_handlers(void)
{
    struct sigaction action = {.sa_handler = handler};
    struct sigaction old;
    char buffer[4];
    int fds[2];

    CHECK_EQ(sigaction(SIGWINCH, &action, &old), 0);
    tcp_pair(fds);
    vthread_t t = spawn(disturb, fds[1]);

    CHECK_EQ(vthread_read_full(fds[0], buffer, 4), 4);
    join(t);
    CHECK(atomic_load(&handled) > 0);
    CHECK_EQ(sigaction(SIGWINCH, &old, NULL), 0);
    close_pair(fds);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"out of descriptors", test_out_of_descriptors, false},
        {"fork", test_fork, false},
        {"signals", test_signals, false},
        {"handlers", test_handlers, false},
        {NULL, NULL, false},
    };
    static const struct test blocked[] = {
        {"blocked signals", test_blocked_signals, false},
        {NULL, NULL, false},
    };
    sigset_t set;

    (void)argc;
    (void)argv;
    if (run_tests(tests) != 0)
        return 1;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGHUP);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    return run_tests(blocked);
}
