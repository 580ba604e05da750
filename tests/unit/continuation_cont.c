/* SPDX-License-Identifier: MIT */
#include "base/memory.h"
#include "continuation_runner.h"

TestSuite(cont, .init = runner_start_default);

/* Recurse with frames full of a pattern, yield at the bottom, look whether all is as it was. */
static NOINLINE uintptr_t deep(int depth, unsigned char seed)
{
    unsigned char bytes[100];
    unsigned char *volatile at = bytes;
    uintptr_t sum = 0;

    memset(bytes, seed + depth, sizeof bytes);
    if (depth == 0) {
        runner_yield();
        runner_yield();
    } else {
        sum = deep(depth - 1, seed);
    }
    cr_assert_eq(at, bytes, "frames are where they were");
    for (size_t i = 0; i < sizeof bytes; i++)
        sum += at[i] == (unsigned char)(seed + depth);
    return sum;
}

struct plan {
    int depth;
    unsigned char seed;
};

static void *go_deep(void *arg)
{
    struct plan *plan = arg;

    return (void *)deep(plan->depth, plan->seed);
}

static bool refuse(enum fault_site site)
{
    return site == FAULT_COMMIT;
}

Test(cont, members_displace_each_other)
{
    enum { N = 50 };
    static struct member members[N];
    static struct plan plans[N];
    struct stack *stack = stack_shared_choose(&runner.stacks, NULL);

    for (int i = 0; i < N; i++) {
        plans[i] = (struct plan){i, (unsigned char)(7 * i)};
        member_init(&members[i], stack, go_deep, &plans[i]);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < N; i++) {
            cr_assert_eq(members[i].done, false);
            cr_assert(member_run(&members[i]));
            cr_assert_eq(stack->resident == &members[i].cont, round < 2);
        }
    for (int i = 0; i < N; i++) {
        cr_assert(members[i].done);
        cr_assert_eq((uintptr_t)members[i].value, 100 * (uintptr_t)(i + 1));
        cr_assert_null(members[i].cont.chunk);
    }
}

Test(cont, a_lone_member_is_never_copied)
{
    struct member m;
    struct plan plan = {20, 3};

    member_init(&m, stack_shared_choose(&runner.stacks, NULL), go_deep, &plan);
    while (!m.done) {
        cr_assert(member_run(&m));
        cr_assert_null(m.cont.chunk);
    }
    cr_assert_eq(chunk_committed_bytes(), 0);
    cr_assert_eq((uintptr_t)m.value, 2100);
}

Test(cont, frozen_frames_take_what_they_need)
{
    struct member a, b;
    struct plan plan = {30, 3};
    struct stack *stack = stack_shared_choose(&runner.stacks, NULL);
    uint32_t bytes;

    member_init(&a, stack, go_deep, &plan);
    member_init(&b, stack, go_deep, &plan);
    cr_assert_eq(cont_frame_bytes(&a.cont), 0);
    member_run(&a);
    bytes = cont_frame_bytes(&a.cont);
    cr_assert_gt(bytes, 30 * 100);
    member_run(&b);
    cr_assert_not_null(a.cont.chunk);
    cr_assert_eq(a.cont.bytes, bytes);
    cr_assert_eq(cont_frame_bytes(&a.cont), bytes);
}

Test(cont, very_deep_frames_move_too)
{
    struct member a, b;
    struct plan deep_plan = {SANITIZED ? 400 : 800, 1};
    struct plan plan = {1, 2};
    struct stack *stack = stack_shared_choose(&runner.stacks, NULL);

    member_init(&a, stack, go_deep, &deep_plan);
    member_init(&b, stack, go_deep, &plan);
    member_run(&a);
    cr_assert_gt(cont_frame_bytes(&a.cont), (uint32_t)CHUNK_CLASS_MAX);
    member_run(&b);
    member_run(&a);
    member_run(&b);
    member_run(&a);
    cr_assert_eq((uintptr_t)a.value, 100 * (uintptr_t)(deep_plan.depth + 1));
    member_run(&b);
    cr_assert_eq((uintptr_t)b.value, 200);
}

Test(cont, without_memory_nobody_is_displaced)
{
    struct member a, b;
    struct plan plan = {10, 1};
    struct stack *stack = stack_shared_choose(&runner.stacks, NULL);

    member_init(&a, stack, go_deep, &plan);
    member_init(&b, stack, go_deep, &plan);
    member_run(&a);
    fault_set_hook(refuse);
    cr_assert_not(member_run(&b));
    cr_assert_eq(stack->resident, &a.cont);
    cr_assert_null(a.cont.chunk);
    cr_assert(member_run(&a));
    fault_set_hook(NULL);
    cr_assert(member_run(&b));
    cr_assert_not_null(a.cont.chunk);
    while (!a.done)
        cr_assert(member_run(&a));
    cr_assert_eq((uintptr_t)a.value, 1100);
}

Test(cont, may_be_dropped_resident_or_frozen)
{
    struct member a, b;
    struct plan plan = {10, 1};
    struct stack *stack = stack_shared_choose(&runner.stacks, NULL);
    uint32_t kept = 0;

    member_init(&a, stack, go_deep, &plan);
    member_init(&b, stack, go_deep, &plan);
    member_run(&a);
    member_run(&b);
    cont_drop(&a.cont, stack, &runner.chunks);
    cr_assert_null(a.cont.chunk);
    cr_assert_eq(stack->resident, &b.cont);
    for (int i = 0; i < CHUNK_CLASSES; i++)
        kept += runner.chunks.lists[i].count;
    cr_assert_geq(kept, 1, "the chunk is free again");
    cont_drop(&b.cont, stack, &runner.chunks);
    cr_assert_null(stack->resident);
    member_init(&a, stack, go_deep, &plan);
    while (!a.done)
        cr_assert(member_run(&a));
    cr_assert_eq((uintptr_t)a.value, 1100);
}

/* ---- inside public continuations: leaving from the leaf ---- */

static vthread_cont_scope_t outer_scope = VTHREAD_CONT_SCOPE_INITIALIZER("outer");
static vthread_cont_scope_t inner_scope = VTHREAD_CONT_SCOPE_INITIALIZER("inner");

static void *leaf(void *arg)
{
    intptr_t *steps = arg;

    for (int i = 0; i < 3; i++) {
        runner_yield();
        ++*steps;
        cr_assert_eq(vthread_cont_yield(&inner_scope, (void *)*steps), 0);
    }
    return (void *)deep(5, 9);
}

static void *middle(void *arg)
{
    vthread_cont_t *inner;
    void *value;

    cr_assert_eq(vthread_cont_new(&inner, &inner_scope, leaf, arg), 0);
    while (vthread_cont_run(inner, &value) == 0) {
        runner_yield();
        cr_assert_eq(vthread_cont_yield(&outer_scope, value), 0);
    }
    vthread_cont_free(inner);
    return value;
}

static void *with_nested(void *arg)
{
    vthread_cont_t *outer;
    intptr_t steps = 0;
    intptr_t seen = 0;
    void *value;

    (void)arg;
    cr_assert_eq(vthread_cont_new(&outer, &outer_scope, middle, &steps), 0);
    while (vthread_cont_run(outer, &value) == 0) {
        seen++;
        runner_yield();
        cr_assert_eq((intptr_t)value, seen);
    }
    vthread_cont_free(outer);
    cr_assert_eq(seen, 3);
    return value;
}

Test(cont, leaves_from_inside_nested_continuations)
{
    enum { N = 10 };
    struct member members[N];
    struct stack *stack = stack_shared_choose(&runner.stacks, NULL);
    int left = N;

    for (int i = 0; i < N; i++)
        member_init(&members[i], stack, with_nested, NULL);
    while (left > 0)
        for (int i = 0; i < N; i++)
            if (!members[i].done) {
                cr_assert(member_run(&members[i]));
                cr_assert_null(nested_self()->innermost);
                left -= members[i].done;
            }
    for (int i = 0; i < N; i++)
        cr_assert_eq((intptr_t)members[i].value, 600);
    cr_assert_eq(continuation_alive(), 0);
}
