/* SPDX-License-Identifier: MIT */
/* Threads that park and are unparked at random, by one or by many at once: no token is lost. */
#include "tokens.h"

static void wait_parked(struct place *self)
{
    (void)self;
    if (vthread_park() != 0)
        atomic_fetch_add(&self->all->errors, 1);
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 300000);
    uint64_t found = 0;

    /* Few tokens: most are asleep.  Many: most find a permit before they park. */
    found += tokens_run(64, 3, s.count / 2, s.seed, NULL, wait_parked);
    found += tokens_run(500, 250, s.count / 2, s.seed + 1, NULL, wait_parked);
    return stress_end("tokens", found, 253);
}
