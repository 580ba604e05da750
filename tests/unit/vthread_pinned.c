/* SPDX-License-Identifier: MIT */
/* Pinned parks: that each kind is counted, timed and reported, with the place that pinned. */
#include "event_help.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <vthread/continuation.h>

#undef atomic_init /* of <stdatomic.h> */
#include "base/memory.h"

TestSuite(pinned, .fini = help_fini, .timeout = 60);

enum { THRESHOLD_MS = 20, LONG_MS = 200 };

/* What the thread itself has measured. */
static int64_t least_ns;
static int64_t most_ns;
static int line;

static NOINLINE void wait_long(void)
{
    int64_t began_ns = vthread_now_ns();

    least_ns = THRESHOLD_MS * 1000000; /* the deadline is counted from before the wait was begun, so it may be less */
    vthread_sleep_ms(LONG_MS);
    most_ns = vthread_now_ns() - began_ns;
}

static void check_times(const struct caught *c)
{
    cr_assert_geq(c->e.duration_ns, least_ns, "%s", c->brief);
    cr_assert_leq(c->e.duration_ns, most_ns, "%s", c->brief);
}

static struct caught *run_and_catch(void *(*fn)(void *), vthread_pin_kind_t kind)
{
    vthread_pin_stats_t stats[VTHREAD_PIN_KINDS];
    struct caught *c;

    catch_begin(VTHREAD_EVENT_PINNED);
    help_run_with(&(vthread_attr_t){.name = "pinned one"}, fn, NULL);
    catch_end();
    c = caught(VTHREAD_EVENT_PINNED, 0);
    cr_assert_not_null(c);
    cr_assert_eq(c->e.pin, kind, "%s", c->brief);
    cr_assert_str_eq(c->name, "pinned one");
    cr_assert_neq(c->e.id, 0);
    cr_assert_geq(c->e.carrier, 0);
    cr_assert_gt(c->e.depth, 0);
    check_times(c);
    cr_assert_not_null(strstr(c->brief, vthread_pin_kind_name(kind)), "%s", c->brief);
    cr_assert_not_null(strstr(c->brief, "pinned one"), "%s", c->brief);
    cr_assert_null(strchr(c->brief, '\n'));
    cr_assert_eq(vthread_runtime_pin_stats(stats), 0);
    for (int k = 0; k < VTHREAD_PIN_KINDS; k++) {
        cr_assert_eq(stats[k].parks, k == (int)kind, "kind %d", k);
        cr_assert_eq(stats[k].total_ns, k == (int)kind ? c->e.duration_ns : 0, "kind %d", k);
        cr_assert_eq(stats[k].max_ns, stats[k].total_ns);
    }
    return c;
}

/* ---- kinds ---- */

static void *pin_and_wait(void *arg)
{
    (void)arg;
    line = __LINE__ + 1;
    CHECK(vthread_pin("for a test") == 0);
    wait_long();
    CHECK(vthread_unpin() == 0);
    return NULL;
}

Test(pinned, by_vthread_pin)
{
    struct caught *c = run_and_catch(pin_and_wait, VTHREAD_PIN_EXPLICIT);

    cr_assert_str_eq(c->reason, "for a test");
    cr_assert_not_null(c->e.pinned_at);
    cr_assert(names_place(c->brief, "pin_and_wait", "vthread_pinned.c", line), "%s", c->brief);
    cr_assert(names_place(c->full, "pin_and_wait", "vthread_pinned.c", line), "%s", c->full);
    cr_assert(names_function(c->full, "wait_long"), "%s", c->full);
#ifdef VTHREAD_HAS_SYMBOLS
    cr_assert_not_null(strstr(c->full, "<== pinned here"), "%s", c->full);
#endif
}

static void *block_and_wait(void *arg)
{
    (void)arg;
    line = __LINE__ + 1;
    CHECK(vthread_blocking_begin("a disk") == 0);
    wait_long();
    CHECK(vthread_blocking_end() == 0);
    return NULL;
}

Test(pinned, by_a_blocking_section)
{
    struct caught *c = run_and_catch(block_and_wait, VTHREAD_PIN_BLOCKING);

    cr_assert_str_eq(c->reason, "a disk");
    cr_assert(names_place(c->brief, "block_and_wait", "vthread_pinned.c", line), "%s", c->brief);
}

static NOINLINE void *wait_in_call(void *arg)
{
    wait_long();
    KEEP_FRAME();
    return arg;
}

static void *call_blocking(void *arg)
{
    line = __LINE__ + 1;
    vthread_blocking_call(wait_in_call, arg);
    KEEP_FRAME();
    return NULL;
}

Test(pinned, by_a_blocking_call)
{
    struct caught *c = run_and_catch(call_blocking, VTHREAD_PIN_BLOCKING);

    cr_assert(names_place(c->brief, "call_blocking", "vthread_pinned.c", line), "%s", c->brief);
    cr_assert(names_function(c->full, "wait_in_call"), "%s", c->full);
}

static vthread_cont_scope_t scope = {.name = "test"};

static void *pinned_body(void *arg)
{
    line = __LINE__ + 1;
    if (vthread_cont_pin("a critical part") == 0)
        wait_long();
    vthread_cont_unpin();
    return arg;
}

static void *run_pinned_continuation(void *arg)
{
    vthread_cont_t *c;
    void *value = NULL;

    (void)arg;
    CHECK(vthread_cont_new(&c, &scope, pinned_body, (void *)(uintptr_t) "done") == 0);
    CHECK(vthread_cont_run(c, &value) == ENODATA);
    CHECK(strcmp(value, "done") == 0);
    CHECK(vthread_cont_free(c) == 0);
    return NULL;
}

Test(pinned, by_a_continuation)
{
    struct caught *c = run_and_catch(run_pinned_continuation, VTHREAD_PIN_CONTINUATION);

    cr_assert_str_eq(c->reason, "a critical part");
    cr_assert(names_place(c->brief, "pinned_body", "vthread_pinned.c", line), "%s", c->brief);
}

static void *unpinned_body(void *arg)
{
    wait_long();
    return arg;
}

static void *run_unpinned_continuation(void *arg)
{
    vthread_cont_t *c;

    (void)arg;
    CHECK(vthread_cont_new(&c, &scope, unpinned_body, NULL) == 0);
    CHECK(vthread_cont_run(c, NULL) == ENODATA);
    CHECK(vthread_cont_free(c) == 0);
    return NULL;
}

Test(pinned, not_by_a_continuation_that_is_not)
{
    catch_begin(VTHREAD_EVENT_ALL);
    help_run(run_unpinned_continuation, NULL);
    catch_end();
    cr_assert_null(caught(VTHREAD_EVENT_PINNED, 0));
}

#if !BUILT_WITH_ASAN && !BUILT_WITH_TSAN /* which know nothing of this stack */
static ucontext_t here;
static ucontext_t there;

static void foreign(void)
{
    wait_long();
    KEEP_FRAME();
}

static void *run_foreign_coroutine(void *arg)
{
    static char stack[256 * 1024];

    (void)arg;
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = &here;
    makecontext(&there, foreign, 0);
    CHECK(swapcontext(&here, &there) == 0);
    return NULL;
}

Test(pinned, on_a_foreign_stack)
{
    struct caught *c = run_and_catch(run_foreign_coroutine, VTHREAD_PIN_FOREIGN_STACK);

    cr_assert_null(c->e.pinned_at);
    cr_assert(names_function(c->full, "foreign"), "%s", c->full);
}
#endif

/* ---- without memory ---- */

static atomic_int starving; /* the OS thread whose next request for memory fails */

static bool starve(enum fault_site site)
{
    int tid = help_os_thread();

    return site == FAULT_ALLOC && atomic_compare_exchange_strong(&starving, &tid, 0);
}

/* The first timed wait on this carrier: the heap of timers has no room yet. */
static void *wait_without_memory(void *arg)
{
    (void)arg;
    atomic_store(&starving, help_os_thread());
    wait_long();
    CHECK(atomic_load(&starving) == 0);
    CHECK(!vthread_is_pinned(NULL));
    return NULL;
}

Test(pinned, by_want_of_memory_for_a_timer)
{
    struct caught *c;

    help_configure(1);
    fault_set_hook(starve);
    c = run_and_catch(wait_without_memory, VTHREAD_PIN_NO_MEMORY);
    fault_set_hook(NULL);
    cr_assert_null(c->e.pinned_at);
    cr_assert_str_eq(c->reason, "");
    cr_assert(names_function(c->full, "wait_without_memory"), "%s", c->full);
}

static void *body_without_memory(void *arg)
{
    atomic_store(&starving, help_os_thread());
    wait_long();
    return arg;
}

static void *continuation_without_memory(void *arg)
{
    vthread_cont_t *c;

    (void)arg;
    CHECK(vthread_cont_new(&c, &scope, body_without_memory, NULL) == 0);
    CHECK(vthread_cont_run(c, NULL) == ENODATA);
    CHECK(vthread_cont_free(c) == 0);
    CHECK(atomic_load(&starving) == 0);
    return NULL;
}

/* From inside a continuation there is a place to be remembered. */
Test(pinned, by_want_of_memory_inside_a_continuation)
{
    vthread_pin_stats_t stats[VTHREAD_PIN_KINDS];
    struct caught *c;

    fault_set_hook(starve);
    catch_begin(VTHREAD_EVENT_PINNED);
    help_run(continuation_without_memory, NULL); /* without a name, which would have made room for that already */
    catch_end();
    fault_set_hook(NULL);
    c = caught(VTHREAD_EVENT_PINNED, 0);
    cr_assert_not_null(c);
    cr_assert_eq(c->e.pin, VTHREAD_PIN_NO_MEMORY);
    check_times(c);
    cr_assert(names_function(c->full, "body_without_memory"), "%s", c->full);
    cr_assert_eq(vthread_runtime_pin_stats(stats), 0);
    cr_assert_eq(stats[VTHREAD_PIN_NO_MEMORY].parks, 1);
}

/* ---- which of several ---- */

static void *change_pins(void *arg)
{
    const char *reason = NULL;

    (void)arg;
    CHECK(vthread_pin("first") == 0);
    CHECK(vthread_pin("second, which is inside the first") == 0);
    CHECK(vthread_blocking_begin("third") == 0);
    CHECK(vthread_is_pinned(&reason) && strcmp(reason, "first") == 0);
    wait_long(); /* a section says more */
    CHECK(vthread_unpin() == 0);
    CHECK(vthread_unpin() == 0);
    CHECK(vthread_is_pinned(&reason) && strcmp(reason, "third") == 0); /* and not one that is gone */
    CHECK(vthread_blocking_end() == 0);
    CHECK(!vthread_is_pinned(&reason));
    CHECK(vthread_pin("fourth") == 0);
    wait_long();
    CHECK(vthread_unpin() == 0);
    return NULL;
}

Test(pinned, the_reason_is_one_that_holds)
{
    catch_begin(VTHREAD_EVENT_PINNED);
    help_run(change_pins, NULL);
    catch_end();
    cr_assert_str_eq(caught(VTHREAD_EVENT_PINNED, 0)->reason, "third");
    cr_assert_str_eq(caught(VTHREAD_EVENT_PINNED, 1)->reason, "fourth");
    cr_assert_null(caught(VTHREAD_EVENT_PINNED, 2));
}

/* ---- thresholds ---- */

static void *pin_shortly(void *arg)
{
    (void)arg;
    CHECK(vthread_pin("short") == 0);
    CHECK(vthread_sleep_ns(1000) == 0); /* always a park, be it over at once */
    vthread_unpark(vthread_self());
    CHECK(vthread_park() == 0); /* at once: no park */
    CHECK(vthread_unpin() == 0);
    return NULL;
}

static int count_short_parks(int64_t threshold_ns)
{
    vthread_runtime_params_t params = {.pinned_threshold_ns = threshold_ns};
    vthread_pin_stats_t stats[VTHREAD_PIN_KINDS];
    int n = 0;

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    catch_begin(VTHREAD_EVENT_PINNED);
    for (int i = 0; i < 5; i++)
        help_run(pin_shortly, NULL);
    catch_end();
    while (caught(VTHREAD_EVENT_PINNED, n) != NULL)
        n++;
    cr_assert_eq(vthread_runtime_pin_stats(stats), 0);
    cr_assert_eq(stats[VTHREAD_PIN_EXPLICIT].parks, 5);
    help_shutdown();
    return n;
}

Test(pinned, the_threshold_is_configurable)
{
    cr_assert_eq(count_short_parks(1), 5);
    cr_assert_eq(count_short_parks(INT64_C(1) << 60), 0);
    setenv("VTHREAD_PINNED_MS", "0", 1);
    cr_assert_eq(count_short_parks(0), 5);
    setenv("VTHREAD_PINNED_MS", "1000000", 1);
    cr_assert_eq(count_short_parks(0), 0);
    cr_assert_eq(count_short_parks(1), 5, "what the program says wins");
}

/* ---- one stack for all: it must be free while one of them is pinned ---- */

static _Atomic uintptr_t sleeper;
static atomic_bool woken;

static NOINLINE void wait_for_mate(void)
{
    volatile int local[200];

    HELP_KEEP_WHOLE(local);
    for (int i = 0; i < 200; i++)
        local[i] = i;
    atomic_store(&sleeper, (uintptr_t)vthread_self());
    while (!atomic_load(&woken))
        vthread_park();
    for (int i = 0; i < 200; i++)
        if (local[i] != i)
            abort();
}

static void *mate(void *arg)
{
    volatile int local[1000];

    HELP_KEEP_WHOLE(local);
    for (int i = 0; i < 1000; i++)
        local[i] = -1;
    CHECK(EVENTUALLY_HERE(atomic_load(&sleeper) != 0 &&
                          vthread_state((vthread_t)atomic_load(&sleeper)) == VTHREAD_PINNED));
    atomic_store(&woken, true);
    vthread_unpark((vthread_t)atomic_load(&sleeper));
    (void)local[arg != NULL];
    return NULL;
}

static void *starve_until_woken(void *arg)
{
    (void)arg;
    atomic_store(&sleeper, (uintptr_t)vthread_self());
    atomic_store(&starving, help_os_thread());
    while (!atomic_load(&woken))
        CHECK(vthread_park_until(vthread_after_ms(40000)) == 0);
    CHECK(atomic_load(&starving) == 0);
    return NULL;
}

static void *mate_of_the_starving(void *arg)
{
    (void)arg;
    atomic_store(&woken, true);
    vthread_unpark((vthread_t)atomic_load(&sleeper));
    return NULL;
}

static void *pin_until_woken(void *arg)
{
    (void)arg;
    line = __LINE__ + 1;
    CHECK(vthread_pin("waits for a mate") == 0);
    wait_for_mate();
    CHECK(vthread_unpin() == 0);
    return NULL;
}

static void *body_until_woken(void *arg)
{
    line = __LINE__ + 1;
    if (vthread_cont_pin("waits for a mate") == 0)
        wait_for_mate();
    vthread_cont_unpin();
    return arg;
}

static void *continuation_until_woken(void *arg)
{
    vthread_cont_t *c;

    (void)arg;
    CHECK(vthread_cont_new(&c, &scope, body_until_woken, NULL) == 0);
    CHECK(vthread_cont_run(c, NULL) == ENODATA);
    CHECK(vthread_cont_free(c) == 0);
    return NULL;
}

static void pinned_and_mate(void *(*fn)(void *), vthread_pin_kind_t kind, const char *function, bool strict)
{
    vthread_runtime_params_t params = {
        .parallelism = 1, .stacks = 1, .sole_stacks = UINT_MAX, .strict = strict, .pinned_threshold_ns = 1};
    vthread_runtime_stats_t stats;
    struct caught *c;
    vthread_t a;
    vthread_t b;

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    catch_begin(VTHREAD_EVENT_PINNED);
    a = help_start(fn, NULL);
    b = help_start(mate, NULL);
    help_join(a);
    help_join(b);
    catch_end();
    cr_assert_eq(vthread_runtime_stats(&stats), 0);
    cr_assert_eq(stats.stacks, kind == VTHREAD_PIN_CONTINUATION ? 2 : 1, "the continuation's own, and one for all");
    c = caught(VTHREAD_EVENT_PINNED, 0);
    cr_assert_not_null(c);
    cr_assert_eq(c->e.pin, kind);
    /* Its frames had been elsewhere meanwhile; the report has them all the same. */
    cr_assert(names_place(c->brief, function, "vthread_pinned.c", line), "%s", c->brief);
    cr_assert(names_function(c->full, "wait_for_mate"), "%s", c->full);
    help_shutdown();
}

Test(pinned, a_mate_on_the_only_stack_wakes_it)
{
    pinned_and_mate(pin_until_woken, VTHREAD_PIN_EXPLICIT, "pin_until_woken", false);
}

Test(pinned, a_mate_on_the_only_stack_wakes_it_in_strict_mode)
{
    pinned_and_mate(pin_until_woken, VTHREAD_PIN_EXPLICIT, "pin_until_woken", true);
}

/* There was no memory for its timer, but its stack is given up all the same. */
Test(pinned, a_mate_wakes_one_that_had_no_memory)
{
    vthread_runtime_params_t params = {.parallelism = 1, .stacks = 1, .sole_stacks = UINT_MAX};
    vthread_pin_stats_t stats[VTHREAD_PIN_KINDS];
    vthread_t t;

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    fault_set_hook(starve);
    t = help_start(starve_until_woken, NULL);
    cr_assert(REACHES(t, VTHREAD_TIMED_PINNED));
    help_run(mate_of_the_starving, NULL);
    help_join(t);
    fault_set_hook(NULL);
    cr_assert_eq(vthread_runtime_pin_stats(stats), 0);
    cr_assert_eq(stats[VTHREAD_PIN_NO_MEMORY].parks, 1);
}

Test(pinned, a_mate_wakes_a_pinned_continuation)
{
    pinned_and_mate(continuation_until_woken, VTHREAD_PIN_CONTINUATION, "body_until_woken", false);
}

Test(pinned, a_mate_wakes_a_pinned_continuation_in_strict_mode)
{
    pinned_and_mate(continuation_until_woken, VTHREAD_PIN_CONTINUATION, "body_until_woken", true);
}

/* ---- while it lasts ---- */

static void *park_for_ever(void *arg)
{
    (void)arg;
    line = __LINE__ + 1;
    CHECK(vthread_pin("a deadlock") == 0);
    CHECK(vthread_park() == EINTR);
    CHECK(vthread_interrupted());
    CHECK(vthread_unpin() == 0);
    return NULL;
}

static void check_going_on(const struct caught *c, vthread_t t)
{
    cr_assert_not_null(c);
    cr_assert_eq(c->e.thread, t);
    cr_assert_str_eq(c->name, "stuck");
    cr_assert_eq(c->e.pin, VTHREAD_PIN_EXPLICIT);
    cr_assert_str_eq(c->reason, "a deadlock");
    cr_assert_geq(c->e.duration_ns, 20000000);
    cr_assert_not_null(strstr(c->brief, "is pinned to carrier"), "%s", c->brief);
    cr_assert(names_place(c->brief, "park_for_ever", "vthread_pinned.c", line), "%s", c->brief);
}

static void stick(const vthread_runtime_params_t *params, bool late, bool mates)
{
    struct caught *c;
    struct caught *end;
    vthread_t t;

    cr_assert_eq(vthread_runtime_configure(params), 0);
    if (!late)
        catch_begin(VTHREAD_EVENT_PINNED | VTHREAD_EVENT_PINNING);
    t = help_start_with(&(vthread_attr_t){.name = "stuck"}, park_for_ever, NULL);
    cr_assert(REACHES(t, VTHREAD_PINNED));
    if (mates) /* its frames are elsewhere from now on */
        help_run(help_nothing, NULL);
    if (late) {
        usleep(25000);
        catch_begin(VTHREAD_EVENT_PINNED | VTHREAD_EVENT_PINNING);
    }
    cr_assert(EVENTUALLY(caught(VTHREAD_EVENT_PINNING, 0) != NULL));
    c = caught(VTHREAD_EVENT_PINNING, 0);
    check_going_on(c, t);
#ifdef VTHREAD_HAS_UNWIND
    cr_assert(names_function(c->full, "park_for_ever"), "%s", c->full);
#endif
    cr_assert_eq(vthread_state(t), VTHREAD_PINNED);
    cr_assert_null(caught(VTHREAD_EVENT_PINNED, 0));
    vthread_interrupt(t);
    help_join(t);
    catch_end();
    end = caught(VTHREAD_EVENT_PINNED, 0);
    cr_assert_not_null(end);
    cr_assert_null(caught(VTHREAD_EVENT_PINNING, 1), "it is said once");
    cr_assert_geq(end->e.duration_ns, c->e.duration_ns);
    cr_assert_not_null(strstr(end->brief, "was pinned to carrier"), "%s", end->brief);
}

Test(pinned, one_that_does_not_end_is_seen_while_it_lasts)
{
    stick(&(vthread_runtime_params_t){.parallelism = 1}, false, false);
}

Test(pinned, one_that_lasts_already_is_seen_by_a_late_subscriber)
{
    stick(&(vthread_runtime_params_t){.parallelism = 1}, true, false);
}

Test(pinned, one_that_has_given_its_stack_up_is_seen_while_it_lasts)
{
    vthread_runtime_params_t params = {.parallelism = 1, .stacks = 1, .sole_stacks = UINT_MAX};

    stick(&params, false, false);
    help_shutdown();
    stick(&params, true, true);
}

Test(pinned, one_that_has_given_its_stack_up_is_seen_in_strict_mode)
{
    stick(&(vthread_runtime_params_t){.parallelism = 1, .stacks = 1, .sole_stacks = UINT_MAX, .strict = true}, true,
          true);
}

static atomic_int told_the_second;

static void count_second(const vthread_event_t *e, void *user)
{
    (void)user;
    atomic_fetch_add(&told_the_second, e->kind == VTHREAD_EVENT_PINNING ? 1 : 1000);
}

Test(pinned, each_subscriber_is_told_once_that_it_goes_on)
{
    uint64_t id;
    uint64_t other;
    vthread_t t;

    help_configure(1);
    catch_begin(VTHREAD_EVENT_PINNING);
    t = help_start_with(&(vthread_attr_t){.name = "stuck"}, park_for_ever, NULL);
    cr_assert(EVENTUALLY(caught(VTHREAD_EVENT_PINNING, 0) != NULL));
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_FAILURE, count_second, NULL, &other), 0);
    cr_assert_eq(vthread_event_subscribe(VTHREAD_EVENT_PINNING, count_second, NULL, &id), 0);
    cr_assert(EVENTUALLY(atomic_load(&told_the_second) != 0));
    vthread_interrupt(t);
    help_join(t);
    catch_end();
    cr_assert_eq(vthread_event_unsubscribe(id), 0);
    cr_assert_eq(vthread_event_unsubscribe(other), 0);
    cr_assert_eq(atomic_load(&told_the_second), 1);
    check_going_on(caught(VTHREAD_EVENT_PINNING, 0), t);
    cr_assert_null(caught(VTHREAD_EVENT_PINNING, 1));
}

static void *body_for_ever(void *arg)
{
    if (vthread_cont_pin("a deadlock") == 0)
        vthread_park();
    vthread_cont_unpin();
    return arg;
}

static void *continuation_for_ever(void *arg)
{
    vthread_cont_t *c;

    (void)arg;
    CHECK(vthread_cont_new(&c, &scope, body_for_ever, NULL) == 0);
    CHECK(vthread_cont_run(c, NULL) == ENODATA);
    CHECK(vthread_cont_free(c) == 0);
    return NULL;
}

Test(pinned, a_continuation_that_stays_pinned_is_seen_while_it_lasts)
{
    vthread_runtime_params_t params = {.parallelism = 1, .stacks = 1, .sole_stacks = UINT_MAX};
    vthread_t t;

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    catch_begin(VTHREAD_EVENT_PINNING);
    t = help_start(continuation_for_ever, NULL);
    cr_assert(EVENTUALLY(caught(VTHREAD_EVENT_PINNING, 0) != NULL));
    cr_assert_eq(caught(VTHREAD_EVENT_PINNING, 0)->e.pin, VTHREAD_PIN_CONTINUATION);
    cr_assert_str_eq(caught(VTHREAD_EVENT_PINNING, 0)->reason, "a deadlock");
#ifdef VTHREAD_HAS_UNWIND
    cr_assert(names_function(caught(VTHREAD_EVENT_PINNING, 0)->full, "body_for_ever"), "%s",
              caught(VTHREAD_EVENT_PINNING, 0)->full);
#endif
    vthread_unpark(t);
    help_join(t);
    catch_end();
}

/* ---- spares ---- */

static atomic_int meeting;

/* Two must run at once for any of them to return. */
static void *meet(void *arg)
{
    (void)arg;
    atomic_fetch_add(&meeting, 1);
    while (atomic_load(&meeting) < 2)
        vthread_spin_hint();
    return NULL;
}

static void *pin_for_ever(void *arg)
{
    (void)arg;
    CHECK(vthread_pin("until the end") == 0);
    CHECK(vthread_park() == EINTR);
    CHECK(vthread_interrupted());
    CHECK(vthread_unpin() == 0);
    return NULL;
}

Test(pinned, spares_keep_the_parallelism)
{
    vthread_runtime_stats_t stats;
    vthread_t pinned[6];
    vthread_t meeters[2];
    int spares = 0;

    help_configure(2);
    catch_begin(VTHREAD_EVENT_SPARE);
    for (int i = 0; i < 6; i++)
        pinned[i] = help_start(pin_for_ever, NULL);
    for (int i = 0; i < 6; i++)
        cr_assert(REACHES(pinned[i], VTHREAD_PINNED));
    for (int i = 0; i < 2; i++)
        meeters[i] = help_start(meet, NULL);
    for (int i = 0; i < 2; i++)
        help_join(meeters[i]);
    /* Not at once: on a crowded machine the first of those who meet may have waited so long that it was rescued from. */
    cr_assert(EVENTUALLY(vthread_runtime_stats(&stats) == 0 && stats.carriers_running == 2));
    cr_assert_geq(stats.carriers, 8);
    cr_assert_eq(stats.pinned_parks, 6);
    for (int i = 0; i < 6; i++)
        vthread_interrupt(pinned[i]);
    for (int i = 0; i < 6; i++)
        help_join(pinned[i]);
    catch_end();
    while (caught(VTHREAD_EVENT_SPARE, spares) != NULL)
        spares++;
    cr_assert_geq(spares, 6);
    cr_assert_not_null(strstr(caught(VTHREAD_EVENT_SPARE, 0)->brief, "in place of"));
}

/* ---- mutexes of the C library's ---- */

static pthread_mutex_t robust;

static void *hold_across_a_wait(void *arg)
{
    (void)arg;
    CHECK(pthread_mutex_lock(&robust) == 0);
    vthread_park(); /* there is one carrier, so that it is ours still ... */
    CHECK(pthread_mutex_unlock(&robust) == 0);
    vthread_park();
    CHECK(vthread_pin("... as it is here, whatever there is") == 0);
    CHECK(pthread_mutex_lock(&robust) == 0);
    vthread_park(); /* nothing to complain of */
    CHECK(pthread_mutex_unlock(&robust) == 0);
    CHECK(vthread_unpin() == 0);
    return NULL;
}

Test(pinned, a_robust_mutex_across_a_wait_is_seen)
{
    vthread_runtime_params_t params = {.parallelism = 1, .check_mutexes = true};
    pthread_mutexattr_t attr;
    struct caught *c;
    vthread_t holder;

    if (syscall(SYS_get_robust_list, 0, &(void *){NULL}, &(size_t){0}) != 0)
        cr_skip_test("the kernel, or an emulator of it, does not say what is held");
    cr_assert_eq(vthread_runtime_configure(&params), 0);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attr);
    catch_begin(VTHREAD_EVENT_OS_MUTEX);
    holder = help_start_with(&(vthread_attr_t){.name = "holder"}, hold_across_a_wait, NULL);
    for (int i = 0; i < 3; i++) {
        cr_assert(REACHES(holder, i < 2 ? VTHREAD_PARKED : VTHREAD_PINNED));
        vthread_unpark(holder);
    }
    help_join(holder);
    catch_end();
    c = caught(VTHREAD_EVENT_OS_MUTEX, 0);
    cr_assert_not_null(c);
    cr_assert_str_eq(c->name, "holder");
    cr_assert_eq(c->e.mutex, &robust);
#ifdef VTHREAD_HAS_UNWIND
    cr_assert(names_function(c->full, "hold_across_a_wait"), "%s", c->full);
#endif
    cr_assert_null(caught(VTHREAD_EVENT_OS_MUTEX, 1));
}
