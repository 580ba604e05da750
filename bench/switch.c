/* SPDX-License-Identifier: MIT */
/*
 * switch: what does a resume and the yield that answers it cost, at the
 * continuation layer, without scheduler or states?
 *
 *     switch/resident    its frames lie on the stack: two switches and no more
 *     switch/displaced   two that share a stack, so that each resume freezes one's frames
 *                        (264 bytes) and thaws the other's
 *     switch/cold        the same with a million on 256 stacks: nothing is in the cache
 *     switch/cold_ahead  looking ahead to the next in line, as a carrier does
 */
#include <string.h>

#include "bench/layer.h"

enum {
    FRAME_BYTES = 264,
    COLD_STACKS = 256,
    COLD_LAPS = 4,
    PAD_MAX = 512,
};

static uint64_t turns;

static void *turn(void *arg)
{
    do {
        turns++;
        layer_yield();
    } while (turns > 0);
    return arg;
}

static void resident_once(const struct bench_run *run)
{
    struct stack *stack = stack_sole_take(&layer.stacks);
    struct cont cont = {0};

    bench_check(run, stack != NULL);
    layer_prepare(&cont, stack, turn, NULL);
    turns = 0;
    for (uint64_t i = 0; i < run->count; i++)
        layer_resume(&cont, stack);
    bench_check(run, turns == run->count);
    cont_frames_end(stack, cont.sp);
    stack_give_back(&layer.stacks, stack);
}

static void resident(const struct bench_run *run)
{
    layer_start(run, 0);
    bench_repeat_per_op(run, run->count, resident_once);
    layer_stop();
}

/* ---- with copying ---- */

/* Live bytes that make the frames as large as they shall be; the first of them counts the turns. */
static size_t pad_bytes;

static void *turn_with_frame(void *arg)
{
    volatile uint64_t *pad = __builtin_alloca(pad_bytes);
    uint64_t *total = arg;

    pad[0] = 0;
    do {
        pad[0]++;
        ++*total;
        layer_yield();
    } while (pad[0] > 0);
    return NULL;
}

static void occupy(const struct bench_run *run, struct cont *cont)
{
    bench_check(run, cont_occupy(cont, stack_at(cont->stack), &layer.chunks));
}

/* On a shared stack that we hold. */
static void begin(const struct bench_run *run, struct cont *cont, struct stack *stack)
{
    cont->stack = stack_index(stack);
    stack_shared_join(stack);
    occupy(run, cont);
    layer_prepare(cont, stack, turn_with_frame, &turns);
    layer_resume(cont, stack);
}

/* Find the pad with which a continuation's frames have the wanted size, or the next that alignment allows. */
static void choose_pad(const struct bench_run *run, struct stack *stack)
{
    struct cont probe = {0};
    uint32_t bytes = 0;

    for (pad_bytes = 16; bytes < FRAME_BYTES && pad_bytes < PAD_MAX; pad_bytes += 8) {
        begin(run, &probe, stack);
        bytes = cont_frame_bytes(&probe);
        cont_drop(&probe, stack, &layer.chunks);
        stack_shared_leave(stack);
    }
    pad_bytes -= 8;
    bench_check(run, bytes >= FRAME_BYTES);
    bench_sample(run, "frames", bytes, "B");
}

static struct cont *conts;
static uint64_t cont_count;
static bool look_ahead;

static void laps(const struct bench_run *run, uint64_t count)
{
    turns = 0;
    for (uint64_t lap = 0; lap < count; lap++)
        for (uint64_t i = 0; i < cont_count; i++) {
            if (look_ahead && i + 2 < cont_count) {
                __builtin_prefetch(&conts[i + 2]);
                for (uint32_t at = 0; conts[i + 1].chunk != NULL && at < FRAME_BYTES; at += CACHE_LINE)
                    __builtin_prefetch((char *)conts[i + 1].chunk + at);
            }
            occupy(run, &conts[i]);
            layer_resume(&conts[i], stack_at(conts[i].stack));
        }
    bench_check(run, turns == count * cont_count);
}

static void displaced_once(const struct bench_run *run)
{
    laps(run, run->count / cont_count);
}

static void cold_once(const struct bench_run *run)
{
    laps(run, COLD_LAPS);
}

static void shared(const struct bench_run *run, uint64_t count, uint32_t stacks)
{
    struct stack *stack[COLD_STACKS];

    layer_start(run, stacks);
    conts = bench_alloc(run, count, sizeof *conts);
    cont_count = count;
    /* All are held from here on, and while those seen are held the next is opened. */
    for (uint32_t have = 0; have < stacks;) {
        struct stack *s = stack_shared_choose(&layer.stacks, NULL);

        bench_check(run, s != NULL);
        if (stack_word_try(&s->word))
            stack[have++] = s;
    }
    choose_pad(run, stack[0]);
    for (uint64_t i = 0; i < count; i++)
        begin(run, &conts[i], stack[i % stacks]);
}

static void displaced(const struct bench_run *run)
{
    shared(run, 2, 1);
    bench_repeat_per_op(run, run->count / 2 * 2, displaced_once);
    layer_stop();
}

static void cold(const struct bench_run *run)
{
    look_ahead = run->bench->parameter != 0;
    shared(run, run->count, COLD_STACKS);
    bench_repeat_per_op(run, COLD_LAPS * run->count, cold_once);
    layer_stop();
}

const struct bench bench_switch[] = {
    {
        .name = "switch/resident",
        .question = "resume and yield of one continuation, by pairs",
        .run = resident,
        .count = 10000000,
        .quick = 1000,
        .reps = 25,
    },
    {
        .name = "switch/displaced",
        .question = "the same with two on one stack: each resume copies 264 bytes out and in; by pairs",
        .run = displaced,
        .count = 2000000,
        .quick = 1000,
        .reps = 25,
    },
    {
        .name = "switch/displaced_1k",
        .question = "the same by turns over continuations on 256 stacks",
        .run = cold,
        .count = 1000,
        .quick = 1000,
        .reps = 50,
    },
    {
        .name = "switch/cold",
        .question = "the same by turns over so many that none is in the cache",
        .run = cold,
        .count = 1000000,
        .quick = 2000,
        .reps = 5,
    },
    {
        .name = "switch/cold_ahead",
        .question = "the same, prefetching the next ones as a carrier does",
        .run = cold,
        .count = 1000000,
        .quick = 2000,
        .reps = 5,
        .parameter = 1,
    },
    {0},
};
