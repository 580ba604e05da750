/* SPDX-License-Identifier: MIT */
/* Keys and scoped values. */
#include "vthread_help.h"

#include <vthread/continuation.h>
#include <vthread/local.h>

static atomic_int destroyed;
static atomic_int destroyed_sum;
static vthread_key_t key, other;

static void fini(void)
{
    help_fini();
}

TestSuite(local, .fini = fini, .timeout = 60);

static void count_destroyed(void *value)
{
    atomic_fetch_add(&destroyed, 1);
    atomic_fetch_add(&destroyed_sum, (int)(intptr_t)value);
}

static const vthread_attr_t kinds[] = {
    {.name = "virtual"},
    {.name = "platform", .kind = VTHREAD_KIND_PLATFORM},
    {.name = "dedicated", .stack = VTHREAD_STACK_DEDICATED},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- keys ---- */

Test(local, misuse_of_keys)
{
    cr_assert_eq(vthread_key_create(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_key_create_inheritable(NULL, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_key_delete(0), EINVAL);
    cr_assert_eq(vthread_key_delete((vthread_key_t)1 << 32 | 77), EINVAL);
    cr_assert_eq(vthread_key_delete(UINT64_MAX), EINVAL);
    cr_assert_eq(vthread_setspecific(0, &key), EINVAL);
    cr_assert_eq(vthread_setspecific(UINT64_MAX, &key), EINVAL);
    cr_assert_null(vthread_getspecific(0));
    cr_assert_null(vthread_getspecific(UINT64_MAX));
}

static void *set_and_get(void *arg)
{
    CHECK(vthread_getspecific(key) == NULL);
    CHECK(vthread_setspecific(key, NULL) == 0);
    CHECK(vthread_setspecific(key, arg) == 0);
    CHECK(vthread_getspecific(key) == arg);
    CHECK(vthread_getspecific(other) == NULL);
    CHECK(vthread_setspecific(other, NULL) == 0);
    for (int i = 0; i < 10; i++)
        vthread_yield();
    CHECK(vthread_sleep_ns(100000) == 0);
    CHECK(vthread_getspecific(key) == arg);
    CHECK(vthread_setspecific(key, NULL) == 0);
    CHECK(vthread_getspecific(key) == NULL);
    CHECK(vthread_setspecific(key, arg) == 0);
    return NULL;
}

Test(local, each_thread_has_its_own_value)
{
    enum { THREADS = 200 };
    vthread_t threads[THREADS];

    cr_assert_eq(vthread_key_create(&key, count_destroyed), 0);
    cr_assert_eq(vthread_key_create(&other, count_destroyed), 0);
    cr_assert_eq(vthread_setspecific(key, &key), 0);
    for (int i = 0; i < THREADS; i++)
        threads[i] = help_start_with(&kinds[i % KINDS], set_and_get, (void *)(intptr_t)(i + 1));
    for (int i = 0; i < THREADS; i++)
        help_join(threads[i]);
    cr_assert_eq(vthread_getspecific(key), &key);
    cr_assert_eq(atomic_load(&destroyed), THREADS);
    cr_assert_eq(atomic_load(&destroyed_sum), THREADS * (THREADS + 1) / 2);
    cr_assert_eq(vthread_setspecific(key, NULL), 0);
    cr_assert_eq(vthread_key_delete(key), 0);
    cr_assert_eq(vthread_key_delete(key), EINVAL);
    cr_assert_eq(vthread_key_delete(other), 0);
}

static void *use_many_keys(void *arg)
{
    vthread_key_t *list = arg;

    for (intptr_t round = 0; round < 2; round++) {
        for (intptr_t i = 0; i < VTHREAD_KEYS_MAX; i += 3)
            CHECK(vthread_setspecific(list[i], (void *)(i + 1 + round)) == 0);
        for (intptr_t i = 0; i < VTHREAD_KEYS_MAX; i++)
            CHECK(vthread_getspecific(list[i]) == (i % 3 == 0 ? (void *)(i + 1 + round) : NULL));
    }
    return NULL;
}

Test(local, many_keys)
{
    static vthread_key_t list[VTHREAD_KEYS_MAX];
    vthread_key_t more = 5;

    for (int i = 0; i < VTHREAD_KEYS_MAX; i++)
        cr_assert_eq(vthread_key_create(&list[i], count_destroyed), 0);
    cr_assert_eq(vthread_key_create(&more, NULL), EAGAIN);
    cr_assert_eq(more, 5, "written only on success");
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], use_many_keys, list);
    cr_assert_eq(atomic_load(&destroyed), KINDS * ((VTHREAD_KEYS_MAX + 2) / 3));
    for (int i = 0; i < VTHREAD_KEYS_MAX; i++)
        cr_assert_eq(vthread_key_delete(list[i]), 0);
    cr_assert_eq(vthread_key_create(&more, NULL), 0);
    cr_assert_eq(vthread_key_delete(more), 0);
}

static void *reuse_keys(void *arg)
{
    vthread_key_t before;

    CHECK(vthread_key_create(&before, count_destroyed) == 0);
    CHECK(vthread_setspecific(before, arg) == 0);
    for (int i = 0; i < 100; i++) {
        vthread_key_t now;

        CHECK(vthread_key_delete(before) == 0);
        CHECK(vthread_getspecific(before) == NULL);
        CHECK(vthread_setspecific(before, arg) == EINVAL);
        CHECK(vthread_key_create(&now, count_destroyed) == 0);
        CHECK(now != before);
        CHECK(vthread_getspecific(now) == NULL);
        CHECK(vthread_setspecific(now, NULL) == 0);
        CHECK(vthread_getspecific(now) == NULL);
        CHECK(vthread_setspecific(now, arg) == 0);
        CHECK(vthread_getspecific(now) == arg);
        CHECK(vthread_getspecific(before) == NULL);
        before = now;
    }
    key = before;
    return NULL;
}

Test(local, a_deleted_key_is_nobodys)
{
    help_run(reuse_keys, &key);
    cr_assert_eq(atomic_load(&destroyed), 1, "of the last one");
    cr_assert_eq(vthread_key_delete(key), 0);
}

/* ---- destructors ---- */

static void *set_and_exit(void *arg)
{
    if (vthread_setspecific(key, arg) == 0)
        vthread_exit(NULL);
    return arg;
}

static void *set_and_fail(void *arg)
{
    CHECK(vthread_setspecific(key, arg) == 0);
    return vthread_fail(7);
}

static void no_failure(const vthread_failure_t *failure, void *user)
{
    (void)failure, (void)user;
}

Test(local, destructors_run_however_a_thread_ends)
{
    vthread_set_failure_handler(no_failure, NULL);
    cr_assert_eq(vthread_key_create(&key, count_destroyed), 0);
    for (int i = 0; i < KINDS; i++) {
        help_run_with(&kinds[i], set_and_exit, (void *)1);
        help_run_with(&kinds[i], set_and_fail, (void *)1);
    }
    cr_assert_eq(atomic_load(&destroyed), 2 * KINDS);
}

static void destroy_slowly(void *value)
{
    vthread_t self = vthread_self();

    if (vthread_getspecific(key) == NULL && vthread_sleep_ns(200000) == 0 && vthread_self() == self)
        vthread_yield();
    if (vthread_park_until(vthread_after_ns(100000)) == ETIMEDOUT)
        count_destroyed(value);
}

static void *set_value(void *arg)
{
    CHECK(vthread_setspecific(key, arg) == 0);
    return NULL;
}

Test(local, destructors_may_block)
{
    vthread_t threads[60];

    cr_assert_eq(vthread_key_create(&key, destroy_slowly), 0);
    for (int i = 0; i < 60; i++)
        threads[i] = help_start_with(&kinds[i % KINDS], set_value, (void *)1);
    for (int i = 0; i < 60; i++)
        help_join(threads[i]); /* only then */
    cr_assert_eq(atomic_load(&destroyed), 60);
}

static void set_again(void *value)
{
    atomic_fetch_add(&destroyed, 1);
    vthread_setspecific(key, value);
}

static void set_others(void *value)
{
    vthread_key_t more[20];

    if (value == (void *)1)
        for (int i = 0; i < 20; i++)
            if (vthread_key_create(&more[i], count_destroyed) == 0)
                vthread_setspecific(more[i], (void *)1);
}

Test(local, destructors_that_set_values)
{
    for (int i = 0; i < KINDS; i++) {
        atomic_store(&destroyed, 0);
        cr_assert_eq(vthread_key_create(&key, set_again), 0);
        help_run_with(&kinds[i], set_value, (void *)1);
        cr_assert_eq(atomic_load(&destroyed), VTHREAD_DESTRUCTOR_ITERATIONS);
        cr_assert_eq(vthread_key_delete(key), 0);

        atomic_store(&destroyed, 0);
        cr_assert_eq(vthread_key_create(&key, set_others), 0);
        help_run_with(&kinds[i], set_value, (void *)1);
        cr_assert_eq(atomic_load(&destroyed), 20);
        cr_assert_eq(vthread_key_delete(key), 0);
    }
}

static void exit_again(void *value)
{
    atomic_fetch_add(&destroyed, 1);
    vthread_exit(value);
}

static void *set_two(void *arg)
{
    CHECK(vthread_setspecific(key, arg) == 0);
    CHECK(vthread_setspecific(other, arg) == 0);
    return NULL;
}

Test(local, a_destructor_that_exits_is_over)
{
    cr_assert_eq(vthread_key_create(&key, exit_again), 0);
    cr_assert_eq(vthread_key_create(&other, exit_again), 0);
    for (int i = 0; i < KINDS; i++) {
        vthread_t t;
        void *value;

        atomic_store(&destroyed, 0);
        t = help_start_with(&kinds[i], set_two, (void *)7);
        cr_assert_eq(vthread_join(t, &value), 0);
        cr_assert_eq(value, (void *)7);
        cr_assert_eq(atomic_load(&destroyed), 2);
    }
}

static void *foreign(void *arg)
{
    vthread_setspecific(key, arg);
    return NULL;
}

Test(local, foreign_threads_have_destructors_too)
{
    pthread_t os;

    cr_assert_eq(vthread_key_create(&key, destroy_slowly), 0);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(pthread_create(&os, NULL, foreign, (void *)1), 0);
        pthread_join(os, NULL);
        cr_assert_eq(atomic_load(&destroyed), i + 1);
    }
}

static pthread_key_t os_key;

static void os_destructor(void *value)
{
    vthread_setspecific(key, value);
}

static void *foreign_late(void *arg)
{
    pthread_setspecific(os_key, arg);
    return NULL;
}

static void *late(void *arg)
{
    pthread_setspecific(os_key, arg);
    return (void *)-1;
}

Test(local, values_set_by_destructors_of_the_os_thread)
{
    pthread_t os;
    vthread_t t;
    void *value;

    cr_assert_eq(vthread_key_create(&key, count_destroyed), 0);
    cr_assert_eq(pthread_key_create(&os_key, os_destructor), 0);
    cr_assert_eq(pthread_create(&os, NULL, foreign_late, (void *)1), 0);
    pthread_join(os, NULL);
    cr_assert_eq(atomic_load(&destroyed), 1);
    t = help_start_with(&kinds[1], late, (void *)1);
    cr_assert_eq(vthread_join(t, &value), 0);
    cr_assert_eq(value, (void *)-1);
    cr_assert(EVENTUALLY(atomic_load(&destroyed) == 2));
    pthread_key_delete(os_key);
}

/* ---- shutdowns ---- */

Test(local, the_callers_values_outlive_a_shutdown)
{
    cr_assert_eq(vthread_key_create(&key, count_destroyed), 0);
    cr_assert_eq(vthread_setspecific(key, &key), 0);
    help_shutdown();
    cr_assert_eq(vthread_getspecific(key), &key);
    cr_assert_eq(vthread_key_create(&other, NULL), 0);
    cr_assert_eq(vthread_setspecific(key, &other), 0);
    help_run(set_and_get, (void *)1);
    cr_assert_eq(vthread_getspecific(key), &other);
    cr_assert_eq(atomic_load(&destroyed), 1);
}

/* ---- inheritance ---- */

static atomic_int copied;

static void *copy_value(void *value)
{
    atomic_fetch_add(&copied, 1);
    vthread_sleep_ns(1000);
    return value == (void *)99 ? NULL : (void *)((intptr_t)value + 1);
}

static void *value_is(void *arg)
{
    CHECK(vthread_getspecific(key) == arg);
    return NULL;
}

static void *create_children(void *arg)
{
    vthread_t t;
    int n = atomic_load(&copied);
    void *wrong;

    CHECK(vthread_setspecific(key, arg) == 0);
    for (int i = 0; i < KINDS; i++) {
        vthread_attr_t attr = kinds[i];

        CHECK(vthread_create(&t, &attr, value_is, (void *)((intptr_t)arg + 1)) == 0);
        CHECK(vthread_join(t, &wrong) == 0 && wrong == NULL);
        CHECK(vthread_new(&t, &attr, value_is, (void *)((intptr_t)arg + 1)) == 0);
        CHECK(vthread_setspecific(key, (void *)50) == 0);
        CHECK(vthread_start(t) == 0);
        CHECK(vthread_join(t, &wrong) == 0 && wrong == NULL);
        CHECK(vthread_setspecific(key, arg) == 0);
        CHECK(atomic_load(&copied) == (n += 2));
        attr.no_inherit = true;
        CHECK(vthread_create(&t, &attr, value_is, NULL) == 0);
        CHECK(vthread_join(t, &wrong) == 0 && wrong == NULL);
        CHECK(atomic_load(&copied) == n);
    }
    CHECK(vthread_create_copy(&t, NULL, help_nothing, "x", 2) == 0);
    CHECK(vthread_join(t, NULL) == 0);
    CHECK(atomic_load(&copied) == n + 1);
    CHECK(vthread_setspecific(key, (void *)99) == 0);
    CHECK(vthread_create(&t, NULL, value_is, NULL) == 0);
    CHECK(vthread_join(t, &wrong) == 0 && wrong == NULL);
    CHECK(vthread_setspecific(key, NULL) == 0);
    return NULL;
}

Test(local, children_inherit)
{
    cr_assert_eq(vthread_key_create_inheritable(&key, copy_value, count_destroyed), 0);
    cr_assert_eq(vthread_key_create(&other, NULL), 0);
    cr_assert_eq(vthread_setspecific(other, &other), 0);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], create_children, (void *)10);
    cr_assert_null(create_children((void *)10));
    cr_assert_eq(atomic_load(&destroyed), (KINDS + 1) * (2 * KINDS + 1));
}

Test(local, children_inherit_the_very_same)
{
    cr_assert_eq(vthread_key_create_inheritable(&key, NULL, NULL), 0);
    cr_assert_eq(vthread_setspecific(key, &key), 0);
    help_run(value_is, &key);
}

Test(local, inherited_by_threads_that_come_to_nothing)
{
    vthread_attr_t wrong = {.reserved = {1}};
    vthread_t t;

    cr_assert_eq(vthread_key_create_inheritable(&key, copy_value, count_destroyed), 0);
    cr_assert_eq(vthread_setspecific(key, (void *)1), 0);
    cr_assert_eq(vthread_create(&t, &wrong, help_nothing, NULL), EINVAL);
    cr_assert_eq(vthread_create(&t, NULL, NULL, NULL), EINVAL);
    cr_assert_eq(atomic_load(&destroyed), 2);
    cr_assert_eq(vthread_new(&t, NULL, help_nothing, NULL), 0);
    cr_assert_eq(vthread_detach(t), 0);
    cr_assert_eq(atomic_load(&destroyed), 3);
    cr_assert_eq(vthread_new(&t, NULL, help_nothing, NULL), 0);
    help_shutdown();
    cr_assert_eq(atomic_load(&destroyed), 4);
    cr_assert_eq(atomic_load(&copied), 4);
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
}

/* ---- scoped values ---- */

static vthread_scoped_value_t one = VTHREAD_SCOPED_VALUE_INITIALIZER("one");
static vthread_scoped_value_t two = VTHREAD_SCOPED_VALUE_INITIALIZER("two");

static void *get_one(void *arg)
{
    (void)arg;
    return vthread_scoped_value_get(&one);
}

static void *bind_again(void *arg)
{
    void *value = NULL;
    int local = 3;

    CHECK(vthread_scoped_value_get(&one) == arg);
    CHECK(vthread_scoped_value_is_bound(&one));
    CHECK(!vthread_scoped_value_is_bound(&two));
    CHECK(vthread_scoped_value_run(&one, &local, get_one, NULL, &value) == 0);
    CHECK(value == &local);
    CHECK(vthread_scoped_value_run(&two, &local, get_one, NULL, &value) == 0);
    CHECK(value == arg);
    CHECK(vthread_scoped_value_run(&one, NULL, get_one, NULL, &value) == 0);
    CHECK(value == NULL);
    CHECK(vthread_sleep_ns(10000) == 0);
    CHECK(vthread_scoped_value_get(&one) == arg);
    return NULL;
}

static void *is_bound_to_null(void *arg)
{
    CHECK(vthread_scoped_value_is_bound(&one) == (arg != NULL));
    CHECK(vthread_scoped_value_get(&one) == NULL);
    return NULL;
}

static void *bind(void *arg)
{
    void *wrong = NULL;

    CHECK(vthread_scoped_value_get(&one) == NULL);
    CHECK(!vthread_scoped_value_is_bound(&one));
    CHECK(vthread_scoped_value_run(&one, arg, bind_again, arg, &wrong) == 0);
    CHECK(wrong == NULL);
    CHECK(vthread_scoped_value_run(&one, &wrong, bind_again, &wrong, &wrong) == 0);
    CHECK(wrong == NULL);
    CHECK(vthread_scoped_value_run(&one, NULL, is_bound_to_null, arg, &wrong) == 0);
    CHECK(wrong == NULL);
    CHECK(!vthread_scoped_value_is_bound(&one));
    return is_bound_to_null(NULL);
}

Test(local, bound_while_a_function_runs)
{
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], bind, &key);
    cr_assert_null(bind(&key));
}

Test(local, misuse_of_scoped_values)
{
    cr_assert_eq(vthread_scoped_value_run(NULL, NULL, get_one, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scoped_value_run(&one, NULL, NULL, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scoped_value_run_copy(NULL, "x", 1, get_one, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scoped_value_run_copy(&one, "x", 1, NULL, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scoped_value_run_copy(&one, NULL, 1, get_one, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_scoped_value_run_copy(&one, "x", SIZE_MAX, get_one, NULL, NULL), ENOMEM);
    cr_assert_null(vthread_scoped_value_get(NULL));
    cr_assert(!vthread_scoped_value_is_bound(NULL));
}

static void *read_copy(void *arg)
{
    const char *text = vthread_scoped_value_get(&one);

    CHECK((uintptr_t)text % _Alignof(max_align_t) == 0);
    strcpy(arg, "changed");
    CHECK(strcmp(text, "the original") == 0);
    return NULL;
}

Test(local, bound_to_a_copy)
{
    char text[] = "the original";
    void *wrong = text;

    cr_assert_eq(vthread_scoped_value_run_copy(&one, text, sizeof text, read_copy, text, &wrong), 0);
    cr_assert_null(wrong, "%s", (const char *)wrong);
    cr_assert_eq(vthread_scoped_value_run_copy(&one, NULL, 0, help_nothing, NULL, NULL), 0);
}

static void *fail(void *arg)
{
    return vthread_fail((int)(intptr_t)arg);
}

static void *run_what_fails(void *arg)
{
    void *value = &value;

    CHECK(vthread_scoped_value_run(&one, arg, fail, (void *)7, &value) == 7);
    CHECK(value == &value);
    CHECK(vthread_scoped_value_run_copy(&one, "x", 2, fail, (void *)8, &value) == 8);
    CHECK(value == &value);
    return NULL;
}

static atomic_int failures;

static void count_failure(const vthread_failure_t *failure, void *user)
{
    (void)user;
    atomic_fetch_add(&failures, failure->error);
}

Test(local, what_fails_is_returned)
{
    vthread_set_failure_handler(count_failure, NULL);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], run_what_fails, NULL);
    cr_assert_eq(atomic_load(&failures), 0);
}

static void run_in_destructor(void *value)
{
    if (vthread_scoped_value_run(&one, value, fail, (void *)5, NULL) == 5)
        count_destroyed(value);
}

Test(local, a_destructor_does_not_take_the_threads_failure)
{
    vthread_set_failure_handler(count_failure, NULL);
    cr_assert_eq(vthread_key_create(&key, run_in_destructor), 0);
    help_run(set_and_fail, (void *)1);
    cr_assert_eq(atomic_load(&destroyed), 1);
    cr_assert_eq(atomic_load(&failures), 7);
}

static void *exit_inside(void *arg)
{
    vthread_exit(vthread_scoped_value_get(&one) != NULL ? arg : NULL);
}

static void *run_what_exits(void *arg)
{
    vthread_scoped_value_run_copy(&one, "x", 2, exit_inside, arg, NULL);
    return NULL;
}

Test(local, a_binding_ends_with_its_thread)
{
    for (int i = 0; i < KINDS; i++) {
        vthread_t t = help_start_with(&kinds[i], run_what_exits, &key);
        void *value;

        cr_assert_eq(vthread_join(t, &value), 0);
        cr_assert_eq(value, &key);
    }
    help_shutdown(); /* the leak checker looks */
}

static void *is_unbound(void *arg)
{
    CHECK(!vthread_scoped_value_is_bound(&one));
    return arg;
}

static void *create_unbound(void *arg)
{
    vthread_t t;
    void *wrong;

    CHECK(vthread_create(&t, NULL, is_unbound, NULL) == 0);
    CHECK(vthread_join(t, &wrong) == 0);
    CHECK(wrong == NULL);
    return arg;
}

Test(local, created_threads_inherit_no_bindings)
{
    void *wrong = &wrong;

    cr_assert_eq(vthread_scoped_value_run(&one, &key, create_unbound, NULL, &wrong), 0);
    cr_assert_null(wrong);
}

/* ---- in continuations ---- */

static vthread_cont_scope_t gen = VTHREAD_CONT_SCOPE_INITIALIZER("gen");

static void *yield_bound(void *arg)
{
    for (int i = 0; i < 3; i++)
        if (vthread_cont_yield(&gen, vthread_scoped_value_get(&two)) != 0 || vthread_scoped_value_get(&one) != arg)
            return (void *)(uintptr_t) "one is lost";
    return NULL;
}

static void *bind_in_body(void *arg)
{
    void *wrong = arg;

    CHECK(vthread_scoped_value_run(&one, arg, yield_bound, arg, &wrong) == 0);
    return wrong;
}

static void *run_body(void *arg)
{
    void *value;

    CHECK(vthread_cont_run(arg, &value) == 0);
    CHECK(value == vthread_scoped_value_get(&two));
    CHECK(!vthread_scoped_value_is_bound(&one));
    return NULL;
}

static void *run_body_bound(void *arg)
{
    void *wrong;

    CHECK(vthread_scoped_value_run(&two, &gen, run_body, arg, &wrong) == 0);
    return wrong;
}

Test(local, a_continuation_keeps_its_bindings_and_sees_its_runners)
{
    vthread_cont_t *c;
    void *value;

    cr_assert_eq(vthread_cont_new(&c, &gen, bind_in_body, &key), 0);
    cr_assert_null(run_body(c));
    help_run(run_body_bound, c);
    help_run_with(&kinds[1], run_body_bound, c);
    cr_assert_eq(vthread_cont_run(c, &value), ENODATA);
    cr_assert_null(value, "%s", (char *)value);
    cr_assert_eq(vthread_cont_free(c), 0);
}

static void *copy_in_body(void *arg)
{
    char text[] = "some text";

    vthread_scoped_value_run_copy(&one, text, sizeof text, yield_bound, arg, NULL);
    return NULL;
}

Test(local, bindings_of_a_continuation_that_is_dropped)
{
    for (int i = 0; i < 3; i++) {
        vthread_cont_t *c;

        cr_assert_eq(vthread_cont_new(&c, &gen, copy_in_body, NULL), 0);
        cr_assert_eq(vthread_cont_run(c, NULL), 0);
        cr_assert_eq(vthread_cont_free(c), 0); /* the leak checker looks */
    }
}

/* ---- what reviews have found ---- */

static vthread_key_t more[40];
static vthread_key_t kept[3];

/* Sets keys of its own, so that the parent's table grows. */
static void *copy_and_set_others(void *value)
{
    for (int i = 0; i < 40; i++)
        if (vthread_setspecific(more[i], value) != 0)
            return NULL;
    return value;
}

static void *has_inherited(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++)
        CHECK(vthread_getspecific(kept[i]) == &kept[i]);
    CHECK(vthread_getspecific(more[0]) == NULL);
    return NULL;
}

Test(local, copies_may_set_others)
{
    for (int i = 0; i < 3; i++)
        cr_assert_eq(vthread_key_create_inheritable(&kept[i], copy_and_set_others, NULL), 0);
    for (int i = 0; i < 40; i++)
        cr_assert_eq(vthread_key_create(&more[i], NULL), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(vthread_setspecific(kept[i], &kept[i]), 0);
    help_run(has_inherited, NULL);
}

static atomic_int late_destructions;

static void count_late(void *value)
{
    (void)value;
    atomic_fetch_add(&late_destructions, 1);
}

static vthread_key_t of_handlers;

static void set_a_value(const vthread_failure_t *f, void *user)
{
    (void)f;
    vthread_setspecific(of_handlers, user);
}

static void *end_as_failed(void *arg)
{
    (void)arg;
    return vthread_fail(EIO);
}

/* Values that a failure handler sets on the thread that ends are destroyed as others. */
Test(local, values_of_failure_handlers)
{
    cr_assert_eq(vthread_key_create(&of_handlers, count_late), 0);
    vthread_set_failure_handler(set_a_value, &of_handlers);
    help_run(end_as_failed, NULL);
    cr_assert(EVENTUALLY(atomic_load(&late_destructions) == 1));
}
