/* SPDX-License-Identifier: MIT */
/* Self, id, name, state, backtrace. */
#include "vthread_help.h"

#include <unwind.h>

#include "base/memory.h"

TestSuite(identity, .fini = help_fini, .timeout = 60);

static void *check_self(void *arg)
{
    vthread_t self = vthread_self();

    (void)arg;
    CHECK(self != NULL);
    CHECK(vthread_equal(self, vthread_self()));
    CHECK(!vthread_equal(self, NULL));
    CHECK(vthread_is_virtual(self));
    CHECK(vthread_is_alive(self));
    CHECK(vthread_id(self) != 0);
    vthread_yield();
    CHECK(vthread_equal(self, vthread_self()));
    return NULL;
}

Test(identity, self)
{
    help_run(check_self, NULL);
}

static void *return_self(void *arg)
{
    (void)arg;
    return vthread_self();
}

Test(identity, the_creator_and_the_thread_agree)
{
    void *value = NULL;
    vthread_t t = NULL;

    cr_assert_eq(vthread_create(&t, NULL, return_self, NULL), 0);
    cr_assert_eq(vthread_join(t, &value), 0);
    cr_assert(vthread_equal(t, (vthread_t)value));
}

Test(identity, main_has_a_handle)
{
    vthread_t self = vthread_self();

    cr_assert_not_null(self);
    cr_assert(vthread_equal(self, vthread_self()));
    cr_assert_not(vthread_is_virtual(self));
    cr_assert(vthread_is_alive(self));
    cr_assert_eq(vthread_state(self), VTHREAD_RUNNING);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Collect ids over batches of threads that reuse each other's records, and over restarts. */
Test(identity, ids_are_never_reused)
{
    enum { ROUNDS = 8, BATCH = 300 };
    static uint64_t ids[ROUNDS * BATCH];
    vthread_t threads[BATCH];

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BATCH; i++)
            ids[round * BATCH + i] = vthread_id(threads[i] = help_start(help_nothing, NULL));
        for (int i = 0; i < BATCH; i++)
            help_join(threads[i]);
        if (round % 3 == 2)
            help_shutdown();
    }
    qsort(ids, ROUNDS * BATCH, sizeof ids[0], compare_ids);
    for (int i = 1; i < ROUNDS * BATCH; i++)
        cr_assert_neq(ids[i - 1], ids[i]);
}

/* ---- names ---- */

static void check_name(const vthread_attr_t *attr, const char *expected)
{
    vthread_t t = help_start_with(attr, help_park_for_ever, NULL);
    char name[300] = "";
    char id[24];

    snprintf(id, sizeof id, "%llu", (unsigned long long)vthread_id(t));
    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_assert_str_eq(name, expected != NULL ? expected : id);
    vthread_interrupt(t);
    help_join(t);
}

Test(identity, names)
{
    char changing[] = "given";
    uint64_t counter = 41;

    check_name(NULL, NULL);
    check_name(&(vthread_attr_t){.name = changing}, "given");
    check_name(&(vthread_attr_t){.name = ""}, "");
    check_name(&(vthread_attr_t){.name_prefix = "worker-", .name_counter = &counter}, "worker-41");
    check_name(&(vthread_attr_t){.name_prefix = "worker-", .name_counter = &counter}, "worker-42");
    cr_assert_eq(counter, 43);
    check_name(&(vthread_attr_t){.name = "stronger", .name_prefix = "worker-"}, "stronger");
}

Test(identity, a_prefix_without_a_counter_is_followed_by_the_id)
{
    vthread_t t = help_start_with(&(vthread_attr_t){.name_prefix = "p-"}, help_park_for_ever, NULL);
    char name[64];
    char expected[64];

    snprintf(expected, sizeof expected, "p-%llu", (unsigned long long)vthread_id(t));
    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_assert_str_eq(name, expected);
    vthread_interrupt(t);
    help_join(t);
}

Test(identity, the_name_is_copied_at_creation)
{
    char name[] = "before";
    char found[16];
    vthread_t t = NULL;

    cr_assert_eq(vthread_new(&t, &(vthread_attr_t){.name = name}, help_nothing, NULL), 0);
    strcpy(name, "after");
    cr_assert_eq(vthread_name(t, found, sizeof found), 0);
    cr_assert_str_eq(found, "before");
    vthread_detach(t);
}

Test(identity, a_buffer_too_small_is_left_alone)
{
    vthread_t t = NULL;
    char buffer[6] = "xxxxx";

    cr_assert_eq(vthread_new(&t, &(vthread_attr_t){.name = "sixsix"}, help_nothing, NULL), 0);
    cr_assert_eq(vthread_name(t, buffer, 6), ERANGE);
    cr_assert_eq(vthread_name(t, NULL, 0), ERANGE);
    cr_assert_str_eq(buffer, "xxxxx");
    cr_assert_eq(vthread_name(t, NULL, 6), EINVAL);
    cr_assert_eq(vthread_setname(t, "five5"), 0);
    cr_assert_eq(vthread_name(t, buffer, 6), 0);
    cr_assert_str_eq(buffer, "five5");
    vthread_detach(t);
}

Test(identity, setname)
{
    vthread_t t = help_start(help_park_for_ever, NULL);
    char name[300];
    char longest[256];
    char too_long[257];

    memset(longest, 'n', 255);
    longest[255] = '\0';
    memset(too_long, 'n', 256);
    too_long[256] = '\0';
    cr_assert_eq(vthread_setname(t, "first"), 0);
    cr_assert_eq(vthread_setname(t, longest), 0);
    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_assert_str_eq(name, longest);
    cr_assert_eq(vthread_setname(t, too_long), EINVAL);
    cr_assert_eq(vthread_setname(t, NULL), EINVAL);
    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_assert_str_eq(name, longest);
    vthread_interrupt(t);
    help_join(t);
    cr_assert_eq(vthread_setname(vthread_self(), "main"), 0);
    cr_assert_eq(vthread_name(vthread_self(), name, sizeof name), 0);
    cr_assert_str_eq(name, "main");
}

/* ---- states ---- */

Test(identity, every_state_has_its_name)
{
    const char *names[] = {"NEW",      "STARTED",       "RUNNING",      "PARKING",      "PARKED",
                           "PINNED",   "TIMED_PARKING", "TIMED_PARKED", "TIMED_PINNED", "UNPARKED",
                           "YIELDING", "YIELDED",       "TERMINATED"};

    cr_assert_eq(sizeof names / sizeof names[0], VTHREAD_TERMINATED + 1);
    for (int i = 0; i <= VTHREAD_TERMINATED; i++)
        cr_assert_str_eq(vthread_state_name((vthread_state_t)i), names[i]);
    cr_assert_str_eq(vthread_state_name((vthread_state_t)13), "UNKNOWN");
    cr_assert_str_eq(vthread_state_name((vthread_state_t)-1), "UNKNOWN");
}

Test(identity, state_new_and_terminated)
{
    vthread_t t = NULL;

    cr_assert_eq(vthread_new(&t, NULL, help_nothing, NULL), 0);
    cr_assert_eq(vthread_state(t), VTHREAD_NEW);
    cr_assert_eq(vthread_public_state(t), VTHREAD_PUBLIC_NEW);
    cr_assert_not(vthread_is_alive(t));
    cr_assert_eq(vthread_start(t), 0);
    cr_assert(REACHES(t, VTHREAD_TERMINATED));
    cr_assert_eq(vthread_public_state(t), VTHREAD_PUBLIC_TERMINATED);
    cr_assert_not(vthread_is_alive(t));
    help_join(t);
}

static atomic_bool stop_spinning;

Test(identity, state_started_and_running)
{
    vthread_t spinner;
    vthread_t waiting;

    help_configure(1);
    spinner = help_start(help_spin, &stop_spinning);
    cr_assert(REACHES(spinner, VTHREAD_RUNNING));
    cr_assert_eq(vthread_public_state(spinner), VTHREAD_PUBLIC_RUNNABLE);
    /* Until the monitor finds the spinner out, there is no carrier for another. */
    waiting = help_start(help_nothing, NULL);
    cr_assert_eq(vthread_state(waiting), VTHREAD_STARTED);
    cr_assert_eq(vthread_public_state(waiting), VTHREAD_PUBLIC_RUNNABLE);
    cr_assert(vthread_is_alive(waiting));
    atomic_store(&stop_spinning, true);
    help_join(waiting);
    help_join(spinner);
}

Test(identity, state_parked)
{
    vthread_t t = help_start(help_park_for_ever, NULL);

    cr_assert(REACHES(t, VTHREAD_PARKED));
    cr_assert_eq(vthread_public_state(t), VTHREAD_PUBLIC_WAITING);
    cr_assert(vthread_is_alive(t));
    vthread_interrupt(t);
    help_join(t);
}

static void *sleep_long(void *arg)
{
    (void)arg;
    CHECK(vthread_sleep_ms(60000) == EINTR);
    return NULL;
}

Test(identity, state_timed_parked)
{
    vthread_t t = help_start(sleep_long, NULL);

    cr_assert(REACHES(t, VTHREAD_TIMED_PARKED));
    cr_assert_eq(vthread_public_state(t), VTHREAD_PUBLIC_TIMED_WAITING);
    vthread_interrupt(t);
    help_join(t);
}

static void *park_pinned(void *arg)
{
    vthread_pin("test");
    vthread_park_until(arg != NULL ? vthread_after_ms(60000) : VTHREAD_FOREVER);
    vthread_unpin();
    return NULL;
}

Test(identity, state_pinned_and_timed_pinned)
{
    vthread_t t = help_start(park_pinned, NULL);
    vthread_t timed = help_start(park_pinned, &t);

    cr_assert(REACHES(t, VTHREAD_PINNED));
    cr_assert(REACHES(timed, VTHREAD_TIMED_PINNED));
    cr_assert_eq(vthread_public_state(t), VTHREAD_PUBLIC_WAITING);
    cr_assert_eq(vthread_public_state(timed), VTHREAD_PUBLIC_TIMED_WAITING);
    vthread_unpark(t);
    vthread_unpark(timed);
    help_join(t);
    help_join(timed);
}

static void *unpark_and_look(void *arg)
{
    vthread_t other = arg;

    CHECK(EVENTUALLY_HERE(vthread_state(other) == VTHREAD_PARKED));
    vthread_unpark(other); /* it waits for the only carrier, which is ours */
    CHECK(vthread_state(other) == VTHREAD_UNPARKED);
    CHECK(vthread_public_state(other) == VTHREAD_PUBLIC_RUNNABLE);
    return NULL;
}

static void *park_once(void *arg)
{
    CHECK(vthread_park() == 0);
    return arg;
}

Test(identity, state_unparked)
{
    vthread_t t;

    help_configure(1);
    t = help_start(park_once, NULL);
    help_run(unpark_and_look, t);
    help_join(t);
}

static atomic_bool seen_yielded;

static void *yield_until_seen(void *arg)
{
    while (!atomic_load(&seen_yielded))
        vthread_yield();
    return arg;
}

static void *look_for_yielded(void *arg)
{
    /* With one carrier it is either us or the other that runs. */
    for (int i = 0; i < 1000 && vthread_state((vthread_t)arg) != VTHREAD_YIELDED; i++)
        vthread_yield();
    CHECK(vthread_state((vthread_t)arg) == VTHREAD_YIELDED);
    CHECK(vthread_public_state((vthread_t)arg) == VTHREAD_PUBLIC_RUNNABLE);
    atomic_store(&seen_yielded, true);
    return NULL;
}

Test(identity, state_yielded)
{
    vthread_t t;

    help_configure(1);
    t = help_start(yield_until_seen, NULL);
    help_run(look_for_yielded, t);
    help_join(t);
}

/*
 * The states between are seen from inside, by what the runtime asks for on the way: strict mode
 * needs memory for the frames, a timer needs memory in the heap.
 */
static _Atomic uintptr_t observed;
static atomic_uint seen_states;

static bool look_from_inside(enum fault_site site)
{
    vthread_t t = (vthread_t)atomic_load(&observed);

    if ((site == FAULT_COMMIT || site == FAULT_ALLOC) && t != NULL)
        atomic_fetch_or(&seen_states, 1u << vthread_state(t));
    return false;
}

static void *pass_through(void *arg)
{
    (void)arg;
    atomic_store(&observed, (uintptr_t)vthread_self());
    for (int i = 0; i < 3; i++) {
        char frame[70000]; /* a class of its own each time: large ones are mapped anew */

        HELP_KEEP_WHOLE(frame);
        vthread_yield();
        vthread_park_until(vthread_after_ms(1));
        vthread_unpark(vthread_self());
        vthread_park();
        vthread_park_until(vthread_after_ms(1));
        HELP_KEEP_WHOLE(frame);
    }
    atomic_store(&observed, 0);
    return NULL;
}

static void *unpark_often(void *arg)
{
    while (atomic_load(&observed) == 0)
        vthread_sleep_ns(10000);
    for (int i = 0; i < 100; i++) {
        vthread_unpark((vthread_t)arg);
        vthread_sleep_ns(100000);
    }
    return NULL;
}

static void *park_with_large_frame(void *arg)
{
    char frame[70000];

    HELP_KEEP_WHOLE(frame);
    atomic_store(&observed, (uintptr_t)vthread_self());
    vthread_park();
    atomic_store(&observed, 0);
    HELP_KEEP_WHOLE(frame);
    return arg;
}

Test(identity, states_on_the_way)
{
    vthread_runtime_params_t params = {.parallelism = 1, .strict = true};
    vthread_t t;

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    fault_set_hook(look_from_inside);
    t = help_start(pass_through, NULL);
    help_run(unpark_often, t);
    help_join(t);
    t = help_start(park_with_large_frame, NULL);
    cr_assert(REACHES(t, VTHREAD_PARKED));
    vthread_unpark(t);
    help_join(t);
    fault_set_hook(NULL);
    cr_assert(atomic_load(&seen_states) & 1u << VTHREAD_YIELDING, "%x", atomic_load(&seen_states));
    cr_assert(atomic_load(&seen_states) & 1u << VTHREAD_TIMED_PARKING, "%x", atomic_load(&seen_states));
    cr_assert(atomic_load(&seen_states) & 1u << VTHREAD_PARKING, "%x", atomic_load(&seen_states));
    help_shutdown();
}

/* ---- backtrace ---- */

NOINLINE static void *trace_oneself(void *arg)
{
    void *pcs[32];
    int n = vthread_backtrace(vthread_self(), pcs, 32);

    (void)arg;
    CHECK(n > 0);
    CHECK(_Unwind_FindEnclosingFunction(pcs[0]) == (void *)(uintptr_t)trace_oneself); /* none of the library's */
    CHECK(vthread_backtrace(vthread_self(), pcs, 1) == 1);
    CHECK(vthread_backtrace(vthread_self(), pcs, 0) == 0);
    CHECK(vthread_backtrace(vthread_self(), NULL, 1) == -EINVAL);
    CHECK(vthread_backtrace(vthread_self(), pcs, -1) == -EINVAL);
    return NULL;
}

Test(identity, backtrace_of_oneself)
{
    help_run(trace_oneself, NULL);
}

NOINLINE static int parking_leaf(void)
{
    int error = vthread_park();

    __asm__ volatile("");
    return error;
}

static void *park_in_leaf(void *arg)
{
    parking_leaf();
    return arg;
}

Test(identity, backtrace_of_a_parked_thread)
{
    vthread_t t = help_start(park_in_leaf, NULL);
    void *pcs[32];
    bool found = false;
    int n;

    cr_assert(REACHES(t, VTHREAD_PARKED));
    n = vthread_backtrace(t, pcs, 32);
    if (n == -ENOTSUP)
        cr_skip_test("built without an unwinder for it");
    cr_assert_gt(n, 0);
    for (int i = 0; i < n; i++)
        found = found || _Unwind_FindEnclosingFunction(pcs[i]) == (void *)(uintptr_t)park_in_leaf;
    cr_assert(found);
    cr_assert_eq(vthread_backtrace(t, pcs, -1), -EINVAL);
    vthread_unpark(t);
    help_join(t);
}

Test(identity, backtrace_of_a_running_thread_must_wait)
{
    vthread_t t = help_start(help_spin, &stop_spinning);
    void *pcs[8];

    cr_assert(REACHES(t, VTHREAD_RUNNING));
    cr_assert_eq(vthread_backtrace(t, pcs, 8), -EAGAIN);
    atomic_store(&stop_spinning, true);
    help_join(t);
}
