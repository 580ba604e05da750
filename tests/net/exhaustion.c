/* SPDX-License-Identifier: MIT */
/*
 * No descriptor left, or only a few: every call that needs some says so, loses nothing, leaves none behind, and works
 * again when there are.  (An accept that waits for one: limits.c.)
 */
#include "net_test.h"

#include <netdb.h>
#include <sys/syscall.h>

enum { MAX = 2048, ENOUGH = 40 };

static struct {
    int fds[MAX];
    int n;
    struct rlimit old;
} hoard;

/* Leave so many. */
static void use_up(int left)
{
    struct rlimit few = {256, 0};

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &hoard.old), 0);
    few.rlim_max = hoard.old.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (hoard.n = 0; (hoard.fds[hoard.n] = dup(0)) >= 0; hoard.n++)
        CHECK(hoard.n < MAX - 1);
    CHECK_EQ(errno, EMFILE);
    CHECK(hoard.n >= left);
    while (left-- > 0)
        CHECK_EQ(close(hoard.fds[--hoard.n]), 0);
}

static void give_back(void)
{
    while (hoard.n > 0)
        CHECK_EQ(close(hoard.fds[--hoard.n]), 0);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &hoard.old), 0);
}

/* ---- the calls: 0, or Exxx ---- */

static struct {
    int listener;
    int port;
    char address[64];
    char name[64];
    int path_listener;
    char path[64];
    int pair[2];
    pid_t child;
} scene;

static int closed_again(int fd)
{
    if (fd < 0)
        return -fd;
    CHECK_EQ(vthread_close(fd), 0);
    return 0;
}

static int make_socket(void)
{
    return closed_again(vthread_socket(AF_INET, SOCK_STREAM, 0));
}

static int listen_at_port(void)
{
    return closed_again(vthread_listen_tcp("127.0.0.1:0", 0, 0));
}

static int listen_at_path(void)
{
    return closed_again(vthread_listen_unix("@vthread-exhaustion", 0, 0));
}

/* The other end is accepted when there is room for it. */
static int dialled(int fd)
{
    int other;

    if (fd < 0)
        return -fd;
    CHECK_EQ(vthread_close(fd), 0);
    other = vthread_accept(scene.listener, NULL, NULL);
    CHECK(other >= 0);
    CHECK_EQ(vthread_close(other), 0);
    return 0;
}

static int dial_address(void)
{
    return dialled(vthread_dial_tcp(scene.address));
}

static int dial_name(void)
{
    return dialled(vthread_dial_tcp(scene.name));
}

static int dial_path(void)
{
    return closed_again(vthread_dial_unix(scene.path));
}

static int open_file(void)
{
    return closed_again(vthread_open("/dev/null", O_RDONLY, 0));
}

static int poll_unusual(void)
{
    struct pollfd p = {scene.pair[0], POLLPRI, 0};
    int n = vthread_poll_until(&p, 1, vthread_after_ms(1));

    return n < 0 ? -n : 0;
}

static int close_by_interrupt(void)
{
    int error = vthread_fd_set_interrupt_closes(scene.pair[0], true);

    if (error == 0)
        CHECK_EQ(vthread_fd_set_interrupt_closes(scene.pair[0], false), 0);
    return error;
}

static int wait_for_signal(void)
{
    sigset_t set;
    int signal;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    signal = vthread_signal_wait_until(&set, vthread_after_ms(1));
    return signal == -ETIMEDOUT ? 0 : -signal;
}

/* It needs none, but for the runtime's first. */
static int wait_for_child(void)
{
    pid_t found = vthread_waitpid_until(scene.child, NULL, 0, vthread_after_ms(1));

    return found == -ETIMEDOUT ? 0 : -found;
}

static int read_pair(void)
{
    char c;
    ssize_t n;

    CHECK_EQ(write(scene.pair[1], "x", 1), 1);
    n = vthread_read(scene.pair[0], &c, 1);
    if (n < 0)
        CHECK_EQ(read(scene.pair[0], &c, 1), 1); /* nothing was lost */
    return n < 0 ? (int)-n : 0;
}

/* What the C library makes of it is not ours to say, but that it is an error. */
static int look_up(void)
{
    struct addrinfo *list;
    int code = vthread_getaddrinfo("localhost", "80", NULL, &list);

    if (code == 0)
        freeaddrinfo(list);
    return code == 0 ? 0 : EMFILE;
}

static const struct {
    const char *name;
    int (*call)(void);
} calls[] = {
    {"socket", make_socket},
    {"listen_tcp", listen_at_port},
    {"listen_unix", listen_at_path},
    {"dial_tcp", dial_address},
    {"dial_tcp by name", dial_name},
    {"dial_unix", dial_path},
    {"open", open_file},
    {"poll", poll_unusual},
    {"interrupt closes", close_by_interrupt},
    {"signal_wait", wait_for_signal},
    {"waitpid", wait_for_child},
    {"read", read_pair},
    {"getaddrinfo", look_up},
};

enum { CALLS = sizeof calls / sizeof calls[0] };

static void set_scene(void)
{
    scene.listener = listen_any(&scene.port);
    snprintf(scene.address, sizeof scene.address, "127.0.0.1:%d", scene.port);
    snprintf(scene.name, sizeof scene.name, "localhost:%d", scene.port);
    snprintf(scene.path, sizeof scene.path, "@vthread-exhaustion-%d", (int)getpid());
    scene.path_listener = vthread_listen_unix(scene.path, 0, 0);
    CHECK(scene.path_listener >= 0);
}

static void clear_scene(void)
{
    CHECK_EQ(vthread_close(scene.path_listener), 0);
    CHECK_EQ(vthread_close(scene.listener), 0);
}

static void set_pair_and_child(void)
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, scene.pair), 0);
    scene.child = fork();
    CHECK(scene.child >= 0);
    if (scene.child == 0) {
        pause();
        _exit(0);
    }
}

static void clear_pair_and_child(void)
{
    close_pair(scene.pair);
    CHECK_EQ(kill(scene.child, SIGKILL), 0);
    CHECK_EQ(vthread_waitpid(scene.child, NULL, 0), scene.child);
}

/* With 0, 1, 2 ... descriptors, until it succeeds. */
static void call_with_few(int (*call)(void))
{
    int error = EMFILE;

    for (int left = 0; error != 0; left++) {
        CHECK(left < ENOUGH);
        use_up(left);
        error = call();
        if (error != 0)
            CHECK_EQ(error, EMFILE);
        give_back();
    }
    CHECK_EQ(call(), 0);
}

static void test_few(void)
{
    set_scene();
    set_pair_and_child();
    for (int i = 0; i < CALLS; i++) {
        test_now = calls[i].name;
        call_with_few(calls[i].call);
    }
    test_now = "few";
    clear_pair_and_child();
    clear_scene();
}

/* The first call is the one that the poller comes up with. */
static void test_first_calls(void)
{
    static int (*const first[])(void) = {make_socket, poll_unusual, close_by_interrupt, wait_for_signal, wait_for_child,
                                         read_pair,   look_up};

    for (unsigned i = 0; i < sizeof first / sizeof first[0]; i++) {
        int descriptors;

        set_pair_and_child();
        descriptors = count_descriptors();
        call_with_few(first[i]);
        CHECK_EQ(vthread_runtime_shutdown(vthread_after_ms(10000)), 0);
        CHECK_EQ(count_descriptors(), descriptors);
        clear_pair_and_child();
        CHECK_EQ(vthread_runtime_shutdown(vthread_after_ms(10000)), 0);
    }
    printf("ok first calls\n");
}

/* ---- connections that come meanwhile ---- */

static atomic_bool system_is_full;

/* Instead of the C library's: the system's table of files cannot be filled up by a test. */
int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    if (atomic_load(&system_is_full)) {
        errno = ENFILE;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, address, length, flags);
}

static atomic_int starved;

static void *accept_and_answer(void *arg)
{
    intptr_t accepted = 0;
    int fd;
    char c;

    (void)arg;
    while ((fd = vthread_accept(scene.listener, NULL, NULL)) != -ECANCELED)
        if (fd >= 0) {
            accepted++;
            CHECK_EQ(vthread_read(fd, &c, 1), 1);
            CHECK_EQ(vthread_write(fd, &c, 1), 1);
            CHECK_EQ(vthread_close(fd), 0);
        } else {
            CHECK(fd == -EMFILE || fd == -ENFILE);
            atomic_fetch_add(&starved, 1);
        }
    return (void *)accepted;
}

/* All of them are accepted and served in the end. */
static void test_connections_meanwhile(void)
{
    enum { CLIENTS = 20, ACCEPTORS = 2 };

    for (int full = 0; full < 2; full++) {
        int clients[CLIENTS];
        vthread_t t[ACCEPTORS];
        intptr_t accepted = 0;
        char c;

        scene.listener = listen_any(&scene.port);
        for (int i = 0; i < CLIENTS; i++) {
            clients[i] = dial(scene.port);
            CHECK_EQ(vthread_write(clients[i], &(char){(char)i}, 1), 1);
        }
        atomic_store(&starved, 0);
        if (full)
            atomic_store(&system_is_full, true);
        else
            use_up(0);
        for (int i = 0; i < ACCEPTORS; i++)
            t[i] = spawn(accept_and_answer, 0);
        while (atomic_load(&starved) == 0)
            vthread_sleep_ms(1);
        if (full)
            atomic_store(&system_is_full, false);
        else
            give_back();
        for (int i = 0; i < CLIENTS; i++) {
            CHECK_EQ(vthread_read(clients[i], &c, 1), 1);
            CHECK_EQ(c, i);
            CHECK_EQ(vthread_close(clients[i]), 0);
        }
        for (int i = 0; i < ACCEPTORS; i++)
            await_parked(t[i]);
        CHECK_EQ(vthread_close(scene.listener), 0);
        for (int i = 0; i < ACCEPTORS; i++)
            accepted += join(t[i]);
        CHECK_EQ(accepted, CLIENTS);
    }
}

int main(void)
{
    static const struct test tests[] = {
        {"few", test_few, false},
        {"connections meanwhile", test_connections_meanwhile, true},
        {NULL, NULL, false},
    };

    test_first_calls();
    return run_tests(tests);
}
