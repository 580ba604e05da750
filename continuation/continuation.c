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
    struct nested_thread *self = nested_self();

    if (UNLIKELY(c == NULL))
        return EINVAL;
    if (UNLIKELY(state_of(c) != NESTED_SUSPENDED))
        return run_refused(c, ret_value);
    c->ret_value = ret_value != NULL ? ret_value : &c->value;
    if (UNLIKELY(c->parent != self->innermost)) /* as in leave: most often it is the same as before */
        c->parent = self->innermost;
    self->innermost = c->inner;
    set_state(c, NESTED_RUNNING); /* only now: a collector finds it by its state or by the thread, at any instant */
    sanitizer_in(&c->frame, c->inner->stack);
    return switch_swap(&c->frame.runner_sp, c->frame.cont_sp, 0);
}

/* ---- yield ---- */

/*
 * To the runner of c, which is the innermost or around it.  What is left to do for
 * its vthread_cont_run is done here, so that the switch ends that call, too: a tail
 * call there, a tail call here.
 */
ALWAYS_INLINE int leave(struct nested_thread *self, struct vthread_cont *c, void *value)
{
    struct vthread_cont *innermost = self->innermost;

    if (UNLIKELY(c->inner != innermost)) /* a store less, which the next run would have to wait for */
        c->inner = innermost;
    self->innermost = c->parent;
    *c->ret_value = value;
    set_state(c, NESTED_SUSPENDED);
    sanitizer_out(&c->frame, innermost->stack);
    return switch_swap(&c->frame.cont_sp, c->frame.runner_sp, 0);
}

static NOINLINE int yield_outward(const vthread_cont_scope_t *scope, void *value)
{
    struct nested_thread *self = nested_self();
    struct vthread_cont *c;
    unsigned pins = 0;

    for (c = self->innermost; c != NULL; c = c->parent) {
        pins |= c->pins;
        if (c->scope == scope)
            return pins == 0 ? leave(self, c, value) : EBUSY;
    }
    return EPERM;
}

int vthread_cont_yield(const vthread_cont_scope_t *scope, void *value)
{
    struct nested_thread *self = nested_self();
    struct vthread_cont *c = self->innermost;

    if (LIKELY(c != NULL) && LIKELY(c->scope == scope) && LIKELY(c->pins == 0))
        return leave(self, c, value);
    return yield_outward(scope, value);
}

/* What the body returns to. */
void nested_finish(void *value)
{
    struct nested_thread *self = nested_self();
    struct vthread_cont *c = self->innermost;

    self->innermost = c->parent;
    *c->ret_value = c->value = value;
    set_state(c, NESTED_DONE);
    sanitizer_last_out(&c->frame, c->stack);
    switch_swap(&c->frame.cont_sp, c->frame.runner_sp, ENODATA);
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

NOINLINE int vthread_cont_pin(const char *reason)
{
    struct vthread_cont *c = nested_self()->innermost;

    if (c == NULL)
        return EPERM;
    if (c->pins == UINT16_MAX)
        return EAGAIN;
    if (c->pins++ == 0) {
        c->pin_reason = reason;
        c->pinned_at = __builtin_return_address(0);
    }
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
