/* SPDX-License-Identifier: MIT */
/*
 * create_finish: what does something cost that does nothing at all, one after
 * another?
 *
 *     create_finish/sole     a continuation on a stack of its own
 *     create_finish/shared   on a stack that others share
 *     create_finish/thread   a virtual thread, created and joined
 */
#include <vthread/vthread.h>

#include "bench/layer.h"

static uint64_t ran;

static void *nothing(void *arg)
{
    ran++;
    return arg;
}

static void sole_once(const struct bench_run *run)
{
    ran = 0;
    for (uint64_t i = 0; i < run->count; i++) {
        struct stack *stack = stack_sole_take(&layer.stacks);
        struct cont cont = {.stack = stack_index(stack)};

        layer_prepare(&cont, stack, nothing, NULL);
        layer_resume(&cont, stack);
        cont_frames_end(stack, cont.sp);
        stack_give_back(&layer.stacks, stack);
    }
    bench_check(run, ran == run->count);
}

static void shared_once(const struct bench_run *run)
{
    ran = 0;
    for (uint64_t i = 0; i < run->count; i++) {
        struct stack *stack = stack_shared_choose(&layer.stacks, NULL);
        struct cont cont = {.stack = stack_index(stack)};

        bench_check(run, stack_word_try(&stack->word) && cont_occupy(&cont, stack, &layer.chunks));
        stack_shared_join(stack);
        layer_prepare(&cont, stack, nothing, NULL);
        layer_resume(&cont, stack);
        cont_drop(&cont, stack, &layer.chunks);
        bench_check(run, stack_word_release(&stack->word) == NULL);
    }
    bench_check(run, ran == run->count);
}

static void on_layer(const struct bench_run *run)
{
    layer_start(run, 256);
    bench_repeat_per_op(run, run->count, run->bench->parameter != 0 ? shared_once : sole_once);
    layer_stop();
}

static void thread_once(const struct bench_run *run)
{
    ran = 0;
    for (uint64_t i = 0; i < run->count; i++) {
        vthread_t thread;

        bench_check(run, vthread_create(&thread, NULL, nothing, NULL) == 0);
        bench_check(run, vthread_join(thread, NULL) == 0); /* so `ran` has one writer at a time */
    }
    bench_check(run, ran == run->count);
}

static void on_runtime(const struct bench_run *run)
{
    bench_repeat_per_op(run, run->count, thread_once);
}

const struct bench bench_create_finish[] = {
    {
        .name = "create_finish/sole",
        .question = "continuations that return at once, on a stack of their own; by continuations",
        .run = on_layer,
        .count = 2000000,
        .quick = 1000,
        .reps = 25,
    },
    {
        .name = "create_finish/shared",
        .question = "the same on shared stacks",
        .run = on_layer,
        .count = 2000000,
        .quick = 1000,
        .reps = 25,
        .parameter = 1,
    },
    {
        .name = "create_finish/thread",
        .question = "virtual threads that return at once, each joined before the next",
        .run = on_runtime,
        .count = 1000000,
        .quick = 1000,
        .reps = 5,
        .carriers = {1, 2},
    },
    {0},
};
