/* SPDX-License-Identifier: MIT */
/*
 * Threads wait in blocking sections, some blocking for real: spares come and go, nobody starves.
 * A section keeps its stack, so only those with a dedicated one wait in it for a token that a stack-mate may
 * have to bring.
 */
#include "tokens.h"

static void *block_shortly(void *arg)
{
    uint64_t *random = arg; /* in the caller's place, not in its frame */

    usleep((useconds_t)stress_below(random, 300));
    return arg;
}

static bool has_dedicated_stack(struct place *self)
{
    return (self - self->all->places) % 2 == 1;
}

static void wait_blocking(struct place *self)
{
    switch (stress_below(&self->random, 6)) {
    case 0:
        if (vthread_blocking_call(block_shortly, &self->random) != &self->random)
            atomic_fetch_add(&self->all->errors, 1);
        return;
    case 1: /* nested, and parks inside */
        MUST(vthread_blocking_begin("outer"));
        MUST(vthread_blocking_begin("inner"));
        if (!place_has_token(self))
            vthread_park_until(has_dedicated_stack(self) ? VTHREAD_FOREVER : vthread_after_ns(200 * 1000));
        MUST(vthread_blocking_end());
        usleep(20);
        MUST(vthread_blocking_end());
        return;
    default:
        vthread_park();
    }
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 6000);

    vthread_attr_t dedicated = {.stack = VTHREAD_STACK_DEDICATED};

    return stress_end("tokens", tokens_run(32, 6, s.count, s.seed, &dedicated, wait_blocking), 6);
}
