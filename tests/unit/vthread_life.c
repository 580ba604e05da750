/* SPDX-License-Identifier: MIT */
/* Creating, starting, joining, detaching, references, ends. */
#include "vthread_help.h"

TestSuite(life, .fini = help_fini, .timeout = 60);

Test(life, join_gives_the_value)
{
    void *value = NULL;

    cr_assert_eq(vthread_join(help_start(help_return, &value), &value), 0);
    cr_assert_eq(value, (void *)&value);
}

Test(life, join_without_asking_for_the_value)
{
    cr_assert_eq(vthread_join(help_start(help_return, NULL), NULL), 0);
}

Test(life, no_function_is_invalid)
{
    vthread_t t = (vthread_t)1;

    cr_assert_eq(vthread_create(&t, NULL, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_new(&t, NULL, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_create_copy(&t, NULL, NULL, "x", 1), EINVAL);
    cr_assert_eq(t, (vthread_t)1, "written only on success");
}

Test(life, wrong_attributes_are_invalid)
{
    vthread_attr_t wrong[] = {
        {.reserved = {1}},
        {.reserved = {0, 0, 0, 1}},
        {.kind = (vthread_kind_t)7},
        {.stack = (vthread_stack_t)7},
        {.stack_bytes = 1 << 20}, /* of a stack that is not the thread's own */
        {.stack = VTHREAD_STACK_SHARED, .stack_bytes = 1 << 20},
        {.stack = VTHREAD_STACK_DEDICATED, .stack_bytes = (size_t)1 << 50},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert_eq(vthread_create(NULL, &wrong[i], help_nothing, NULL), EINVAL, "number %zu", i);
}

static void *read_copy(void *arg)
{
    CHECK(strcmp(arg, "the original") == 0);
    return NULL;
}

Test(life, create_copy_gives_the_thread_its_own_copy)
{
    char text[] = "the original";
    vthread_t t;

    cr_assert_eq(vthread_create_copy(&t, NULL, read_copy, text, sizeof text), 0);
    memset(text, 0, sizeof text);
    help_join(t);
}

static void *is_aligned(void *arg)
{
    CHECK((uintptr_t)arg % _Alignof(max_align_t) == 0);
    return NULL;
}

Test(life, a_copy_is_aligned_for_any_type)
{
    char bytes[100] = {0};

    for (size_t size = 1; size < sizeof bytes; size += 7) {
        vthread_t t;

        cr_assert_eq(vthread_create_copy(&t, NULL, is_aligned, bytes, size), 0);
        help_join(t);
    }
}

Test(life, a_copy_of_nothing)
{
    vthread_t t;

    cr_assert_eq(vthread_create_copy(&t, NULL, help_nothing, NULL, 0), 0);
    help_join(t);
    cr_assert_eq(vthread_create_copy(&t, NULL, help_nothing, NULL, 1), EINVAL);
}

static atomic_int ran;

static void *count_run(void *arg)
{
    atomic_fetch_add(&ran, 1);
    return arg;
}

Test(life, detached_from_the_beginning)
{
    cr_assert_eq(vthread_create(NULL, NULL, count_run, NULL), 0);
    cr_assert(EVENTUALLY(atomic_load(&ran) == 1));
}

Test(life, detached_by_its_attributes)
{
    vthread_attr_t attr = {.detached = true};
    atomic_bool stop = false;
    vthread_t t = NULL;

    cr_assert_eq(vthread_new(&t, &attr, count_run, NULL), EINVAL);
    for (int kind = VTHREAD_KIND_VIRTUAL; kind <= VTHREAD_KIND_PLATFORM; kind++) {
        attr.kind = kind;
        atomic_store(&stop, false);
        cr_assert_eq(vthread_create(&t, &attr, help_spin, &stop), 0);
        cr_assert(vthread_is_alive(t), "its name is told");
        cr_assert_eq(vthread_join(t, NULL), EINVAL);
        cr_assert_eq(vthread_detach(t), EINVAL);
        atomic_store(&stop, true);
        cr_assert(EVENTUALLY(!vthread_is_alive(t)));
        cr_assert_eq(vthread_join(t, NULL), ESRCH);
    }
    attr.kind = VTHREAD_KIND_VIRTUAL;
    cr_assert_eq(vthread_create_copy(&t, &attr, count_run, &attr, sizeof attr), 0);
    cr_assert(EVENTUALLY(atomic_load(&ran) == 1));
}

Test(life, a_new_thread_runs_when_started)
{
    vthread_t t = NULL;

    cr_assert_eq(vthread_new(&t, NULL, count_run, NULL), 0);
    cr_assert_eq(vthread_state(t), VTHREAD_NEW);
    cr_assert_not(vthread_is_alive(t));
    usleep(5000);
    cr_assert_eq(atomic_load(&ran), 0);
    cr_assert_eq(vthread_start(t), 0);
    help_join(t);
    cr_assert_eq(atomic_load(&ran), 1);
}

Test(life, new_must_have_a_place_for_the_handle)
{
    cr_assert_eq(vthread_new(NULL, NULL, help_nothing, NULL), EINVAL);
}

Test(life, a_second_start_is_busy)
{
    vthread_t t = NULL;

    cr_assert_eq(vthread_new(&t, NULL, help_park_for_ever, NULL), 0);
    cr_assert_eq(vthread_start(t), 0);
    cr_assert_eq(vthread_start(t), EBUSY);
    vthread_interrupt(t);
    help_join(t);
    cr_assert_eq(vthread_start(t), ESRCH);
}

Test(life, start_of_an_unjoined_ended_thread)
{
    vthread_t t = help_start(help_nothing, NULL);

    cr_assert(REACHES(t, VTHREAD_TERMINATED));
    cr_assert_eq(vthread_start(t), ESRCH);
    help_join(t);
}

Test(life, start_nothing)
{
    cr_assert_eq(vthread_start(NULL), EINVAL);
}

static atomic_int starts_won;

static void *start_it(void *arg)
{
    int error = vthread_start((vthread_t)arg);

    CHECK(error == 0 || error == EBUSY || error == ESRCH);
    atomic_fetch_add(&starts_won, error == 0);
    return NULL;
}

Test(life, only_one_of_many_starts_wins)
{
    for (int round = 0; round < 200; round++) {
        vthread_t starters[4];
        vthread_t t = NULL;

        cr_assert_eq(vthread_new(&t, NULL, help_nothing, NULL), 0);
        atomic_store(&starts_won, 0);
        for (int i = 0; i < 4; i++)
            starters[i] = help_start(start_it, t);
        for (int i = 0; i < 4; i++)
            help_join(starters[i]);
        cr_assert_eq(atomic_load(&starts_won), 1);
        help_join(t);
    }
}

/* ---- join ---- */

Test(life, a_second_join_finds_nobody)
{
    vthread_t t = help_start(help_nothing, NULL);

    help_join(t);
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
    cr_assert_eq(vthread_detach(t), ESRCH);
}

static void *join_oneself(void *arg)
{
    CHECK(vthread_join(vthread_self(), NULL) == EDEADLK);
    CHECK(vthread_join_until(vthread_self(), NULL, VTHREAD_NOW) == EDEADLK);
    return arg;
}

Test(life, joining_oneself_is_a_deadlock)
{
    help_run(join_oneself, NULL);
}

Test(life, what_cannot_be_joined)
{
    vthread_t t = NULL;

    cr_assert_eq(vthread_join(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_join((vthread_t)0x7fffffff, NULL), EINVAL, "never was a handle");
    cr_assert_eq(vthread_new(&t, NULL, help_nothing, NULL), 0);
    cr_assert_eq(vthread_join(t, NULL), EINVAL, "not started");
    cr_assert_eq(vthread_detach(t), 0);
    cr_assert_eq(vthread_join(t, NULL), ESRCH, "discarded");
}

static void *join_main(void *arg)
{
    CHECK(vthread_join((vthread_t)arg, NULL) == EINVAL);
    return NULL;
}

Test(life, a_foreign_thread_cannot_be_joined)
{
    help_run(join_main, vthread_self());
}

Test(life, a_detached_thread_cannot_be_joined)
{
    vthread_t t = help_start(help_park_for_ever, NULL);

    cr_assert_eq(vthread_detach(t), 0);
    cr_assert_eq(vthread_detach(t), EINVAL);
    cr_assert_eq(vthread_join(t, NULL), EINVAL);
    cr_assert_eq(vthread_interrupt(t), 0);
    cr_assert(EVENTUALLY(vthread_join(t, NULL) == ESRCH));
}

Test(life, detach_of_an_ended_thread)
{
    vthread_t t = help_start(help_nothing, NULL);

    cr_assert(REACHES(t, VTHREAD_TERMINATED));
    cr_assert_eq(vthread_detach(t), 0);
    cr_assert_eq(vthread_detach(t), ESRCH);
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
}

Test(life, detach_discards_a_new_thread)
{
    vthread_t t = NULL;

    cr_assert_eq(vthread_new(&t, NULL, count_run, NULL), 0);
    cr_assert_eq(vthread_detach(t), 0);
    cr_assert_eq(vthread_start(t), ESRCH);
    cr_assert_eq(vthread_detach(t), ESRCH);
    help_shutdown();
    cr_assert_eq(atomic_load(&ran), 0);
}

Test(life, detach_nothing)
{
    cr_assert_eq(vthread_detach(NULL), EINVAL);
}

static _Atomic uintptr_t target;

static void *join_target(void *arg)
{
    void *value = NULL;

    (void)arg;
    CHECK(vthread_join((vthread_t)atomic_load(&target), &value) == 0);
    CHECK(value == (void *)4711);
    return NULL;
}

static void *park_and_return(void *arg)
{
    vthread_park();
    return arg;
}

Test(life, several_may_wait_at_once_and_all_get_the_value)
{
    vthread_t joiners[10];

    atomic_store(&target, (uintptr_t)help_start(park_and_return, (void *)4711));
    for (int i = 0; i < 10; i++) {
        joiners[i] = help_start(join_target, NULL);
        cr_assert(REACHES(joiners[i], VTHREAD_PARKED));
    }
    vthread_unpark((vthread_t)atomic_load(&target));
    for (int i = 0; i < 10; i++)
        help_join(joiners[i]);
    cr_assert_eq(vthread_join((vthread_t)atomic_load(&target), NULL), ESRCH);
}

Test(life, a_join_that_times_out_consumes_nothing)
{
    vthread_t t = help_start(park_and_return, (void *)4711);
    void *value = &value;

    cr_assert_eq(vthread_join_until(t, &value, VTHREAD_NOW), ETIMEDOUT);
    cr_assert_eq(vthread_join_until(t, &value, vthread_after_ms(5)), ETIMEDOUT);
    cr_assert_eq(value, (void *)&value, "written only on success");
    vthread_unpark(t);
    cr_assert_eq(vthread_join(t, &value), 0);
    cr_assert_eq(value, (void *)4711);
}

/* The flag that somebody waits stays behind when he has given up. */
Test(life, joined_after_somebody_has_given_up)
{
    vthread_t t = help_start(park_and_return, (void *)4711);
    void *value = NULL;

    cr_assert_eq(vthread_join_until(t, NULL, vthread_after_ms(1)), ETIMEDOUT);
    vthread_unpark(t);
    cr_assert(REACHES(t, VTHREAD_TERMINATED));
    cr_assert_eq(vthread_join_until(t, &value, VTHREAD_NOW), 0);
    cr_assert_eq(value, (void *)4711);
}

Test(life, detached_after_somebody_has_given_up)
{
    vthread_t t = help_start(park_and_return, NULL);

    cr_assert_eq(vthread_join_until(t, NULL, vthread_after_ms(1)), ETIMEDOUT);
    vthread_unpark(t);
    cr_assert(REACHES(t, VTHREAD_TERMINATED));
    cr_assert_eq(vthread_detach(t), 0);
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
}

static void *join_until_interrupted(void *arg)
{
    CHECK(vthread_join((vthread_t)arg, NULL) == EINTR);
    CHECK(!vthread_is_interrupted(vthread_self())); /* delivered once */
    CHECK(!vthread_interrupted());
    return NULL;
}

Test(life, an_interrupted_join)
{
    vthread_t t = help_start(help_park_for_ever, NULL);
    vthread_t joiner = help_start(join_until_interrupted, t);

    cr_assert(REACHES(joiner, VTHREAD_PARKED));
    vthread_interrupt(joiner);
    help_join(joiner);
    vthread_interrupt(t);
    help_join(t);
}

static void *join_with_flag_set(void *arg)
{
    vthread_interrupt(vthread_self());
    CHECK(vthread_join((vthread_t)arg, NULL) == EINTR);
    CHECK(!vthread_interrupted());
    /* What has ended is joined all the same. */
    return NULL;
}

Test(life, interrupted_before_the_join)
{
    vthread_t t = help_start(help_park_for_ever, NULL);

    help_run(join_with_flag_set, t);
    vthread_interrupt(t);
    help_join(t);
}

static void *join_with_permit(void *arg)
{
    vthread_unpark(vthread_self());
    CHECK(vthread_join((vthread_t)arg, NULL) == 0);
    CHECK(vthread_park_until(VTHREAD_NOW) == 0); /* the permit is still there */
    CHECK(vthread_park_until(VTHREAD_NOW) == ETIMEDOUT);
    return NULL;
}

Test(life, a_permit_neither_ends_a_join_nor_is_used_by_it)
{
    vthread_t t = help_start(park_and_return, NULL);
    vthread_t joiner = help_start(join_with_permit, t);

    cr_assert(REACHES(joiner, VTHREAD_PARKED));
    vthread_unpark(joiner);
    usleep(2000);
    cr_assert_eq(vthread_state(joiner), VTHREAD_PARKED);
    vthread_unpark(t);
    help_join(joiner);
}

/* ---- handles and references ---- */

Test(life, handles_of_ended_threads_are_harmless)
{
    vthread_t t = help_start(help_nothing, NULL);
    char name[16];

    help_join(t);
    for (int i = 0; i < 100; i++) /* the record is somebody else's by now */
        help_run(help_nothing, NULL);
    cr_assert_eq(vthread_unpark(t), 0);
    cr_assert_eq(vthread_interrupt(t), 0);
    cr_assert_not(vthread_is_interrupted(t));
    cr_assert_not(vthread_is_alive(t));
    cr_assert_not(vthread_is_virtual(t));
    cr_assert_eq(vthread_state(t), VTHREAD_TERMINATED);
    cr_assert_eq(vthread_public_state(t), VTHREAD_PUBLIC_TERMINATED);
    cr_assert_eq(vthread_name(t, name, sizeof name), ESRCH);
    cr_assert_eq(vthread_setname(t, "x"), ESRCH);
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
    cr_assert_eq(vthread_detach(t), ESRCH);
    cr_assert_eq(vthread_start(t), ESRCH);
    cr_assert_eq(vthread_ref(t), ESRCH);
    cr_assert_eq(vthread_backtrace(t, (void *[4]){0}, 4), -ESRCH);
}

Test(life, null_names_none)
{
    char name[16];

    cr_assert_eq(vthread_unpark(NULL), 0);
    cr_assert_eq(vthread_interrupt(NULL), 0);
    cr_assert_not(vthread_is_interrupted(NULL));
    cr_assert_not(vthread_is_alive(NULL));
    cr_assert_not(vthread_is_virtual(NULL));
    cr_assert_eq(vthread_id(NULL), 0);
    cr_assert_eq(vthread_name(NULL, name, sizeof name), EINVAL);
    cr_assert_eq(vthread_setname(NULL, "x"), EINVAL);
    cr_assert_eq(vthread_ref(NULL), ESRCH);
    cr_assert_eq(vthread_unref(NULL), 0);
    cr_assert_eq(vthread_backtrace(NULL, (void *[4]){0}, 4), -EINVAL);
}

Test(life, a_reference_keeps_the_name_past_the_end)
{
    vthread_attr_t attr = {.name = "remembered"};
    vthread_t t = help_start_with(&attr, help_nothing, NULL);
    char name[16];

    cr_assert_eq(vthread_ref(t), 0);
    help_join(t);
    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_assert_str_eq(name, "remembered");
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
    cr_assert_eq(vthread_unref(t), 0);
    cr_assert_eq(vthread_name(t, name, sizeof name), ESRCH);
    cr_assert_eq(vthread_unref(t), EINVAL);
}

Test(life, a_reference_keeps_the_interrupt_flag)
{
    vthread_t t = help_start(help_park_for_ever, NULL);

    cr_assert_eq(vthread_ref(t), 0);
    cr_assert_eq(vthread_ref(t), 0);
    vthread_interrupt(t);
    help_join(t);
    cr_assert_not(vthread_is_interrupted(t), "it was cleared by the thread");
    cr_assert_eq(vthread_unref(t), 0);
    cr_assert_eq(vthread_ref(t), 0, "still held once");
    cr_assert_eq(vthread_unref(t), 0);
    cr_assert_eq(vthread_unref(t), 0);
    cr_assert_eq(vthread_ref(t), ESRCH);
}

Test(life, a_reference_to_a_detached_thread)
{
    vthread_t t = help_start(help_park_for_ever, NULL);
    char name[32];

    cr_assert_eq(vthread_ref(t), 0);
    cr_assert_eq(vthread_detach(t), 0);
    vthread_interrupt(t);
    cr_assert(REACHES(t, VTHREAD_TERMINATED));
    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
    cr_assert_eq(vthread_unref(t), 0);
    cr_assert(EVENTUALLY(vthread_name(t, name, sizeof name) == ESRCH));
}

Test(life, a_reference_to_a_discarded_thread)
{
    vthread_t t = NULL;
    char name[32];

    cr_assert_eq(vthread_new(&t, &(vthread_attr_t){.name = "never ran"}, help_nothing, NULL), 0);
    cr_assert_eq(vthread_ref(t), 0);
    cr_assert_eq(vthread_detach(t), 0);
    cr_assert_eq(vthread_state(t), VTHREAD_TERMINATED);
    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_assert_str_eq(name, "never ran");
    cr_assert_eq(vthread_start(t), ESRCH);
    cr_assert_eq(vthread_unref(t), 0);
    cr_assert_eq(vthread_name(t, name, sizeof name), ESRCH);
}

Test(life, references_are_counted_up_to_a_limit)
{
    vthread_t t = help_start(help_park_for_ever, NULL);

    for (int i = 0; i < 65535; i++)
        cr_assert_eq(vthread_ref(t), 0);
    cr_assert_eq(vthread_ref(t), EAGAIN);
    for (int i = 0; i < 65535; i++)
        cr_assert_eq(vthread_unref(t), 0);
    cr_assert_eq(vthread_unref(t), EINVAL);
    vthread_interrupt(t);
    help_join(t);
}

/* ---- ends ---- */

static void *exit_from_below(void *arg)
{
    volatile bool below = true; /* the compiler is not to know that nothing follows */
    char frame[2000];

    HELP_KEEP_WHOLE(frame);
    if (below)
        vthread_exit(arg);
    HELP_KEEP_WHOLE(frame);
    return NULL;
}

Test(life, exit_ends_the_thread_from_anywhere)
{
    void *value = NULL;

    cr_assert_eq(vthread_join(help_start(exit_from_below, &value), &value), 0);
    cr_assert_eq(value, (void *)&value);
}

static struct {
    atomic_int count;
    vthread_failure_t last;
    char name[64];
    void *user;
} failures;

static void keep_failure(const vthread_failure_t *failure, void *user)
{
    failures.last = *failure;
    failures.user = user;
    snprintf(failures.name, sizeof failures.name, "%s", failure->name);
    atomic_fetch_add(&failures.count, 1);
}

static void *fail_with_argument(void *arg)
{
    return vthread_fail((int)(intptr_t)arg);
}

Test(life, failures_go_to_the_handler)
{
    vthread_attr_t attr = {.name = "unlucky"};
    void *value = &value;
    vthread_t t;

    vthread_set_failure_handler(keep_failure, &failures);
    t = help_start_with(&attr, fail_with_argument, (void *)ENOENT);
    cr_assert_eq(vthread_join(t, &value), 0, "the waiter's error is never the thread's");
    cr_assert_null(value);
    cr_assert_eq(atomic_load(&failures.count), 1);
    cr_assert_eq(failures.last.kind, VTHREAD_FAILURE_FAILED);
    cr_assert_eq(failures.last.error, ENOENT);
    cr_assert_eq(failures.last.thread, t);
    cr_assert_str_eq(failures.name, "unlucky");
    cr_assert_eq(failures.user, (void *)&failures);
}

Test(life, failures_go_to_the_threads_own_handler)
{
    vthread_attr_t attr = {.on_failure = keep_failure, .user = &attr};

    vthread_set_failure_handler(NULL, NULL);
    help_run_with(&attr, fail_with_argument, (void *)EIO);
    cr_assert_eq(atomic_load(&failures.count), 1);
    cr_assert_eq(failures.last.error, EIO);
    cr_assert_eq(failures.user, (void *)&attr);
}

static void fail_in_child(void)
{
    vthread_attr_t attr = {.name = "unlucky"};
    vthread_t t = NULL;

    if (vthread_create(&t, &attr, fail_with_argument, (void *)42) != 0 || vthread_join(t, NULL) != 0)
        _exit(1);
}

Test(life, failures_are_printed_by_default)
{
    struct help_end end = help_child(fail_in_child);

    cr_assert_eq(end.status, 0);
    cr_assert_not_null(strstr(end.text, "unlucky"), "%s", end.text);
    cr_assert_not_null(strstr(end.text, "42"), "%s", end.text);
}

static void *end_pinned(void *arg)
{
    vthread_pin("never undone");
    vthread_blocking_begin("nor this");
    return arg;
}

Test(life, ending_while_pinned_is_reported)
{
    vthread_set_failure_handler(keep_failure, NULL);
    help_run(end_pinned, NULL);
    cr_assert_eq(atomic_load(&failures.count), 1);
    cr_assert_eq(failures.last.kind, VTHREAD_FAILURE_PINNED_AT_END);
    for (int i = 0; i < 10; i++) /* the carriers are as before */
        help_run(help_nothing, NULL);
    help_shutdown();
}

Test(life, many_come_and_go)
{
    enum { BATCH = 2000 };
    static vthread_t threads[BATCH];

    for (int round = 0; round < 20 / HELP_SLOW + 1; round++) {
        for (int i = 0; i < BATCH; i++)
            threads[i] = help_start(help_return, NULL);
        for (int i = 0; i < BATCH; i++)
            help_join(threads[i]);
    }
}
