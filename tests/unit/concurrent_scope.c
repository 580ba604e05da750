/* SPDX-License-Identifier: MIT */
/* Structured scopes: outcomes, results, cancelling, deadlines, nesting, misuse; owners and subtasks of every kind. */
#include "vthread_help.h"

#include <vthread/local.h>
#include <vthread/scope.h>

#undef atomic_init /* of <stdatomic.h> */
#include "concurrent/scope.h"

static atomic_int discarded, discarded_sum, ran, failures, copies;
static struct help_messages messages;

static void count_failure(const vthread_failure_t *failure, void *user)
{
    (void)user;
    if (failure->kind == VTHREAD_FAILURE_SCOPE_ABANDONED)
        atomic_fetch_add(&failures, 100);
    else
        atomic_fetch_add(&failures, 1);
}

static void init(void)
{
    atomic_store(&discarded, 0);
    atomic_store(&discarded_sum, 0);
    atomic_store(&ran, 0);
    atomic_store(&failures, 0);
    memset(&messages, 0, sizeof messages);
    vthread_set_failure_handler(count_failure, NULL);
    vthread_set_misuse_handler(help_keep_message, &messages);
}

TestSuite(scope, .init = init, .fini = help_fini, .timeout = 120);

enum { KINDS = 4 };
static const vthread_attr_t kinds[KINDS] = {
    {.name = "virtual"},
    {.name = "platform", .kind = VTHREAD_KIND_PLATFORM},
    {.name = "dedicated", .stack = VTHREAD_STACK_DEDICATED},
    {.name = "sticky", .sticky_carrier = true},
};

/* The body by an owner of every kind, the main thread too, with subtasks of every kind. */
static vthread_attr_t subtasks;

static void by_all(void *(*body)(void *arg))
{
    for (int of = 0; of < KINDS; of++) {
        subtasks = kinds[of];
        for (int owner = 0; owner < KINDS; owner++)
            help_run_with(&kinds[owner], body, NULL);
        void *wrong = body(NULL);

        cr_assert_null(wrong, "%s", (const char *)wrong);
    }
}

static void discard(void *value)
{
    atomic_fetch_add(&discarded, 1);
    atomic_fetch_add(&discarded_sum, (int)(intptr_t)value);
    if (processor_self() != NULL)
        vthread_yield();
}

static int open_with(vthread_scope_t **scope, vthread_scope_joiner_t joiner)
{
    vthread_scope_params_t params = {.joiner = joiner, .attr = subtasks, .discard = discard, .name = "tested"};

    return vthread_scope_open(scope, &params);
}

static void *give(void *arg)
{
    atomic_fetch_add(&ran, 1);
    return arg;
}

static void *give_by_exit(void *arg)
{
    vthread_exit(arg);
}

static void *give_late(void *arg)
{
    vthread_sleep_ms((intptr_t)arg);
    return arg;
}

static void *fail_with(void *arg)
{
    return vthread_fail((int)(intptr_t)arg);
}

/* Until interrupted; and then gives its argument all the same. */
static void *park(void *arg)
{
    atomic_fetch_add(&ran, 1);
    help_park_for_ever(NULL);
    return arg;
}

/* ---- all succeed ---- */

static void *all_succeed(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *subs[10];
    void *value = arg;

    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    for (intptr_t i = 0; i < 10; i++)
        CHECK(vthread_scope_fork(s,
                                 i % 3 == 0   ? give_late
                                 : i % 3 == 1 ? give
                                              : give_by_exit,
                                 (void *)(10 - i), i == 4 ? NULL : &subs[i]) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_join_until(s, VTHREAD_NOW) == 0);
    CHECK(!vthread_scope_is_cancelled(s));
    CHECK(vthread_scope_error(s) == 0);
    CHECK(vthread_subtask_state(subs[2]) == VTHREAD_SUBTASK_SUCCEEDED);
    CHECK(vthread_subtask_result(subs[2], NULL) == 0);
    CHECK(vthread_subtask_result(subs[5], &value) == 0 && value == (void *)5);
    CHECK(vthread_subtask_result(subs[5], &value) == 0 && value == (void *)5);
    CHECK(vthread_subtask_error(subs[5]) == 0);
    CHECK(vthread_scope_result(s, NULL) == 0);
    for (intptr_t i = 0; i < 8; i++) /* in order; neither the one that was not kept, nor the one that was taken */
        if (i != 4 && i != 5) {
            CHECK(vthread_scope_result(s, &value) == 0);
            CHECK(value == (void *)(10 - i));
        }
    atomic_fetch_add(&discarded_sum, -6 - 2 - 1);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(atomic_load(&discarded_sum) == 0);
    return NULL;
}

Test(scope, all_succeed)
{
    by_all(all_succeed);
    cr_assert_eq(atomic_load(&failures), 0);
    cr_assert_eq(atomic_load(&messages.count), 0, "%s", messages.last);
}

static void *no_more_results(void *arg)
{
    vthread_scope_t *s;
    void *value = arg;

    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_result(s, &value) == ENODATA);
    CHECK(vthread_scope_result(s, NULL) == ENODATA);
    CHECK(value == arg);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(vthread_scope_close(NULL) == 0);
    return NULL;
}

Test(scope, nothing_forked)
{
    by_all(no_more_results);
}

static void *one_fails(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *waits, *fails, *gives, *late;
    void *value = arg;
    int before = atomic_load(&discarded);

    atomic_store(&ran, 0);
    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork(s, give, (void *)1, &gives) == 0);
    CHECK(vthread_scope_fork(s, park, (void *)2, &waits) == 0);
    CHECK(EVENTUALLY_HERE(atomic_load(&ran) == 2 && vthread_subtask_state(gives) == VTHREAD_SUBTASK_SUCCEEDED));
    CHECK(vthread_scope_fork(s, fail_with, (void *)EIO, &fails) == 0);
    CHECK(vthread_scope_join(s) == ECHILD);
    CHECK(vthread_scope_join(s) == ECHILD);
    CHECK(vthread_scope_is_cancelled(s));
    CHECK(vthread_scope_error(s) == EIO);
    CHECK(vthread_subtask_state(fails) == VTHREAD_SUBTASK_FAILED);
    CHECK(vthread_subtask_error(fails) == EIO);
    CHECK(vthread_subtask_result(fails, &value) == ECHILD);
    CHECK(vthread_subtask_result(waits, &value) == ECANCELED);
    CHECK(vthread_subtask_error(waits) == 0);
    CHECK(vthread_subtask_state(waits) == VTHREAD_SUBTASK_UNAVAILABLE);
    CHECK(vthread_scope_result(s, &value) == ECHILD);
    CHECK(value == arg);
    CHECK(vthread_scope_fork(s, give, NULL, &late) == EINVAL);
    CHECK(vthread_subtask_result(gives, &value) == 0 && value == (void *)1);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(atomic_load(&discarded) == before + 1);
    return NULL;
}

Test(scope, the_first_failure_cancels)
{
    by_all(one_fails);
    cr_assert_eq(atomic_load(&failures), 0, "no handler is called");
}

/* ---- any succeeds ---- */

static void *any_succeeds(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *fails, *waits;
    void *value = arg;

    for (int kept = 0; kept < 2; kept++) {
        vthread_subtask_t *gives;

        atomic_store(&ran, 0);
        CHECK(open_with(&s, VTHREAD_SCOPE_ANY_SUCCEED) == 0);
        CHECK(vthread_scope_fork(s, park, (void *)2, &waits) == 0);
        CHECK(vthread_scope_fork(s, fail_with, (void *)EIO, &fails) == 0);
        CHECK(EVENTUALLY_HERE(atomic_load(&ran) == 1 && vthread_subtask_error(fails) == EIO));
        CHECK(!vthread_scope_is_cancelled(s));
        CHECK(vthread_scope_fork(s, give_late, (void *)1, kept ? &gives : NULL) == 0);
        CHECK(vthread_scope_join(s) == 0);
        CHECK(vthread_scope_is_cancelled(s));
        CHECK(vthread_scope_error(s) == EIO);
        CHECK(!kept || vthread_subtask_state(gives) == VTHREAD_SUBTASK_SUCCEEDED);
        CHECK(vthread_scope_result(s, &value) == 0);
        CHECK(value == (void *)1);
        CHECK(vthread_scope_result(s, &value) == ENODATA);
        CHECK(vthread_subtask_result(waits, NULL) == ECANCELED);
        CHECK(vthread_scope_close(s) == 0);
    }
    return NULL;
}

Test(scope, the_first_success_cancels)
{
    by_all(any_succeeds);
    cr_assert_eq(atomic_load(&discarded_sum), 2 * 2 * KINDS * (KINDS + 1), "of those that were interrupted");
}

static void *none_succeeds(void *arg)
{
    vthread_scope_t *s;

    CHECK(open_with(&s, VTHREAD_SCOPE_ANY_SUCCEED) == 0);
    CHECK(vthread_scope_fork(s, fail_with, (void *)EIO, NULL) == 0);
    CHECK(vthread_scope_fork(s, fail_with, (void *)EIO, NULL) == 0);
    CHECK(vthread_scope_join(s) == ECHILD);
    CHECK(vthread_scope_error(s) == EIO);
    CHECK(vthread_scope_result(s, NULL) == ECHILD);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(open_with(&s, VTHREAD_SCOPE_ANY_SUCCEED) == 0);
    CHECK(vthread_scope_join(s) == ECHILD);
    CHECK(vthread_scope_error(s) == 0);
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

Test(scope, none_succeeds)
{
    by_all(none_succeeds);
}

/* ---- await all ---- */

static void *await_all(void *arg)
{
    vthread_scope_t *s;
    void *value = arg;

    CHECK(open_with(&s, VTHREAD_SCOPE_AWAIT_ALL) == 0);
    for (intptr_t i = 1; i <= 6; i++) {
        vthread_subtask_t *sub;

        CHECK(vthread_scope_fork(s, i % 2 ? fail_with : give_late, (void *)i, &sub) == 0);
        CHECK(vthread_subtask_result(sub, &value) == EINVAL);
    }
    CHECK(vthread_scope_result(s, &value) == EINVAL);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_error(s) % 2 == 1);
    CHECK(!vthread_scope_is_cancelled(s));
    for (intptr_t i = 2; i <= 6; i += 2)
        CHECK(vthread_scope_result(s, &value) == 0 && value == (void *)i);
    CHECK(vthread_scope_result(s, &value) == ENODATA);
    CHECK(vthread_scope_close(s) == 0);
    return NULL;
}

Test(scope, await_all)
{
    by_all(await_all);
    cr_assert_eq(atomic_load(&discarded), 0);
}

/* ---- cancelling and deadlines ---- */

static void *cancel(void *scope)
{
    return vthread_scope_cancel(scope) == 0 ? NULL : scope;
}

static void *cancelled(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *never;
    vthread_t t;

    atomic_store(&ran, 0);
    CHECK(open_with(&s, VTHREAD_SCOPE_AWAIT_ALL) == 0);
    CHECK(vthread_scope_fork(s, park, (void *)1, NULL) == 0);
    CHECK(vthread_create(&t, NULL, cancel, s) == 0);
    CHECK(vthread_scope_join(s) == ECANCELED);
    CHECK(vthread_join(t, NULL) == 0);
    CHECK(vthread_scope_is_cancelled(s));
    CHECK(vthread_scope_cancel(s) == 0);
    CHECK(vthread_scope_result(s, NULL) == ECANCELED);
    CHECK(vthread_scope_close(s) == 0);

    atomic_store(&ran, 0);
    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_cancel(s) == 0);
    CHECK(vthread_scope_fork(s, give, (void *)1, &never) == 0);
    CHECK(vthread_scope_fork(s, give, (void *)1, NULL) == 0);
    CHECK(vthread_scope_fork_copy(s, give, "x", 2, NULL) == 0);
    CHECK(vthread_scope_fork_copy(s, give, "x", 2, &never) == 0);
    CHECK(vthread_scope_join(s) == ECANCELED);
    CHECK(vthread_subtask_state(never) == VTHREAD_SUBTASK_UNAVAILABLE);
    CHECK(vthread_subtask_result(never, NULL) == ECANCELED);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(atomic_load(&ran) == 0);
    return arg;
}

Test(scope, cancelled_by_anybody)
{
    by_all(cancelled);
}

static void *passes(void *arg)
{
    vthread_scope_params_t params = {.attr = subtasks, .deadline_ns = vthread_after_ms(3)};
    vthread_scope_t *s;

    CHECK(vthread_scope_open(&s, &params) == 0);
    CHECK(vthread_scope_fork(s, park, arg, NULL) == 0);
    CHECK(vthread_scope_join(s) == ETIMEDOUT);
    CHECK(vthread_now_ns() >= params.deadline_ns);
    CHECK(vthread_scope_is_cancelled(s));
    CHECK(vthread_scope_join(s) == ETIMEDOUT);
    CHECK(vthread_scope_result(s, NULL) == ETIMEDOUT);
    CHECK(vthread_scope_close(s) == 0);

    params.deadline_ns = vthread_after_ms(2);
    CHECK(vthread_scope_open(&s, &params) == 0); /* while the owner is elsewhere */
    CHECK(vthread_scope_fork(s, park, arg, NULL) == 0);
    CHECK(EVENTUALLY_HERE(vthread_scope_is_cancelled(s)));
    CHECK(vthread_scope_close(s) == ECANCELED);

    params.deadline_ns = vthread_now_ns() - 1;
    atomic_store(&ran, 0);
    CHECK(vthread_scope_open(&s, &params) == 0);
    CHECK(vthread_scope_fork(s, give, arg, NULL) == 0);
    CHECK(vthread_scope_join(s) == ETIMEDOUT);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(atomic_load(&ran) == 0);

    params.deadline_ns = vthread_after_ms(1000000); /* close does not wait for it */
    CHECK(vthread_scope_open(&s, &params) == 0);
    CHECK(vthread_scope_fork(s, give, arg, NULL) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(vthread_now_ns() < params.deadline_ns);
    return NULL;
}

Test(scope, a_deadline_cancels)
{
    by_all(passes);
}

static void *stops_waiting(void *arg)
{
    vthread_scope_t *s;

    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork(s, park, arg, NULL) == 0);
    CHECK(vthread_scope_join_until(s, VTHREAD_NOW) == ETIMEDOUT);
    CHECK(vthread_scope_join_until(s, vthread_after_ns(100000)) == ETIMEDOUT);
    CHECK(!vthread_scope_is_cancelled(s));
    CHECK(vthread_scope_result(s, NULL) == EINVAL);
    CHECK(vthread_scope_fork(s, fail_with, (void *)7, NULL) == 0);
    CHECK(vthread_scope_join_until(s, vthread_after_ms(100000)) == ECHILD);
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

Test(scope, join_until_only_stops_waiting)
{
    by_all(stops_waiting);
}

static void *interrupted(void *arg)
{
    vthread_scope_t *s;

    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork(s, park, arg, NULL) == 0);
    CHECK(vthread_interrupt(vthread_self()) == 0);
    CHECK(vthread_scope_join(s) == EINTR);
    CHECK(!vthread_is_interrupted(vthread_self()));
    CHECK(!vthread_scope_is_cancelled(s));
    CHECK(vthread_scope_fork(s, give, arg, NULL) == 0);
    CHECK(vthread_scope_join_until(s, vthread_after_ns(100000)) == ETIMEDOUT);
    CHECK(vthread_interrupt(vthread_self()) == 0);
    CHECK(vthread_scope_close(s) == 0);
    CHECK(vthread_interrupted());
    return arg;
}

Test(scope, close_keeps_an_interrupt_and_join_does_not)
{
    by_all(interrupted);
}

static void *not_joined(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *sub;

    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork(s, park, (void *)1, NULL) == 0);
    CHECK(vthread_scope_fork(s, park, (void *)1, &sub) == 0);
    CHECK(vthread_scope_close(s) == ECANCELED);
    return arg;
}

Test(scope, closed_without_a_join)
{
    by_all(not_joined);
}

/* ---- arguments ---- */

static void *read_copy(void *arg)
{
    atomic_fetch_add(&copies, strcmp(arg, "the original") == 0 && (uintptr_t)arg % _Alignof(max_align_t) == 0);
    return NULL;
}

static void *fork_copies(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *sub;
    char text[] = "the original";

    atomic_store(&copies, 0);
    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork_copy(s, read_copy, text, sizeof text, NULL) == 0);
    CHECK(vthread_scope_fork_copy(s, read_copy, text, sizeof text, &sub) == 0);
    memset(text, 0, sizeof text);
    CHECK(vthread_scope_fork_copy(s, give, NULL, 0, &sub) == 0);
    CHECK(vthread_scope_fork_copy(s, give, NULL, 1, &sub) == EINVAL);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(atomic_load(&copies) == 2);
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

Test(scope, arguments_are_copied)
{
    by_all(fork_copies);
}

static void *fork_local(void *arg)
{
    volatile int local = 1;
    vthread_scope_t *s;

    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scope_fork(s, give, (void *)(uintptr_t)&local, NULL) == EFAULT);
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

Test(scope, an_argument_in_the_private_stack_is_refused)
{
    help_run(fork_local, NULL);
    cr_assert_eq(atomic_load(&messages.count), 1);
    cr_assert_not_null(strstr(messages.last, "the _copy form"), "%s", messages.last);
}

static void *dedicated_passes_locals(void *arg)
{
    vthread_scope_t *s;
    int local = 1;

    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scope_fork(s, give, &local, NULL) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

Test(scope, an_argument_in_another_kind_of_stack_is_fine)
{
    help_run_with(&kinds[1], dedicated_passes_locals, NULL);
    help_run_with(&kinds[2], dedicated_passes_locals, NULL);
    cr_assert_null(dedicated_passes_locals(NULL));
}

/* ---- scoped values ---- */

static vthread_scoped_value_t user = VTHREAD_SCOPED_VALUE_INITIALIZER("user");
static vthread_scoped_value_t extra = VTHREAD_SCOPED_VALUE_INITIALIZER("extra");

static void *get_user(void *arg)
{
    const char *text = vthread_scoped_value_get(&user);

    return text != NULL && strcmp(text, arg) == 0 && !vthread_scoped_value_is_bound(&extra) ? NULL : vthread_fail(1);
}

/* In its turn binds another, and forks. */
static void *bind_and_fork(void *arg);

static void *fork_bound(void *arg)
{
    vthread_scope_params_t params = {.attr = subtasks};
    vthread_scope_t *s;

    CHECK(vthread_scope_open(&s, &params) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(vthread_scope_fork(s, get_user, arg, NULL) == 0);
    if (strcmp(arg, "first") == 0)
        CHECK(vthread_scope_fork(s, bind_and_fork, (void *)(uintptr_t) "second", NULL) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_close(s) == 0);
    return NULL;
}

static void *bind_and_fork(void *arg)
{
    void *wrong = NULL;

    if (vthread_scoped_value_run_copy(&user, arg, strlen(arg) + 1, fork_bound, arg, &wrong) != 0 || wrong != NULL)
        return vthread_fail(2);
    return wrong;
}

static void *inherits(void *arg)
{
    void *wrong = bind_and_fork((void *)(uintptr_t) "first");

    CHECK(wrong == NULL);
    CHECK(!vthread_scoped_value_is_bound(&user));
    return arg;
}

Test(scope, subtasks_inherit_scoped_values)
{
    by_all(inherits);
}

static void *exit_bound(void *arg)
{
    vthread_exit(arg);
}

static void *bind_and_exit(void *arg)
{
    vthread_scoped_value_run_copy(&extra, "x", 2, exit_bound, arg, NULL);
    return NULL;
}

static void *fork_what_exits_bound(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *sub;
    void *value;

    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork(s, bind_and_exit, &user, &sub) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_subtask_result(sub, &value) == 0 && value == &user);
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

Test(scope, a_subtask_that_exits_while_something_is_bound)
{
    by_all(fork_what_exits_bound); /* the leak checker looks */
}

static void *fork_private(void *arg)
{
    vthread_scope_t *s;

    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scope_fork(s, give, NULL, NULL) == (arg != NULL ? EFAULT : 0));
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_close(s) == 0);
    return NULL;
}

static void *bind_local(void *arg)
{
    int local = 1;
    void *wrong = arg;

    CHECK(vthread_scoped_value_run(&user, &local, fork_private, arg, &wrong) == 0);
    return wrong;
}

Test(scope, a_private_scoped_value_is_not_inherited)
{
    help_run(bind_local, &user);
    cr_assert_eq(atomic_load(&messages.count), 1);
    cr_assert_not_null(strstr(messages.last, "user"), "%s", messages.last);
    cr_assert_not_null(strstr(messages.last, "vthread_scoped_value_run_copy"), "%s", messages.last);
    help_run_with(&kinds[1], bind_local, NULL);
    help_run_with(&kinds[2], bind_local, NULL);
    cr_assert_null(bind_local(NULL));
}

static void *fork_in_run(void *arg)
{
    CHECK(vthread_scope_fork(arg, give, NULL, NULL) == EPERM);
    CHECK(vthread_scope_fork_copy(arg, give, "x", 1, NULL) == EPERM);
    return NULL;
}

static void *fork_in_other_bindings(void *arg)
{
    vthread_scope_t *s;
    void *wrong;

    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scoped_value_run(&user, &user, fork_in_run, s, &wrong) == 0);
    CHECK(wrong == NULL);
    CHECK(vthread_scope_fork(s, give, NULL, NULL) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

Test(scope, forks_happen_where_the_scope_was_opened)
{
    help_run(fork_in_other_bindings, NULL);
    cr_assert_eq(atomic_load(&messages.count), 2);
}

/* ---- owners, nesting ---- */

static void *not_mine(void *arg)
{
    vthread_scope_t *s = arg;

    CHECK(vthread_scope_fork(s, give, NULL, NULL) == EPERM);
    CHECK(vthread_scope_fork_copy(s, give, NULL, 0, NULL) == EPERM);
    CHECK(vthread_scope_join(s) == EPERM);
    CHECK(vthread_scope_join_until(s, VTHREAD_NOW) == EPERM);
    CHECK(vthread_scope_result(s, NULL) == EPERM);
    CHECK(vthread_scope_close(s) == EPERM);
    CHECK(vthread_scope_error(s) == 0);
    CHECK(!vthread_scope_is_cancelled(s));
    return NULL;
}

static void *children_do_not_own(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *sub;
    void *wrong = NULL;

    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork(s, not_mine, s, &sub) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(vthread_subtask_result(sub, &wrong) == 0);
    CHECK(vthread_scope_close(s) == 0);
    return wrong != NULL ? wrong : arg;
}

Test(scope, owned_by_who_has_opened_it)
{
    by_all(children_do_not_own);
    cr_assert_eq(atomic_load(&messages.count), 6 * KINDS * (KINDS + 1));
    cr_assert_not_null(strstr(messages.last, "tested"), "%s", messages.last);
}

static void *nest(void *arg)
{
    vthread_scope_t *outer, *inner;

    CHECK(open_with(&outer, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork(outer, give, NULL, NULL) == 0);
    CHECK(open_with(&inner, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    CHECK(vthread_scope_fork(outer, give, NULL, NULL) == 0);
    CHECK(vthread_scope_fork(inner, give, NULL, NULL) == 0);
    CHECK(vthread_scope_join(outer) == 0);
    CHECK(vthread_scope_close(outer) == EPERM);
    CHECK(vthread_scope_join(inner) == 0);
    CHECK(vthread_scope_close(inner) == 0);
    CHECK(vthread_scope_close(outer) == 0);
    return arg;
}

Test(scope, the_innermost_is_closed_first)
{
    by_all(nest);
    cr_assert_eq(atomic_load(&messages.count), KINDS * (KINDS + 1));
}

static void *leave_open(void *arg)
{
    vthread_scope_t *outer, *inner;
    vthread_subtask_t *sub;

    if (open_with(&outer, VTHREAD_SCOPE_ALL_SUCCEED) == 0 && open_with(&inner, VTHREAD_SCOPE_ALL_SUCCEED) == 0 &&
        vthread_scope_fork(outer, park, (void *)1, NULL) == 0 &&
        vthread_scope_fork(inner, park, (void *)1, &sub) == 0 && arg != NULL)
        vthread_exit(NULL);
    return NULL;
}

Test(scope, abandoned_ones_are_reported_and_closed)
{
    for (int i = 0; i < KINDS; i++) {
        help_run_with(&kinds[i], leave_open, NULL);
        help_run_with(&kinds[i], leave_open, &user);
    }
    cr_assert_eq(atomic_load(&failures), 2 * 2 * 100 * KINDS);
    cr_assert_eq(atomic_load(&discarded), atomic_load(&ran), "of those that had begun");
}

static void *foreign(void *arg)
{
    return leave_open(NULL) != NULL ? arg : NULL;
}

Test(scope, abandoned_by_a_foreign_thread)
{
    pthread_t os;

    cr_assert_eq(pthread_create(&os, NULL, foreign, NULL), 0);
    pthread_join(os, NULL);
    cr_assert_eq(atomic_load(&failures), 200);
    cr_assert_eq(atomic_load(&discarded), atomic_load(&ran));
}

static vthread_key_t key;

static void open_in_destructor(void *value)
{
    (void)value;
    leave_open(NULL);
}

static void *set_value(void *arg)
{
    return vthread_setspecific(key, arg) == 0 ? NULL : vthread_fail(1);
}

Test(scope, abandoned_by_a_destructor)
{
    cr_assert_eq(vthread_key_create(&key, open_in_destructor), 0);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], set_value, &key);
    cr_assert_eq(atomic_load(&failures), 200 * KINDS);
    cr_assert_eq(vthread_key_delete(key), 0);
}

static void abandon_in_child(void)
{
    vthread_t t;

    vthread_set_failure_handler(NULL, NULL);
    if (vthread_create(&t, NULL, leave_open, NULL) != 0 || vthread_join(t, NULL) != 0)
        _exit(1);
}

Test(scope, abandoning_is_printed_by_default)
{
    struct help_end end = help_child(abandon_in_child);

    cr_assert_eq(end.status, 0);
    cr_assert_not_null(strstr(end.text, "vthread_scope_close"), "%s", end.text);
}

/* A tree of three levels of scopes, each with three subtasks. */
static void *grow(void *arg)
{
    intptr_t sum = 1;
    vthread_scope_t *s;
    void *value;

    if (arg == NULL)
        return (void *)sum;
    if (open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) != 0)
        return vthread_fail(1);
    for (int i = 0; i < 3; i++) {
        vthread_subtask_t *sub;

        if (vthread_scope_fork(s, grow, (void *)((intptr_t)arg - 1), &sub) != 0)
            return vthread_fail(2);
    }
    if (vthread_scope_join(s) == 0)
        while (vthread_scope_result(s, &value) == 0)
            sum += (intptr_t)value;
    return vthread_scope_close(s) == 0 ? (void *)sum : vthread_fail(3);
}

static void *grow_and_count(void *arg)
{
    CHECK(grow((void *)3) == (void *)40);
    return arg;
}

Test(scope, a_tree)
{
    by_all(grow_and_count);
}

/* ---- destructors, misuse ---- */

static void destroy(void *value)
{
    vthread_sleep_ns(200000);
    atomic_fetch_add(&ran, (int)(intptr_t)value);
}

static void *close_waits_for_destructors(void *arg)
{
    vthread_scope_t *s;
    int before = atomic_load(&ran);

    CHECK(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(vthread_scope_fork(s, set_value, (void *)1, NULL) == 0);
    CHECK(vthread_scope_join(s) == 0);
    CHECK(atomic_load(&ran) == before + 5);
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

Test(scope, destructors_belong_to_the_subtask)
{
    cr_assert_eq(vthread_key_create(&key, destroy), 0);
    by_all(close_waits_for_destructors);
    cr_assert_eq(vthread_key_delete(key), 0);
}

Test(scope, misuse)
{
    vthread_scope_t *s = (vthread_scope_t *)1;

    cr_assert_eq(vthread_scope_open(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scope_open(&s, &(vthread_scope_params_t){.reserved = {1}}), EINVAL);
    cr_assert_eq(vthread_scope_open(&s, &(vthread_scope_params_t){.attr = {.reserved = {1}}}), EINVAL);
    cr_assert_eq(vthread_scope_open(&s, &(vthread_scope_params_t){.joiner = (vthread_scope_joiner_t)3}), EINVAL);
    cr_assert_eq(s, (vthread_scope_t *)1, "written only on success");
    cr_assert_eq(vthread_scope_fork(NULL, give, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scope_fork_copy(NULL, give, NULL, 0, NULL), EINVAL);
    cr_assert_eq(vthread_scope_join(NULL), EINVAL);
    cr_assert_eq(vthread_scope_join_until(NULL, VTHREAD_NOW), EINVAL);
    cr_assert_eq(vthread_scope_result(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scope_cancel(NULL), EINVAL);
    cr_assert_eq(vthread_scope_error(NULL), 0);
    cr_assert(!vthread_scope_is_cancelled(NULL));
    cr_assert_eq(vthread_subtask_result(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_subtask_error(NULL), 0);
    cr_assert_eq(vthread_subtask_state(NULL), VTHREAD_SUBTASK_UNAVAILABLE);
    cr_assert_eq(vthread_scope_open(&s, NULL), 0);
    cr_assert_eq(vthread_scope_fork(s, NULL, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scope_fork_copy(s, NULL, NULL, 0, NULL), EINVAL);
    cr_assert_eq(vthread_scope_close(s), 0);
}

static void *name_is(void *arg)
{
    char name[32];

    return vthread_name(vthread_self(), name, sizeof name) == 0 && strcmp(name, arg) == 0 ? NULL : vthread_fail(1);
}

Test(scope, strings_are_copied)
{
    char text[] = "helper-";
    uint64_t counter = 7;
    vthread_scope_t *s;
    vthread_scope_params_t params = {.attr = {.name_prefix = text, .name_counter = &counter}, .name = text};

    cr_assert_eq(vthread_scope_open(&s, &params), 0);
    memset(text, 'x', sizeof text);
    cr_assert_eq(vthread_scope_fork(s, name_is, (void *)(uintptr_t) "helper-7", NULL), 0);
    cr_assert_eq(vthread_scope_fork(s, name_is, (void *)(uintptr_t) "helper-8", NULL), 0);
    cr_assert_eq(vthread_scope_join(s), 0);
    cr_assert_str_eq(s->name, "helper-");
    cr_assert_eq(vthread_scope_close(s), 0);
}

Test(scope, across_a_shutdown)
{
    vthread_scope_t *s;

    cr_assert_eq(open_with(&s, VTHREAD_SCOPE_ALL_SUCCEED), 0);
    cr_assert_eq(vthread_scope_fork(s, park, (void *)1, NULL), 0);
    cr_assert(EVENTUALLY(atomic_load(&ran) == 1));
    help_shutdown(); /* interrupts them */
    cr_assert_eq(vthread_scope_join(s), 0);
    cr_assert_eq(vthread_scope_close(s), 0);
}

/* ---- walking ---- */

struct seen {
    int scopes, subtasks;
    uint32_t depth;
    vthread_t last;
};

static void see_scope(const struct vthread_scope *scope, void *user_data)
{
    struct seen *seen = user_data;

    seen->scopes++;
    seen->depth = scope->depth;
}

static void see_subtask(vthread_t thread, const struct vthread_subtask *subtask, void *user_data)
{
    struct seen *seen = user_data;

    (void)subtask;
    seen->subtasks++;
    seen->last = thread;
}

static const struct scope_visitor visitor = {see_scope, see_subtask};

static void *inner_scope(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *sub;

    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scope_fork(s, park, arg, &sub) == 0);
    CHECK(vthread_scope_fork(s, park, arg, NULL) == 0);
    CHECK(vthread_scope_join(s) == EINTR);
    CHECK(vthread_scope_close(s) == 0);
    return NULL;
}

static void *open_and_close(void *over)
{
    while (!atomic_load((atomic_bool *)over)) {
        vthread_scope_t *outer, *inner;

        CHECK(vthread_scope_open(&outer, NULL) == 0);
        CHECK(vthread_scope_fork(outer, give, NULL, NULL) == 0);
        CHECK(vthread_scope_open(&inner, NULL) == 0);
        CHECK(vthread_scope_fork(inner, give, NULL, NULL) == 0);
        CHECK(vthread_scope_close(inner) == ECANCELED);
        CHECK(vthread_scope_join(outer) == 0);
        CHECK(vthread_scope_close(outer) == 0);
    }
    return NULL;
}

Test(scope, the_tree_can_be_walked_while_it_changes)
{
    static atomic_bool over;
    vthread_t owners[4];
    struct seen seen = {0};

    for (int i = 0; i < 4; i++)
        owners[i] = help_start_with(&kinds[i], open_and_close, &over);
    for (int i = 0; i < 20000 / HELP_SLOW || seen.scopes == 0 || seen.subtasks == 0; i++)
        cr_assert_eq(scope_walk(owners[i % 4], &visitor, &seen), 0);
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        help_join(owners[i]);
}

Test(scope, the_tree_can_be_walked)
{
    vthread_scope_t *outer, *inner;
    vthread_subtask_t *sub;
    struct seen seen = {0};

    cr_assert_eq(vthread_scope_open(&outer, NULL), 0);
    cr_assert_eq(vthread_scope_fork(outer, give, NULL, &sub), 0);
    cr_assert(EVENTUALLY(vthread_subtask_state(sub) == VTHREAD_SUBTASK_SUCCEEDED));
    cr_assert_eq(vthread_scope_open(&inner, NULL), 0);
    cr_assert_eq(vthread_scope_fork(inner, inner_scope, NULL, &sub), 0);
    cr_assert(EVENTUALLY(atomic_load(&ran) == 3));
    cr_assert_eq(scope_walk(vthread_self(), &visitor, &seen), 0);
    cr_assert_eq(seen.scopes, 2);
    cr_assert_eq(seen.subtasks, 1);
    cr_assert_eq(seen.depth, 0, "from the innermost out");
    vthread_t child = seen.last;

    seen = (struct seen){0};
    cr_assert_eq(scope_walk(child, &visitor, &seen), 0);
    cr_assert_eq(seen.scopes, 1);
    cr_assert_eq(seen.subtasks, 2);
    cr_assert_eq(vthread_scope_cancel(inner), 0);
    cr_assert_eq(vthread_scope_close(inner), ECANCELED);
    cr_assert_eq(vthread_scope_join(outer), 0);
    cr_assert_eq(vthread_scope_close(outer), 0);
    seen = (struct seen){0};
    cr_assert_eq(scope_walk(vthread_self(), &visitor, &seen), 0);
    cr_assert_eq(seen.scopes, 0);
    cr_assert(EVENTUALLY(scope_walk(child, &visitor, &seen) == ESRCH));
    cr_assert_eq(seen.scopes, 0);
}
