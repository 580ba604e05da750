/* SPDX-License-Identifier: MIT */
/* Every other wait is pinned: a spare carrier, or a stack-mate, must go on meanwhile. */
#include "tokens.h"

static void wait_perhaps_pinned(struct place *self)
{
    unsigned depth = (unsigned)stress_below(&self->random, 4);
    const char *reason = NULL;

    for (unsigned i = 0; i < depth; i++)
        MUST(vthread_pin("pin_a_lot"));
    if (vthread_is_pinned(&reason) != (depth > 0) || (depth > 0 && strcmp(reason, "pin_a_lot") != 0))
        atomic_fetch_add(&self->all->errors, 1);
    if (!place_has_token(self)) {
        if (stress_below(&self->random, 4) == 0)
            vthread_yield();
        if (vthread_park() != 0)
            atomic_fetch_add(&self->all->errors, 1);
    }
    for (unsigned i = 0; i < depth; i++)
        MUST(vthread_unpin());
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 20000);

    return stress_end("tokens", tokens_run(48, 5, s.count, s.seed, NULL, wait_perhaps_pinned), 5);
}
