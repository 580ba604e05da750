/* SPDX-License-Identifier: MIT */
/*
 * Runs each registered test in a child process and reports in TAP.
 *
 *     PROGRAM [--list] [--filter SUITE[/NAME]] [--no-fork] [--tap=-]
 *
 * --no-fork runs the tests in this process, for a debugger.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "criterion/criterion.h"

enum { EXIT_FAILED = 111, EXIT_SKIPPED = 77 };
static const double default_timeout = 60;

static struct harness_test *tests;
static struct harness_test **tests_end = &tests;
static struct harness_test *suites;
static bool failed; /* in the child: an expectation was not met */

void harness_add(struct harness_test *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

void harness_add_suite(struct harness_test *suite)
{
    suite->next = suites;
    suites = suite;
}

/* Lines that begin with # are comments in TAP; one write each, as children share the pipe. */
static void comment(const char *prefix, const char *fmt, va_list args)
{
    char text[512];

    vsnprintf(text, sizeof text, fmt, args);
    printf("# %s%s\n", prefix, text);
    fflush(stdout);
}

void harness_fail(bool fatal, const char *file, int line, const char *what, const char *fmt, ...)
{
    char prefix[256];
    va_list args;

    snprintf(prefix, sizeof prefix, "%s:%d: expected %s", file, line, what);
    va_start(args, fmt);
    comment(prefix, fmt, args);
    va_end(args);
    failed = true;
    if (fatal)
        _exit(EXIT_FAILED);
}

void harness_skip(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    comment("skipped:", fmt, args);
    va_end(args);
    _exit(EXIT_SKIPPED);
}

void harness_log(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    comment("", fmt, args);
    va_end(args);
}

static struct harness_options options_of(const struct harness_test *test)
{
    struct harness_options options = test->options;

    for (struct harness_test *s = suites; s != NULL; s = s->next) {
        if (strcmp(s->suite, test->suite) != 0)
            continue;
        options.init = options.init != NULL ? options.init : s->options.init;
        options.fini = options.fini != NULL ? options.fini : s->options.fini;
        options.signal = options.signal != 0 ? options.signal : s->options.signal;
        options.exit_code = options.exit_code != 0 ? options.exit_code : s->options.exit_code;
        options.timeout = options.timeout > 0 ? options.timeout : s->options.timeout;
        options.disabled = options.disabled || s->options.disabled;
    }
    if (options.timeout <= 0)
        options.timeout = default_timeout;
    return options;
}

static void run_body(const struct harness_test *test, const struct harness_options *options)
{
    if (options->init != NULL)
        options->init();
    test->body();
    if (options->fini != NULL)
        options->fini();
}

/* Waits for the child; kills it when its time is over.  Returns false then. */
static bool wait_child(pid_t pid, int alive, double timeout, int *ret_status)
{
    struct pollfd end = {.fd = alive, .events = POLLIN};
    int ready;

    /* The child alone holds the other end of the pipe, which closes when it ends. */
    do
        ready = poll(&end, 1, (int)(timeout * 1000));
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
        ;
    return ready != 0;
}

/* NULL: as it should be.  Otherwise what was wrong; "" for a skip. */
static const char *verdict(const struct harness_options *options, int status)
{
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == options->signal ? NULL : strsignal(WTERMSIG(status));
    if (WEXITSTATUS(status) == EXIT_SKIPPED)
        return "";
    if (WEXITSTATUS(status) == EXIT_FAILED)
        return "failed";
    if (options->signal != 0)
        return "did not end by the signal it should have";
    return WEXITSTATUS(status) == options->exit_code ? NULL : "unexpected exit status";
}

/* Returns true when the test passed or was skipped. */
static bool run(int number, const struct harness_test *test)
{
    struct harness_options options = options_of(test);
    const char *wrong;
    int pipe_fds[2];
    int status;
    pid_t pid;

    if (options.disabled) {
        printf("ok %d - %s::%s # SKIP disabled\n", number, test->suite, test->name);
        return true;
    }
    if (pipe(pipe_fds) != 0)
        abort();
    fflush(stdout);
    pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        close(pipe_fds[0]);
        run_body(test, &options);
        fflush(stdout);
        exit(failed ? EXIT_FAILED : 0);
    }
    close(pipe_fds[1]);
    wrong = wait_child(pid, pipe_fds[0], options.timeout, &status) ? verdict(&options, status) : "timed out";
    close(pipe_fds[0]);
    if (wrong == NULL)
        printf("ok %d - %s::%s\n", number, test->suite, test->name);
    else if (wrong[0] == '\0')
        printf("ok %d - %s::%s # SKIP\n", number, test->suite, test->name);
    else
        printf("not ok %d - %s::%s %s\n", number, test->suite, test->name, wrong);
    fflush(stdout);
    return wrong == NULL || wrong[0] == '\0';
}

static bool selected(const struct harness_test *test, const char *filter)
{
    size_t suite_bytes = strlen(test->suite);

    if (filter == NULL)
        return true;
    if (strncmp(filter, test->suite, suite_bytes) != 0)
        return false;
    return filter[suite_bytes] == '\0' ||
           (filter[suite_bytes] == '/' && strcmp(filter + suite_bytes + 1, test->name) == 0);
}

int main(int argc, char **argv)
{
    const char *filter = NULL;
    bool list = false;
    bool in_process = false;
    bool all_passed = true;
    int count = 0;
    int number = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc)
            filter = argv[++i];
        else if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--no-fork") == 0)
            in_process = true;
    }
    for (struct harness_test *t = tests; t != NULL; t = t->next)
        count += selected(t, filter);
    if (!list)
        printf("TAP version 13\n1..%d\n", count);
    for (struct harness_test *t = tests; t != NULL; t = t->next) {
        if (!selected(t, filter))
            continue;
        if (list) {
            printf("%s/%s\n", t->suite, t->name);
        } else if (in_process) {
            struct harness_options options = options_of(t);

            run_body(t, &options);
            printf("ok %d - %s::%s\n", ++number, t->suite, t->name);
        } else {
            all_passed &= run(++number, t);
        }
    }
    return all_passed ? 0 : 1;
}
