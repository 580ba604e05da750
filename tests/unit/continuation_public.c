/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <vthread/continuation.h>

#include "base/memory.h"
#include "continuation_runner.h"

TestSuite(public);

static vthread_cont_scope_t gen = VTHREAD_CONT_SCOPE_INITIALIZER("gen");
static vthread_cont_scope_t other = VTHREAD_CONT_SCOPE_INITIALIZER("other");

static void *text(const char *s)
{
    return (void *)(uintptr_t)s;
}

static vthread_cont_t *make(const vthread_cont_scope_t *scope, void *(*fn)(void *arg), void *arg)
{
    vthread_cont_t *c = NULL;

    cr_assert_eq(vthread_cont_new(&c, scope, fn, arg), 0);
    return c;
}

static void *count_to(void *arg)
{
    intptr_t i;

    for (i = 0; i < (intptr_t)arg; i++)
        cr_assert_eq(vthread_cont_yield(&gen, (void *)i), 0);
    return (void *)(i + 100);
}

Test(public, a_generator)
{
    vthread_cont_t *c = make(&gen, count_to, (void *)5);
    void *value;

    for (intptr_t i = 0; i < 5; i++) {
        cr_assert_not(vthread_cont_is_done(c));
        cr_assert_eq(vthread_cont_run(c, &value), 0);
        cr_assert_eq((intptr_t)value, i);
    }
    for (int again = 0; again < 3; again++) {
        cr_assert_eq(vthread_cont_run(c, &value), ENODATA);
        cr_assert_eq((intptr_t)value, 105);
        cr_assert(vthread_cont_is_done(c));
        value = NULL;
    }
    cr_assert_eq(vthread_cont_free(c), 0);
}

Test(public, values_may_be_ignored)
{
    vthread_cont_t *c = make(&gen, count_to, (void *)2);
    void *value;

    cr_assert_eq(vthread_cont_run(c, NULL), 0);
    cr_assert_eq(vthread_cont_run(c, NULL), 0);
    cr_assert_eq(vthread_cont_run(c, NULL), ENODATA);
    cr_assert_eq(vthread_cont_run(c, &value), ENODATA);
    cr_assert_eq((intptr_t)value, 102);
    vthread_cont_free(c);
}

Test(public, null_is_refused)
{
    vthread_cont_t *c;
    void *value = &c;

    cr_assert_eq(vthread_cont_new(NULL, &gen, count_to, NULL), EINVAL);
    cr_assert_eq(vthread_cont_new(&c, NULL, count_to, NULL), EINVAL);
    cr_assert_eq(vthread_cont_new(&c, &gen, NULL, NULL), EINVAL);
    cr_assert_eq(vthread_cont_run(NULL, &value), EINVAL);
    cr_assert_eq(value, &c);
    cr_assert_not(vthread_cont_is_done(NULL));
    cr_assert_eq(vthread_cont_free(NULL), 0);
}

Test(public, outside_of_any)
{
    cr_assert_eq(vthread_cont_yield(&gen, NULL), EPERM);
    cr_assert_eq(vthread_cont_pin("test"), EPERM);
    cr_assert_eq(vthread_cont_unpin(), EPERM);
}

static void *strange_scope(void *arg)
{
    cr_assert_eq(vthread_cont_yield(&other, NULL), EPERM);
    cr_assert_eq(vthread_cont_yield(NULL, NULL), EPERM);
    return arg;
}

Test(public, a_scope_that_is_not_around_us)
{
    vthread_cont_t *c = make(&gen, strange_scope, NULL);

    cr_assert_eq(vthread_cont_run(c, NULL), ENODATA);
    vthread_cont_free(c);
}

static void *run_myself(void *arg)
{
    vthread_cont_t *self = *(vthread_cont_t **)arg;

    cr_assert_eq(vthread_cont_run(self, NULL), EBUSY);
    cr_assert_eq(vthread_cont_free(self), EBUSY);
    cr_assert_not(vthread_cont_is_done(self));
    return NULL;
}

Test(public, running_it_twice_is_refused)
{
    vthread_cont_t *c;

    c = make(&gen, run_myself, &c);
    cr_assert_eq(vthread_cont_run(c, NULL), ENODATA);
    vthread_cont_free(c);
}

/* ---- pins ---- */

static void *pinned(void *arg)
{
    cr_assert_eq(vthread_cont_unpin(), EINVAL);
    cr_assert_eq(vthread_cont_pin("once"), 0);
    cr_assert_eq(vthread_cont_pin("twice"), 0);
    cr_assert_eq(vthread_cont_yield(&gen, NULL), EBUSY);
    cr_assert_eq(vthread_cont_unpin(), 0);
    cr_assert_eq(vthread_cont_yield(&gen, NULL), EBUSY);
    cr_assert_eq(vthread_cont_unpin(), 0);
    cr_assert_eq(vthread_cont_yield(&gen, text("free")), 0);
    for (int i = 0; i < UINT16_MAX; i++)
        cr_assert_eq(vthread_cont_pin("many"), 0);
    cr_assert_eq(vthread_cont_pin("too many"), EAGAIN);
    return arg;
}

Test(public, a_pinned_one_cannot_yield)
{
    vthread_cont_t *c = make(&gen, pinned, NULL);
    void *value;

    cr_assert_eq(vthread_cont_run(c, &value), 0);
    cr_assert_str_eq((char *)value, "free");
    cr_assert_eq(vthread_cont_run(c, &value), ENODATA);
    vthread_cont_free(c);
}

static void *yield_outward(void *arg)
{
    cr_assert_eq(vthread_cont_yield(&gen, NULL), (int)(intptr_t)arg);
    return NULL;
}

static void *pin_around(void *arg)
{
    vthread_cont_t *inner = make(&other, yield_outward, (void *)EBUSY);

    cr_assert_eq(vthread_cont_pin("outer"), 0);
    cr_assert_eq(vthread_cont_run(inner, NULL), ENODATA);
    vthread_cont_free(inner);
    return arg;
}

Test(public, a_pin_of_the_outer_one_counts_too)
{
    vthread_cont_t *c = make(&gen, pin_around, NULL);

    cr_assert_eq(vthread_cont_run(c, NULL), ENODATA);
    vthread_cont_free(c);
}

/* ---- nested ---- */

static void *innermost(void *arg)
{
    cr_assert_eq(vthread_cont_yield(&other, text("to the middle")), 0);
    cr_assert_eq(vthread_cont_yield(&gen, text("to the outside")), 0);
    cr_assert_eq(vthread_cont_yield(&other, text("to the middle again")), 0);
    return arg;
}

static void *in_the_middle(void *arg)
{
    vthread_cont_t *inner = make(&other, innermost, text("end"));
    void *value;

    *(vthread_cont_t **)arg = inner;
    cr_assert_eq(vthread_cont_run(inner, &value), 0);
    cr_assert_str_eq((char *)value, "to the middle");
    cr_assert_eq(vthread_cont_run(inner, &value), 0);
    cr_assert_str_eq((char *)value, "to the middle again");
    cr_assert_eq(vthread_cont_run(inner, &value), ENODATA);
    cr_assert_eq(vthread_cont_free(inner), 0);
    return value;
}

Test(public, a_yield_goes_to_its_scope)
{
    vthread_cont_t *inner;
    vthread_cont_t *c = make(&gen, in_the_middle, &inner);
    void *value;

    cr_assert_eq(vthread_cont_run(c, &value), 0);
    cr_assert_str_eq((char *)value, "to the outside");
    cr_assert_eq(vthread_cont_run(inner, NULL), EBUSY, "it is suspended inside c");
    cr_assert_eq(vthread_cont_free(inner), EBUSY);
    cr_assert_eq(vthread_cont_run(c, &value), ENODATA);
    cr_assert_str_eq((char *)value, "end");
    cr_assert_eq(vthread_cont_free(c), 0);
    cr_assert_eq(continuation_alive(), 0);
}

Test(public, what_is_inside_survives_the_outer_one)
{
    vthread_cont_t *inner;
    vthread_cont_t *c = make(&gen, in_the_middle, &inner);
    void *value;

    cr_assert_eq(vthread_cont_run(c, &value), 0);
    cr_assert_eq(vthread_cont_free(c), 0);
    c = make(&gen, count_to, (void *)3); /* on the stack that has become free */
    cr_assert_eq(vthread_cont_run(c, &value), 0);
    cr_assert_eq(vthread_cont_run(inner, &value), 0);
    cr_assert_str_eq((char *)value, "to the middle again");
    cr_assert_eq(vthread_cont_run(inner, &value), ENODATA);
    cr_assert_eq(vthread_cont_free(inner), 0);
    cr_assert_eq(vthread_cont_run(c, &value), 0);
    cr_assert_eq((intptr_t)value, 1);
    cr_assert_eq(vthread_cont_free(c), 0);
}

static void *nest(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    vthread_cont_t *inner;
    void *value;

    if (depth == 0) {
        vthread_cont_yield(&gen, text("bottom"));
        return (void *)1;
    }
    inner = make(&other, nest, (void *)(depth - 1));
    cr_assert_eq(vthread_cont_run(inner, &value), ENODATA);
    vthread_cont_free(inner);
    return (void *)((intptr_t)value + 1);
}

Test(public, many_levels)
{
    vthread_cont_t *c = make(&gen, nest, (void *)500);
    void *value;

    cr_assert_eq(vthread_cont_run(c, &value), 0);
    cr_assert_str_eq((char *)value, "bottom");
    cr_assert_eq(continuation_alive(), 501);
    cr_assert_eq(vthread_cont_run(c, &value), ENODATA);
    cr_assert_eq((intptr_t)value, 501);
    vthread_cont_free(c);
}

/* ---- many, for long, and on several threads ---- */

Test(public, suspended_ones_may_be_dropped)
{
    for (int i = 0; i < 10000; i++) {
        vthread_cont_t *c = make(&gen, count_to, (void *)10);

        for (int k = 0; k < i % 5; k++)
            cr_assert_eq(vthread_cont_run(c, NULL), 0);
        cr_assert_eq(vthread_cont_free(c), 0);
    }
    cr_assert_eq(continuation_alive(), 0);
    cr_assert_leq(stack_count(), 2);
}

Test(public, thousands_at_once)
{
    enum { N = 1000 }; /* valgrind looks for a stack among them at every switch */
    static vthread_cont_t *all[N];
    void *value;

    for (int i = 0; i < N; i++)
        all[i] = make(&gen, count_to, (void *)(intptr_t)(i % 7));
    for (intptr_t round = 0; round < 8; round++)
        for (int i = 0; i < N; i++)
            cr_assert_eq(vthread_cont_run(all[i], &value), round < i % 7 ? 0 : ENODATA);
    cr_assert_eq(continuation_alive(), N);
    for (int i = 0; i < N; i++)
        cr_assert_eq(vthread_cont_free(all[i]), 0);
    cr_assert_eq(continuation_alive(), 0);
}

static void *run_once(void *arg)
{
    void *value;

    return vthread_cont_run(arg, &value) == 0 ? value : (void *)-1;
}

static void *on_another_thread(void *(*fn)(void *arg), void *arg)
{
    pthread_t thread;
    void *value;

    cr_assert_eq(pthread_create(&thread, NULL, fn, arg), 0);
    cr_assert_eq(pthread_join(thread, &value), 0);
    return value;
}

Test(public, any_thread_may_go_on_with_it)
{
    vthread_cont_t *c = make(&gen, count_to, (void *)20);
    void *value;

    for (intptr_t i = 0; i < 20; i += 2) {
        cr_assert_eq((intptr_t)on_another_thread(run_once, c), i);
        cr_assert_eq(vthread_cont_run(c, &value), 0);
        cr_assert_eq((intptr_t)value, i + 1);
    }
    cr_assert_eq(vthread_cont_free(c), 0);
}

static void *make_and_use(void *arg)
{
    vthread_cont_t *c = make(&gen, count_to, (void *)2);

    for (int i = 0; i < 10; i++)
        vthread_cont_free(make(&gen, count_to, NULL));
    vthread_cont_run(c, NULL);
    vthread_cont_free(arg);
    return c;
}

Test(public, threads_come_and_go)
{
    vthread_cont_t *c = make(&gen, count_to, (void *)2);

    for (int i = 0; i < 50; i++) {
        c = on_another_thread(make_and_use, c);
        cr_assert_eq(continuation_alive(), 1);
    }
    vthread_cont_free(c);
    cr_assert_eq(continuation_alive(), 0);
    cr_assert_leq(stack_count(), 5, "what a thread had was used by the next");
}

static void *free_it(void *arg)
{
    return (void *)(intptr_t)vthread_cont_free(arg);
}

Test(public, a_thread_that_only_frees)
{
    vthread_cont_t *c = make(&gen, count_to, (void *)2);

    cr_assert_eq((intptr_t)on_another_thread(free_it, c), 0);
    cr_assert_eq(continuation_alive(), 0);
}

Test(public, stopping_waits_for_the_last)
{
    vthread_cont_t *c = make(&gen, count_to, (void *)2);

    cr_assert_not(continuation_stop());
    cr_assert_eq(vthread_cont_run(c, NULL), 0);
    vthread_cont_free(c);
    cr_assert(continuation_stop());
    c = make(&gen, count_to, (void *)2); /* starts anew, and the magazine is not used */
    cr_assert_eq(vthread_cont_run(c, NULL), 0);
    vthread_cont_free(c);
    cr_assert(continuation_stop());
}

static ATOMIC(bool) enough;
static ATOMIC(uint32_t) busy;

static void *make_until_enough(void *arg)
{
    intptr_t made = 0;

    (void)arg;
    while (!atomic_load_relaxed(&enough)) {
        vthread_cont_t *c = make(&gen, count_to, (void *)1);

        cr_assert_eq(vthread_cont_run(c, NULL), 0);
        vthread_cont_free(c);
        if (made++ == 0)
            atomic_fetch_add_relaxed(&busy, 1);
        for (intptr_t i = made % 64; i > 0; i--)
            cpu_pause();
    }
    return (void *)made;
}

Test(public, stopping_while_others_make_them)
{
    pthread_t threads[3];
    int stopped = 0;

    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, make_until_enough, NULL), 0);
    while (atomic_load_relaxed(&busy) < 3)
        cpu_pause();
    while (stopped < 20) {
        stopped += continuation_stop();
        sched_yield();
    }
    atomic_store_relaxed(&enough, true);
    for (int i = 0; i < 3; i++) {
        void *made;

        pthread_join(threads[i], &made);
        cr_assert_gt((intptr_t)made, 0);
    }
    cr_assert(continuation_stop());
}

static bool refuse_commit(enum fault_site site)
{
    return site == FAULT_COMMIT || site == FAULT_RESERVE;
}

Test(public, out_of_memory_is_told_and_passes)
{
    vthread_cont_t *c = NULL;

    fault_set_hook(refuse_commit);
    cr_assert_eq(vthread_cont_new(&c, &gen, count_to, NULL), ENOMEM);
    cr_assert_null(c);
    fault_set_hook(NULL);
    c = make(&gen, count_to, NULL);
    fault_set_hook(refuse_commit);
    cr_assert_eq(vthread_cont_new(&c, &gen, count_to, NULL), ENOMEM);
    fault_set_hook(NULL);
    cr_assert_eq(continuation_alive(), 1);
    vthread_cont_free(c);
}

/* ---- stacks ---- */

static NOINLINE int recurse(int depth)
{
    volatile char frame[1000];

    frame[0] = (char)depth;
    __asm__ volatile("" : : "r"(frame) : "memory");
    return depth == 0 ? 0 : recurse(depth - 1) + (frame[0] == (char)depth);
}

static void *recurse_far(void *arg)
{
    vthread_cont_yield(&gen, (void *)(intptr_t)recurse((int)(intptr_t)arg));
    return NULL;
}

Test(public, there_is_room_for_deep_calls)
{
    vthread_cont_t *c = make(&gen, recurse_far, (void *)(SANITIZED ? 300 : 900));
    void *value;

    cr_assert_eq(vthread_cont_run(c, &value), 0);
    cr_assert_geq((intptr_t)value, 300);
    vthread_cont_free(c);
}

Test(public, overflow_is_caught, .signal = SIGSEGV, .disabled = SANITIZED)
{
    vthread_cont_run(make(&gen, recurse_far, (void *)2000), NULL);
}

static void *local_address(void *arg)
{
    intptr_t local = 5;

    vthread_cont_yield(&gen, &local);
    return (void *)(local + (intptr_t)arg);
}

Test(public, locals_stay_where_they_are)
{
    vthread_cont_t *a = make(&gen, local_address, NULL);
    vthread_cont_t *b = make(&gen, local_address, NULL);
    void *local;
    void *value;

    vthread_cont_run(a, &local);
    vthread_cont_run(b, NULL);
    *(intptr_t *)local = 77;
    cr_assert_eq(vthread_cont_run(a, &value), ENODATA);
    cr_assert_eq((intptr_t)value, 77);
    vthread_cont_free(a);
    vthread_cont_free(b);
}
