/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int prepared;

static void prepare(void)
{
    prepared = 1;
}

TestSuite(harness, .init = prepare, .timeout = 10);

Test(harness, passes_and_runs_init_first)
{
    cr_assert_eq(prepared, 1);
    cr_assert_str_eq("a", "a");
}

Test(harness, expected_signal, .signal = SIGABRT)
{
    abort();
}

Test(harness, expected_exit_status, .exit_code = 3)
{
    exit(3);
}

/* What must not pass is seen from outside: each body runs in a child of its own. */
static int exit_status_of(void (*body)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        freopen("/dev/null", "w", stdout);
        body();
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void assert_what_is_false(void)
{
    cr_assert_eq(1, 2, "numbers %d", 3);
}

static void skip(void)
{
    cr_skip("nothing to see");
}

Test(harness, a_failed_assertion_ends_the_test)
{
    cr_assert_eq(exit_status_of(assert_what_is_false), 111);
}

Test(harness, a_skip_is_told_apart)
{
    cr_assert_eq(exit_status_of(skip), 77);
}
