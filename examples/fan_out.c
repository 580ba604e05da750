/* SPDX-License-Identifier: MIT */
/*
 * fan_out: asks three services at once, under one deadline, and needs all three answers; then
 * asks three mirrors, and needs the first.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <vthread/local.h>
#include <vthread/scope.h>

static vthread_scoped_value_t request = VTHREAD_SCOPED_VALUE_INITIALIZER("request");

/* A service that takes its time.  `return vthread_fail(error)` is how it would say that it cannot. */
static void *ask(void *ms)
{
    int error = vthread_sleep_ms((intptr_t)ms);

    if (error != 0) /* EINTR: nobody wants the answer any more */
        return vthread_fail(error);
    printf("%s: an answer after %d ms\n", (char *)vthread_scoped_value_get(&request), (int)(intptr_t)ms);
    return ms;
}

static void *ask_all(void *deadline_ms)
{
    static const intptr_t takes_ms[] = {30, 10, 20};
    vthread_scope_params_t params = {.deadline_ns = vthread_after_ms((intptr_t)deadline_ms)};
    vthread_subtask_t *answers[3];
    vthread_scope_t *scope;
    intptr_t sum = 0;
    int error = vthread_scope_open(&scope, &params);

    if (error != 0)
        return vthread_fail(error);
    for (int i = 0; i < 3 && error == 0; i++)
        error = vthread_scope_fork(scope, ask, (void *)takes_ms[i], &answers[i]);
    if (error == 0)
        error = vthread_scope_join(scope);
    for (int i = 0; i < 3 && error == 0; i++) {
        void *value;

        error = vthread_subtask_result(answers[i], &value);
        sum += (intptr_t)value;
    }
    vthread_scope_close(scope); /* interrupts those that are still at it, and waits for them */
    return error == 0 ? (void *)sum : vthread_fail(error);
}

static void *ask_any(void *arg)
{
    vthread_scope_params_t params = {.joiner = VTHREAD_SCOPE_ANY_SUCCEED};
    vthread_scope_t *scope;
    void *value = arg;
    int error = vthread_scope_open(&scope, &params);

    if (error != 0)
        return vthread_fail(error);
    for (intptr_t ms = 10; ms <= 10000 && error == 0; ms *= 10)
        error = vthread_scope_fork(scope, ask, (void *)ms, NULL);
    if (error == 0)
        error = vthread_scope_join(scope);
    if (error == 0)
        error = vthread_scope_result(scope, &value);
    vthread_scope_close(scope);
    return error == 0 ? value : vthread_fail(error);
}

static int run(const char *name, void *(*fn)(void *arg), intptr_t arg)
{
    void *value = NULL;
    int error = vthread_scoped_value_run(&request, (void *)(uintptr_t)name, fn, (void *)arg, &value);

    printf("%s: %s, %d\n", name, error == 0 ? "all is well" : strerror(error), (int)(intptr_t)value);
    return error;
}

int main(void)
{
    return run("in time", ask_all, 10000) != 0 || run("too late", ask_all, 1) != ETIMEDOUT ||
           run("the first", ask_any, 0) != 0;
}
