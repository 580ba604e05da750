/* SPDX-License-Identifier: MIT */
#include <execinfo.h>
#include <fenv.h>

#include "continuation_runner.h"

TestSuite(switch, .init = runner_start_default);

static struct switch_frame frame;
static struct stack *stack;

static void finish(void *value)
{
    sanitizer_last_out(&frame, stack);
    switch_out(&frame, value);
    panic("entered after its end");
}

static void *prepare(void *(*fn)(void *arg), void *arg)
{
    stack = stack_sole_take(&runner.stacks);
    return cont_prepare(stack, &(struct switch_entry){fn, arg, finish});
}

static void *in(void *sp, intptr_t value)
{
    sanitizer_in(&frame, stack);
    return switch_in(&frame, sp, (void *)value);
}

static intptr_t out(intptr_t value)
{
    sanitizer_out(&frame, stack);
    return switch_out(&frame, (void *)value);
}

static void *three_times(void *arg)
{
    for (intptr_t i = 0; i < 3; i++)
        cr_assert_eq(out(10 + i), 20 + i);
    return arg;
}

Test(switch, passes_values_both_ways)
{
    void *sp = prepare(three_times, (void *)99);

    for (intptr_t i = 0; i < 3; i++) {
        cr_assert_eq((intptr_t)in(sp, 19 + i), 10 + i);
        sp = frame.cont_sp;
        cr_assert(stack_contains(stack, sp));
    }
    cr_assert_eq((intptr_t)in(sp, 22), 99);
}

static void *swap_three_times(void *arg)
{
    for (intptr_t i = 0; i < 3; i++) {
        sanitizer_out(&frame, stack);
        cr_assert_eq(switch_swap(&frame.cont_sp, frame.runner_sp, 10 + i), 20 + i);
    }
    sanitizer_last_out(&frame, stack);
    switch_swap(&frame.cont_sp, frame.runner_sp, (intptr_t)arg);
    return NULL;
}

Test(switch, swap_does_the_same)
{
    frame.cont_sp = prepare(swap_three_times, (void *)99);
    for (intptr_t i = 0; i < 4; i++) {
        sanitizer_in(&frame, stack);
        cr_assert_eq(switch_swap(&frame.runner_sp, frame.cont_sp, 19 + i), i < 3 ? 10 + i : 99);
        cr_assert(stack_contains(stack, frame.cont_sp));
    }
}

/* More live values, of every kind, than there are registers a call preserves. */
static NOINLINE int survives(int seed, intptr_t (*pass)(intptr_t))
{
    volatile int v = seed;
    long a = v + 1, b = v + 2, c = v + 3, d = v + 4, e = v + 5, f = v + 6, g = v + 7, h = v + 8, i = v + 9, j = v + 10,
         k = v + 11, l = v + 12;
    double p = v + .1, q = v + .2, r = v + .3, s = v + .4, t = v + .5, u = v + .6, w = v + .7, x = v + .8;
    long double y = v + .9L;
    int ok = 1;

    for (int n = 0; n < 3; n++) {
        pass(seed);
        ok &= a == v + 1 && b == v + 2 && c == v + 3 && d == v + 4 && e == v + 5 && f == v + 6 && g == v + 7 &&
              h == v + 8 && i == v + 9 && j == v + 10 && k == v + 11 && l == v + 12;
        ok &= p == v + .1 && q == v + .2 && r == v + .3 && s == v + .4 && t == v + .5 && u == v + .6 && w == v + .7 &&
              x == v + .8 && y == v + .9L;
    }
    return ok;
}

static intptr_t swap_out(intptr_t value)
{
    sanitizer_out(&frame, stack);
    return switch_swap(&frame.cont_sp, frame.runner_sp, value);
}

static void *body_survives(void *arg)
{
    for (;;)
        out(survives(1000, out) ? 1 : -1);
    return arg;
}

static void *body_survives_swaps(void *arg)
{
    for (;;)
        swap_out(survives(1000, swap_out) ? 1 : -1);
    return arg;
}

static intptr_t in_and_out(intptr_t value)
{
    return (intptr_t)in(frame.cont_sp, value);
}

static intptr_t swap_in_and_out(intptr_t value)
{
    sanitizer_in(&frame, stack);
    return switch_swap(&frame.runner_sp, frame.cont_sp, value);
}

Test(switch, preserves_what_a_call_preserves)
{
    frame.cont_sp = prepare(body_survives, NULL);
    for (int i = 0; i < 10; i++) {
        cr_assert(survives(i, in_and_out));
        cr_assert_neq(in_and_out(0), -1);
    }
}

Test(switch, swap_preserves_it_too)
{
    frame.cont_sp = prepare(body_survives_swaps, NULL);
    for (int i = 0; i < 10; i++) {
        cr_assert(survives(i, swap_in_and_out));
        cr_assert_neq(swap_in_and_out(0), -1);
    }
}

static void *where(void *arg)
{
    char here[64] __attribute__((aligned(64)));

    *(uintptr_t *)arg = (uintptr_t)__builtin_frame_address(0);
    __asm__ volatile("" : : "r"(here) : "memory");
    return here[0] == 0 ? arg : NULL;
}

Test(switch, the_first_frame_is_aligned)
{
    uintptr_t frame_address = 0;

    in(prepare(where, &frame_address), 0);
    cr_assert_eq(frame_address % 16, 0);
    cr_assert(stack_contains(stack, (void *)frame_address));
}

static NOINLINE void *walk(void *arg)
{
    void *pcs[64];

    *(int *)arg = backtrace(pcs, 64);
    out(0);
    *(int *)arg = backtrace(pcs, 64);
    return arg;
}

Test(switch, a_walk_of_the_frames_ends_at_the_first)
{
    int depth = 0;
    void *sp = prepare(walk, &depth);

    in(sp, 0);
    cr_assert_geq(depth, 1);
    cr_assert_leq(depth, 6);
    depth = 0;
    in(frame.cont_sp, 0);
    cr_assert_geq(depth, 1);
    cr_assert_leq(depth, 6);
}

Test(switch, control_words_are_told_apart)
{
    struct switch_fp fp = switch_fp_save();

    cr_assert(switch_fp_is_default(fp));
    fesetround(FE_UPWARD);
    cr_assert_not(switch_fp_is_default(switch_fp_save()));
    switch_fp_load(SWITCH_FP_DEFAULT);
    cr_assert(switch_fp_is_default(switch_fp_save()));
    cr_assert_eq(fegetround(), FE_TONEAREST);
}

struct over {
    void *sp[2];
    uint32_t inside;
    int *log;
};

static struct over *over;

static void *over_there(void *arg)
{
    *over->log++ = 2;
    switch_over(&over->sp[1], over->sp[0], &over->inside, (void *)7);
    return arg;
}

static void *over_here(void *arg)
{
    *over->log++ = 1;
    over->inside = 1;
    cr_assert_eq((intptr_t)switch_over(&over->sp[0], over->sp[1], &over->inside, NULL), 7);
    cr_assert_eq(over->inside, 0);
    *over->log++ = 3;
    return arg;
}

Test(switch, over_goes_straight_to_another)
{
    int log[3] = {0};
    struct over shared = {.log = log};

    if (SANITIZED)
        cr_skip("sanitizers are not told of this one");
    over = &shared;
    shared.sp[1] = prepare(over_there, NULL);
    shared.sp[0] = prepare(over_here, NULL);
    in(shared.sp[0], 0);
    cr_assert_eq(log[0] * 100 + log[1] * 10 + log[2], 123);
}
