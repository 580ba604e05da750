/* SPDX-License-Identifier: MIT */
/*
 * What the tests of virtual threads share.
 *
 * Assertions belong to the test's own thread, so a virtual thread returns what it
 * finds: NULL when all is well, or the CHECK that failed.
 */
#ifndef TESTS_UNIT_VTHREAD_HELP_H
#define TESTS_UNIT_VTHREAD_HELP_H

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "base/attributes.h"
#include "continuation/sanitizer.h"

#define HELP_TEXT_(x) #x
#define HELP_TEXT(x) HELP_TEXT_(x)
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return (void *)(uintptr_t)(__FILE__ ":" HELP_TEXT(__LINE__) ": " #condition);                              \
    } while (0)

/* At this point all of a local array is in its frame: clang keeps of a volatile one only the elements that are used. */
#define HELP_KEEP_WHOLE(array) __asm__ volatile("" : : "r"(array) : "memory")

/* Tests that are slow by nature do less of it where everything is slow. */
#if BUILT_WITH_ASAN || BUILT_WITH_TSAN || defined(TESTS_EMULATED)
enum { HELP_SLOW = 20 };
#else
enum { HELP_SLOW = 1 };
#endif

/* Does valgrind run us?  Some children do on purpose what it reports. */
static inline bool help_on_valgrind(void)
{
    sanitizer_valgrind_look();
    return sanitizer_valgrind;
}

/* On the test's own thread: wait for an event, as long as that may take on a loaded machine. */
#define EVENTUALLY(condition)                                                                                          \
    ({                                                                                                                 \
        int eventually_left = 40000;                                                                                   \
        while (!(condition) && --eventually_left > 0)                                                                  \
            usleep(500);                                                                                               \
        eventually_left > 0;                                                                                           \
    })

/* The same in a virtual thread. */
#define EVENTUALLY_HERE(condition)                                                                                     \
    ({                                                                                                                 \
        int eventually_left = 40000;                                                                                   \
        while (!(condition) && --eventually_left > 0)                                                                  \
            vthread_sleep_ns(500000);                                                                                  \
        eventually_left > 0;                                                                                           \
    })

/* A state that a thread has reached and stays in. */
#define REACHES(thread, state) EVENTUALLY(vthread_state(thread) == (state))

static inline vthread_t help_start_with(const vthread_attr_t *attr, void *(*fn)(void *arg), void *arg)
{
    vthread_t t = NULL;

    cr_assert_eq(vthread_create(&t, attr, fn, arg), 0);
    return t;
}

static inline vthread_t help_start(void *(*fn)(void *arg), void *arg)
{
    return help_start_with(NULL, fn, arg);
}

/* The thread is to end, and to have found nothing wrong. */
static inline void help_join(vthread_t t)
{
    void *wrong = NULL;
    int error = vthread_join_until(t, &wrong, vthread_after_ms(40000));

    cr_assert_eq(error, 0, "join: %s", strerror(error));
    cr_assert_null(wrong, "%s", (const char *)wrong);
}

static inline void help_run_with(const vthread_attr_t *attr, void *(*fn)(void *arg), void *arg)
{
    help_join(help_start_with(attr, fn, arg));
}

static inline void help_run(void *(*fn)(void *arg), void *arg)
{
    help_run_with(NULL, fn, arg);
}

static inline void help_configure(unsigned parallelism)
{
    vthread_runtime_params_t params = {.parallelism = parallelism};

    cr_assert_eq(vthread_runtime_configure(&params), 0);
}

static inline void help_shutdown(void)
{
    int error = vthread_runtime_shutdown(vthread_after_ms(40000));

    cr_assert_eq(error, 0, "shutdown: %s", strerror(error));
}

/* After each test: whatever it left behind ends, and the leak checker finds nothing. */
static inline void help_fini(void)
{
    vthread_set_misuse_handler(NULL, NULL);
    vthread_set_failure_handler(NULL, NULL);
    help_shutdown();
}

/* The OS thread this runs on.  Not pthread_self: compilers remember what that returned before a switch. */
static inline pid_t help_os_thread(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* ---- bodies ---- */

static inline void *help_return(void *arg)
{
    return arg;
}

static inline void *help_nothing(void *arg)
{
    (void)arg;
    return NULL;
}

/* Parks until interrupted. */
static inline void *help_park_for_ever(void *arg)
{
    (void)arg;
    while (vthread_park() != EINTR)
        ;
    vthread_interrupted();
    return NULL;
}

/* arg: an atomic_bool; computes until it is set. */
static inline void *help_spin(void *arg)
{
    while (!atomic_load((atomic_bool *)arg))
        vthread_spin_hint();
    return NULL;
}

/* ---- the misuse handler ---- */

struct help_messages {
    atomic_int count;
    char last[600];
};

static inline void help_keep_message(const char *message, void *user)
{
    struct help_messages *messages = (struct help_messages *)user;

    snprintf(messages->last, sizeof messages->last, "%s", message);
    atomic_fetch_add(&messages->count, 1);
}

/* ---- children ---- */

struct help_end {
    int status;
    char text[16000]; /* what it wrote to stderr */
};

/* Run body in a child, before the runtime has been started here; it ends with status 0 when body returns. */
static inline struct help_end help_child(void (*body)(void))
{
    struct help_end end = {.status = -1};
    size_t length = 0;
    ssize_t n;
    int fds[2];
    pid_t pid;

    cr_assert_eq(pipe(fds), 0);
    fflush(NULL);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        alarm(60);
        body();
        _exit(0);
    }
    close(fds[1]);
    while ((n = read(fds[0], end.text + length, sizeof end.text - 1 - length)) > 0)
        length += (size_t)n;
    close(fds[0]);
    while (waitpid(pid, &end.status, 0) < 0 && errno == EINTR)
        ;
    return end;
}

static inline bool help_died_by(const struct help_end *end, int signal)
{
    return WIFSIGNALED(end->status) && WTERMSIG(end->status) == signal;
}

#endif
