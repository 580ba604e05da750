/* SPDX-License-Identifier: MIT */
/*
 * Collected continuations are reclaimed when nobody can run them any more, with all that their frames alone
 * refer to; and not before.
 */
#include "gc_help.h"

TestSuite(gc_continuations, .fini = help_fini);

uint32_t continuation_alive(void); /* continuation/life.h, whose atomics are not stdatomic.h's */

static vthread_cont_scope_t outer_scope = VTHREAD_CONT_SCOPE_INITIALIZER("outer");
static vthread_cont_scope_t inner_scope = VTHREAD_CONT_SCOPE_INITIALIZER("inner");

static atomic_bool go_on;
static atomic_uint arrived;

/* What a body is given; collected, and refers back to the continuation that it is given to. */
struct owner {
    vthread_cont_t *cont;
    unsigned number;
    struct object *object;
};

static void *yield_and_end(void *arg)
{
    struct owner *owner = arg;
    struct object *o = object_new(owner->number);

    while (!atomic_load(&go_on))
        vthread_cont_yield(&outer_scope, owner);
    CHECK(object_is_whole(o, owner->number));
    return o;
}

__attribute__((noinline)) static struct owner *suspended_new(void *(*fn)(void *arg), unsigned number)
{
    struct owner *owner = vthread_gc_alloc(sizeof *owner);

    if (owner == NULL)
        return NULL;
    owner->number = number;
    if (vthread_gc_cont_new(&owner->cont, &outer_scope, fn, owner) != 0 || vthread_cont_run(owner->cont, NULL) != 0)
        return NULL;
    return owner;
}

static bool most_are_reclaimed(void)
{
    return most_are_gone() && EVENTUALLY((help_run(churn, NULL), wipe(), continuation_alive() <= OBJECTS - MOST));
}

static void *suspend_and_drop(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(suspended_new(yield_and_end, i) != NULL);
    wipe();
    return arg;
}

Test(gc_continuations, dropped_half_way)
{
    help_run(suspend_and_drop, NULL);
    cr_assert(most_are_reclaimed());
}

/* Their stacks are used again: many times more than there is address space for. */
static void *suspend_and_drop_many(void *arg)
{
    for (unsigned i = 0; i < 20000 / HELP_SLOW; i++) {
        CHECK(suspended_new(yield_and_end, i) != NULL);
        if (i % 500 == 0) {
            vthread_gc_collect();
            CHECK(EVENTUALLY_HERE(continuation_alive() < 4000));
        }
    }
    return arg;
}

Test(gc_continuations, dropped_by_the_thousand)
{
    help_run(suspend_and_drop_many, NULL);
}

static struct owner **owners;

static void *suspend_and_keep(void *arg)
{
    owners = vthread_gc_alloc(OBJECTS * sizeof(struct owner *));
    CHECK(owners != NULL);
    for (unsigned i = 0; i < OBJECTS; i++) {
        owners[i] = suspended_new(yield_and_end, i);
        CHECK(owners[i] != NULL);
    }
    wipe();
    return arg;
}

static void *finish(void *arg)
{
    atomic_store(&go_on, true);
    for (unsigned i = 0; i < OBJECTS; i++) {
        void *value;

        if (i % 3 == 0) { /* freed half-way, by hand */
            CHECK(vthread_cont_free(owners[i]->cont) == 0);
            owners[i] = NULL;
            continue;
        }
        CHECK(vthread_cont_run(owners[i]->cont, &value) == ENODATA);
        CHECK(object_is_whole(value, i));
        if (i % 3 == 1)
            CHECK(vthread_cont_free(owners[i]->cont) == 0);
        owners[i] = NULL;
    }
    wipe();
    return arg;
}

Test(gc_continuations, kept_and_run_to_their_end)
{
    help_run(suspend_and_keep, NULL);
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    cr_assert_eq(continuation_alive(), OBJECTS);
    help_run(finish, NULL);
    cr_assert(most_are_reclaimed());
}

/* Nobody but the thread knows what it runs. */
static void *collect_inside(void *arg)
{
    struct owner *owner = arg;
    struct object *o = object_new(owner->number);

    owner = NULL;
    __asm__ volatile("" : : "r"(&owner), "r"(&arg) : "memory");
    wipe();
    churn(NULL);
    CHECK(object_is_whole(o, o->number));
    vthread_cont_yield(&outer_scope, NULL);
    return NULL;
}

static void *run_and_forget(void *arg)
{
    for (unsigned i = 0; i < 10; i++)
        CHECK(suspended_new(collect_inside, i) != NULL);
    wipe();
    return arg;
}

Test(gc_continuations, running_ones_are_kept)
{
    help_run(run_and_forget, NULL);
    cr_assert(EVENTUALLY((help_run(churn, NULL), wipe(), continuation_alive() <= 3)));
}

static void *run_inner(void *arg)
{
    struct owner *owner = arg;
    vthread_cont_t *inner;

    CHECK(vthread_gc_cont_new(&inner, &inner_scope, yield_and_end, owner) == 0);
    vthread_cont_run(inner, NULL); /* its body yields to the outer scope, away from both */
    return NULL;
}

static void *suspend_nested(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(suspended_new(run_inner, i) != NULL);
    wipe();
    return arg;
}

Test(gc_continuations, nested_ones)
{
    help_run(suspend_nested, NULL);
    cr_assert(most_are_reclaimed());
}

/* What a result refers to stays as long as it can be asked for, whether the continuation is collected or not. */
static vthread_cont_t *plain[OBJECTS];

static void *end_at_once(void *arg)
{
    return object_new((unsigned)(uintptr_t)arg);
}

static void *end_all(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK((i % 2 ? vthread_cont_new : vthread_gc_cont_new)(&plain[i], &outer_scope, end_at_once,
                                                               (void *)(uintptr_t)i) == 0);
        CHECK(vthread_cont_run(plain[i], NULL) == ENODATA);
    }
    wipe();
    return arg;
}

static void *ask_all(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        void *value;

        CHECK(vthread_cont_run(plain[i], &value) == ENODATA);
        CHECK(object_is_whole(value, i));
        CHECK(vthread_cont_free(plain[i]) == 0);
        plain[i] = NULL;
    }
    return arg;
}

Test(gc_continuations, results)
{
    help_run(end_all, NULL);
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    help_run(ask_all, NULL);
    cr_assert(most_are_gone());
}

/* The finder goes through the frames of continuations, too. */
static void *wait_with_continuation(void *arg)
{
    struct owner *owner = suspended_new(yield_and_end, (unsigned)(uintptr_t)arg);
    vthread_sem_t *sem = vthread_gc_alloc(sizeof *sem);
    void *value;

    CHECK(owner != NULL && sem != NULL);
    atomic_fetch_add(&arrived, 1);
    CHECK(vthread_sem_acquire(sem, 1) == EINTR);
    vthread_interrupted();
    CHECK(vthread_cont_run(owner->cont, &value) == ENODATA);
    CHECK(object_is_whole(value, owner->number));
    return NULL;
}

Test(gc_continuations, of_threads_that_wait_for_ever)
{
    vthread_t threads[OBJECTS];

    for (unsigned i = 0; i < OBJECTS; i++)
        threads[i] = help_start(wait_with_continuation, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < OBJECTS; i++)
        cr_assert(REACHES(threads[i], VTHREAD_PARKED));
    help_run(churn, NULL);
    cr_assert(EVENTUALLY(vthread_find_leaks(NULL, 0) >= MOST));
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    atomic_store(&go_on, true);
    for (unsigned i = 0; i < OBJECTS; i++)
        vthread_interrupt(threads[i]);
    for (unsigned i = 0; i < OBJECTS; i++)
        help_join(threads[i]);
}

Test(gc_continuations, arguments_are_checked)
{
    vthread_cont_t *c;

    cr_assert_eq(vthread_gc_cont_new(NULL, &outer_scope, end_at_once, NULL), EINVAL);
    cr_assert_eq(vthread_gc_cont_new(&c, NULL, end_at_once, NULL), EINVAL);
    cr_assert_eq(vthread_gc_cont_new(&c, &outer_scope, NULL, NULL), EINVAL);
}
