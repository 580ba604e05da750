/* SPDX-License-Identifier: MIT */
/* No memory or threads for keys, bindings, scopes and subtasks: the call says so, and nothing of it is left. */
#include "fault.h"

#include <vthread/continuation.h>
#include <vthread/local.h>
#include <vthread/scope.h>

static vthread_key_t keys[40];
static vthread_key_t inherited;
static vthread_scoped_value_t scoped = VTHREAD_SCOPED_VALUE_INITIALIZER("scoped");
static atomic_int made, destroyed, given, discarded;

static void destroy(void *value)
{
    (void)value;
    atomic_fetch_add(&destroyed, 1);
}

static void *copy(void *value)
{
    atomic_fetch_add(&made, 1);
    return value;
}

static void discard(void *value)
{
    (void)value;
    atomic_fetch_add(&discarded, 1);
}

static void check(int error)
{
    (void)error;
    EXPECT(atomic_load(&made) == atomic_load(&destroyed));
    EXPECT(atomic_load(&given) == atomic_load(&discarded));
    fault_check_works();
}

/* ---- keys ---- */

static int set_values(void)
{
    int error = 0;

    for (int i = 0; i < 40 && error == 0; i++) {
        error = vthread_setspecific(keys[i], &keys[i]);
        EXPECT(vthread_getspecific(keys[i]) == (error == 0 ? &keys[i] : NULL));
        for (int j = 0; j < i; j++)
            EXPECT(vthread_getspecific(keys[j]) == &keys[j]);
        atomic_fetch_add(&made, error == 0);
    }
    return error;
}

static void *set_in_thread(void *arg)
{
    fault_mine = true; /* on one carrier */
    *(atomic_int *)arg = set_values();
    fault_mine = false;
    return NULL;
}

static int new_thread_sets_values(void)
{
    static atomic_int error;
    vthread_t t;

    fault_mine = false;
    EXPECT(vthread_create(&t, NULL, set_in_thread, &error) == 0);
    EXPECT(vthread_join(t, NULL) == 0);
    fault_mine = true;
    return atomic_load(&error);
}

/* ---- inheritance ---- */

static vthread_attr_t attr;
static bool as_copy;

static int create_heir(void)
{
    vthread_t t;
    int error =
        as_copy ? vthread_create_copy(&t, &attr, fault_return, "x", 1) : vthread_create(&t, &attr, fault_return, NULL);

    if (error == 0)
        EXPECT(vthread_join(t, NULL) == 0);
    return error;
}

static int new_heir(void)
{
    vthread_t t;
    int error = vthread_new(&t, &attr, fault_return, NULL);

    if (error == 0)
        EXPECT(vthread_detach(t) == 0);
    return error;
}

static void heirs(const char *what, vthread_attr_t with)
{
    attr = with;
    for (int i = 0; i < 2; i++) {
        as_copy = i;
        fault_each(what, SITES_ALL, 1, true, create_heir, check);
    }
    fault_each(what, SITES_ALL, 1, true, new_heir, check);
}

/* ---- bindings ---- */

static void *is_bound(void *arg)
{
    EXPECT(vthread_scoped_value_get(&scoped) != NULL);
    return arg;
}

static int bind(void)
{
    int error = vthread_scoped_value_run(&scoped, &scoped, is_bound, NULL, NULL);

    if (error == 0)
        error = vthread_scoped_value_run_copy(&scoped, "x", 2, is_bound, NULL, NULL);
    EXPECT(!vthread_scoped_value_is_bound(&scoped));
    return error;
}

/* ---- scopes ---- */

static void *give(void *arg)
{
    atomic_fetch_add(&given, 1);
    return arg;
}

static int64_t deadline_ns;

static int use_scope(void)
{
    vthread_scope_params_t params = {
        .joiner = VTHREAD_SCOPE_AWAIT_ALL, .attr = attr, .discard = discard, .deadline_ns = deadline_ns, .name = "x"};
    vthread_scope_t *s;
    int error = vthread_scope_open(&s, &params);
    int results = 0;
    int kept = 0;

    if (error != 0)
        return error;
    for (int i = 0; i < 4; i++) {
        vthread_subtask_t *sub = NULL;
        int e = i % 2 ? vthread_scope_fork_copy(s, give, "x", 2, i < 2 ? &sub : NULL)
                      : vthread_scope_fork(s, give, &scoped, i < 2 ? &sub : NULL);

        EXPECT((e == 0 && i < 2) == (sub != NULL));
        kept += sub != NULL;
        error = error == 0 ? e : error;
    }
    EXPECT(vthread_scope_join(s) == 0);
    while (vthread_scope_result(s, NULL) == 0 && results++ < 1)
        EXPECT(vthread_scope_result(s, &(void *){NULL}) == 0 && atomic_fetch_add(&discarded, 1) >= 0);
    EXPECT(results == (kept > 0) + (kept > 1));
    EXPECT(vthread_scope_close(s) == 0);
    return error;
}

static void *use_scope_bound(void *arg)
{
    *(int *)arg = use_scope();
    return NULL;
}

static int use_scope_with_bindings(void)
{
    int inner = 0;
    int error = vthread_scoped_value_run_copy(&scoped, "x", 2, use_scope_bound, &inner, NULL);

    return error != 0 ? error : inner;
}

/* The same in a continuation, whose bindings and those around it are put together. */
static vthread_cont_scope_t gen = VTHREAD_CONT_SCOPE_INITIALIZER("gen");

static void *body(void *arg)
{
    *(int *)arg = use_scope_with_bindings();
    return NULL;
}

static void *run_cont(void *arg)
{
    vthread_cont_t *c;
    int error = vthread_cont_new(&c, &gen, body, arg);

    if (error != 0) {
        *(int *)arg = error;
        return NULL;
    }
    EXPECT(vthread_cont_run(c, NULL) == ENODATA);
    EXPECT(vthread_cont_free(c) == 0);
    return NULL;
}

static int use_scope_in_continuation(void)
{
    int inner = 0;
    int error = vthread_scoped_value_run_copy(&scoped, "y", 2, run_cont, &inner, NULL);

    return error != 0 ? error : inner;
}

int main(void)
{
    vthread_runtime_params_t params = {.parallelism = 1};

    EXPECT(vthread_runtime_configure(&params) == 0);
    for (int i = 0; i < 40; i++)
        EXPECT(vthread_key_create(&keys[i], destroy) == 0);
    EXPECT(vthread_key_create_inheritable(&inherited, copy, destroy) == 0);
    fault_check_works();
    fault_each("values of a new thread", SITES_ALL, 1, true, new_thread_sets_values, check);
    fault_each("bindings", SITES_ALL, 1, true, bind, check);
    fault_each("a scope", SITES_ALL, 1, true, use_scope, check);
    fault_each("a scope, with bindings", SITES_ALL, 1, true, use_scope_with_bindings, check);
    fault_each("a scope, in a continuation", SITES_ALL, 1, true, use_scope_in_continuation, check);
    deadline_ns = vthread_after_ms(1000000);
    fault_each("a scope, with a deadline", SITES_ALL, 1, true, use_scope, check);
    deadline_ns = 0;
    EXPECT(vthread_setspecific(inherited, &scoped) == 0);
    heirs("a thread that inherits", (vthread_attr_t){.name = NULL});
    heirs("a named thread that inherits", (vthread_attr_t){.name = "heir"});
    heirs("a platform thread that inherits", (vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM});
    attr = (vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM, .name_prefix = "heir-"};
    fault_each("a scope of platform threads that inherit", SITES_ALL, 1, true, use_scope_with_bindings, check);
    EXPECT(vthread_setspecific(inherited, NULL) == 0);
    fault_check_shutdown();
    return 0;
}
