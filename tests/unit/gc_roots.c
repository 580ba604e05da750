/* SPDX-License-Identifier: MIT */
/*
 * Objects that are reachable from one place only stay while they are, and are collected when they are not.
 */
#include "gc_help.h"

TestSuite(gc_roots, .fini = help_fini);

static atomic_uint arrived;
static atomic_bool go_on;
static atomic_uint broken;

static void reset(unsigned stacks, unsigned parallelism)
{
    vthread_runtime_params_t params = {
        .parallelism = parallelism, .stacks = stacks, .sole_stacks = stacks != 0 ? UINT_MAX : 0};

    cr_assert_eq(vthread_runtime_configure(&params), 0);
}

/* Threads that each hold an object in a frame, however they wait. */
static void frames_hold(const vthread_attr_t *attr, void *(*fn)(void *arg), unsigned n)
{
    vthread_t threads[OBJECTS];

    for (unsigned i = 0; i < n; i++)
        threads[i] = help_start_with(attr, fn, (void *)(uintptr_t)i);
    cr_assert(EVENTUALLY(atomic_load(&arrived) == n));
    help_run(churn, NULL);
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    atomic_store(&go_on, true);
    for (unsigned i = 0; i < n; i++)
        vthread_unpark(threads[i]);
    for (unsigned i = 0; i < n; i++)
        help_join(threads[i]);
    cr_assert_eq(atomic_load(&broken), 0);
}

static void wait_here(void)
{
    atomic_fetch_add(&arrived, 1);
    while (!atomic_load(&go_on))
        vthread_park();
}

__attribute__((noinline)) static void *hold_and_park(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct object *o = object_new(number);

    wait_here();
    if (!object_is_whole(o, number))
        atomic_fetch_add(&broken, 1);
    return NULL;
}

Test(gc_roots, resident_frames)
{
    reset(0, 2);
    frames_hold(NULL, hold_and_park, OBJECTS);
    cr_assert(most_are_gone());
}

Test(gc_roots, frozen_frames)
{
    reset(2, 2);
    frames_hold(NULL, hold_and_park, OBJECTS);
    cr_assert(most_are_gone());
}

Test(gc_roots, frozen_frames_of_strict_mode)
{
    setenv("VTHREAD_STRICT", "1", 1);
    frames_hold(NULL, hold_and_park, OBJECTS);
    cr_assert(most_are_gone());
}

Test(gc_roots, dedicated_stacks)
{
    frames_hold(&(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED, .stack_bytes = 256 * 1024}, hold_and_park, OBJECTS);
    cr_assert(most_are_gone());
}

static void *hold_pinned(void *arg)
{
    void *wrong;

    CHECK(vthread_pin("test") == 0);
    wrong = hold_and_park(arg);
    vthread_unpin();
    return wrong;
}

Test(gc_roots, pinned_frames_alone)
{
    reset(0, 2);
    frames_hold(NULL, hold_pinned, 8);
}

Test(gc_roots, pinned_frames_that_are_displaced)
{
    reset(2, 2);
    frames_hold(NULL, hold_pinned, 8);
}

static void *hold_blocking(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct object *o = object_new(number);

    CHECK(vthread_blocking_begin("test") == 0);
    atomic_fetch_add(&arrived, 1);
    while (!atomic_load(&go_on))
        usleep(1000);
    vthread_blocking_end();
    CHECK(object_is_whole(o, number));
    return NULL;
}

Test(gc_roots, blocking_sections)
{
    reset(0, 2);
    frames_hold(NULL, hold_blocking, 8);
}

/* With nothing but arithmetic between: the compiler has no reason to put the pointers into memory. */
static void *hold_running(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    register struct object *first = object_new(number);
    register struct object *second = object_new(number + 1000);

    atomic_fetch_add(&arrived, 1);
    while (!atomic_load_explicit(&go_on, memory_order_relaxed))
        __asm__ volatile("" : "+r"(first), "+r"(second));
    CHECK(object_is_whole(first, number));
    CHECK(object_is_whole(second, number + 1000));
    return NULL;
}

/* Two carriers are left for the others, who could not change carriers else (VTHREAD_FORCE_MIGRATE). */
Test(gc_roots, registers_of_running_threads)
{
    reset(0, 4);
    frames_hold(NULL, hold_running, 2);
}

Test(gc_roots, registers_of_running_threads_on_shared_stacks)
{
    reset(8, 3);
    frames_hold(NULL, hold_running, 1); /* two might share one, and the second would never run */
}

Test(gc_roots, platform_threads)
{
    frames_hold(&(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM}, hold_and_park, 8);
}

/* ---- continuations ---- */

static vthread_cont_scope_t outer_scope = VTHREAD_CONT_SCOPE_INITIALIZER("outer");
static vthread_cont_scope_t inner_scope = VTHREAD_CONT_SCOPE_INITIALIZER("inner");

static void *run_to_end(void *(*fn)(void *arg), void *arg, vthread_cont_scope_t *scope)
{
    vthread_cont_t *c;
    void *wrong = NULL;

    CHECK(vthread_cont_new(&c, scope, fn, arg) == 0);
    vthread_cont_run(c, &wrong);
    vthread_cont_free(c);
    return wrong;
}

static void *hold_in_inner(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct object *o = object_new(number + 200);
    void *wrong = hold_and_park(arg);

    CHECK(object_is_whole(o, number + 200));
    return wrong;
}

static void *hold_in_outer(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct object *o = object_new(number + 100);
    void *wrong = run_to_end(hold_in_inner, arg, &inner_scope);

    CHECK(object_is_whole(o, number + 100));
    return wrong;
}

/* An object on each of three stacks. */
static void *hold_nested(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct object *o = object_new(number + 300);
    void *wrong = run_to_end(hold_in_outer, arg, &outer_scope);

    CHECK(object_is_whole(o, number + 300));
    return wrong;
}

Test(gc_roots, threads_that_wait_inside_continuations)
{
    reset(0, 2);
    frames_hold(NULL, hold_nested, 16);
}

Test(gc_roots, threads_that_wait_inside_continuations_with_shared_stacks)
{
    reset(2, 2);
    frames_hold(NULL, hold_nested, 16);
}

static void *pinned_nested(void *arg)
{
    void *wrong;

    vthread_pin("test");
    wrong = hold_nested(arg);
    vthread_unpin();
    return wrong;
}

Test(gc_roots, threads_that_are_pinned_inside_continuations)
{
    reset(0, 2);
    frames_hold(NULL, pinned_nested, 4);
}

Test(gc_roots, platform_threads_inside_continuations)
{
    frames_hold(&(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM}, hold_nested, 4);
}

static void *yield_with_object(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct object *o = object_new(number);

    while (!atomic_load(&go_on))
        vthread_cont_yield(&outer_scope, NULL);
    CHECK(object_is_whole(o, number));
    return NULL;
}

static void *run_yielder(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct object *o = object_new(number + 100);
    void *wrong = run_to_end(yield_with_object, arg, &inner_scope);

    CHECK(object_is_whole(o, number + 100));
    return wrong;
}

static vthread_cont_t *suspended[OBJECTS];

static void *suspend_all(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK(vthread_cont_new(&suspended[i], &outer_scope, i % 2 ? yield_with_object : run_yielder,
                               (void *)(uintptr_t)i) == 0);
        CHECK(vthread_cont_run(suspended[i], NULL) == 0);
    }
    return arg;
}

static void *finish_all(void *arg)
{
    void *wrong;

    atomic_store(&go_on, true);
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK(vthread_cont_run(suspended[i], &wrong) == ENODATA);
        if (wrong != NULL)
            return wrong;
        CHECK(vthread_cont_free(suspended[i]) == 0);
    }
    return arg;
}

Test(gc_roots, suspended_continuations)
{
    help_run(suspend_all, NULL);
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(finish_all, NULL);
    cr_assert(most_are_gone());
}

/* Those that shall not go on are freed, and hold nothing any more. */
static void *drop_all(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(vthread_cont_free(suspended[i]) == 0);
    return arg;
}

Test(gc_roots, dropped_continuations)
{
    help_run(suspend_all, NULL);
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(drop_all, NULL);
    cr_assert(most_are_gone());
}

/* ---- what the library holds ---- */

static void *check_argument(void *arg)
{
    struct object *o = arg;

    CHECK(object_is_whole(o, o->number));
    return NULL;
}

static vthread_t unstarted[OBJECTS];

static void *make_unstarted(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(vthread_new(&unstarted[i], NULL, check_argument, object_new(i)) == 0);
    return arg;
}

Test(gc_roots, arguments_of_threads_to_come)
{
    help_run(make_unstarted, NULL);
    wipe();
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        cr_assert_eq(vthread_start(unstarted[i]), 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        help_join(unstarted[i]);
    cr_assert(most_are_gone());
}

struct pair {
    unsigned number;
    struct object *o;
};

static void *hold_copy(void *arg)
{
    struct pair *pair = arg;

    wait_here();
    if (!object_is_whole(pair->o, pair->number))
        atomic_fetch_add(&broken, 1);
    return NULL;
}

static vthread_t threads_here[OBJECTS];

static void *make_copies(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        struct pair pair = {i, object_new(i)};

        CHECK(vthread_create_copy(&threads_here[i], NULL, hold_copy, &pair, sizeof pair) == 0);
    }
    return arg;
}

static void end_threads_here(void)
{
    atomic_store(&go_on, true);
    for (unsigned i = 0; i < OBJECTS; i++)
        vthread_unpark(threads_here[i]);
    for (unsigned i = 0; i < OBJECTS; i++)
        help_join(threads_here[i]);
    cr_assert_eq(atomic_load(&broken), 0);
}

Test(gc_roots, copies_of_arguments)
{
    help_run(make_copies, NULL);
    cr_assert(EVENTUALLY(atomic_load(&arrived) == OBJECTS));
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    end_threads_here();
    cr_assert(most_are_gone());
}

/* The argument is the thread's business once it runs: one that forgets it does not keep it. */
static void *forget_argument(void *arg)
{
    arg = NULL;
    __asm__ volatile("" : : "r"(&arg) : "memory");
    wipe();
    wait_here();
    return NULL;
}

static void *make_forgetful(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(vthread_create(&threads_here[i], NULL, forget_argument, object_new(i)) == 0);
    return arg;
}

Test(gc_roots, arguments_that_are_forgotten)
{
    reset(4, 2);
    help_run(make_forgetful, NULL);
    cr_assert(EVENTUALLY(atomic_load(&arrived) == OBJECTS));
    cr_assert(most_are_gone());
    end_threads_here();
}

static void *result(void *arg)
{
    return object_new((unsigned)(uintptr_t)arg);
}

static void *make_results(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(vthread_create(&threads_here[i], NULL, result, (void *)(uintptr_t)i) == 0);
    return arg;
}

static void *join_results(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        void *value;

        CHECK(vthread_join(threads_here[i], &value) == 0);
        CHECK(object_is_whole(value, i));
    }
    return arg;
}

static bool all_have_ended(void)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        if (vthread_state(threads_here[i]) != VTHREAD_TERMINATED)
            return false;
    return true;
}

Test(gc_roots, results_that_nobody_has_joined)
{
    help_run(make_results, NULL);
    cr_assert(EVENTUALLY(all_have_ended()));
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(join_results, NULL);
    cr_assert(most_are_gone());
}

/* The main thread waits from before the first allocation on; it must be known by the time it is given the result. */
static void *late_result(void *arg)
{
    vthread_sleep_ms(20);
    return result(arg);
}

Test(gc_roots, results_given_to_platform_threads)
{
    vthread_t t = help_start(late_result, NULL);
    void *value = NULL;

    cr_assert_eq(vthread_join(t, &value), 0);
    help_run(churn, NULL);
    cr_assert(object_is_whole(value, 0));
    cr_assert_eq(atomic_load(&finalized), 0);
}

static vthread_key_t key;

__attribute__((noinline)) static void set_key(unsigned number)
{
    vthread_setspecific(key, object_new(number));
}

static void *hold_by_key(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;

    set_key(number);
    wipe();
    wait_here();
    CHECK(object_is_whole(vthread_getspecific(key), number));
    return NULL;
}

Test(gc_roots, values_of_keys)
{
    reset(4, 2);
    cr_assert_eq(vthread_key_create(&key, NULL), 0);
    frames_hold(NULL, hold_by_key, OBJECTS);
    cr_assert(most_are_gone());
}

static vthread_scoped_value_t scoped = VTHREAD_SCOPED_VALUE_INITIALIZER("scoped");

static void *hold_bound(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;

    wipe();
    wait_here();
    CHECK(object_is_whole(vthread_scoped_value_get(&scoped), number));
    return NULL;
}

static void *bind_object(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    void *wrong = NULL;

    CHECK(vthread_scoped_value_run(&scoped, object_new(number), hold_bound, arg, &wrong) == 0);
    return wrong;
}

Test(gc_roots, scoped_values)
{
    reset(4, 2);
    frames_hold(NULL, bind_object, OBJECTS);
    cr_assert(most_are_gone());
}

static void *inherit(void *arg)
{
    bool whole = object_is_whole(vthread_scoped_value_get(&scoped), 7);

    atomic_fetch_add(&arrived, 1);
    while (!atomic_load(&go_on))
        vthread_sleep_ms(1);
    return whole && object_is_whole(vthread_scoped_value_get(&scoped), 7) && object_is_whole(arg, 8) ? arg : NULL;
}

static void *fork_it(void *arg)
{
    vthread_scope_t *s;
    vthread_subtask_t *sub;
    void *value = NULL;

    CHECK(vthread_scope_open(&s, NULL) == 0);
    CHECK(vthread_scope_fork(s, inherit, object_new(8), &sub) == 0);
    CHECK(EVENTUALLY_HERE(atomic_load(&arrived) == 1));
    wipe();
    churn(NULL);
    CHECK(atomic_load(&finalized) == 0);
    atomic_store(&go_on, true);
    CHECK(vthread_scope_join(s) == 0);
    churn(NULL);
    CHECK(vthread_subtask_result(sub, &value) == 0);
    CHECK(object_is_whole(value, 8));
    CHECK(vthread_scope_close(s) == 0);
    return arg;
}

static void *bind_and_fork(void *arg)
{
    void *wrong = NULL;

    CHECK(vthread_scoped_value_run(&scoped, object_new(7), fork_it, arg, &wrong) == 0);
    return wrong;
}

Test(gc_roots, what_subtasks_have)
{
    help_run(bind_and_fork, NULL);
}

/* ---- queues ---- */

static vthread_queue_t *queue;

struct large {
    long padding[40];
    struct object *o;
};

static void *fill_queue(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(vthread_queue_put_ptr(queue, object_new(i)) == 0);
    return arg;
}

static void *empty_queue(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        void *o;

        CHECK(vthread_queue_take_ptr(queue, &o) == 0);
        CHECK(object_is_whole(o, ((struct object *)o)->number));
    }
    return arg;
}

Test(gc_roots, elements_of_queues)
{
    cr_assert_eq(vthread_queue_new(&queue, sizeof(void *), VTHREAD_UNBOUNDED), 0); /* before there is a collector */
    help_run(fill_queue, NULL);
    wipe();
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(empty_queue, NULL);
    cr_assert_eq(vthread_queue_free(queue), 0);
    cr_assert(most_are_gone());
}

static void *put_one(void *arg)
{
    struct object *o = object_new((unsigned)(uintptr_t)arg);

    atomic_fetch_add(&arrived, 1);
    CHECK(vthread_queue_put_ptr(queue, o) == 0);
    return NULL;
}

/* Their nodes have the elements, in the threads' rooms. */
Test(gc_roots, elements_of_putters_that_wait)
{
    vthread_t threads[OBJECTS];

    reset(4, 2);
    cr_assert_eq(vthread_queue_new(&queue, sizeof(void *), 0), 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        threads[i] = help_start(put_one, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < OBJECTS; i++)
        cr_assert(REACHES(threads[i], VTHREAD_PARKED));
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(empty_queue, NULL);
    for (unsigned i = 0; i < OBJECTS; i++)
        help_join(threads[i]);
    cr_assert(most_are_gone());
}

static void *take_large(void *arg)
{
    struct large large;

    (void)arg;
    CHECK(vthread_queue_take(queue, &large) == 0);
    churn(NULL);
    CHECK(object_is_whole(large.o, large.o->number));
    return NULL;
}

static void *put_large(void *arg)
{
    for (unsigned i = 0; i < 8; i++) {
        struct large large = {.o = object_new(i)};

        CHECK(vthread_queue_put(queue, &large) == 0);
    }
    return arg;
}

/* Handed over by way of nodes on the heap, to threads that have not run since. */
Test(gc_roots, elements_in_hand_over)
{
    vthread_t threads[8];

    reset(4, 1);
    cr_assert_eq(vthread_queue_new(&queue, sizeof(struct large), 0), 0);
    for (unsigned i = 0; i < 8; i++)
        threads[i] = help_start(take_large, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < 8; i++)
        cr_assert(REACHES(threads[i], VTHREAD_PARKED));
    help_run(put_large, NULL);
    for (unsigned i = 0; i < 8; i++)
        help_join(threads[i]);
}

static void *select_put(void *arg)
{
    struct object *o = object_new((unsigned)(uintptr_t)arg);
    vthread_queue_case_t c = {.queue = queue, .op = VTHREAD_QUEUE_PUT, .elem = &o};

    CHECK(vthread_queue_select(&c, 1) == 0);
    return NULL;
}

Test(gc_roots, elements_of_selects)
{
    vthread_t threads[OBJECTS];

    reset(4, 2);
    cr_assert_eq(vthread_queue_new(&queue, sizeof(void *), 0), 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        threads[i] = help_start(select_put, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < OBJECTS; i++)
        cr_assert(REACHES(threads[i], VTHREAD_PARKED));
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(empty_queue, NULL);
    for (unsigned i = 0; i < OBJECTS; i++)
        help_join(threads[i]);
}

/* ---- executors and pools ---- */

static vthread_executor_t *executor;
static vthread_future_t *futures[OBJECTS];

static void *submit_results(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(vthread_executor_submit(executor, result, (void *)(uintptr_t)i, &futures[i]) == 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(EVENTUALLY_HERE(vthread_future_state(futures[i]) == VTHREAD_FUTURE_SUCCEEDED));
    return arg;
}

static void *get_results(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        void *value;

        CHECK(vthread_future_get(futures[i], &value) == 0);
        CHECK(object_is_whole(value, i));
        vthread_future_free(futures[i]);
    }
    return arg;
}

Test(gc_roots, values_of_futures)
{
    cr_assert_eq(vthread_executor_new_per_task(&executor, NULL), 0);
    help_run(submit_results, NULL);
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(get_results, NULL);
    vthread_executor_free(executor);
    cr_assert(most_are_gone());
}

static void *occupy(void *arg)
{
    while (!atomic_load(&go_on))
        usleep(1000);
    return arg;
}

static void *task_of_object(void *arg)
{
    return object_is_whole(arg, ((struct object *)arg)->number) ? NULL : arg;
}

static void *task_of_copy(void *arg)
{
    struct pair *pair = arg;

    return object_is_whole(pair->o, pair->number) ? NULL : pair->o;
}

static void *submit_tasks(void *arg)
{
    CHECK(vthread_executor_submit(executor, occupy, NULL, NULL) == 0);
    for (unsigned i = 0; i < OBJECTS; i++) {
        struct pair pair = {i, object_new(i)};

        if (i % 2)
            CHECK(vthread_executor_submit(executor, task_of_object, pair.o, &futures[i]) == 0);
        else
            CHECK(vthread_executor_submit_copy(executor, task_of_copy, &pair, sizeof pair, &futures[i]) == 0);
    }
    return arg;
}

Test(gc_roots, arguments_of_tasks_that_are_queued)
{
    cr_assert_eq(vthread_executor_new_fixed(&executor, &(vthread_executor_params_t){.threads = 1}), 0);
    help_run(submit_tasks, NULL);
    wipe();
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    atomic_store(&go_on, true);
    for (unsigned i = 0; i < OBJECTS; i++) {
        void *wrong = executor;

        cr_assert_eq(vthread_future_get(futures[i], &wrong), 0);
        cr_assert_null(wrong);
        vthread_future_free(futures[i]);
    }
    vthread_executor_free(executor);
    cr_assert(most_are_gone());
}

static vthread_pool_t *objects;
static atomic_uint made;

static int make_pooled(void *user, void **ret_obj)
{
    (void)user;
    *ret_obj = object_new(atomic_fetch_add(&made, 1));
    return *ret_obj != NULL ? 0 : ENOMEM;
}

static void *use_pool(void *arg)
{
    void *obj[8];

    for (int i = 0; i < 8; i++)
        CHECK(vthread_pool_acquire(objects, &obj[i]) == 0);
    for (int i = 0; i < 8; i++) {
        CHECK(object_is_whole(obj[i], ((struct object *)obj[i])->number));
        CHECK(vthread_pool_release(objects, obj[i]) == 0);
    }
    return arg;
}

Test(gc_roots, objects_of_pools)
{
    cr_assert_eq(vthread_pool_new(&objects, &(vthread_pool_params_t){.max_objects = 8, .create = make_pooled}), 0);
    help_run(use_pool, NULL);
    wipe();
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(use_pool, NULL);
    cr_assert_eq(atomic_load(&made), 8);
    vthread_pool_free(objects);
}
