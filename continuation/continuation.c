/* SPDX-License-Identifier: MIT */
/*
 * Public continuations: run, yield, pin.  Making and freeing is in magazine.c.
 *
 * A resume and a yield are what generators are made of, so both are short: no
 * locked instruction, no call but the switch.  `state` is the runner's alone; that
 * two threads run one continuation at once is seen unless they begin within
 * nanoseconds of each other, which is theirs to avoid.
 */
#include <errno.h>

#include "base/panic.h"
#include "continuation/nested.h"

static uint8_t state_of(const struct vthread_cont *c)
{
    return atomic_load_acquire(&c->state); /* pairs with set_state: what the last run did is visible */
}

static void set_state(struct vthread_cont *c, enum nested_state state)
{
    atomic_store_release(&c->state, (uint8_t)state);
}

/* ---- run ---- */

ALWAYS_INLINE int run(struct vthread_cont *c, void **ret_value)
{
    struct nested_thread *self = nested_self();

    set_state(c, NESTED_RUNNING);
    c->parent = self->innermost;
    self->innermost = c->inner;
    sanitizer_in(&c->frame, c->inner->stack);
    return switch_run(&c->frame, c->frame.cont_sp, ret_value != NULL ? ret_value : &c->value, &c->state.value);
}

/* The runner has control words of its own; the body begins with the default ones. */
static COLD int run_with_fp(struct vthread_cont *c, void **ret_value)
{
    struct switch_fp fp = switch_fp_save();
    int code;

    switch_fp_load(SWITCH_FP_DEFAULT);
    code = run(c, ret_value);
    switch_fp_load(fp);
    return code;
}

static COLD int run_refused(struct vthread_cont *c, void **ret_value)
{
    if (state_of(c) != NESTED_DONE)
        return EBUSY;
    if (ret_value != NULL)
        *ret_value = c->value;
    return ENODATA;
}

int vthread_cont_run(vthread_cont_t *c, void **ret_value)
{
    if (UNLIKELY(c == NULL))
        return EINVAL;
    if (UNLIKELY(state_of(c) != NESTED_SUSPENDED))
        return run_refused(c, ret_value);
    if (UNLIKELY(!switch_fp_is_default(switch_fp_save())))
        return run_with_fp(c, ret_value);
    return run(c, ret_value);
}

/* ---- yield ---- */

/* To the runner of c: suspends what runs, up to and with c. */
static COLD int leave_with_fp(struct vthread_cont *c, void *value)
{
    struct switch_fp fp = switch_fp_save();

    switch_fp_load(SWITCH_FP_DEFAULT);
    sanitizer_out(&c->frame, c->inner->stack);
    switch_yield(&c->frame, value, 0);
    switch_fp_load(fp);
    return 0;
}

int vthread_cont_yield(const vthread_cont_scope_t *scope, void *value)
{
    struct nested_thread *self = nested_self();
    struct vthread_cont *innermost = self->innermost;
    struct vthread_cont *c = innermost;
    unsigned pins = 0;

    for (;; c = c->parent) {
        if (UNLIKELY(c == NULL))
            return EPERM;
        pins |= c->pins;
        if (LIKELY(c->scope == scope))
            break;
    }
    if (UNLIKELY(pins != 0))
        return EBUSY;
    c->inner = innermost;
    self->innermost = c->parent;
    if (UNLIKELY(!switch_fp_is_default(switch_fp_save())))
        return leave_with_fp(c, value);
    sanitizer_out(&c->frame, innermost->stack);
    return switch_yield(&c->frame, value, 0); /* a tail call: goes on in the body */
}

/* What the body returns to. */
void nested_finish(void *value)
{
    struct nested_thread *self = nested_self();
    struct vthread_cont *c = self->innermost;

    self->innermost = c->parent;
    c->value = value;
    if (UNLIKELY(!switch_fp_is_default(switch_fp_save())))
        switch_fp_load(SWITCH_FP_DEFAULT);
    sanitizer_last_out(&c->frame, c->stack);
    switch_yield(&c->frame, value, ENODATA);
    panic("a continuation that had returned was run");
}

void nested_abandon(struct vthread_cont *c)
{
    struct vthread_cont *parent;

    for (; c != NULL; c = parent) {
        parent = c->parent;
        c->value = NULL;
        set_state(c, NESTED_DONE);
    }
}

/* ---- the rest ---- */

bool vthread_cont_is_done(const vthread_cont_t *c)
{
    return c != NULL && state_of(c) == NESTED_DONE;
}

int vthread_cont_pin(const char *reason)
{
    struct vthread_cont *c = nested_self()->innermost;

    if (c == NULL)
        return EPERM;
    if (c->pins == UINT16_MAX)
        return EAGAIN;
    if (c->pins++ == 0)
        c->pin_reason = reason;
    return 0;
}

int vthread_cont_unpin(void)
{
    struct vthread_cont *c = nested_self()->innermost;

    if (c == NULL)
        return EPERM;
    if (c->pins == 0)
        return EINVAL;
    c->pins--;
    return 0;
}
