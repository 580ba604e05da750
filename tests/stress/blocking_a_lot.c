/* SPDX-License-Identifier: MIT */
/* Threads wait in blocking sections, some blocking for real: spares come and go, nobody starves. */
#include "tokens.h"

static void *block_shortly(void *arg)
{
    uint64_t *random = arg; /* in the caller's place, not in its frame */

    usleep((useconds_t)stress_below(random, 300));
    return arg;
}

static void wait_blocking(struct place *self)
{
    switch (stress_below(&self->random, 8)) {
    case 0:
        if (vthread_blocking_call(block_shortly, &self->random) != &self->random)
            atomic_fetch_add(&self->all->errors, 1);
        return;
    case 1: /* nested, and parks inside */
        MUST(vthread_blocking_begin("outer"));
        MUST(vthread_blocking_begin("inner"));
        if (!place_has_token(self))
            vthread_park();
        MUST(vthread_blocking_end());
        usleep(20);
        MUST(vthread_blocking_end());
        return;
    case 2:
        MUST(vthread_blocking_begin("timed"));
        vthread_park_until(vthread_after_ns(200 * 1000));
        MUST(vthread_blocking_end());
        return;
    default:
        vthread_park();
    }
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 6000);

    return stress_end("tokens", tokens_run(32, 6, s.count, s.seed, wait_blocking), 6);
}
