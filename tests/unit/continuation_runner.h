/* SPDX-License-Identifier: MIT */
/*
 * What the tests of this layer stand on: stacks and chunks set up, and the smallest
 * possible carrier, which runs continuations on stacks that they may have to share.
 */
#ifndef TESTS_UNIT_CONTINUATION_RUNNER_H
#define TESTS_UNIT_CONTINUATION_RUNNER_H

#include <criterion/criterion.h>

#include "base/panic.h"
#include "continuation/cont.h"
#include "continuation/life.h"
#include "continuation/nested.h"

/* Frames are larger, and faults are reported in another way. */
#define SANITIZED (BUILT_WITH_ASAN || BUILT_WITH_TSAN)

struct member {
    struct cont cont;
    void *(*fn)(void *arg);
    void *arg;
    void *value;                /* what fn returned */
    struct vthread_cont *inner; /* it yielded inside these */
    void *leaf_sp;
    bool done;
};

static struct {
    struct switch_frame frame;
    struct chunk_cache chunks;
    struct stack_cache stacks;
    struct member *current;
} runner;

static inline void runner_start(uint32_t sole, uint32_t shared)
{
    const struct stack_params params = {.stack_bytes = 256 * 1024, .sole_max = sole, .shared_max = shared};

    cr_assert_eq(continuation_start(&params), 0);
}

static inline void runner_start_default(void)
{
    runner_start(16, 4);
}

/* Leave the member that runs; from a body, perhaps one inside public continuations. */
static inline void runner_yield(void)
{
    struct member *m = runner.current;

    m->inner = nested_around(__builtin_frame_address(0));
    if (m->inner != NULL)
        nested_leave();
    sanitizer_out(&runner.frame, m->inner != NULL ? m->inner->stack : stack_at(m->cont.stack));
    switch_out(&runner.frame, NULL);
    m = runner.current;
    if (m->inner != NULL)
        nested_return(m->inner);
}

static void runner_finish(void *value)
{
    struct member *m = runner.current;

    m->value = value;
    m->done = true;
    sanitizer_last_out(&runner.frame, stack_at(m->cont.stack));
    switch_out(&runner.frame, NULL);
    panic("a member that had ended was run");
}

static inline void member_init(struct member *m, struct stack *stack, void *(*fn)(void *arg), void *arg)
{
    *m = (struct member){.cont = {.stack = stack_index(stack)}, .fn = fn, .arg = arg};
}

/* Run it until it yields or ends; displaces whoever is on its stack.  False: no memory for that. */
static inline bool member_run(struct member *m)
{
    struct stack *stack = stack_at(m->cont.stack);
    void *sp;

    if (!cont_occupy(&m->cont, stack, &runner.chunks))
        return false;
    if (m->cont.sp == NULL)
        m->cont.sp = cont_prepare(stack, &(struct switch_entry){m->fn, m->arg, runner_finish});
    sp = m->inner != NULL ? m->leaf_sp : m->cont.sp;
    runner.current = m;
    sanitizer_in(&runner.frame, m->inner != NULL ? m->inner->stack : stack);
    switch_in(&runner.frame, sp, NULL);
    m->leaf_sp = runner.frame.cont_sp;
    m->cont.sp = m->inner != NULL && !m->done ? nested_outer_sp(m->inner) : m->leaf_sp;
    if (m->done)
        cont_drop(&m->cont, stack, &runner.chunks);
    return true;
}

#endif
