/* SPDX-License-Identifier: MIT */
/* A virtual thread's stack is private: refusals, strict mode, overflow, memory given back. */
#include "vthread_help.h"

TestSuite(privacy, .fini = help_fini, .timeout = 60);

static struct help_messages messages;

static const vthread_attr_t dedicated = {.stack = VTHREAD_STACK_DEDICATED};

/* ---- refusals ---- */

static void *pass_local_to_create(void *arg)
{
    volatile int local = 1;
    vthread_t t = (vthread_t)1;

    (void)arg;
    CHECK(vthread_create(&t, NULL, help_nothing, (void *)(uintptr_t)&local) == EFAULT);
    CHECK(t == (vthread_t)1);
    return NULL;
}

static void *pass_local_to_new(void *arg)
{
    volatile int local = 1;
    vthread_t t = (vthread_t)1;

    (void)arg;
    CHECK(vthread_new(&t, NULL, help_nothing, (void *)(uintptr_t)&local) == EFAULT);
    return NULL;
}

static void *return_local(void *arg)
{
    volatile int local = 1;
    void *volatile address = (void *)(uintptr_t)&local;

    (void)arg;
    return address;
}

static void *exit_with_local(void *arg)
{
    volatile int local = 1;

    (void)arg;
    vthread_exit((void *)(uintptr_t)&local);
}

static void check_refusal(void *(*fn)(void *arg), const char *call)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    help_run_with(&(vthread_attr_t){.name = "sharer"}, fn, NULL); /* also: the value is NULL */
    cr_assert_eq(atomic_load(&messages.count), 1);
    cr_assert_not_null(strstr(messages.last, "sharer"), "%s", messages.last);
    cr_assert_not_null(strstr(messages.last, call), "%s", messages.last);
    cr_assert_not_null(strstr(messages.last, "VTHREAD_STACK_DEDICATED"), "names a way out: %s", messages.last);
}

Test(privacy, the_argument_of_create)
{
    check_refusal(pass_local_to_create, "vthread_create");
}

Test(privacy, the_argument_of_new)
{
    check_refusal(pass_local_to_new, "vthread_new");
}

Test(privacy, the_returned_value)
{
    check_refusal(return_local, "returned");
}

Test(privacy, the_value_of_exit)
{
    check_refusal(exit_with_local, "returned");
}

static void *read_int(void *arg)
{
    return (void *)(intptr_t) * (const int *)arg;
}

static void *copy_a_local(void *arg)
{
    int local = 7;
    vthread_t t = NULL;
    void *value = NULL;

    (void)arg;
    CHECK(vthread_create_copy(&t, NULL, read_int, &local, sizeof local) == 0);
    CHECK(vthread_join(t, &value) == 0);
    CHECK((intptr_t)value == 7);
    return NULL;
}

Test(privacy, create_copy_takes_locals)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    help_run(copy_a_local, NULL);
    cr_assert_eq(atomic_load(&messages.count), 0);
}

static void *pass_local_across(void *arg)
{
    int local = 7;
    vthread_t t = NULL;
    void *value = NULL;

    (void)arg;
    CHECK(vthread_create(&t, NULL, read_int, &local) == 0);
    CHECK(vthread_join(t, &value) == 0);
    CHECK((intptr_t)value == 7);
    return NULL;
}

Test(privacy, locals_of_dedicated_stacks_may_be_passed)
{
    help_run_with(&dedicated, pass_local_across, NULL);
    help_run_with(&(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED, .stack_bytes = 300000}, pass_local_across, NULL);
}

Test(privacy, locals_of_platform_threads_may_be_passed)
{
    help_run_with(&(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM}, pass_local_across, NULL);
    cr_assert_null(pass_local_across(NULL));
}

static void *write_through(void *arg)
{
    for (int i = 0; i < 100; i++) {
        vthread_yield();
        atomic_fetch_add((atomic_int *)arg, 1);
    }
    return NULL;
}

static void *watch_own_local(void *arg)
{
    atomic_int local = 0;
    vthread_t t = NULL;

    (void)arg;
    CHECK(vthread_create(&t, NULL, write_through, &local) == 0);
    while (atomic_load(&local) < 100)
        vthread_yield();
    CHECK(vthread_join(t, NULL) == 0);
    return NULL;
}

/* Even when everybody else takes turns on one stack, and in strict mode. */
Test(privacy, a_dedicated_stack_never_moves)
{
    vthread_runtime_params_t params = {.stacks = 1, .strict = true};

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    help_run_with(&dedicated, watch_own_local, NULL);
}

/* ---- strict mode ---- */

static _Atomic uintptr_t leaked; /* a pointer inside shared memory: not visible to the library */

static void *leak_and_wait(void *arg)
{
    volatile int local = 1;

    atomic_store(&leaked, (uintptr_t)&local);
    if (arg == NULL)
        vthread_park();
    else if (*(const char *)arg == 's')
        vthread_sleep_ms(30000);
    else if (*(const char *)arg == 'p' && vthread_pin("strict") == 0)
        vthread_park();
    else
        while (local == 1)
            vthread_yield();
    return NULL;
}

/* Many times: nothing tells when the owner's frames are gone.  Before, it is a write like any other. */
static int times = 2000;

static void *use_leaked(void *arg)
{
    (void)arg;
    while (atomic_load(&leaked) == 0)
        vthread_yield();
    for (int i = 0; i < times; i++) {
        vthread_sleep_ms(5);
        *(volatile int *)atomic_load(&leaked) = 1;
    }
    return NULL;
}

static void start_culprit_and_owner(const char *how)
{
    vthread_t owner = NULL;
    vthread_t culprit = NULL;

    if (vthread_create(&owner, &(vthread_attr_t){.name = "the owner"}, leak_and_wait, (void *)(uintptr_t)how) != 0 ||
        vthread_create(&culprit, &(vthread_attr_t){.name = "the culprit"}, use_leaked, NULL) != 0)
        _exit(1);
    vthread_join_until(culprit, NULL, vthread_after_ms(20000));
    _exit(0);
}

static void stray_into_parked(void)
{
    setenv("VTHREAD_STRICT", "1", 1);
    start_culprit_and_owner(NULL);
}

static void stray_into_sleeping(void)
{
    setenv("VTHREAD_STRICT", "1", 1);
    start_culprit_and_owner("sleep");
}

static void stray_into_pinned(void)
{
    setenv("VTHREAD_STRICT", "1", 1);
    start_culprit_and_owner("pinned");
}

static void stray_into_yielding(void)
{
    setenv("VTHREAD_STRICT", "1", 1);
    setenv("VTHREAD_PARALLELISM", "1", 1);
    start_culprit_and_owner("yield");
}

static void stray_on_shared_stacks(void)
{
    setenv("VTHREAD_STRICT", "1", 1);
    setenv("VTHREAD_STACKS", "2", 1);
    times = 1; /* who lives there may be another */
    start_culprit_and_owner(NULL);
}

static void stray_from_platform(void)
{
    vthread_t owner = NULL;

    setenv("VTHREAD_STRICT", "1", 1);
    if (vthread_create(&owner, &(vthread_attr_t){.name = "the owner"}, leak_and_wait, NULL) != 0)
        _exit(1);
    while (atomic_load(&leaked) == 0)
        usleep(1000);
    for (int i = 0; i < 10000; i++) {
        *(volatile int *)atomic_load(&leaked) = 1;
        usleep(1000);
    }
    _exit(0);
}

static void check_stray(void (*body)(void), const char *culprit)
{
    struct help_end end = help_child(body);

    cr_assert(help_died_by(&end, SIGSEGV), "status %x: %s", end.status, end.text);
    cr_assert_not_null(strstr(end.text, "strict mode"), "%s", end.text);
    cr_assert_not_null(strstr(end.text, culprit), "%s", end.text);
    cr_assert_not_null(strstr(end.text, "the owner"), "%s", end.text);
}

Test(privacy, strict_mode_finds_the_use_of_a_parked_threads_local)
{
    check_stray(stray_into_parked, "the culprit");
}

Test(privacy, strict_mode_finds_the_use_of_a_sleeping_threads_local)
{
    check_stray(stray_into_sleeping, "the culprit");
}

Test(privacy, strict_mode_finds_the_use_of_a_pinned_threads_local)
{
    check_stray(stray_into_pinned, "the culprit");
}

Test(privacy, strict_mode_finds_the_use_of_a_yielding_threads_local)
{
    check_stray(stray_into_yielding, "the culprit");
}

Test(privacy, strict_mode_with_shared_stacks)
{
    struct help_end end = help_child(stray_on_shared_stacks);

    /* If nobody lives there now, it faults. */
    if (end.status != 0)
        cr_assert(help_died_by(&end, SIGSEGV), "status %x: %s", end.status, end.text);
}

Test(privacy, strict_mode_finds_a_platform_thread)
{
    check_stray(stray_from_platform, "platform thread");
}

static void *innocent(void *arg)
{
    volatile int local[100];

    (void)arg;
    for (int i = 0; i < 100; i++)
        local[i] = i;
    for (int i = 0; i < 20; i++) {
        vthread_yield();
        vthread_sleep_ns(1000);
        vthread_unpark(vthread_self());
        vthread_park();
        CHECK(vthread_pin("innocent") == 0);
        vthread_sleep_ns(1000);
        CHECK(vthread_unpin() == 0);
    }
    for (int i = 0; i < 100; i++)
        CHECK(local[i] == i);
    return NULL;
}

Test(privacy, strict_mode_leaves_the_innocent_alone)
{
    vthread_runtime_params_t params = {.strict = true};
    vthread_t threads[50];

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    for (int i = 0; i < 50; i++)
        threads[i] = help_start_with(i % 5 ? NULL : &dedicated, innocent, NULL);
    for (int i = 0; i < 50; i++)
        help_join(threads[i]);
    help_shutdown();
}

/* ---- overflow ---- */

NOINLINE static int recurse(int depth)
{
    volatile char frame[512];

    frame[0] = (char)depth;
    return depth <= 0 ? 0 : recurse(depth - 1) + frame[0];
}

static void *overflow(void *arg)
{
    return (void *)(intptr_t)recurse(arg != NULL ? 1 << 30 : 1 << 29);
}

static void overflow_with(const vthread_attr_t *attr)
{
    vthread_t t = NULL;

    if (vthread_create(&t, attr, overflow, NULL) != 0)
        _exit(1);
    vthread_join(t, NULL);
}

static void overflow_default(void)
{
    setenv("VTHREAD_STACK_BYTES", "262144", 1);
    overflow_with(&(vthread_attr_t){.name = "glutton"});
}

static void overflow_dedicated(void)
{
    overflow_with(&(vthread_attr_t){.name = "glutton", .stack = VTHREAD_STACK_DEDICATED, .stack_bytes = 131072});
}

static void overflow_shared(void)
{
    setenv("VTHREAD_STACKS", "1", 1);
    setenv("VTHREAD_STACK_BYTES", "262144", 1);
    overflow_with(&(vthread_attr_t){.name = "glutton"});
}

static void check_overflow(void (*body)(void), const char *bytes)
{
    struct help_end end = help_child(body);

    cr_assert(help_died_by(&end, SIGSEGV), "status %x: %s", end.status, end.text);
    cr_assert_not_null(strstr(end.text, "stack overflow"), "%s", end.text);
    cr_assert_not_null(strstr(end.text, "glutton"), "%s", end.text);
    cr_assert_not_null(strstr(end.text, bytes), "%s in: %s", bytes, end.text);
}

Test(privacy, an_overflow_is_reported_with_name_and_size)
{
    check_overflow(overflow_default, "26"); /* 262144 and a page or so more, or less */
}

Test(privacy, an_overflow_of_a_dedicated_stack)
{
    check_overflow(overflow_dedicated, "131072");
}

Test(privacy, an_overflow_of_a_shared_stack)
{
    check_overflow(overflow_shared, "26");
}

static void tell_of_overflow(const vthread_failure_t *failure, void *user)
{
    const char *text = user;

    if (failure->kind == VTHREAD_FAILURE_STACK_OVERFLOW && strcmp(failure->name, "glutton") == 0)
        (void)!write(STDERR_FILENO, text, strlen(text));
}

static void overflow_with_handler(void)
{
    overflow_with(&(vthread_attr_t){.name = "glutton", .on_failure = tell_of_overflow, .user = (char[]){"handled\n"}});
}

Test(privacy, an_overflow_is_told_to_the_failure_handler)
{
    struct help_end end = help_child(overflow_with_handler);

    cr_assert(help_died_by(&end, SIGSEGV), "status %x: %s", end.status, end.text);
    cr_assert_not_null(strstr(end.text, "handled"), "%s", end.text);
}

static void *crash(void *arg)
{
    *(volatile int *)arg = 1;
    return NULL;
}

static void crash_on_carrier(void)
{
    vthread_t t = NULL;

    if (vthread_create(&t, NULL, crash, (void *)16) != 0)
        _exit(1);
    vthread_join(t, NULL);
}

Test(privacy, other_faults_stay_what_they_are)
{
    struct help_end end = help_child(crash_on_carrier);

    if (BUILT_WITH_ASAN || BUILT_WITH_TSAN)
        cr_skip_test("the sanitizer has a handler of its own");
    cr_assert(help_died_by(&end, SIGSEGV), "status %x: %s", end.status, end.text);
    cr_assert_null(strstr(end.text, "overflow"), "%s", end.text);
    cr_assert_null(strstr(end.text, "strict"), "%s", end.text);
}

static void own_handler(int signal)
{
    (void)signal;
    _exit(17);
}

static void crash_with_own_handler(void)
{
    signal(SIGSEGV, own_handler);
    crash_on_carrier();
}

Test(privacy, other_faults_go_to_the_handler_that_was_there)
{
    struct help_end end = help_child(crash_with_own_handler);

    if (help_on_valgrind())
        cr_skip_test("the fault is an error to valgrind");
    cr_assert(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 17, "status %x: %s", end.status, end.text);
}

/* ---- memory is given back ---- */

static size_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t size = 0;
    size_t resident = 0;

    if (f != NULL && fscanf(f, "%zu %zu", &size, &resident) != 2)
        resident = 0;
    if (f != NULL)
        fclose(f);
    return resident * 4096;
}

static void *go_deep_then_wait(void *arg)
{
    recurse(1200); /* 600 KiB and more */
    while (vthread_sleep_ms(10) == 0)
        ;
    return arg;
}

Test(privacy, pages_of_a_deep_call_are_given_back)
{
    enum { THREADS = 60 };
    vthread_t threads[THREADS];
    size_t before;
    size_t used = (size_t)THREADS * 600 * 1024;

    if (BUILT_WITH_ASAN || BUILT_WITH_TSAN || help_on_valgrind())
        cr_skip_test("shadow memory is not given back");
    help_run(help_nothing, NULL);
    before = resident_bytes();
    for (int i = 0; i < THREADS; i++)
        threads[i] = help_start(go_deep_then_wait, NULL);
    cr_assert(
        EVENTUALLY(resident_bytes() < before + used / 4 && vthread_state(threads[THREADS - 1]) == VTHREAD_TIMED_PARKED),
        "%zu more bytes are resident", resident_bytes() - before);
    for (int i = 0; i < THREADS; i++)
        vthread_interrupt(threads[i]);
    for (int i = 0; i < THREADS; i++)
        help_join(threads[i]);
}
