/* SPDX-License-Identifier: MIT */
/*
 * The continuation layer by itself, for the benchmarks that measure no more
 * than that: one OS thread, which plays the carrier.
 */
#ifndef BENCH_LAYER_H
#define BENCH_LAYER_H

#include "bench/bench.h"
#include "continuation/cont.h"

struct layer {
    struct switch_frame frame;
    struct chunk_cache chunks;
    struct stack_cache stacks;
    const struct stack *stack; /* of the one that runs, for the sanitizers */
};

extern struct layer layer;

/* As the runtime does by default for one carrier. */
void layer_start(const struct bench_run *run, uint32_t shared_stacks);
void layer_stop(void);

/* Suspend the running continuation. */
static inline void layer_yield(void)
{
    sanitizer_out(&layer.frame, layer.stack);
    switch_out(&layer.frame, NULL);
}

/* As its outermost code ends. */
void layer_finish(void *value);

/* A continuation that will run fn(arg), on a stack that is held and vacant. */
static inline void layer_prepare(struct cont *cont, struct stack *stack, void *(*fn)(void *arg), void *arg)
{
    struct switch_entry entry = {fn, arg, layer_finish};

    cont->sp = cont_prepare(stack, &entry);
}

/* Run it until it yields or ends; returns false when it has ended. */
ALWAYS_INLINE bool layer_resume(struct cont *cont, const struct stack *stack)
{
    void *ended;

    if (SANITIZER_TOP_BYTES > 0)
        layer.stack = stack;
    sanitizer_in(&layer.frame, stack);
    ended = switch_in(&layer.frame, cont->sp, NULL);
    cont->sp = layer.frame.cont_sp;
    return ended == NULL;
}

#endif
