/* SPDX-License-Identifier: MIT */
/*
 * executor.h: both kinds of executor and futures, by virtual and platform threads.  What is
 * the same for both runs with both; BOTH makes the executor, of two threads where it is fixed.
 */
#include "vthread_help.h"

#include <vthread/continuation.h>
#include <vthread/executor.h>
#include <vthread/local.h>
#include <vthread/scope.h>

TestSuite(executor, .fini = help_fini, .timeout = 100);

static _Atomic uintptr_t discarded;
static atomic_int discards;

static void discard(void *value)
{
    atomic_fetch_add(&discarded, (uintptr_t)value);
    atomic_fetch_add(&discards, 1);
}

static const vthread_executor_params_t params = {.discard = discard, .threads = 2};

static vthread_executor_t *make(bool fixed)
{
    vthread_executor_t *ex = NULL;

    cr_assert_eq((fixed ? vthread_executor_new_fixed : vthread_executor_new_per_task)(&ex, &params), 0);
    atomic_store(&discarded, 0);
    atomic_store(&discards, 0);
    return ex;
}

static vthread_executor_t *end(vthread_executor_t *ex)
{
    cr_assert_eq(vthread_executor_free(ex), 0);
    return NULL;
}

#define BOTH(ex)                                                                                                       \
    for (int both_fixed = 0; both_fixed < 2; both_fixed++)                                                             \
        for (vthread_executor_t *ex = make(both_fixed != 0); ex != NULL; ex = end(ex))

static vthread_future_t *submit(vthread_executor_t *ex, void *(*fn)(void *arg), void *arg)
{
    vthread_future_t *f = NULL;

    cr_assert_eq(vthread_executor_submit(ex, fn, arg, &f), 0);
    return f;
}

/* ---- bodies ---- */

static void *fails(void *arg)
{
    return vthread_fail((int)(intptr_t)arg);
}

static void *exits(void *arg)
{
    vthread_exit(arg);
}

static void *fails_and_exits(void *arg)
{
    vthread_fail(3);
    vthread_exit(arg);
}

/* A gate: tasks wait in it, and count. */
static struct gate {
    atomic_bool open;
    atomic_int inside;
    atomic_int interrupted;
    atomic_int done;
} gate;

static void gate_reset(void)
{
    atomic_store(&gate.open, false);
    atomic_store(&gate.inside, 0);
    atomic_store(&gate.interrupted, 0);
    atomic_store(&gate.done, 0);
}

/* Waits until the gate is open or it is interrupted. */
static void *waits(void *arg)
{
    atomic_fetch_add(&gate.inside, 1);
    while (!atomic_load(&gate.open)) {
        if (vthread_sleep_ns(200000) == EINTR) {
            atomic_fetch_add(&gate.interrupted, 1);
            break;
        }
    }
    atomic_fetch_add(&gate.done, 1);
    return arg;
}

/* Waits for the gate whatever comes. */
static void *waits_deaf(void *arg)
{
    atomic_fetch_add(&gate.inside, 1);
    while (!atomic_load(&gate.open))
        if (vthread_sleep_ns(200000) == EINTR)
            atomic_fetch_add(&gate.interrupted, 1);
    atomic_fetch_add(&gate.done, 1);
    return arg;
}

static const vthread_attr_t virtually = {.name = "virtual"};
static const vthread_attr_t on_platform = {.name = "platform", .kind = VTHREAD_KIND_PLATFORM};

/* ---- results ---- */

static void *gets_results(void *arg)
{
    vthread_executor_t *ex = arg;
    vthread_future_t *f;
    void *value = NULL;

    CHECK(vthread_executor_submit(ex, help_return, (void *)5, &f) == 0);
    CHECK(vthread_future_get(f, &value) == 0 && value == (void *)5);
    value = NULL;
    CHECK(vthread_future_get_until(f, &value, VTHREAD_NOW) == 0 && value == (void *)5);
    CHECK(vthread_future_get(f, NULL) == 0);
    CHECK(vthread_future_state(f) == VTHREAD_FUTURE_SUCCEEDED && vthread_future_is_done(f));
    CHECK(vthread_future_error(f) == 0);
    CHECK(vthread_future_cancel(f, true) == ESRCH);
    CHECK(vthread_future_free(f) == 0);

    CHECK(vthread_executor_submit(ex, exits, (void *)6, &f) == 0);
    CHECK(vthread_future_get(f, &value) == 0 && value == (void *)6);
    CHECK(vthread_future_free(f) == 0);

    value = &value;
    CHECK(vthread_executor_submit(ex, fails, (void *)7, &f) == 0);
    CHECK(vthread_future_get(f, &value) == ECHILD && value == &value);
    CHECK(vthread_future_error(f) == 7 && vthread_future_state(f) == VTHREAD_FUTURE_FAILED);
    CHECK(vthread_future_cancel(f, false) == ESRCH);
    CHECK(vthread_future_free(f) == 0);

    CHECK(vthread_executor_submit(ex, fails, (void *)-1, &f) == 0);
    CHECK(vthread_future_get(f, NULL) == ECHILD && vthread_future_error(f) == EINVAL);
    CHECK(vthread_future_free(f) == 0);

    CHECK(vthread_executor_submit(ex, fails_and_exits, (void *)6, &f) == 0);
    CHECK(vthread_future_get(f, NULL) == ECHILD && vthread_future_error(f) == 3);
    CHECK(vthread_future_free(f) == 0);
    return NULL;
}

Test(executor, results)
{
    BOTH(ex)
    {
        void *wrong = gets_results(ex);

        cr_assert_null(wrong, "%s", (char *)wrong);
        help_run_with(&virtually, gets_results, ex);
        help_run_with(&on_platform, gets_results, ex);
        cr_assert_eq(vthread_executor_close(ex), 0); /* a result is there before its value is discarded */
        cr_assert_eq(atomic_load(&discarded), 3 * 6); /* of those that failed, and exited */
    }
}

/* Failures before do not cling to a worker. */
Test(executor, many_in_order_of_submission)
{
    vthread_executor_t *ex;
    vthread_future_t *futures[200];

    cr_assert_eq(vthread_executor_new_fixed(&ex, &(vthread_executor_params_t){.threads = 1}), 0);
    for (uintptr_t i = 0; i < 200; i++)
        futures[i] = submit(ex, i % 3 == 0 ? fails : i % 3 == 1 ? exits : help_return, (void *)(i + 1));
    for (uintptr_t i = 0; i < 200; i++) {
        void *value = NULL;

        cr_assert_eq(vthread_future_get(futures[i], &value), i % 3 == 0 ? ECHILD : 0);
        cr_assert_eq(i % 3 == 0 ? (void *)(uintptr_t)vthread_future_error(futures[i]) : value, (void *)(i + 1));
        vthread_future_free(futures[i]);
    }
    cr_assert_eq(vthread_executor_free(ex), 0);
}

/* A task that ends inside a continuation ends that, too. */
static vthread_cont_scope_t scope = VTHREAD_CONT_SCOPE_INITIALIZER("tests");
static vthread_cont_t *outer;
static vthread_cont_t *inner;

static void *runs_inner(void *arg)
{
    vthread_cont_new(&inner, &scope, exits, arg);
    vthread_cont_run(inner, NULL);
    return NULL;
}

static void *ends_in_a_continuation(void *arg)
{
    vthread_cont_new(&outer, &scope, runs_inner, arg);
    vthread_cont_run(outer, NULL);
    return NULL;
}

Test(executor, ends_inside_continuations)
{
    BOTH(ex)
    {
        for (uintptr_t i = 1; i <= 5; i++) {
            vthread_future_t *f = submit(ex, ends_in_a_continuation, (void *)i);
            void *value = NULL;

            cr_assert_eq(vthread_future_get(f, &value), 0);
            cr_assert_eq(value, (void *)i);
            vthread_future_free(f);
            cr_assert(EVENTUALLY(vthread_cont_is_done(outer) && vthread_cont_is_done(inner)));
            cr_assert_eq(vthread_cont_free(inner), 0);
            cr_assert_eq(vthread_cont_free(outer), 0);
        }
    }
}

static void *gets_five(void *arg)
{
    void *value = NULL;

    CHECK(vthread_future_get(arg, &value) == 0 && value == (void *)5);
    return NULL;
}

Test(executor, several_get_at_once)
{
    BOTH(ex)
    {
        vthread_t threads[10];
        vthread_future_t *f;

        gate_reset();
        f = submit(ex, waits, (void *)5);
        for (int i = 0; i < 10; i++)
            threads[i] = help_start_with(i % 2 ? &on_platform : &virtually, gets_five, f);
        for (int i = 0; i < 10; i++)
            cr_assert(EVENTUALLY(vthread_public_state(threads[i]) == VTHREAD_PUBLIC_WAITING));
        atomic_store(&gate.open, true);
        for (int i = 0; i < 10; i++)
            help_join(threads[i]);
        cr_assert_eq(vthread_future_free(f), 0);
        cr_assert_eq(atomic_load(&discards), 0);
    }
}

/* ---- waits that end without a result ---- */

static void *gets_interrupted(void *arg)
{
    CHECK(vthread_future_get(arg, NULL) == EINTR);
    CHECK(!vthread_interrupted());
    CHECK(vthread_interrupt(vthread_self()) == 0);
    CHECK(vthread_future_get(arg, NULL) == EINTR); /* before the call, too */
    CHECK(!vthread_interrupted());
    CHECK(vthread_future_get_until(arg, NULL, VTHREAD_NOW) == ETIMEDOUT);
    CHECK(vthread_future_get_until(arg, NULL, vthread_after_ns(1000000)) == ETIMEDOUT);
    return NULL;
}

Test(executor, get_ends_early)
{
    BOTH(ex)
    {
        vthread_future_t *f;

        gate_reset();
        f = submit(ex, waits, (void *)1);
        for (int i = 0; i < 2; i++) {
            vthread_t t = help_start_with(i ? &on_platform : &virtually, gets_interrupted, f);

            cr_assert(EVENTUALLY(vthread_public_state(t) == VTHREAD_PUBLIC_WAITING));
            vthread_interrupt(t);
            help_join(t);
        }
        cr_assert(EVENTUALLY(vthread_future_state(f) == VTHREAD_FUTURE_RUNNING));
        cr_assert_not(vthread_future_is_done(f));
        cr_assert_eq(vthread_future_error(f), 0);
        atomic_store(&gate.open, true);
        cr_assert_eq(vthread_future_get(f, NULL), 0);
        vthread_future_free(f);
        cr_assert_eq(atomic_load(&discards), 1); /* nobody asked for the value */
    }
}

static vthread_future_t *_Atomic own;

static void *gets_itself(void *arg)
{
    (void)arg;
    CHECK(EVENTUALLY_HERE(atomic_load(&own) != NULL));
    CHECK(vthread_future_get(atomic_load(&own), NULL) == EDEADLK);
    return NULL;
}

Test(executor, a_task_does_not_wait_for_itself)
{
    static struct help_messages messages;

    vthread_set_misuse_handler(help_keep_message, &messages);
    BOTH(ex)
    {
        void *wrong = NULL;
        vthread_future_t *f;

        atomic_store(&own, NULL);
        f = submit(ex, gets_itself, NULL);
        atomic_store(&own, f);
        cr_assert_eq(vthread_future_get(f, &wrong), 0);
        cr_assert_null(wrong, "%s", (char *)wrong);
        vthread_future_free(f);
    }
    cr_assert_eq(atomic_load(&messages.count), 2);
}

/* ---- cancelling ---- */

Test(executor, cancel_what_runs)
{
    BOTH(ex)
    {
        for (int interrupt = 0; interrupt < 2; interrupt++) {
            vthread_future_t *f;
            vthread_t t;

            gate_reset();
            f = submit(ex, waits, (void *)9);
            cr_assert(EVENTUALLY(atomic_load(&gate.inside) == 1));
            t = help_start(help_nothing, NULL);
            help_join(t);
            cr_assert_eq(vthread_future_cancel(f, interrupt), 0);
            cr_assert_eq(vthread_future_cancel(f, interrupt), 0); /* it is */
            cr_assert_eq(vthread_future_get(f, NULL), ECANCELED); /* though the task may be running */
            cr_assert_eq(vthread_future_state(f), VTHREAD_FUTURE_CANCELLED);
            if (!interrupt)
                atomic_store(&gate.open, true);
            cr_assert(EVENTUALLY(atomic_load(&discards) == interrupt + 1)); /* its value */
            cr_assert_eq(atomic_load(&gate.interrupted), interrupt);
            cr_assert_eq(vthread_future_free(f), 0);
        }
        cr_assert_eq(vthread_executor_close(ex), 0);
        cr_assert_eq(atomic_load(&discarded), 18);
        cr_assert_eq(atomic_load(&discards), 2);
    }
}

static void *gets_cancelled(void *arg)
{
    CHECK(vthread_future_get(arg, NULL) == ECANCELED);
    return NULL;
}

Test(executor, cancel_wakes_those_who_wait)
{
    BOTH(ex)
    {
        vthread_t threads[4];
        vthread_future_t *f;

        gate_reset();
        f = submit(ex, waits, NULL);
        for (int i = 0; i < 4; i++)
            threads[i] = help_start_with(i % 2 ? &on_platform : &virtually, gets_cancelled, f);
        for (int i = 0; i < 4; i++)
            cr_assert(EVENTUALLY(vthread_public_state(threads[i]) == VTHREAD_PUBLIC_WAITING));
        cr_assert_eq(vthread_future_cancel(f, true), 0);
        for (int i = 0; i < 4; i++)
            help_join(threads[i]);
        vthread_future_free(f);
    }
}

/* The one carrier is busy, or both workers are: what is cancelled before it begins never does. */
Test(executor, cancel_what_has_not_begun)
{
    static atomic_bool stop;

    help_configure(1);
    BOTH(ex)
    {
        vthread_future_t *busy[2];
        vthread_future_t *f;

        gate_reset();
        atomic_store(&stop, false);
        for (int i = 0; i < 2; i++)
            busy[i] = submit(ex, help_spin, &stop);
        cr_assert(EVENTUALLY(vthread_future_state(busy[0]) == VTHREAD_FUTURE_RUNNING));
        f = submit(ex, waits, NULL);
        if (both_fixed)
            cr_assert_eq(vthread_future_state(f), VTHREAD_FUTURE_PENDING);
        if (vthread_future_state(f) == VTHREAD_FUTURE_PENDING) /* virtual ones may find a spare carrier */
            cr_assert_eq(vthread_future_cancel(f, true), 0);
        else
            atomic_store(&gate.open, true);
        atomic_store(&stop, true);
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(vthread_future_get(busy[i], NULL), 0);
            vthread_future_free(busy[i]);
        }
        vthread_future_get(f, NULL);
        vthread_future_free(f);
        if (both_fixed) {
            cr_assert_eq(vthread_executor_close(ex), 0);
            cr_assert_eq(atomic_load(&gate.inside), 0);
        }
    }
}

/* An interrupt is for the task that runs, and not for the next one of the same worker. */
static void *is_interrupted(void *arg)
{
    (void)arg;
    return vthread_interrupted() ? (void *)1 : NULL;
}

Test(executor, interrupts_do_not_outlive_a_task)
{
    vthread_executor_t *ex;

    cr_assert_eq(vthread_executor_new_fixed(&ex, &(vthread_executor_params_t){.threads = 1}), 0);
    for (int i = 0; i < 200; i++) {
        vthread_future_t *f;
        vthread_future_t *next;
        void *value = (void *)1;

        f = submit(ex, help_return, NULL);
        next = submit(ex, is_interrupted, NULL);
        vthread_future_cancel(f, true);
        vthread_future_free(f);
        cr_assert_eq(vthread_future_get(next, &value), 0);
        cr_assert_null(value);
        vthread_future_free(next);
    }
    cr_assert_eq(vthread_executor_free(ex), 0);
}

/* ---- values nobody takes ---- */

Test(executor, values_nobody_took_are_discarded_once)
{
    BOTH(ex)
    {
        vthread_future_t *f;
        void *value;

        gate_reset();
        f = submit(ex, waits, (void *)1); /* freed while it runs */
        cr_assert_eq(vthread_future_free(f), 0);
        cr_assert_eq(atomic_load(&discards), 0);
        atomic_store(&gate.open, true);
        cr_assert(EVENTUALLY(atomic_load(&discards) == 1));

        f = submit(ex, help_return, (void *)10); /* freed after it */
        cr_assert_eq(vthread_future_get(f, NULL), 0);
        cr_assert_eq(atomic_load(&discards), 1);
        vthread_future_free(f);
        cr_assert_eq(atomic_load(&discards), 2);

        f = submit(ex, help_return, (void *)100); /* taken */
        cr_assert_eq(vthread_future_get(f, &value), 0);
        vthread_future_free(f);

        cr_assert_eq(vthread_executor_submit(ex, help_return, (void *)1000, NULL), 0); /* kept by nobody */
        f = submit(ex, help_return, NULL);                                             /* nothing to discard */
        vthread_future_get(f, NULL);
        vthread_future_free(f);
        cr_assert_eq(vthread_executor_close(ex), 0);
        cr_assert_eq(atomic_load(&discards), 3);
        cr_assert_eq(atomic_load(&discarded), 1011);
    }
}

static void *fails_with_a_value(void *arg)
{
    vthread_fail(EBADMSG);
    return arg;
}

/* A task should return what vthread_fail does; one that does not loses nothing. */
Test(executor, values_of_failed_tasks_are_discarded)
{
    BOTH(ex)
    {
        vthread_future_t *f = submit(ex, fails_with_a_value, (void *)1);
        void *value = (void *)7;

        cr_assert_eq(vthread_future_get(f, &value), ECHILD);
        cr_assert_eq(vthread_future_error(f), EBADMSG);
        cr_assert_eq(value, (void *)7);
        cr_assert(EVENTUALLY(atomic_load(&discards) == 1));
        vthread_future_free(f);
        cr_assert_eq(vthread_executor_close(ex), 0);
        cr_assert_eq(atomic_load(&discards), 1);
        cr_assert_eq(atomic_load(&discarded), 1);
    }
}

Test(executor, refused_tasks_are_not_counted)
{
    BOTH(ex)
    {
        vthread_executor_stats_t stats;

        vthread_future_free(submit(ex, help_return, NULL));
        cr_assert_eq(vthread_executor_shutdown(ex), 0);
        cr_assert_eq(vthread_executor_submit(ex, help_return, NULL, NULL), ECANCELED);
        cr_assert_eq(vthread_executor_await_until(ex, vthread_after_ms(60000)), 0);
        cr_assert_eq(vthread_executor_stats(ex, &stats), 0);
        cr_assert_eq(stats.submitted, 1);
        cr_assert_eq(stats.completed, 1);
        cr_assert_eq(vthread_executor_close(ex), 0);
    }
}

Test(executor, futures_outlive_their_executor)
{
    for (int fixed = 0; fixed < 2; fixed++) {
        vthread_executor_t *ex = make(fixed);
        vthread_future_t *kept = submit(ex, help_return, (void *)5);
        vthread_future_t *dropped = submit(ex, help_return, (void *)6);
        vthread_future_t *failed = submit(ex, fails, (void *)7);
        void *value = NULL;

        cr_assert_eq(vthread_executor_free(ex), 0);
        help_shutdown();
        cr_assert_eq(vthread_future_get(kept, &value), 0);
        cr_assert_eq(value, (void *)5);
        cr_assert_eq(vthread_future_get(failed, NULL), ECHILD);
        cr_assert_eq(vthread_future_error(failed), 7);
        vthread_future_free(kept);
        vthread_future_free(dropped);
        vthread_future_free(failed);
        cr_assert_eq(atomic_load(&discards), 1);
        cr_assert_eq(atomic_load(&discarded), 6);
    }
}

static atomic_int failures;

static void note_failure(const vthread_failure_t *failure, void *user)
{
    (void)user;
    if (failure->kind == VTHREAD_FAILURE_FAILED)
        atomic_fetch_add(&failures, failure->error);
}

Test(executor, failures_nobody_hears_of_go_to_the_handler)
{
    vthread_set_failure_handler(note_failure, NULL);
    BOTH(ex)
    {
        vthread_future_t *f;

        atomic_store(&failures, 0);
        cr_assert_eq(vthread_executor_submit(ex, fails, (void *)7, NULL), 0);
        cr_assert(EVENTUALLY(atomic_load(&failures) == 7));
        f = submit(ex, fails, (void *)8);
        cr_assert_eq(vthread_future_get(f, NULL), ECHILD);
        vthread_future_free(f);
        cr_assert_eq(vthread_executor_close(ex), 0);
        cr_assert_eq(atomic_load(&failures), 7);
    }
    vthread_executor_t *ex;

    vthread_set_failure_handler(NULL, NULL);
    cr_assert_eq(vthread_executor_new_per_task(
                     &ex, &(vthread_executor_params_t){.attr.on_failure = note_failure, .attr.name = "mine"}),
                 0);
    cr_assert_eq(vthread_executor_submit(ex, fails, (void *)1, NULL), 0);
    cr_assert_eq(vthread_executor_free(ex), 0);
    cr_assert_eq(atomic_load(&failures), 8);
}

/* ---- arguments ---- */

static void *sums(void *arg)
{
    const int *numbers = arg;

    return (void *)(intptr_t)(numbers[0] + numbers[1]);
}

static void *submits_locals(void *arg)
{
    vthread_executor_t *ex = arg;
    int numbers[2] = {20, 22};
    vthread_task_t task = {sums, numbers};
    vthread_future_t *f = NULL;
    void *value = NULL;

    CHECK(vthread_executor_submit(ex, sums, numbers, &f) == EFAULT && f == NULL);
    CHECK(vthread_executor_invoke_all(ex, &task, 1, &f) == EFAULT && f == NULL);
    CHECK(vthread_executor_invoke_any(ex, &task, 1, &value) == EFAULT && value == NULL);
    CHECK(vthread_executor_submit_copy(ex, sums, numbers, sizeof numbers, &f) == 0);
    numbers[0] = 0;
    CHECK(vthread_future_get(f, &value) == 0 && value == (void *)42);
    vthread_future_free(f);
    numbers[0] = 20;
    CHECK(vthread_executor_submit_copy(ex, sums, numbers, sizeof numbers, NULL) == 0);
    CHECK(vthread_executor_call(ex, sums, numbers, &value) == 0 && value == (void *)42);
    CHECK(!vthread_is_pinned(NULL));
    return NULL;
}

static void *submits_platform_locals(void *arg)
{
    int numbers[2] = {20, 22};
    vthread_future_t *f = NULL;
    void *value = NULL;

    CHECK(vthread_executor_submit(arg, sums, numbers, &f) == 0);
    CHECK(vthread_future_get(f, &value) == 0 && value == (void *)42);
    vthread_future_free(f);
    return NULL;
}

Test(executor, private_arguments)
{
    static struct help_messages messages;
    vthread_attr_t dedicated = {.stack = VTHREAD_STACK_DEDICATED};

    vthread_set_misuse_handler(help_keep_message, &messages);
    BOTH(ex)
    {
        int before = atomic_load(&messages.count);

        help_run(submits_locals, ex);
        cr_assert_eq(atomic_load(&messages.count), before + 3);
        help_run_with(&on_platform, submits_platform_locals, ex);
        help_run_with(&dedicated, submits_platform_locals, ex);
        cr_assert_eq(atomic_load(&messages.count), before + 3);
    }
}

/* ---- call ---- */

static void *interrupts_the_caller(void *arg)
{
    vthread_interrupt(*(vthread_t *)arg);
    while (vthread_sleep_ms(1000) != EINTR)
        ;
    return (void *)4;
}

static void *calls(void *arg)
{
    vthread_executor_t *ex = arg;
    vthread_t self = vthread_self();
    void *value = NULL;
    int local = 1;

    CHECK(vthread_executor_call(ex, help_return, &local, &value) == 0 && value == &local);
    CHECK(vthread_executor_call(ex, help_return, NULL, NULL) == 0);
    CHECK(vthread_executor_call(ex, fails, (void *)7, &value) == 7);
    CHECK(vthread_executor_call(ex, exits, (void *)8, &value) == 0 && value == (void *)8);
    CHECK(vthread_executor_call(ex, interrupts_the_caller, &self, &value) == 0 && value == (void *)4);
    CHECK(!vthread_interrupted()); /* went to the task */
    vthread_interrupt(self);
    CHECK(vthread_executor_call(ex, interrupts_the_caller, &self, &value) == 0 && value == (void *)4);
    vthread_interrupted();
    CHECK(vthread_executor_call(ex, NULL, NULL, NULL) == EINVAL);
    CHECK(vthread_executor_call(NULL, help_return, NULL, NULL) == EINVAL);
    return NULL;
}

Test(executor, call)
{
    BOTH(ex)
    {
        help_run(calls, ex);
        help_run_with(&on_platform, calls, ex);
        help_run_with(&(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED}, calls, ex);
    }
}

/* Every shared stack is kept by a caller: the tasks need none. */
static void *sleeps_a_little(void *arg)
{
    vthread_sleep_ms(2);
    return sums(arg);
}

static void *calls_with_a_local(void *arg)
{
    int numbers[2] = {20, 22};
    void *value = NULL;

    CHECK(vthread_executor_call(arg, sleeps_a_little, numbers, &value) == 0 && value == (void *)42);
    return NULL;
}

Test(executor, callers_that_keep_every_stack)
{
    vthread_runtime_params_t two_stacks = {.stacks = 2, .sole_stacks = UINT_MAX};

    cr_assert_eq(vthread_runtime_configure(&two_stacks), 0);
    BOTH(ex)
    {
        vthread_t threads[8];

        for (int i = 0; i < 8; i++)
            threads[i] = help_start(calls_with_a_local, ex);
        for (int i = 0; i < 8; i++)
            help_join(threads[i]);
    }
}

static void *calls_its_own(void *arg)
{
    return (void *)(intptr_t)vthread_executor_call(arg, help_return, NULL, NULL);
}

Test(executor, call_from_an_own_task)
{
    static struct help_messages messages;

    vthread_set_misuse_handler(help_keep_message, &messages);
    BOTH(ex)
    {
        void *value = NULL;

        cr_assert_eq(vthread_executor_call(ex, calls_its_own, ex, &value), 0);
        cr_assert_eq(value, both_fixed ? (void *)EDEADLK : NULL);
    }
    cr_assert_eq(atomic_load(&messages.count), 1);
}

/* ---- several at once ---- */

static void *invokes_all(void *arg)
{
    vthread_executor_t *ex = arg;
    vthread_task_t tasks[30];
    vthread_future_t *futures[30];

    for (uintptr_t i = 0; i < 30; i++)
        tasks[i] = (vthread_task_t){i % 3 ? help_return : fails, (void *)(i + 1)};
    CHECK(vthread_executor_invoke_all(ex, tasks, 30, futures) == 0);
    for (uintptr_t i = 0; i < 30; i++) {
        void *value = NULL;

        CHECK(vthread_future_is_done(futures[i]));
        CHECK(vthread_future_get(futures[i], &value) == (i % 3 ? 0 : ECHILD));
        CHECK(value == (i % 3 ? (void *)(i + 1) : NULL));
        vthread_future_free(futures[i]);
    }
    CHECK(vthread_executor_invoke_all(ex, tasks, 30, NULL) == 0);
    CHECK(vthread_executor_invoke_all(ex, NULL, 0, NULL) == 0);
    CHECK(vthread_executor_invoke_all(ex, NULL, 1, NULL) == EINVAL);
    tasks[29].fn = NULL;
    CHECK(vthread_executor_invoke_all(ex, tasks, 30, NULL) == EINVAL);
    return NULL;
}

Test(executor, invoke_all)
{
    BOTH(ex)
    {
        vthread_executor_stats_t stats;

        help_run(invokes_all, ex);
        help_run_with(&on_platform, invokes_all, ex);
        cr_assert_eq(atomic_load(&discards), 40);
        cr_assert_eq(vthread_executor_close(ex), 0);
        cr_assert_eq(vthread_executor_stats(ex, &stats), 0);
        cr_assert_eq(stats.submitted, 120);
        cr_assert_eq(stats.completed, 120);
    }
}

Test(executor, invoke_all_until)
{
    BOTH(ex)
    {
        vthread_task_t tasks[2] = {{help_return, (void *)5}, {waits, (void *)6}};
        vthread_future_t *futures[2];
        void *value = NULL;

        gate_reset();
        cr_assert_eq(vthread_executor_invoke_all_until(ex, tasks, 2, futures, vthread_after_ms(20)), ETIMEDOUT);
        if (vthread_future_get(futures[0], &value) == 0) /* had all the time, but may not have had the CPU */
            cr_assert_eq(value, (void *)5);
        cr_assert_eq(vthread_future_get(futures[1], &value), ECANCELED);
        vthread_future_free(futures[0]);
        vthread_future_free(futures[1]);
        gate_reset();
        cr_assert_eq(vthread_executor_invoke_all_until(ex, tasks, 2, NULL, vthread_after_ms(5)), ETIMEDOUT);
        gate_reset();
        atomic_store(&gate.open, true);
        cr_assert_eq(vthread_executor_invoke_all_until(ex, tasks, 2, NULL, vthread_after_ms(30000)), 0);
    }
}

static void *is_interrupted_in_invoke_all(void *arg)
{
    vthread_task_t tasks[2] = {{waits, (void *)1}, {waits, (void *)1}};
    vthread_future_t *futures[2];

    CHECK(vthread_executor_invoke_all(arg, tasks, 2, futures) == EINTR);
    CHECK(futures[0] == NULL && futures[1] == NULL);
    CHECK(!vthread_interrupted());
    return NULL;
}

static void *is_interrupted_in_invoke_any(void *arg)
{
    vthread_task_t tasks[2] = {{waits, (void *)1}, {waits, (void *)1}};

    CHECK(vthread_executor_invoke_any(arg, tasks, 2, NULL) == EINTR);
    CHECK(!vthread_interrupted());
    return NULL;
}

Test(executor, invoke_is_interrupted)
{
    BOTH(ex)
    {
        for (int i = 0; i < 4; i++) {
            vthread_t t;

            gate_reset();
            t = help_start_with(i % 2 ? &on_platform : &virtually,
                                i < 2 ? is_interrupted_in_invoke_all : is_interrupted_in_invoke_any, ex);
            cr_assert(EVENTUALLY(atomic_load(&gate.inside) == 2));
            cr_assert(EVENTUALLY(vthread_public_state(t) == VTHREAD_PUBLIC_WAITING));
            vthread_interrupt(t);
            help_join(t);
            cr_assert(EVENTUALLY(atomic_load(&gate.done) == 2));
            cr_assert_eq(atomic_load(&gate.interrupted), 2);
        }
    }
}

static void *invokes_any(void *arg)
{
    vthread_executor_t *ex = arg;
    vthread_task_t tasks[3] = {{fails, (void *)3}, {help_return, (void *)5}, {fails, (void *)4}};
    void *value = NULL;

    CHECK(vthread_executor_invoke_any(ex, tasks, 3, &value) == 0 && value == (void *)5);
    CHECK(vthread_executor_invoke_any(ex, tasks, 1, &value) == ECHILD && value == (void *)5);
    CHECK(vthread_executor_invoke_any(ex, tasks, 0, &value) == EINVAL);
    CHECK(vthread_executor_invoke_any(ex, NULL, 1, &value) == EINVAL);
    CHECK(vthread_executor_invoke_any(NULL, tasks, 1, &value) == EINVAL);
    CHECK(vthread_executor_invoke_any(ex, tasks, 3, NULL) == 0);
    tasks[0].fn = waits; /* cancelled, and interrupted, once another has succeeded */
    CHECK(vthread_executor_invoke_any(ex, tasks, 2, &value) == 0 && value == (void *)5);
    tasks[1].fn = exits;
    CHECK(vthread_executor_invoke_any(ex, tasks, 2, &value) == 0 && value == (void *)5);
    CHECK(vthread_executor_invoke_any_until(ex, tasks, 1, &value, vthread_after_ms(3)) == ETIMEDOUT);
    return NULL;
}

Test(executor, invoke_any)
{
    BOTH(ex)
    {
        gate_reset();
        help_run(invokes_any, ex);
        help_run_with(&on_platform, invokes_any, ex);
    }
}

static void *invokes_any_of_waiting(void *arg)
{
    vthread_task_t tasks[3] = {{waits, NULL}, {waits, NULL}, {waits, NULL}};

    return (void *)(intptr_t)vthread_executor_invoke_any(arg, tasks, 3, NULL);
}

/* Those queued are members, too, and so are those that end because they are interrupted. */
Test(executor, shutdown_now_in_invoke_any)
{
    BOTH(ex)
    {
        vthread_t t;
        void *error;

        gate_reset();
        t = help_start(invokes_any_of_waiting, ex);
        cr_assert(EVENTUALLY(atomic_load(&gate.inside) == (both_fixed ? 2 : 3)));
        cr_assert_eq(vthread_executor_shutdown_now(ex), both_fixed ? 1 : 0);
        cr_assert_eq(vthread_join(t, &error), 0);
        cr_assert_null(error); /* the tasks took the interrupt for a success */
    }
}

/* ---- the end ---- */

Test(executor, shutdown)
{
    BOTH(ex)
    {
        vthread_future_t *f;
        vthread_future_t *none = (vthread_future_t *)1;
        vthread_task_t task = {help_return, NULL};

        gate_reset();
        f = submit(ex, waits, (void *)1);
        cr_assert_not(vthread_executor_is_shutdown(ex));
        cr_assert_eq(vthread_executor_await_until(ex, VTHREAD_NOW), ETIMEDOUT);
        cr_assert_eq(vthread_executor_shutdown(ex), 0);
        cr_assert_eq(vthread_executor_shutdown(ex), 0);
        cr_assert(vthread_executor_is_shutdown(ex));
        cr_assert_not(vthread_executor_is_terminated(ex));
        cr_assert_eq(vthread_executor_submit(ex, help_return, NULL, &none), ECANCELED);
        cr_assert_eq(vthread_executor_submit_copy(ex, help_return, "x", 1, &none), ECANCELED);
        cr_assert_eq(vthread_executor_call(ex, help_return, NULL, NULL), ECANCELED);
        cr_assert_eq(vthread_executor_invoke_all(ex, &task, 1, NULL), ECANCELED);
        cr_assert_eq(vthread_executor_invoke_any(ex, &task, 1, NULL), ECANCELED);
        cr_assert_eq(none, (vthread_future_t *)1);
        cr_assert_eq(vthread_executor_await_until(ex, vthread_after_ms(1)), ETIMEDOUT);
        atomic_store(&gate.open, true);
        cr_assert_eq(vthread_executor_await_until(ex, vthread_after_ms(40000)), 0);
        cr_assert(vthread_executor_is_terminated(ex));
        cr_assert_eq(vthread_future_state(f), VTHREAD_FUTURE_SUCCEEDED);
        cr_assert_eq(vthread_executor_close(ex), 0);
        cr_assert_eq(vthread_executor_close(ex), 0);
        cr_assert_eq(vthread_executor_shutdown_now(ex), 0);
        vthread_future_free(f);
    }
}

Test(executor, shutdown_now)
{
    BOTH(ex)
    {
        vthread_executor_stats_t stats;
        vthread_future_t *futures[6];

        gate_reset();
        for (uintptr_t i = 0; i < 6; i++)
            futures[i] = submit(ex, waits, (void *)(i + 1));
        cr_assert_eq(vthread_executor_submit_copy(ex, waits, "x", 1, NULL), 0);
        cr_assert(EVENTUALLY(atomic_load(&gate.inside) == (both_fixed ? 2 : 7)));
        cr_assert_eq(vthread_executor_stats(ex, &stats), 0);
        cr_assert_eq(stats.submitted, 7);
        cr_assert_eq(stats.running, both_fixed ? 2 : 7);
        cr_assert_eq(stats.queued, both_fixed ? 5 : 0);
        cr_assert_eq(stats.threads, both_fixed ? 2 : 0);
        cr_assert_eq(vthread_executor_shutdown_now(ex), both_fixed ? 5 : 0);
        cr_assert_eq(vthread_executor_await_until(ex, vthread_after_ms(40000)), 0);
        for (int i = 0; i < 6; i++) {
            cr_assert_eq(vthread_future_get(futures[i], NULL), both_fixed && i >= 2 ? ECANCELED : 0);
            vthread_future_free(futures[i]);
        }
        cr_assert_eq(atomic_load(&gate.interrupted), both_fixed ? 2 : 7);
        cr_assert_eq(vthread_executor_stats(ex, &stats), 0);
        cr_assert_eq(stats.completed, 7);
        cr_assert_eq(stats.running + stats.queued, 0);
    }
}

/* Of two executors it is one whose tasks are interrupted. */
Test(executor, shutdown_now_is_for_the_own_tasks)
{
    vthread_executor_t *other = make(false);
    vthread_future_t *f;

    BOTH(ex)
    {
        gate_reset();
        f = submit(other, waits, NULL);
        cr_assert_eq(vthread_executor_submit(ex, waits, NULL, NULL), 0);
        cr_assert(EVENTUALLY(atomic_load(&gate.inside) == 2));
        cr_assert_eq(vthread_executor_shutdown_now(ex), 0);
        cr_assert_eq(vthread_executor_close(ex), 0);
        cr_assert_eq(vthread_future_get_until(f, NULL, vthread_after_ms(10)), ETIMEDOUT);
        cr_assert_eq(atomic_load(&gate.interrupted), 1);
        atomic_store(&gate.open, true);
        cr_assert_eq(vthread_future_get(f, NULL), 0);
        vthread_future_free(f);
    }
    cr_assert_eq(vthread_executor_free(other), 0);
}

static void *closes(void *arg)
{
    CHECK(vthread_executor_close(arg) == 0);
    CHECK(vthread_interrupted()); /* it stays set */
    CHECK(vthread_executor_is_terminated(arg));
    return NULL;
}

Test(executor, close_is_interrupted)
{
    for (int i = 0; i < 2; i++) {
        BOTH(ex)
        {
            vthread_t t;

            gate_reset();
            for (int n = 0; n < 4; n++)
                cr_assert_eq(vthread_executor_submit(ex, n == 0 ? waits_deaf : waits, NULL, NULL), 0);
            cr_assert(EVENTUALLY(atomic_load(&gate.inside) == (both_fixed ? 2 : 4)));
            t = help_start_with(i ? &on_platform : &virtually, closes, ex);
            cr_assert(EVENTUALLY(vthread_executor_is_shutdown(ex)));
            cr_assert(EVENTUALLY(vthread_public_state(t) == VTHREAD_PUBLIC_WAITING));
            vthread_interrupt(t);
            cr_assert(EVENTUALLY(atomic_load(&gate.done) == (both_fixed ? 1 : 3)));
            cr_assert(vthread_is_alive(t)); /* for one takes no notice */
            atomic_store(&gate.open, true);
            help_join(t);
            cr_assert_eq(atomic_load(&gate.done), both_fixed ? 2 : 4);
        }
    }
}

static void *awaits_interrupted(void *arg)
{
    CHECK(vthread_executor_await_until(arg, VTHREAD_FOREVER) == EINTR);
    CHECK(!vthread_interrupted());
    return NULL;
}

static void *ends_itself(void *arg)
{
    CHECK(vthread_executor_await_until(arg, VTHREAD_FOREVER) == EDEADLK);
    CHECK(vthread_executor_close(arg) == EDEADLK);
    CHECK(vthread_executor_free(arg) == EDEADLK);
    CHECK(!vthread_executor_is_shutdown(arg));
    CHECK(vthread_executor_shutdown(arg) == 0); /* does not wait */
    return NULL;
}

Test(executor, await)
{
    static struct help_messages messages;

    vthread_set_misuse_handler(help_keep_message, &messages);
    BOTH(ex)
    {
        vthread_t t = help_start(awaits_interrupted, ex);
        void *wrong = NULL;

        cr_assert(EVENTUALLY(vthread_public_state(t) == VTHREAD_PUBLIC_WAITING));
        vthread_interrupt(t);
        help_join(t);
        cr_assert_eq(vthread_executor_call(ex, ends_itself, ex, &wrong), 0);
        cr_assert_null(wrong, "%s", (char *)wrong);
    }
    cr_assert_eq(atomic_load(&messages.count), 6);
}

/* ---- parameters and misuse ---- */

Test(executor, wrong_parameters)
{
    vthread_executor_t *ex = (vthread_executor_t *)1;
    vthread_executor_params_t wrong = {.reserved = {0, 1}};
    vthread_executor_params_t wrong_attr = {.attr.reserved = {1}};
    vthread_executor_params_t long_name = {.name = "................................................................"
                                                   "................................................................"
                                                   "................................................................"
                                                   "................................................................"};
    vthread_future_t *f = (vthread_future_t *)1;

    cr_assert_eq(vthread_executor_new_per_task(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_executor_new_fixed(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_executor_new_per_task(&ex, &wrong), EINVAL);
    cr_assert_eq(vthread_executor_new_fixed(&ex, &wrong), EINVAL);
    cr_assert_eq(vthread_executor_new_per_task(&ex, &wrong_attr), EINVAL);
    cr_assert_eq(vthread_executor_new_fixed(&ex, &wrong_attr), EINVAL);
    cr_assert_eq(vthread_executor_new_per_task(&ex, &long_name), EINVAL);
    cr_assert_eq(vthread_executor_new_fixed(&ex, &long_name), EINVAL);
    cr_assert_eq(vthread_executor_new_fixed(&ex, &(vthread_executor_params_t){.threads = 65537}), EINVAL);
    cr_assert_eq(ex, (vthread_executor_t *)1);
    cr_assert_eq(vthread_executor_submit(NULL, help_return, NULL, &f), EINVAL);
    cr_assert_eq(vthread_executor_submit_copy(NULL, help_return, "x", 1, &f), EINVAL);
    cr_assert_eq(vthread_executor_invoke_all(NULL, NULL, 0, NULL), EINVAL);
    cr_assert_eq(vthread_executor_shutdown(NULL), EINVAL);
    cr_assert_eq(vthread_executor_shutdown_now(NULL), -EINVAL);
    cr_assert_eq(vthread_executor_await_until(NULL, VTHREAD_NOW), EINVAL);
    cr_assert_eq(vthread_executor_stats(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_executor_close(NULL), 0);
    cr_assert_eq(vthread_executor_free(NULL), 0);
    cr_assert(!vthread_executor_is_shutdown(NULL) && !vthread_executor_is_terminated(NULL));
    cr_assert_eq(vthread_future_get(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_future_cancel(NULL, true), EINVAL);
    cr_assert_eq(vthread_future_error(NULL), 0);
    cr_assert_eq(vthread_future_free(NULL), 0);
    BOTH(good)
    {
        cr_assert_eq(vthread_executor_submit(good, NULL, NULL, &f), EINVAL);
        cr_assert_eq(vthread_executor_submit_copy(good, NULL, "x", 1, &f), EINVAL);
        cr_assert_eq(vthread_executor_submit_copy(good, help_return, NULL, 1, &f), EINVAL);
        cr_assert_eq(f, (vthread_future_t *)1);
        cr_assert_eq(vthread_executor_stats(good, NULL), 0);
    }
}

static void *own_name(void *arg)
{
    char *name = calloc(1, 64);

    (void)arg;
    vthread_name(vthread_self(), name, 64);
    return name;
}

static void expect_name(vthread_executor_t *ex, const char *expected)
{
    void *name = NULL;

    cr_assert_eq(vthread_executor_call(ex, own_name, NULL, &name), 0);
    cr_assert_str_eq(name, expected);
    free(name);
}

Test(executor, names)
{
    uint64_t counter = 41;
    char prefix[] = "mine-";
    vthread_executor_t *ex;

    cr_assert_eq(vthread_executor_new_per_task(&ex, &(vthread_executor_params_t){.name = "crew"}), 0);
    expect_name(ex, "crew-0");
    expect_name(ex, "crew-1");
    cr_assert_eq(vthread_executor_free(ex), 0);
    cr_assert_eq(
        vthread_executor_new_per_task(&ex, &(vthread_executor_params_t){.name = "crew", .attr.name_prefix = prefix}),
        0);
    prefix[0] = 'x'; /* was copied */
    expect_name(ex, "mine-0");
    cr_assert_eq(vthread_executor_free(ex), 0);
    cr_assert_eq(vthread_executor_new_per_task(
                     &ex, &(vthread_executor_params_t){.attr.name_prefix = "n", .attr.name_counter = &counter}),
                 0);
    expect_name(ex, "n41");
    cr_assert_eq(vthread_executor_free(ex), 0);
    cr_assert_eq(vthread_executor_new_fixed(&ex, &(vthread_executor_params_t){.attr.name = "only", .threads = 1}), 0);
    expect_name(ex, "only");
    cr_assert_eq(vthread_executor_free(ex), 0);
}

static void *is_virtual(void *arg)
{
    (void)arg;
    return vthread_is_virtual(vthread_self()) ? (void *)1 : NULL;
}

Test(executor, kinds_of_thread)
{
    vthread_executor_t *ex;
    void *value = NULL;

    BOTH(either)
    {
        cr_assert_eq(vthread_executor_call(either, is_virtual, NULL, &value), 0);
        cr_assert_eq(value == NULL, both_fixed != 0);
    }
    cr_assert_eq(vthread_executor_new_per_task(
                     &ex, &(vthread_executor_params_t){.attr.kind = VTHREAD_KIND_PLATFORM, .attr.name = "os"}),
                 0);
    cr_assert_eq(vthread_executor_call(ex, is_virtual, NULL, &value), 0);
    cr_assert_null(value);
    cr_assert_null(gets_results(ex));
    cr_assert_eq(vthread_executor_free(ex), 0);
}

/* ---- the shared one, and the end of the runtime ---- */

Test(executor, cpu)
{
    static struct help_messages messages;
    vthread_executor_t *ex = vthread_executor_cpu();
    vthread_executor_stats_t stats;
    void *value = NULL;

    vthread_set_misuse_handler(help_keep_message, &messages);
    cr_assert_not_null(ex);
    cr_assert_eq(vthread_executor_cpu(), ex);
    cr_assert_eq(vthread_executor_shutdown(ex), EPERM);
    cr_assert_eq(vthread_executor_shutdown_now(ex), -EPERM);
    cr_assert_eq(vthread_executor_close(ex), EPERM);
    cr_assert_eq(vthread_executor_free(ex), EPERM);
    cr_assert_eq(atomic_load(&messages.count), 4);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(vthread_executor_call(ex, is_virtual, NULL, &value), 0);
        cr_assert_null(value);
        cr_assert_eq(vthread_executor_stats(ex, &stats), 0);
        cr_assert_gt(stats.threads, 0);
        help_shutdown();
        cr_assert(vthread_executor_is_terminated(ex));
        cr_assert_eq(vthread_executor_submit(ex, help_return, NULL, NULL), ECANCELED);
        cr_assert_eq(vthread_executor_cpu(), ex); /* anew */
    }
}

/* The runtime ends while executors are open: tasks are interrupted, those queued in a fixed one are cancelled. */
Test(executor, runtime_shutdown)
{
    for (int busy = 0; busy < 2; busy++) {
        BOTH(ex)
        {
            vthread_future_t *futures[5] = {0};

            gate_reset();
            for (int i = 0; i < 5 && busy; i++)
                futures[i] = submit(ex, waits, (void *)1);
            if (busy)
                cr_assert(EVENTUALLY(atomic_load(&gate.inside) == (both_fixed ? 2 : 5)));
            help_shutdown();
            for (int i = 0; i < 5 && busy; i++) {
                cr_assert_eq(vthread_future_get_until(futures[i], NULL, VTHREAD_NOW),
                             both_fixed && i >= 2 ? ECANCELED : 0);
                vthread_future_free(futures[i]);
            }
            if (both_fixed) {
                cr_assert(vthread_executor_is_terminated(ex));
                cr_assert_eq(vthread_executor_submit(ex, help_return, NULL, NULL), ECANCELED);
            } else { /* it has nothing that could have ended */
                cr_assert_eq(vthread_executor_call(ex, help_return, NULL, NULL), 0);
            }
        }
    }
}

/* ---- what reviews have found ---- */

static atomic_int in_copy, let_copy_go, interrupted;

static void *slow_copy(void *value)
{
    atomic_store(&in_copy, 1);
    while (!atomic_load(&let_copy_go))
        vthread_sleep_ms(1);
    return value;
}

static void *waits_for_its_interrupt(void *arg)
{
    atomic_fetch_add(&interrupted, vthread_sleep_ms(100000) == EINTR);
    return arg;
}

static void *submits_with_a_value(void *arg)
{
    static int value;
    vthread_key_t key;
    int error;

    CHECK(vthread_key_create_inheritable(&key, slow_copy, NULL) == 0);
    CHECK(vthread_setspecific(key, &value) == 0);
    error = vthread_executor_submit(arg, waits_for_its_interrupt, NULL, NULL);
    CHECK(error == 0 || error == ECANCELED);
    if (error != 0)
        atomic_fetch_add(&interrupted, 1);
    CHECK(vthread_key_delete(key) == 0);
    return NULL;
}

/* shutdown_now while a task's thread is being made: that is interrupted, too. */
Test(executor, shutdown_now_during_a_submit)
{
    vthread_executor_t *ex = make(false);
    vthread_t t = help_start(submits_with_a_value, ex);

    cr_assert(EVENTUALLY(atomic_load(&in_copy)));
    cr_assert_eq(vthread_executor_shutdown_now(ex), 0);
    atomic_store(&let_copy_go, 1);
    help_join(t);
    cr_assert_eq(vthread_executor_await_until(ex, vthread_after_ms(40000)), 0);
    cr_assert_eq(atomic_load(&interrupted), 1);
    end(ex);
}

static vthread_key_t key;

static void *leaves_scope_and_value(void *arg)
{
    vthread_scope_t *s;

    CHECK(vthread_getspecific(key) == NULL);
    CHECK(vthread_setspecific(key, &key) == 0);
    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scope_fork(s, waits_for_its_interrupt, NULL, NULL) == 0);
    return arg;
}

static atomic_int abandoned;

static void count_abandoned(const vthread_failure_t *f, void *user)
{
    (void)user;
    atomic_fetch_add(&abandoned, f->kind == VTHREAD_FAILURE_SCOPE_ABANDONED);
}

/* A task begins with nothing, and leaves nothing to the next one of the same thread. */
Test(executor, tasks_leave_nothing_behind)
{
    vthread_set_failure_handler(count_abandoned, NULL);
    cr_assert_eq(vthread_key_create(&key, NULL), 0);
    BOTH(ex)
    {
        atomic_store(&abandoned, 0);
        for (int i = 0; i < 6; i++) {
            vthread_future_t *f = submit(ex, leaves_scope_and_value, NULL);
            void *wrong;

            cr_assert_eq(vthread_future_get(f, &wrong), 0);
            cr_assert_null(wrong, "%s", (const char *)wrong);
            vthread_future_free(f);
        }
        cr_assert_eq(atomic_load(&abandoned), 6);
    }
    cr_assert_eq(vthread_key_delete(key), 0);
}

static atomic_int discard_waited, begun_task;

static void waiting_discard(void *value)
{
    (void)value;
    atomic_store(&discard_waited, vthread_sleep_ms(1) == 0 ? 1 : -1);
}

static void *ignores_the_interrupt(void *arg)
{
    atomic_store(&begun_task, 1);
    while (!vthread_is_interrupted(vthread_self()))
        vthread_yield();
    return arg;
}

/* A cancelled task's interrupt is none of its discard. */
Test(executor, discard_may_wait)
{
    vthread_executor_params_t p = {.discard = waiting_discard, .threads = 1};

    for (int fixed = 0; fixed < 2; fixed++) {
        vthread_executor_t *ex;
        vthread_future_t *f;

        cr_assert_eq((fixed ? vthread_executor_new_fixed : vthread_executor_new_per_task)(&ex, &p), 0);
        atomic_store(&begun_task, 0);
        atomic_store(&discard_waited, 0);
        f = submit(ex, ignores_the_interrupt, &discard_waited);
        cr_assert(EVENTUALLY(atomic_load(&begun_task)));
        cr_assert_eq(vthread_future_cancel(f, true), 0);
        vthread_future_free(f);
        cr_assert_eq(vthread_executor_free(ex), 0);
        cr_assert_eq(atomic_load(&discard_waited), 1);
    }
}

static int os_threads(void)
{
    char line[64];
    int n = 0;
    FILE *f = fopen("/proc/self/status", "r");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return n;
}

/* What has nothing to wait for needs no runtime. */
Test(executor, freed_after_the_runtime)
{
    vthread_executor_t *ex = make(false);
    int before;

    vthread_future_free(submit(ex, exits, NULL));
    cr_assert_eq(vthread_executor_await_until(ex, VTHREAD_NOW), ETIMEDOUT);
    help_shutdown();
    before = os_threads();
    cr_assert_eq(vthread_executor_free(ex), 0);
    cr_assert_eq(os_threads(), before);
}
