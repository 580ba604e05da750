/* SPDX-License-Identifier: MIT */
/* Subscribing to events, and the traces. */
#include "event_help.h"

#undef atomic_init /* of <stdatomic.h> */
#include "base/memory.h"
#include "carrier/carrier.h"

TestSuite(event, .fini = help_fini, .timeout = 60);

static void *fail(void *arg)
{
    (void)arg;
    return vthread_fail(7);
}

static void run_failing(int n)
{
    for (int i = 0; i < n; i++)
        help_run_with(&(vthread_attr_t){.name = "failing"}, fail, NULL);
}

static void ignore_failure(const vthread_failure_t *failure, void *user)
{
    (void)failure, (void)user;
}

Test(event, wrong_subscriptions)
{
    uint64_t id = 99;

    cr_assert_eq(vthread_event_subscribe(0, catch_event, NULL, &id), EINVAL);
    cr_assert_eq(vthread_event_subscribe(1u << 31, catch_event, NULL, &id), EINVAL);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_ALL, NULL, NULL, &id), EINVAL);
    cr_assert_eq(id, 99);
    cr_assert_eq(vthread_event_unsubscribe(99), EINVAL);
    catch_begin(VTHREAD_EVENT_ALL);
    catch_end();
    cr_assert_eq(vthread_event_unsubscribe(catcher.id), EINVAL);
    cr_assert_eq(vthread_event_text(NULL, false, NULL, 0), -EINVAL);
}

Test(event, failures_are_told_beside_the_handler)
{
    struct caught *c;

    vthread_set_failure_handler(ignore_failure, NULL);
    run_failing(1);
    catch_begin(VTHREAD_EVENT_FAILURE);
    run_failing(2);
    catch_end();
    run_failing(1);
    c = caught(VTHREAD_EVENT_FAILURE, 1);
    cr_assert_not_null(c);
    cr_assert_null(caught(VTHREAD_EVENT_FAILURE, 2), "only what happened in between");
    cr_assert_eq(c->e.error, 7);
    cr_assert_str_eq(c->name, "failing");
    cr_assert_not_null(strstr(c->brief, "failed, error 7"), "%s", c->brief);
}

Test(event, text_is_cut_like_snprintf)
{
    vthread_event_t e = {.kind = VTHREAD_EVENT_SPARE, .carrier = 3};
    char whole[256];
    char part[9] = "########";
    int length = vthread_event_text(&e, true, whole, sizeof whole);

    cr_assert_eq((size_t)length, strlen(whole));
    cr_assert_eq(vthread_event_text(&e, true, part, sizeof part), length);
    cr_assert_eq(strlen(part), 8);
    cr_assert_eq(strncmp(part, whole, 8), 0);
    cr_assert_eq(vthread_event_text(&e, true, NULL, 0), length);
}

static atomic_int calls;
static uint64_t own_id;

static void unsubscribe_self(const vthread_event_t *e, void *user)
{
    (void)e, (void)user;
    atomic_fetch_add(&calls, 1);
    if (vthread_event_unsubscribe(own_id) != 0)
        atomic_fetch_add(&calls, 1000);
    if (vthread_event_unsubscribe(own_id) != EINVAL)
        atomic_fetch_add(&calls, 1000);
}

Test(event, a_callback_may_unsubscribe_itself)
{
    vthread_set_failure_handler(ignore_failure, NULL);
    catch_begin(VTHREAD_EVENT_FAILURE);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, unsubscribe_self, NULL, &own_id), 0);
    run_failing(3);
    catch_end();
    cr_assert_eq(atomic_load(&calls), 1);
    cr_assert_not_null(caught(VTHREAD_EVENT_FAILURE, 2));
}

static void use_the_library(const vthread_event_t *e, void *user)
{
    vthread_t t = NULL;

    (void)e, (void)user;
    if (vthread_create(&t, NULL, help_nothing, NULL) == 0 && vthread_join(t, NULL) == 0 && vthread_sleep_ms(1) == 0 &&
        vthread_runtime_stats(NULL) == 0)
        atomic_fetch_add(&calls, 1);
}

Test(event, callbacks_may_use_the_library)
{
    uint64_t id;

    vthread_set_failure_handler(ignore_failure, NULL);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, use_the_library, NULL, &id), 0);
    run_failing(3);
    cr_assert_eq(vthread_event_unsubscribe(id), 0);
    cr_assert_eq(atomic_load(&calls), 3);
}

static atomic_bool inside;
static atomic_bool go_on;

static void be_slow(const vthread_event_t *e, void *user)
{
    (void)e, (void)user;
    atomic_store(&inside, true);
    while (!atomic_load(&go_on))
        usleep(500);
    usleep(5000);
    atomic_fetch_add(&calls, 1);
}

static void *unsubscribe_and_look(void *arg)
{
    CHECK(vthread_event_unsubscribe((uint64_t)(uintptr_t)arg) == 0);
    CHECK(atomic_load(&calls) == 1); /* it has returned */
    return NULL;
}

static void *let_go_on(void *arg)
{
    atomic_store(&go_on, true);
    return arg;
}

Test(event, unsubscribing_waits_for_the_call_under_way)
{
    vthread_t t;
    uint64_t id;

    help_configure(1);
    vthread_set_failure_handler(ignore_failure, NULL);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, be_slow, NULL, &id), 0);
    run_failing(1);
    cr_assert(EVENTUALLY(atomic_load(&inside)));
    t = help_start(unsubscribe_and_look, (void *)(uintptr_t)id);
    help_run(let_go_on, NULL); /* there is one place: a virtual thread that unsubscribes does not keep it */
    help_join(t);
}

Test(event, what_there_is_no_room_for_is_counted)
{
    enum { MORE = 1200 };
    uint64_t id;
    uint64_t seen = 0;

    vthread_set_failure_handler(ignore_failure, NULL);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, be_slow, NULL, &id), 0);
    run_failing(1);
    cr_assert(EVENTUALLY(atomic_load(&inside)));
    catch_begin(VTHREAD_EVENT_FAILURE);
    run_failing(MORE); /* of which 1,024 fit */
    atomic_store(&go_on, true);
    cr_assert_eq(vthread_event_unsubscribe(id), 0);
    cr_assert(EVENTUALLY(atomic_load(&catcher.count) == 64));
    run_failing(1);
    catch_end();
    for (int i = 0; i < 64; i++)
        seen += catcher.list[i].e.lost;
    cr_assert_eq(seen, 0, "none before the first 64");
}

static void sum_lost(const vthread_event_t *e, void *user)
{
    (void)user;
    atomic_fetch_add(&calls, (int)e->lost);
}

Test(event, the_next_event_says_how_many_are_lost)
{
    enum { MORE = 1100 };
    uint64_t slow, sum;

    vthread_set_failure_handler(ignore_failure, NULL);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, sum_lost, NULL, &sum), 0);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, be_slow, NULL, &slow), 0);
    run_failing(1);
    cr_assert(EVENTUALLY(atomic_load(&inside)));
    run_failing(MORE);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_SPARE, sum_lost, NULL, NULL), 0);
    atomic_store(&calls, 0);
    atomic_store(&go_on, true);
    cr_assert_eq(vthread_event_unsubscribe(sum), 0);
    atomic_store(&calls, 0);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, sum_lost, NULL, &sum), 0);
    cr_assert_eq(vthread_event_unsubscribe(slow), 0);
    atomic_store(&calls, 0);
    run_failing(1);
    cr_assert_eq(vthread_event_unsubscribe(sum), 0);
    cr_assert_eq(atomic_load(&calls), MORE - 1024);
}

Test(event, subscriptions_outlast_a_shutdown)
{
    vthread_set_failure_handler(ignore_failure, NULL);
    catch_begin(VTHREAD_EVENT_FAILURE);
    run_failing(1);
    help_shutdown();
    run_failing(1);
    catch_end();
    cr_assert_not_null(caught(VTHREAD_EVENT_FAILURE, 1));
}

/* ---- traces ---- */

static char traced[64 * 1024];

/* What is written to stderr while the threads run, until the runtime has ended. */
static void trace(void *(*fn)(void *))
{
    int saved = dup(STDERR_FILENO);
    FILE *f = tmpfile();
    size_t n;

    cr_assert_not_null(f);
    dup2(fileno(f), STDERR_FILENO);
    help_run_with(&(vthread_attr_t){.name = "traced"}, fn, NULL);
    help_shutdown();
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(f);
    n = fread(traced, 1, sizeof traced - 1, f);
    traced[n] = '\0';
    fclose(f);
}

static int lines(void)
{
    int n = 0;

    for (const char *p = traced; (p = strchr(p, '\n')) != NULL; p++)
        n++;
    return n;
}

static int count_of(const char *what)
{
    int n = 0;

    for (const char *p = traced; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

static int pin_line;

static NOINLINE void sleep_inside(void)
{
    vthread_sleep_ms(2);
    KEEP_FRAME();
}

static void *pin_twice(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        pin_line = __LINE__ + 1;
        CHECK(vthread_pin("traced") == 0);
        sleep_inside();
        CHECK(vthread_unpin() == 0);
    }
    return NULL;
}

Test(event, short_traces_are_a_line_each)
{
    setenv("VTHREAD_PINNED_MS", "1", 1);
    setenv("VTHREAD_TRACE_PINNED", "short", 1);
    trace(pin_twice);
    cr_assert_eq(count_of(" was pinned to "), 2, "%s", traced);
    cr_assert_leq(count_of(" is pinned to "), 2, "while they last, if we were given the CPU then");
    cr_assert_eq(lines(), count_of("vthread: thread traced ("));
    cr_assert_eq(lines(), count_of(" was pinned to ") + count_of(" is pinned to "));
    cr_assert(names_place(traced, "pin_twice", "vthread_event.c", pin_line), "%s", traced);
    unsetenv("VTHREAD_TRACE_PINNED");
    trace(pin_twice);
    cr_assert_str_eq(traced, "");
}

static void *wake_when_told(void *arg)
{
    CHECK(EVENTUALLY_HERE(atomic_load(&catcher.count) > 0));
    vthread_unpark(arg);
    return NULL;
}

static void *pin_until_told(void *arg)
{
    vthread_t t;
    void *wrong = NULL;

    (void)arg;
    CHECK(vthread_create(&t, NULL, wake_when_told, vthread_self()) == 0);
    pin_line = __LINE__ + 1;
    CHECK(vthread_pin("traced") == 0);
    CHECK(vthread_park() == 0);
    CHECK(vthread_unpin() == 0);
    CHECK(vthread_join(t, &wrong) == 0);
    return wrong;
}

Test(event, traces_show_what_does_not_end)
{
    char *end;

    setenv("VTHREAD_TRACE_PINNED", "short", 1);
    catch_begin(VTHREAD_EVENT_PINNING);
    trace(pin_until_told);
    catch_end();
    cr_assert_eq(lines(), 2, "%s", traced);
    end = strchr(traced, '\n') + 1;
    cr_assert_not_null(strstr(end, " was pinned to "), "%s", traced);
    cr_assert(names_place(end, "pin_until_told", "vthread_event.c", pin_line), "%s", traced);
    *end = '\0';
    cr_assert_not_null(strstr(traced, " is pinned to "), "%s", traced);
    cr_assert(names_place(traced, "pin_until_told", "vthread_event.c", pin_line), "%s", traced);
}

Test(event, full_traces_have_the_stack)
{
    setenv("VTHREAD_PINNED_MS", "1", 1);
    setenv("VTHREAD_TRACE_PINNED", "full", 1);
    trace(pin_twice);
    cr_assert_gt(lines(), 4, "%s", traced);
    cr_assert_not_null(strstr(traced, "\n    "), "%s", traced);
#ifdef VTHREAD_HAS_SYMBOLS
    cr_assert_not_null(strstr(traced, "sleep_inside"), "%s", traced);
#endif
}

static int hog_line;

static NOINLINE void compute_until_posted(void)
{
    volatile unsigned n = 0;
    bool posted = false;

    while (!posted) {
        for (int i = 0; i < 1000000; i++)
            n++;
        for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++)
            posted |= atomic_load_relaxed(&pool_carrier(i)->held_told);
    }
}

static NOINLINE void *hog(void *arg)
{
    hog_line = __LINE__ + 1;
    compute_until_posted();
    KEEP_FRAME();
    return arg;
}

Test(event, short_traces_of_hogs_are_two_lines)
{
    const char *end;

    setenv("VTHREAD_TRACE_HOGS", "short", 1);
    trace(hog);
    cr_assert_eq(lines(), 2, "%s", traced);
    end = strchr(traced, '\n') + 1;
    cr_assert_eq(strncmp(traced, "vthread: thread traced (", 24), 0, "%s", traced);
    cr_assert_eq(strncmp(end, "vthread: thread traced (", 24), 0, "%s", traced);
    cr_assert_not_null(strstr(traced, " holds carrier "), "%s", traced);
    cr_assert_not_null(strstr(end, " held carrier "), "%s", traced);
#if defined(VTHREAD_HAS_UNWIND) && !BUILT_WITH_TSAN
    cr_assert(names_function(traced, "compute_until_posted"), "%s", traced);
#endif
    unsetenv("VTHREAD_TRACE_HOGS");
}

Test(event, full_traces_of_hogs_have_the_stack)
{
    setenv("VTHREAD_TRACE_HOGS", "full", 1);
    trace(hog);
    cr_assert_not_null(strstr(traced, " held carrier "), "%s", traced);
#if defined(VTHREAD_HAS_UNWIND) && !BUILT_WITH_TSAN
    cr_assert_gt(lines(), 3, "%s", traced);
    cr_assert(names_place(traced, "hog", "vthread_event.c", hog_line), "%s", traced);
#endif
    unsetenv("VTHREAD_TRACE_HOGS");
}

/* A program that says nothing to the runtime at its end has its events printed all the same. */
Test(event, traces_are_printed_before_the_program_ends)
{
    FILE *f = tmpfile();
    int status = -1;
    pid_t child;
    size_t n;

    cr_assert_not_null(f);
    setenv("VTHREAD_PINNED_MS", "1", 1);
    setenv("VTHREAD_TRACE_PINNED", "full", 1);
    child = fork(); /* before the runtime has been started: it is as if this were another program */
    if (child == 0) {
        vthread_t t;

        dup2(fileno(f), STDERR_FILENO);
        exit(vthread_create(&t, NULL, pin_twice, NULL) == 0 && vthread_join(t, NULL) == 0 ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    rewind(f);
    n = fread(traced, 1, sizeof traced - 1, f);
    traced[n] = '\0';
    fclose(f);
    cr_assert(names_function(traced, "sleep_inside"), "%s", traced);
    cr_assert_not_null(strstr(traced, "explicit pin"), "%s", traced);
}

static struct help_messages messages;

Test(event, wrong_values_are_said_and_ignored)
{
    setenv("VTHREAD_TRACE_PINNED", "long", 1);
    setenv("VTHREAD_HOG_MS", "soon", 1);
    vthread_set_misuse_handler(help_keep_message, &messages);
    trace(pin_twice);
    cr_assert_str_eq(traced, "");
    cr_assert_eq(atomic_load(&messages.count), 2);
}

static atomic_int threads_asked_for;

static bool fail_second_thread(enum fault_site site)
{
    return site == FAULT_THREAD && atomic_fetch_add(&threads_asked_for, 1) == 1;
}

Test(event, a_start_that_fails_leaves_no_trace)
{
    vthread_t t;

    setenv("VTHREAD_PINNED_MS", "1", 1);
    setenv("VTHREAD_TRACE_PINNED", "short", 1);
    help_configure(1);
    fault_set_hook(fail_second_thread);
    cr_assert_eq(vthread_create(&t, NULL, help_nothing, NULL), EAGAIN);
    fault_set_hook(NULL);
    trace(pin_twice);
    cr_assert_eq(count_of(" was pinned to "), 2, "%s", traced);
}

/* Before the runtime has been started: as if the child were another program. */
static int child_of_a_subscriber(uint64_t inherited)
{
    uint64_t id;

    alarm(30);
    vthread_set_failure_handler(ignore_failure, NULL);
    if (vthread_event_unsubscribe(inherited) != EINVAL)
        return 1;
    run_failing(1);
    if (vthread_event_subscribe(VTHREAD_EVENT_FAILURE, use_the_library, NULL, &id) != 0)
        return 2;
    run_failing(1);
    if (vthread_event_unsubscribe(id) != 0 || atomic_load(&calls) != 1)
        return 3;
    return 0;
}

Test(event, a_child_has_no_subscriptions_and_may_make_some)
{
    int status = -1;
    pid_t child;

    catch_begin(VTHREAD_EVENT_ALL);
    child = fork();
    if (child == 0)
        _exit(child_of_a_subscriber(catcher.id));
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0, "%x", (unsigned)status);
    cr_assert_eq(atomic_load(&catcher.count), 0);
    catch_end();
}

static void *in_child(void *arg)
{
    pid_t child = fork();
    int status = 0;

    (void)arg;
    if (child == 0)
        _exit(vthread_event_subscribe(VTHREAD_EVENT_ALL, catch_event, NULL, NULL) == ENOTSUP &&
                      vthread_event_unsubscribe(catcher.id) == ENOTSUP
                  ? 0
                  : 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return NULL;
}

Test(event, not_in_the_child_of_a_fork)
{
    catch_begin(VTHREAD_EVENT_ALL);
    help_run(in_child, NULL);
    catch_end();
}
