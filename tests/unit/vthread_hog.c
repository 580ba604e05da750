/* SPDX-License-Identifier: MIT */
/* Reports of threads that hold their carriers, and the samples in them. */
#include "event_help.h"

#include <poll.h>

#include <vthread/continuation.h>

#undef atomic_init /* of <stdatomic.h> */
#include "base/memory.h"
#include "vthread/mount.h"
#include "vthread/sample.h"
#include "vthread/thread.h"

TestSuite(hog, .fini = help_fini, .timeout = 60);

enum { LONG_MS = 120 };

static int line;
static bool (*goes_on)(void); /* what a hog waits for; NULL: LONG_MS only */

static bool is_told(void)
{
    return atomic_load(&catcher.count) > 0;
}

/* Has the monitor posted its report? */
static bool is_posted(void)
{
    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++)
        if (atomic_load_relaxed(&pool_carrier(i)->held_told))
            return true;
    return false;
}

static NOINLINE void compute_in_here(void)
{
    int64_t until_ns = vthread_after_ms(goes_on != NULL ? 40000 : LONG_MS);
    volatile unsigned n = 0;

    while (vthread_now_ns() < until_ns && (goes_on == NULL || !goes_on()))
        for (int i = 0; i < 1000000; i++)
            n++;
}

static NOINLINE void *compute(void *arg)
{
    line = __LINE__ + 1;
    compute_in_here();
    KEEP_FRAME();
    return arg;
}

static int pipe_ends[2];

/* Poll, for that is never begun anew after a signal. */
static NOINLINE bool poll_in_the_kernel(void)
{
    struct pollfd fd = {.fd = pipe_ends[0], .events = POLLIN};
    int n;

    line = __LINE__ + 1;
    n = poll(&fd, 1, -1);
    KEEP_FRAME();
    return n == 1;
}

static NOINLINE void *block(void *arg)
{
    CHECK(poll_in_the_kernel()); /* and no signal has cut the call short */
    return arg;
}

static atomic_bool else_done;

static void *nothing_else(void *arg)
{
    atomic_store(&else_done, true);
    return arg;
}

/* What runs for the first time takes an emulator long: it would be a computation. */
static void run_beforehand(void *(*fn)(void *))
{
    char byte;

    cr_assert_eq(write(pipe_ends[1], "x", 1), 1);
    help_run(fn, NULL);
    cr_assert_eq(read(pipe_ends[0], &byte, 1), 1);
}

/* The hog's beginning and end, on a pool of that many with or without others that wait. */
static struct caught *run_hog(void *(*fn)(void *), unsigned parallelism, bool others)
{
    struct caught *c;
    struct caught *end;
    bool overtook = false;
    int64_t began_ns;
    vthread_t hog;

    cr_assert_eq(pipe(pipe_ends), 0);
    goes_on = is_told;
    help_configure(parallelism);
    if (fn != compute)
        run_beforehand(fn);
    catch_begin(VTHREAD_EVENT_HOG | VTHREAD_EVENT_HOG_END);
    began_ns = vthread_now_ns();
    hog = help_start_with(&(vthread_attr_t){.name = "a hog"}, fn, NULL);
    cr_assert(REACHES(hog, VTHREAD_RUNNING));
    if (others) {
        help_run(nothing_else, NULL);
        overtook = vthread_state(hog) == VTHREAD_RUNNING;
    }
    cr_assert(EVENTUALLY(is_told()));
    cr_assert_eq(write(pipe_ends[1], "x", 1), 1);
    help_join(hog);
    cr_assert(EVENTUALLY(caught(VTHREAD_EVENT_HOG_END, 0) != NULL));
    catch_end();
    c = caught(VTHREAD_EVENT_HOG, 0);
    end = caught(VTHREAD_EVENT_HOG_END, 0);
    cr_assert_not_null(c);
    cr_assert_null(caught(VTHREAD_EVENT_HOG, 1), "one report is enough");
    cr_assert_str_eq(c->name, "a hog");
    cr_assert_str_eq(end->name, "a hog");
    cr_assert_geq(c->e.carrier, 0);
    cr_assert_eq(end->e.carrier, c->e.carrier);
    cr_assert(end->e.rescued || !overtook, "%s", end->brief);
    cr_assert(others || !end->e.rescued, "%s", end->brief);
    cr_assert_geq(c->e.duration_ns, 20000000);
    cr_assert_leq(c->e.duration_ns, c->e.time_ns - began_ns);
    cr_assert_geq(end->e.duration_ns, c->e.duration_ns);
    cr_assert_leq(end->e.duration_ns, end->e.time_ns - began_ns);
    return c;
}

static void check_computing(struct caught *c)
{
    cr_assert(c->e.computing, "%s", c->full);
    cr_assert_not_null(strstr(c->brief, "computing"), "%s", c->brief);
#if defined(VTHREAD_HAS_SYMBOLS) && defined(VTHREAD_HAS_UNWIND) && !BUILT_WITH_TSAN
    cr_assert_gt(c->e.depth, 1, "%s", c->full);
    cr_assert(names_function(c->brief, "compute_in_here"), "%s", c->full);
    cr_assert(names_place(c->full, "compute", "vthread_hog.c", line), "%s", c->full);
#endif
}

Test(hog, a_long_computation)
{
    check_computing(run_hog(compute, 1, true));
}

Test(hog, a_long_computation_that_nobody_waits_for)
{
    check_computing(run_hog(compute, 2, false));
}

#ifdef VTHREAD_HAS_UNWIND
static void *read_mask(void *arg)
{
    sigset_t mask;

    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    *(int *)arg = sigismember(&mask, SIGRTMAX - 2);
    return NULL;
}

/* Who waits for that signal elsewhere must not lose it to a carrier. */
Test(hog, its_signal_is_blocked_while_nobody_subscribes)
{
    static int blocked = -1;

    help_configure(1);
    help_run(read_mask, &blocked);
    cr_assert_eq(blocked, 1);
    catch_begin(VTHREAD_EVENT_HOG);
    cr_assert(EVENTUALLY((help_run(read_mask, &blocked), blocked == 0)));
    catch_end();
    cr_assert(EVENTUALLY((help_run(read_mask, &blocked), blocked == 1)));
}
#endif

#ifdef VTHREAD_HAS_UNWIND
static void on_signal(int signal)
{
    (void)signal;
}

Test(hog, its_signal_stays_blocked_if_the_program_has_a_handler)
{
    static int blocked = -1;
    struct caught *c;

    cr_assert_neq(signal(SIGRTMAX - 2, on_signal), SIG_ERR);
    c = run_hog(compute, 1, true);
    cr_assert_eq(c->e.depth, 0);
    catch_begin(VTHREAD_EVENT_HOG);
    for (int i = 0; i < 100; i++)
        help_run(read_mask, &blocked); /* each takes what is injected: it has looked */
    cr_assert_eq(blocked, 1);
    catch_end();
}
#endif

static void *compute_on_only_stack(void *arg)
{
    return compute(arg);
}

Test(hog, on_a_shared_stack)
{
    vthread_runtime_params_t params = {.parallelism = 1, .stacks = 1, .sole_stacks = UINT_MAX};

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    goes_on = is_told;
    catch_begin(VTHREAD_EVENT_HOG);
    help_run(compute_on_only_stack, NULL);
    catch_end();
    cr_assert_not_null(caught(VTHREAD_EVENT_HOG, 0));
    check_computing(caught(VTHREAD_EVENT_HOG, 0));
}

Test(hog, a_blocking_call_that_nobody_announced)
{
    struct caught *c = run_hog(block, 1, true);

    cr_assert_not(c->e.computing, "%s", c->full);
    cr_assert_not_null(strstr(c->brief, "blocked"), "%s", c->brief);
#ifdef VTHREAD_HAS_UNWIND
    cr_assert_gt(c->e.depth, 0, "%s", c->full);
#endif
#if defined(VTHREAD_HAS_SYMBOLS) && defined(VTHREAD_HAS_UNWIND) && !BUILT_WITH_ASAN &&                                 \
    !BUILT_WITH_TSAN /* whose wrappers have frame pointers */
    cr_assert(names_place(c->full, "poll_in_the_kernel", "vthread_hog.c", line), "%s", c->full);
    cr_assert(names_place(c->brief, "poll_in_the_kernel", "vthread_hog.c", line), "%s", c->brief);
#endif
}

static atomic_bool inside;
static atomic_bool go_on;

static void hold_up(const vthread_event_t *e, void *user)
{
    (void)e, (void)user;
    atomic_store(&inside, true);
    while (!atomic_load(&go_on))
        usleep(500);
}

static void *fail(void *arg)
{
    (void)arg;
    return vthread_fail(1);
}

static void ignore_failure(const vthread_failure_t *failure, void *user)
{
    (void)failure, (void)user;
}

/* Its record is somebody else's by the time the event is told. */
Test(hog, is_told_with_the_name_that_it_had)
{
    uint64_t id;

    vthread_set_failure_handler(ignore_failure, NULL);
    help_configure(1);
    goes_on = is_posted;
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, hold_up, NULL, &id), 0);
    help_run(fail, NULL);
    cr_assert(EVENTUALLY(atomic_load(&inside)));
    catch_begin(VTHREAD_EVENT_HOG | VTHREAD_EVENT_HOG_END);
    help_run_with(&(vthread_attr_t){.name = "a hog"}, compute, NULL);
    help_run_with(&(vthread_attr_t){.name = "another"}, nothing_else, NULL);
    help_shutdown();
    atomic_store(&go_on, true);
    catch_end();
    cr_assert_eq(vthread_event_unsubscribe(id), 0);
    cr_assert_not_null(caught(VTHREAD_EVENT_HOG, 0));
    cr_assert_str_eq(caught(VTHREAD_EVENT_HOG, 0)->name, "a hog");
    cr_assert_not_null(caught(VTHREAD_EVENT_HOG_END, 0), "be the runtime shut down ever so soon");
    cr_assert_str_eq(caught(VTHREAD_EVENT_HOG_END, 0)->name, "a hog");
}

static void *rename_and_compute(void *arg)
{
    CHECK(vthread_setname(vthread_self(), "renamed") == 0);
    compute(arg);
    return NULL;
}

Test(hog, has_the_name_that_it_gave_itself_or_a_number)
{
    char number[32];
    vthread_t t;

    goes_on = is_told;
    catch_begin(VTHREAD_EVENT_HOG);
    help_run(rename_and_compute, NULL);
    catch_end();
    cr_assert_str_eq(caught(VTHREAD_EVENT_HOG, 0)->name, "renamed");
    catch_begin(VTHREAD_EVENT_HOG);
    t = help_start(compute, NULL);
    snprintf(number, sizeof number, "%llu", (unsigned long long)vthread_id(t));
    help_join(t);
    catch_end();
    cr_assert_str_eq(caught(VTHREAD_EVENT_HOG, 0)->name, number);
}

/* Nothing waits any more for which it would be rescued once again. */
static bool is_rescued(void)
{
    return atomic_load(&else_done);
}

static void *compute_and_block(void *arg)
{
    (void)arg;
    compute_in_here();
    CHECK(atomic_load_relaxed(&carrier_self()->state) == CARRIER_HOGGED);
    CHECK(vthread_blocking_begin("said so") == 0);
    CHECK(atomic_load_relaxed(&carrier_self()->state) == CARRIER_BLOCKED);
    CHECK(vthread_blocking_end() == 0);
    CHECK(atomic_load_relaxed(&carrier_self()->state) == CARRIER_RUNNING);
    return NULL;
}

/* Else its section, or its pinned wait, would be told as more of the computation. */
Test(hog, that_blocks_at_last_is_none_any_more)
{
    vthread_t t;

    help_configure(1);
    goes_on = is_rescued;
    t = help_start(compute_and_block, NULL);
    cr_assert(REACHES(t, VTHREAD_RUNNING));
    help_run(nothing_else, NULL);
    help_join(t);
}

/* Arrays of a length that only running tells: functions that find their frames by the frame pointer. */
static volatile size_t length = 100;
static int middle_line;

static NOINLINE bool poll_with_frame_pointer(void)
{
    struct pollfd fd = {.fd = pipe_ends[0], .events = POLLIN};
    char *array = __builtin_alloca(length);
    int n;

    HELP_KEEP_WHOLE(array);
    line = __LINE__ + 1;
    n = poll(&fd, 1, -1);
    HELP_KEEP_WHOLE(array);
    return n == 1;
}

static NOINLINE bool call_it_directly(void)
{
    char *array = __builtin_alloca(length);
    bool ok;

    HELP_KEEP_WHOLE(array);
    middle_line = __LINE__ + 1;
    ok = poll_with_frame_pointer();
    HELP_KEEP_WHOLE(array);
    return ok;
}

static bool (*volatile by_pointer)(void) = poll_with_frame_pointer;

static NOINLINE bool call_it_by_pointer(void)
{
    bool ok;

    middle_line = __LINE__ + 1;
    ok = by_pointer();
    KEEP_FRAME();
    return ok;
}

static NOINLINE void *block_directly(void *arg)
{
    CHECK(call_it_directly());
    return arg;
}

static NOINLINE void *block_by_pointer(void *arg)
{
    CHECK(call_it_by_pointer());
    return arg;
}

static void check_blocked(struct caught *c, const char *middle, const char *outer)
{
    (void)middle, (void)outer; /* known on x86-64 only */
    cr_assert_not(c->e.computing, "%s", c->full);
#if defined(VTHREAD_HAS_SYMBOLS) && defined(VTHREAD_HAS_UNWIND) && !BUILT_WITH_TSAN
    cr_assert(names_place(c->brief, "poll_with_frame_pointer", "vthread_hog.c", line), "%s", c->full);
#if defined(__x86_64__)
    cr_assert(names_place(c->full, middle, "vthread_hog.c", middle_line), "%s", c->full);
    cr_assert(names_function(c->full, outer), "%s", c->full);
#endif
#endif
}

Test(hog, a_blocking_call_beneath_frame_pointers)
{
    check_blocked(run_hog(block_directly, 1, true), "call_it_directly", "block_directly");
}

Test(hog, a_blocking_call_beneath_frame_pointers_called_by_pointer)
{
    check_blocked(run_hog(block_by_pointer, 1, true), "call_it_by_pointer", "block_by_pointer");
}

static void *park_a_lot(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        CHECK(vthread_sleep_ms(5) == 0);
        CHECK(vthread_blocking_begin("said so") == 0);
        usleep(5000);
        CHECK(vthread_blocking_end() == 0);
    }
    CHECK(vthread_blocking_begin("said so") == 0);
    usleep(60000);
    CHECK(vthread_blocking_end() == 0);
    return NULL;
}

Test(hog, not_in_sections_and_waits)
{
    catch_begin(VTHREAD_EVENT_HOG);
    help_run(park_a_lot, NULL);
    catch_end();
    cr_assert_null(caught(VTHREAD_EVENT_HOG, 0));
}

Test(hog, the_threshold_is_configurable)
{
    vthread_runtime_params_t params = {.hog_threshold_ns = INT64_C(1) << 50};

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    catch_begin(VTHREAD_EVENT_HOG);
    help_run(compute, NULL);
    catch_end();
    cr_assert_null(caught(VTHREAD_EVENT_HOG, 0));
}

/* ---- samples at any instant, most of them in the middle of a switch or beside one ---- */

#if defined(VTHREAD_HAS_UNWIND) && !BUILT_WITH_TSAN
static vthread_cont_scope_t scope = {.name = "sampled"};
static atomic_bool stop;

static void *yields(void *arg)
{
    while (!atomic_load(&stop))
        vthread_cont_yield(&scope, NULL);
    return arg;
}

static void *switches(void *arg)
{
    vthread_cont_t *c;

    (void)arg;
    CHECK(vthread_cont_new(&c, &scope, yields, NULL) == 0);
    while (vthread_cont_run(c, NULL) == 0)
        ;
    CHECK(vthread_cont_free(c) == 0);
    return NULL;
}

Test(hog, samples_at_any_instant)
{
    int taken = 0;
    int deep = 0;
    bool late;
    vthread_t t;

    hog_reports_wanted(true);
    help_configure(1);
    t = help_start(switches, NULL);
    cr_assert(REACHES(t, VTHREAD_RUNNING));
    for (int i = 0; i < 3000 / HELP_SLOW; i++) {
        struct carrier *c = pool_carrier(0);
        struct sample *s = sample_take(c, atomic_load_relaxed(&c->begun), true, &late);
        void *pcs[32];
        int n;

        if (s == NULL)
            continue;
        taken++;
        n = sample_unwind(s, pcs, 32);
        cr_assert_geq(n, 1);
        deep += n > 1;
        memory_free(s);
    }
    atomic_store(&stop, true);
    help_join(t);
    hog_reports_wanted(false);
    cr_assert_geq(taken, 1000 / HELP_SLOW);
    cr_assert_geq(deep, taken / 2);
}
#endif
