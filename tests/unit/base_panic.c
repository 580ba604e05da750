/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/panic.h"

TestSuite(panic, .timeout = 20);

Test(panic, ends_the_program, .signal = SIGABRT)
{
    panic("as the test wants");
}

Test(panic, a_broken_assertion_ends_the_program, .signal = SIGABRT)
{
    ASSERT_ALWAYS(1 + 1 == 3);
}

static int evaluated;

Test(panic, assertions_that_are_off_are_not_evaluated)
{
    ASSERT_NEVER(evaluated++ == 17);
    ASSERT_ALWAYS(++evaluated == 1);
    cr_assert_eq(evaluated, 1);
}

Test(panic, says_what_and_where)
{
    char text[300] = "";
    int fds[2];
    int status;
    pid_t pid;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        panic_at("a == b", "some_file.c", 1234);
    }
    close(fds[1]);
    cr_assert_gt(read(fds[0], text, sizeof text - 1), 0);
    for (ssize_t n; (n = read(fds[0], text + strlen(text), sizeof text - 1 - strlen(text))) > 0;)
        ;
    cr_assert_neq(strchr(text, '\n'), NULL);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    /* An emulator may add a line of its own about the signal. */
    strchr(text, '\n')[1] = '\0';
    cr_assert_str_eq(text, "vthread: broken invariant: a == b (some_file.c:1234)\n");
}
