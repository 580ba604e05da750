/* SPDX-License-Identifier: MIT */
/* Configuring, environment, statistics, parallelism, shutdown, fork. */
#include "vthread_help.h"

#include <vthread/version.h>

TestSuite(runtime, .fini = help_fini, .timeout = 60);

static struct help_messages messages;

Test(runtime, version)
{
    cr_assert_eq(vthread_version(), VTHREAD_VERSION);
    cr_assert_eq(vthread_has("net"), VTHREAD_HAS_NET);
    cr_assert_eq(vthread_has("gc"), VTHREAD_HAS_GC);
    cr_assert_not(vthread_has("posix")); /* it is not linked with it */
    cr_assert_not(vthread_has("no such feature"));
    cr_assert_not(vthread_has(NULL));
}

/* ---- configure ---- */

Test(runtime, configured_too_late)
{
    vthread_runtime_params_t params = {.parallelism = 1};

    help_run(help_nothing, NULL);
    cr_assert_eq(vthread_runtime_configure(&params), EBUSY);
    help_shutdown();
    cr_assert_eq(vthread_runtime_configure(&params), 0, "stopped, it can be configured again");
}

Test(runtime, wrong_configurations)
{
    vthread_runtime_params_t wrong[] = {
        {.reserved = {1}},          {.reserved = {0, 0, 0, 0, 0, 1}},       {.parallelism = 1000000},
        {.max_pool_size = 1000000}, {.parallelism = 3, .max_pool_size = 2}, {.stack = (vthread_stack_t)9},
        {.stack_bytes = 1},         {.stack_bytes = (size_t)1 << 50},       {.pinned_threshold_ns = -1},
        {.hog_threshold_ns = -1},
    };

    cr_assert_eq(vthread_runtime_configure(NULL), EINVAL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert_eq(vthread_runtime_configure(&wrong[i]), EINVAL, "number %zu", i);
    help_run(help_nothing, NULL);
}

Test(runtime, parallelism_is_as_configured)
{
    vthread_runtime_stats_t stats;

    help_configure(3);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.parallelism, 3);
    cr_assert_eq(stats.carriers, 3);
}

Test(runtime, the_configuration_is_for_one_life)
{
    vthread_runtime_stats_t stats;

    help_configure(7);
    help_run(help_nothing, NULL);
    help_shutdown();
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_neq(stats.parallelism, 7);
}

/* On a dedicated stack a pointer to a local may be passed; that tells the kinds apart. */
static void *pass_a_local(void *arg)
{
    volatile int local = 5;
    vthread_t t = NULL;
    int error = vthread_create(&t, NULL, help_return, (void *)(uintptr_t)&local);

    (void)arg;
    if (error == 0)
        vthread_join(t, NULL);
    return (void *)(intptr_t)error;
}

static int result_of(void *(*fn)(void *arg))
{
    void *value = NULL;

    cr_assert_eq(vthread_join(help_start(fn, NULL), &value), 0);
    return (int)(intptr_t)value;
}

Test(runtime, the_default_kind_of_stack_can_be_dedicated)
{
    vthread_runtime_params_t params = {.stack = VTHREAD_STACK_DEDICATED};

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    cr_assert_eq(result_of(pass_a_local), 0);
    help_shutdown();
    vthread_set_misuse_handler(help_keep_message, &messages);
    cr_assert_eq(result_of(pass_a_local), EFAULT);
}

/* ---- environment ---- */

Test(runtime, environment_wins_over_defaults)
{
    vthread_runtime_stats_t stats;

    setenv("VTHREAD_PARALLELISM", "5", 1);
    setenv("VTHREAD_STACK", "dedicated", 1);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.parallelism, 5);
    cr_assert_eq(result_of(pass_a_local), 0);
}

Test(runtime, environment_loses_against_configure)
{
    vthread_runtime_stats_t stats;

    setenv("VTHREAD_PARALLELISM", "5", 1);
    help_configure(2);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.parallelism, 2);
}

Test(runtime, the_largest_pool_limits_the_spares)
{
    vthread_runtime_stats_t stats;

    setenv("VTHREAD_PARALLELISM", "2", 1);
    setenv("VTHREAD_MAX_POOL_SIZE", "3", 1);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(vthread_runtime_set_parallelism(3), 0);
    cr_assert_eq(vthread_runtime_set_parallelism(4), EINVAL);
}

static bool is_refused(const char *name, const char *value)
{
    vthread_runtime_stats_t stats;
    int before = atomic_load(&messages.count);
    bool refused;

    setenv(name, value, 1);
    cr_assert_eq(vthread_runtime_stats(&stats), 0, "it starts all the same");
    refused = atomic_load(&messages.count) == before + 1 && strstr(messages.last, name) != NULL &&
              strstr(messages.last, value) != NULL;
    unsetenv(name);
    help_shutdown();
    return refused;
}

Test(runtime, wrong_values_in_the_environment_are_reported)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    cr_assert(is_refused("VTHREAD_PARALLELISM", "many"));
    cr_assert(is_refused("VTHREAD_PARALLELISM", "0"));
    cr_assert(is_refused("VTHREAD_PARALLELISM", "-1"));
    cr_assert(is_refused("VTHREAD_PARALLELISM", "3x"));
    cr_assert(is_refused("VTHREAD_PARALLELISM", "99999999999999999999999"));
    cr_assert(is_refused("VTHREAD_MAX_POOL_SIZE", "1e9"));
    cr_assert(is_refused("VTHREAD_STACK", "private"));
    cr_assert(is_refused("VTHREAD_STACK_BYTES", "100"));
    cr_assert(is_refused("VTHREAD_STACKS", "0"));
    cr_assert(is_refused("VTHREAD_SOLE_STACKS", "some"));
    cr_assert(is_refused("VTHREAD_STRICT", "yes"));
    cr_assert(is_refused("VTHREAD_FORCE_MIGRATE", "2"));
}

Test(runtime, empty_values_are_no_values)
{
    vthread_runtime_stats_t stats;

    vthread_set_misuse_handler(help_keep_message, &messages);
    setenv("VTHREAD_PARALLELISM", "", 1);
    setenv("VTHREAD_STACK", "", 1);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(atomic_load(&messages.count), 0);
}

static void complain_about_environment(void)
{
    vthread_runtime_stats_t stats;

    setenv("VTHREAD_PARALLELISM", "lots", 1);
    if (vthread_runtime_stats(&stats) != 0)
        _exit(1);
}

Test(runtime, without_a_handler_misuse_is_printed)
{
    struct help_end end = help_child(complain_about_environment);

    cr_assert_eq(end.status, 0);
    cr_assert_eq(strncmp(end.text, "vthread: ", 9), 0, "%s", end.text);
    cr_assert_not_null(strstr(end.text, "VTHREAD_PARALLELISM=\"lots\""), "%s", end.text);
    cr_assert_eq(strchr(end.text, '\n'), end.text + strlen(end.text) - 1, "one line");
}

/* ---- statistics and parallelism ---- */

Test(runtime, statistics_count_threads)
{
    vthread_runtime_stats_t before;
    vthread_runtime_stats_t after;
    vthread_t t;

    cr_assert_eq(vthread_runtime_stats(&before), 0);
    t = help_start(help_park_for_ever, NULL);
    cr_assert_eq(vthread_runtime_stats(&after), 0);
    cr_assert_eq(after.threads_created, before.threads_created + 1);
    cr_assert_eq(after.threads_alive, before.threads_alive + 1);
    vthread_interrupt(t);
    help_join(t);
    cr_assert(EVENTUALLY(vthread_runtime_stats(&after) == 0 && after.threads_alive == before.threads_alive));
    cr_assert_gt(after.record_bytes, 0);
    cr_assert_gt(after.stacks, 0);
    cr_assert_eq(vthread_runtime_stats(NULL), 0);
}

static atomic_bool stop;

Test(runtime, set_parallelism)
{
    vthread_runtime_stats_t stats;
    vthread_t spinners[4];

    help_configure(1);
    cr_assert_eq(vthread_runtime_set_parallelism(0), EINVAL);
    cr_assert_eq(vthread_runtime_set_parallelism(100000), EINVAL);
    cr_assert_eq(vthread_runtime_set_parallelism(4), 0);
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.parallelism, 4);
    for (int i = 0; i < 4; i++)
        spinners[i] = help_start(help_spin, &stop);
    for (int i = 0; i < 4; i++)
        cr_assert(REACHES(spinners[i], VTHREAD_RUNNING), "all at once");
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++)
        help_join(spinners[i]);
    cr_assert_eq(vthread_runtime_set_parallelism(1), 0);
    cr_assert(EVENTUALLY(vthread_runtime_stats(&stats) == 0 && stats.carriers_running == 1));
    help_run(help_nothing, NULL);
}

static void *set_parallelism_from_inside(void *arg)
{
    (void)arg;
    for (unsigned i = 1; i <= 8; i++) {
        CHECK(vthread_runtime_set_parallelism(i) == 0);
        CHECK(vthread_sleep_ns(100000) == 0);
        CHECK(vthread_runtime_set_parallelism(1) == 0);
        vthread_yield();
    }
    return NULL;
}

Test(runtime, set_parallelism_from_a_virtual_thread)
{
    help_run(set_parallelism_from_inside, NULL);
}

/* ---- sticky ---- */

static void *stay_on_carrier(void *arg)
{
    pid_t here = help_os_thread();

    (void)arg;
    for (int i = 0; i < 50; i++) {
        vthread_yield();
        CHECK(vthread_sleep_ns(20000) == 0);
        CHECK(help_os_thread() == here);
    }
    return NULL;
}

Test(runtime, a_sticky_thread_keeps_its_carrier)
{
    vthread_attr_t attr = {.sticky_carrier = true};
    vthread_t threads[12];

    help_configure(4);
    for (int i = 0; i < 12; i++)
        threads[i] = help_start_with(&attr, stay_on_carrier, NULL);
    for (int i = 0; i < 12; i++)
        help_join(threads[i]);
}

static void *migrate(void *arg)
{
    pid_t here = help_os_thread();
    int moved = 0;

    (void)arg;
    for (int i = 0; i < 50; i++) {
        vthread_yield();
        moved += help_os_thread() != here;
        here = help_os_thread();
    }
    CHECK(moved >= 45);
    return NULL;
}

Test(runtime, force_migrate_resumes_elsewhere)
{
    setenv("VTHREAD_FORCE_MIGRATE", "1", 1);
    help_configure(2);
    help_run(migrate, NULL);
    help_run_with(&(vthread_attr_t){.sticky_carrier = true}, stay_on_carrier, NULL);
    help_shutdown();
}

/* ---- shutdown ---- */

Test(runtime, shutdown_without_a_start)
{
    cr_assert_eq(vthread_runtime_shutdown(VTHREAD_NOW), 0);
    cr_assert_eq(vthread_runtime_shutdown(VTHREAD_FOREVER), 0);
}

static atomic_int interrupted;

static void *wait_for_interrupt(void *arg)
{
    if (arg != NULL ? vthread_sleep_ms(60000) == EINTR : vthread_park() == EINTR)
        atomic_fetch_add(&interrupted, 1);
    return NULL;
}

Test(runtime, shutdown_interrupts_and_waits)
{
    for (int i = 0; i < 50; i++)
        help_start(wait_for_interrupt, i % 2 ? &interrupted : NULL);
    help_shutdown();
    cr_assert_eq(atomic_load(&interrupted), 50);
}

Test(runtime, a_new_life_after_shutdown)
{
    for (int life = 0; life < 10; life++) {
        vthread_t kept = help_start(help_nothing, NULL); /* never joined */

        help_run(help_nothing, NULL);
        help_shutdown();
        cr_assert_neq(vthread_join_until(kept, NULL, VTHREAD_NOW), 0);
        cr_assert_eq(vthread_unpark(kept), 0);
    }
}

static void *create_during_shutdown(void *arg)
{
    while (vthread_park() != EINTR)
        ;
    CHECK(vthread_create(NULL, NULL, help_nothing, NULL) == ECANCELED);
    CHECK(vthread_new((vthread_t[1]){NULL}, NULL, help_nothing, NULL) == ECANCELED);
    CHECK(vthread_create_copy(NULL, NULL, help_nothing, "x", 1) == ECANCELED);
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

Test(runtime, shutdown_refuses_new_threads)
{
    static atomic_bool was_refused;

    help_start(create_during_shutdown, &was_refused);
    help_shutdown();
    cr_assert(atomic_load(&was_refused));
    help_run(help_nothing, NULL);
}

static void *stubborn(void *arg)
{
    while (!atomic_load((atomic_bool *)arg))
        vthread_park_until(vthread_after_ms(1)), vthread_interrupted();
    return NULL;
}

Test(runtime, shutdown_names_those_who_will_not_end)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    help_start_with(&(vthread_attr_t){.name = "stubborn one"}, stubborn, &stop);
    cr_assert_eq(vthread_runtime_shutdown(vthread_after_ms(20)), ETIMEDOUT);
    cr_assert_eq(atomic_load(&messages.count), 1);
    cr_assert_not_null(strstr(messages.last, "stubborn one"), "%s", messages.last);
    cr_assert_eq(vthread_create(NULL, NULL, help_nothing, NULL), ECANCELED, "it is still going down");
    cr_assert_eq(vthread_runtime_shutdown(VTHREAD_NOW), ETIMEDOUT);
    atomic_store(&stop, true);
    help_shutdown();
    help_run(help_nothing, NULL);
}

static void *shut_down_from_inside(void *arg)
{
    CHECK(vthread_runtime_shutdown(VTHREAD_NOW) == EDEADLK);
    return arg;
}

Test(runtime, shutdown_from_a_virtual_thread_is_a_deadlock)
{
    help_run(shut_down_from_inside, NULL);
    help_run(help_nothing, NULL);
}

static void *shut_down_elsewhere(void *arg)
{
    *(int *)arg = vthread_runtime_shutdown(VTHREAD_FOREVER);
    return NULL;
}

Test(runtime, one_shutdown_at_a_time)
{
    pthread_t thread;
    int error = -1;

    help_start(stubborn, &stop);
    cr_assert_eq(pthread_create(&thread, NULL, shut_down_elsewhere, &error), 0);
    cr_assert(EVENTUALLY(vthread_create(NULL, NULL, help_nothing, NULL) == ECANCELED));
    cr_assert_eq(vthread_runtime_shutdown(VTHREAD_NOW), EBUSY);
    atomic_store(&stop, true);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(error, 0);
}

static int os_threads(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    int n = -1;

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        sscanf(line, "Threads: %d", &n);
    if (status != NULL)
        fclose(status);
    return n;
}

Test(runtime, no_os_thread_is_left_behind)
{
    int before;

    help_run(help_nothing, NULL); /* a sanitizer may have a thread of its own from now on */
    help_shutdown();
    before = os_threads();
    help_configure(4);
    help_run(help_nothing, NULL);
    cr_assert_geq(os_threads(), before + 4);
    help_shutdown();
    cr_assert(EVENTUALLY(os_threads() == before), "%d instead of %d", os_threads(), before);
}

Test(runtime, unjoined_and_unstarted_threads_are_freed)
{
    vthread_t t = NULL;

    for (int i = 0; i < 100; i++) {
        help_start_with(&(vthread_attr_t){.name = "never joined"}, help_nothing, NULL);
        cr_assert_eq(vthread_new(&t, &(vthread_attr_t){.name = "never started"}, help_nothing, NULL), 0);
        cr_assert_eq(vthread_create_copy(&t, NULL, help_nothing, "copy", 5), 0);
    }
    help_shutdown(); /* the leak checker looks on */
}

/* ---- fork ---- */

static void fork_after_start(void)
{
    vthread_runtime_stats_t stats;
    vthread_t t = NULL;
    int status;
    pid_t pid;

    if (vthread_create(&t, NULL, help_park_for_ever, NULL) != 0)
        _exit(1);
    pid = fork();
    if (pid == 0) {
        bool refused = vthread_create(NULL, NULL, help_nothing, NULL) == ENOTSUP &&
                       vthread_new(&t, NULL, help_nothing, NULL) == ENOTSUP && vthread_join(t, NULL) == ENOTSUP &&
                       vthread_park() == ENOTSUP && vthread_sleep_ms(1) == ENOTSUP && vthread_unpark(t) == ENOTSUP &&
                       vthread_interrupt(t) == ENOTSUP && vthread_runtime_stats(&stats) == ENOTSUP &&
                       vthread_runtime_set_parallelism(1) == ENOTSUP &&
                       vthread_runtime_shutdown(VTHREAD_FOREVER) == ENOTSUP && vthread_self() == NULL;

        _exit(refused ? 0 : 2);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        _exit(3);
    /* The parent goes on. */
    vthread_interrupt(t);
    _exit(vthread_join(t, NULL) == 0 ? 0 : 4);
}

Test(runtime, the_child_of_a_fork_may_not_use_the_library)
{
    struct help_end end = help_child(fork_after_start);

    if (help_on_valgrind())
        cr_skip_test("what the other threads had is lost in the child of a fork");
    cr_assert_eq(end.status, 0, "status %x: %s", end.status, end.text);
}

static void *fork_inside(void *arg)
{
    int status = -1;
    pid_t pid = fork();

    (void)arg;
    if (pid == 0)
        _exit(vthread_sleep_ms(1) == ENOTSUP && vthread_park() == ENOTSUP && vthread_self() == NULL ? 0 : 1);
    CHECK(pid > 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
    return NULL;
}

static void run_fork_inside(void)
{
    vthread_t t = NULL;
    void *wrong = NULL;

    if (vthread_create(&t, NULL, fork_inside, NULL) != 0 || vthread_join(t, &wrong) != 0)
        _exit(1);
    if (wrong != NULL) {
        fprintf(stderr, "%s\n", (const char *)wrong);
        _exit(2);
    }
}

Test(runtime, a_fork_from_a_virtual_thread)
{
    struct help_end end = help_child(run_fork_inside);

    if (help_on_valgrind())
        cr_skip_test("what the other threads had is lost in the child of a fork");
    cr_assert_eq(end.status, 0, "status %x: %s", end.status, end.text);
}

/* ---- signals ---- */

static atomic_int handled_on_carrier;
static pthread_t main_thread;

static void on_signal(int signal)
{
    (void)signal;
    if (!pthread_equal(pthread_self(), main_thread))
        atomic_fetch_add(&handled_on_carrier, 1);
}

Test(runtime, handlers_run_on_the_programs_own_threads)
{
    struct sigaction action = {.sa_handler = on_signal};
    vthread_t t;

    main_thread = pthread_self();
    sigaction(SIGUSR1, &action, NULL);
    t = help_start(wait_for_interrupt, NULL);
    for (int i = 0; i < 50; i++)
        kill(getpid(), SIGUSR1);
    vthread_interrupt(t);
    help_join(t);
    cr_assert_eq(atomic_load(&handled_on_carrier), 0);
}

Test(runtime, a_signal_does_not_cut_a_wait_short)
{
    struct sigaction action = {.sa_handler = on_signal};
    int64_t start = vthread_now_ns();
    pid_t pid;

    main_thread = pthread_self();
    sigaction(SIGUSR1, &action, NULL);
    pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 10; i++) {
            usleep(2000);
            kill(getppid(), SIGUSR1);
        }
        _exit(0);
    }
    cr_assert_eq(vthread_sleep_ms(40), 0);
    cr_assert_geq(vthread_now_ns(), start + 40000000);
    while (waitpid(pid, NULL, 0) < 0)
        ;
}
