/* SPDX-License-Identifier: MIT */
/* fork, vfork, and programs that are started: what a child of a virtual thread has, and what it leaves alone. */
#include "posix_test.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static int status_of(pid_t child)
{
    int status = -1;

    CHECK(child > 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* ---- keys ---- */

static pthread_key_t key;

static void *fork_with_value(void *arg)
{
    pid_t child;

    CHECK_EQ(pthread_setspecific(key, arg), 0);
    child = fork();
    if (child == 0)
        _exit(pthread_getspecific(key) == arg && pthread_setspecific(key, NULL) == 0 ? 6 : 1);
    CHECK(pthread_getspecific(key) == arg);
    CHECK_EQ(status_of(child), 6);
    return NULL;
}

static void test_values(void)
{
    CHECK_EQ(pthread_key_create(&key, NULL), 0);
    join(spawn(fork_with_value, 12345));
    CHECK_EQ(pthread_key_delete(key), 0);
}

/* ---- the signal mask ---- */

static bool takes_signals(void)
{
    sigset_t mask;

    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    return sigismember(&mask, SIGTERM) == 0 && sigismember(&mask, SIGUSR1) == 0;
}

/* Not by way of a shell: dash begins with an empty mask. */
static int grep(const char *pattern)
{
    char *const argv[] = {strdup("grep"), strdup("-q"), strdup(pattern), strdup("/proc/self/status"), NULL};
    pid_t child;

    CHECK_EQ(posix_spawnp(&child, "grep", NULL, NULL, argv, environ), 0);
    for (int i = 0; argv[i] != NULL; i++)
        free(argv[i]);
    return status_of(child);
}

static void *start_programs(void *arg)
{
    sigset_t blocked;
    sigset_t before;
    pid_t child;

    child = fork();
    if (child == 0)
        _exit(takes_signals() ? 6 : 1);
    CHECK_EQ(status_of(child), 6);
    CHECK_EQ(grep("^SigBlk:.*00000000$"), 0);
    /* One that the thread has set is inherited. */
    sigfillset(&blocked);
    sigdelset(&blocked, SIGTERM);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &blocked, &before), 0);
    CHECK_EQ(grep("^SigBlk:.*00000000$"), 1);
    child = fork();
    if (child == 0)
        _exit(takes_signals() ? 1 : 6);
    CHECK_EQ(status_of(child), 6);
    /* So is the one that it had, when the child has put it back. */
    child = fork();
    if (child == 0)
        _exit(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0 && takes_signals() ? 6 : 1);
    CHECK_EQ(status_of(child), 6);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    CHECK(takes_signals());
    return arg;
}

static void test_masks(void)
{
    join(spawn(start_programs, 0));
}

/* The mask of a thread that has ended is not the next one's. */
static void *end_with_mask(void *arg)
{
    sigset_t all;

    CHECK(takes_signals());
    sigfillset(&all);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
    CHECK(!takes_signals());
    CHECK(!vthread_is_pinned(NULL));
    if (arg != NULL)
        pthread_exit(arg);
    return NULL;
}

static void test_mask_ends(void)
{
    for (int i = 0; i < 20; i++)
        join(spawn(end_with_mask, i % 2));
}

/* ---- vfork: the child's calls are its own ---- */

static void *read_byte(void *arg)
{
    char byte;

    CHECK_EQ(read((int)(intptr_t)arg, &byte, 1), 1);
    return (void *)(intptr_t)byte;
}

static void *borrow(void *arg)
{
    int fd = (int)(intptr_t)arg;
    pid_t child = vfork();

    if (child == 0) {
        usleep(1000);
        sched_yield();
        close(fd);
        _exit(5);
    }
    CHECK_EQ(status_of(child), 5);
    return NULL;
}

static void test_vfork(void)
{
    int fds[2];
    vthread_t reader;

    make_pair(STREAM, fds);
    reader = spawn(read_byte, fds[0]);
    await_parked(reader);
    for (int i = 0; i < 5; i++)
        join(spawn(borrow, fds[0]));
    CHECK_EQ(write(fds[1], "v", 1), 1); /* nobody has closed it */
    CHECK_EQ(join(reader), 'v');
    plain_close_pair(fds);
}

/* ---- a daemon: forked before the runtime starts ---- */

static void *read_until_closed(void *arg)
{
    char byte;

    FAILS(read((int)(intptr_t)arg, &byte, 1), ECANCELED);
    return NULL;
}

static void test_daemon(void)
{
    int fds[2];
    vthread_t t;

    make_pair(STREAM, fds);
    t = spawn(read_until_closed, fds[0]);
    await_parked(t);
    CHECK_EQ(close(fds[0]), 0);
    join(t);
    CHECK_EQ(close(fds[1]), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"values of keys", test_values, false}, {"masks", test_masks, true},   {"the mask ends", test_mask_ends, false},
        {"vfork", test_vfork, false},           {"daemon", test_daemon, true}, {NULL, NULL, false},
    };
    pid_t child = fork();

    if (child == 0) {
        CHECK(vthread_has("posix"));
        return run_tests(tests);
    }
    return status_of(child);
}
