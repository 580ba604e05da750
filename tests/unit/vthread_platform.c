/* SPDX-License-Identifier: MIT */
/* Platform threads: foreign ones, and those of kind PLATFORM. */
#include "vthread_help.h"

TestSuite(platform, .fini = help_fini, .timeout = 60);

static const vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};

static void *check_self(void *arg)
{
    CHECK(vthread_self() != NULL);
    CHECK(!vthread_is_virtual(vthread_self()));
    CHECK(vthread_is_alive(vthread_self()));
    CHECK(vthread_state(vthread_self()) == VTHREAD_RUNNING);
    CHECK(!vthread_is_pinned(NULL));
    return arg;
}

Test(platform, has_a_handle_and_is_not_virtual)
{
    help_run_with(&platform, check_self, NULL);
}

Test(platform, joined_with_its_value)
{
    vthread_t t = help_start_with(&platform, help_return, &t);
    void *value = NULL;

    cr_assert_eq(vthread_join(t, &value), 0);
    cr_assert_eq(value, (void *)&t);
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
}

static void *exit_with_value(void *arg)
{
    vthread_exit(arg);
}

Test(platform, exit)
{
    void *value = NULL;

    cr_assert_eq(vthread_join(help_start_with(&platform, exit_with_value, &value), &value), 0);
    cr_assert_eq(value, (void *)&value);
}

Test(platform, names_and_stack_size)
{
    uint64_t counter = 7;
    vthread_attr_t attr = {
        .kind = VTHREAD_KIND_PLATFORM, .name_prefix = "os-", .name_counter = &counter, .stack_bytes = 4 << 20};
    vthread_t t = help_start_with(&attr, help_park_for_ever, NULL);
    char name[16];

    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_assert_str_eq(name, "os-7");
    vthread_interrupt(t);
    help_join(t);
}

Test(platform, a_stack_too_small_is_invalid)
{
    vthread_attr_t attr = {.kind = VTHREAD_KIND_PLATFORM, .stack_bytes = 1};

    cr_assert_eq(vthread_create(NULL, &attr, help_nothing, NULL), EINVAL);
    help_shutdown(); /* it does not count as alive */
}

Test(platform, new_and_start)
{
    vthread_t t = NULL;

    cr_assert_eq(vthread_new(&t, &platform, help_nothing, NULL), 0);
    cr_assert_eq(vthread_state(t), VTHREAD_NEW);
    cr_assert_eq(vthread_start(t), 0);
    help_join(t);
}

static atomic_int step;
static _Atomic uintptr_t waiter;

static void *park_then_sleep(void *arg)
{
    (void)arg;
    atomic_store(&waiter, (uintptr_t)vthread_self());
    CHECK(vthread_park() == 0);
    CHECK(vthread_park_until(vthread_after_ms(1)) == ETIMEDOUT);
    atomic_store(&step, 1);
    CHECK(vthread_park() == EINTR);
    CHECK(vthread_interrupted());
    atomic_store(&step, 2);
    CHECK(vthread_sleep_ms(60000) == EINTR);
    CHECK(!vthread_interrupted());
    return NULL;
}

static void park_and_interrupt(void)
{
    vthread_t t;

    cr_assert(EVENTUALLY(atomic_load(&waiter) != 0));
    t = (vthread_t)atomic_load(&waiter);
    cr_assert(REACHES(t, VTHREAD_PINNED));
    cr_assert_eq(vthread_public_state(t), VTHREAD_PUBLIC_WAITING);
    vthread_unpark(t);
    cr_assert(EVENTUALLY(atomic_load(&step) == 1));
    cr_assert(REACHES(t, VTHREAD_PINNED));
    vthread_interrupt(t);
    cr_assert(EVENTUALLY(atomic_load(&step) == 2));
    cr_assert(REACHES(t, VTHREAD_TIMED_PINNED));
    cr_assert_eq(vthread_public_state(t), VTHREAD_PUBLIC_TIMED_WAITING);
    vthread_interrupt(t);
}

Test(platform, parks_and_is_interrupted)
{
    vthread_t t = help_start_with(&platform, park_then_sleep, NULL);

    park_and_interrupt();
    help_join(t);
}

Test(platform, a_foreign_thread_parks_and_is_interrupted)
{
    pthread_t thread;
    void *wrong = NULL;

    cr_assert_eq(pthread_create(&thread, NULL, park_then_sleep, NULL), 0);
    park_and_interrupt();
    cr_assert_eq(pthread_join(thread, &wrong), 0);
    cr_assert_null(wrong, "%s", (const char *)wrong);
    cr_assert_eq(vthread_state((vthread_t)atomic_load(&waiter)), VTHREAD_TERMINATED);
    cr_assert_eq(vthread_unpark((vthread_t)atomic_load(&waiter)), 0);
}

static void *only_create(void *arg)
{
    vthread_t t = NULL;

    CHECK(vthread_create(&t, NULL, help_nothing, NULL) == 0);
    CHECK(vthread_detach(t) == 0);
    return arg;
}

/* It needed records, but nobody ever asked for its name. */
Test(platform, a_foreign_thread_ends_without_having_had_a_handle)
{
    pthread_t thread;
    void *wrong = NULL;

    for (int i = 0; i < 20; i++) {
        cr_assert_eq(pthread_create(&thread, NULL, only_create, NULL), 0);
        cr_assert_eq(pthread_join(thread, &wrong), 0);
        cr_assert_null(wrong, "%s", (const char *)wrong);
    }
    help_shutdown();
}

static atomic_bool may_end;
static atomic_bool has_used;

static void *use_and_outlive(void *arg)
{
    CHECK(vthread_self() != NULL);
    atomic_store(&has_used, true);
    while (!atomic_load(&may_end))
        usleep(500);
    return arg;
}

Test(platform, a_foreign_thread_outlives_the_runtime)
{
    pthread_t thread;
    void *wrong = NULL;

    cr_assert_eq(pthread_create(&thread, NULL, use_and_outlive, NULL), 0);
    cr_assert(EVENTUALLY(atomic_load(&has_used)));
    help_shutdown();
    atomic_store(&may_end, true);
    cr_assert_eq(pthread_join(thread, &wrong), 0);
    cr_assert_null(wrong, "%s", (const char *)wrong);
    help_run(help_nothing, NULL);
    help_shutdown();
}

static void *park_twice(void *arg)
{
    atomic_store(&waiter, (uintptr_t)vthread_self());
    CHECK(vthread_park() == 0);
    atomic_store(&step, 1);
    CHECK(vthread_self() == (vthread_t)atomic_load(&waiter));
    CHECK(vthread_park() == 0);
    return arg;
}

Test(platform, a_foreign_thread_keeps_its_handle_until_it_ends)
{
    pthread_t thread;
    void *wrong = NULL;
    vthread_t t;

    cr_assert_eq(pthread_create(&thread, NULL, park_twice, NULL), 0);
    cr_assert(EVENTUALLY(atomic_load(&waiter) != 0));
    t = (vthread_t)atomic_load(&waiter);
    cr_assert(REACHES(t, VTHREAD_PINNED));
    for (int i = 0; i < 200; i++)
        help_start(help_nothing, NULL);
    help_shutdown();
    cr_assert_eq(vthread_state(t), VTHREAD_PINNED, "its wait is no business of the runtime's");
    vthread_unpark(t);
    cr_assert(EVENTUALLY(atomic_load(&step) == 1));
    help_run(help_nothing, NULL);
    cr_assert(REACHES(t, VTHREAD_PINNED));
    vthread_unpark(t);
    cr_assert_eq(pthread_join(thread, &wrong), 0);
    cr_assert_null(wrong, "%s", (const char *)wrong);
    cr_assert_not(vthread_is_alive(t));
}

Test(platform, shutdown_waits_for_those_the_library_made)
{
    for (int i = 0; i < 20; i++) {
        help_start_with(&platform, i % 2 ? help_nothing : help_return, &may_end);
        help_start_with(&platform, help_park_for_ever, NULL);
        help_shutdown();
    }
}

static void *shut_down(void *arg)
{
    CHECK(vthread_runtime_shutdown(VTHREAD_NOW) == EDEADLK);
    return arg;
}

Test(platform, one_that_the_library_made_cannot_shut_it_down)
{
    help_run_with(&platform, shut_down, NULL);
    help_shutdown();
}

static void *join_from_platform(void *arg)
{
    void *value = NULL;

    CHECK(vthread_join((vthread_t)arg, &value) == 0);
    CHECK(value == NULL);
    return NULL;
}

Test(platform, joins_a_virtual_thread_and_the_reverse)
{
    vthread_t virtual = help_start(help_park_for_ever, NULL);
    vthread_t os = help_start_with(&platform, join_from_platform, virtual);
    vthread_t last = help_start(join_from_platform, os);

    cr_assert(REACHES(last, VTHREAD_PARKED));
    cr_assert(REACHES(os, VTHREAD_PINNED));
    vthread_interrupt(virtual);
    help_join(last);
}

/* The library neither reads nor sets errno, here or there. */
Test(platform, errno_stays)
{
    errno = 4711;
    help_run_with(&platform, help_nothing, NULL);
    help_run(help_nothing, NULL);
    cr_assert_eq(vthread_park_until(vthread_after_ms(1)), ETIMEDOUT);
    cr_assert_eq(vthread_sleep_ms(1), 0);
    vthread_yield();
    cr_assert_eq(errno, 4711);
    cr_assert_eq(vthread_create(NULL, NULL, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_join(NULL, NULL), EINVAL);
    cr_assert_eq(errno, 4711);
    help_shutdown();
    cr_assert_eq(errno, 4711);
}
