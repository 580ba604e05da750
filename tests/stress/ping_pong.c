/* SPDX-License-Identifier: MIT */
/* Pairs that unpark each other in turn; every other pair with a partner on a dedicated stack. */
#include "stress.h"

enum { PAIRS = 40 };

struct side {
    _Alignas(64) _Atomic uint64_t turn; /* number of the ball that lies here */
    _Atomic uint64_t thread;
    struct side *partner;
    uint64_t rounds;
    uint64_t played;
};

static void *play(void *arg)
{
    struct side *self = arg;

    atomic_store(&self->thread, (uintptr_t)vthread_self());
    for (uint64_t ball = 1; ball <= self->rounds; ball++) {
        while (atomic_load(&self->turn) < ball)
            vthread_park();
        self->played++;
        atomic_fetch_add(&self->partner->turn, 1);
        vthread_unpark((vthread_t)(uintptr_t)atomic_load(&self->partner->thread));
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 400000);
    struct side *sides = aligned_alloc(64, 2 * PAIRS * sizeof *sides);
    vthread_attr_t dedicated = {.stack = VTHREAD_STACK_DEDICATED};
    vthread_t threads[2 * PAIRS];
    uint64_t rounds = (uint64_t)s.count / (2 * PAIRS) + 1;
    uint64_t played = 0;

    memset(sides, 0, 2 * PAIRS * sizeof *sides);
    for (int i = 0; i < 2 * PAIRS; i++) {
        sides[i].partner = &sides[i ^ 1];
        sides[i].rounds = rounds;
        atomic_store(&sides[i].turn, (uint64_t)(i & 1)); /* the odd ones serve */
        MUST(vthread_create(&threads[i], i % 4 == 0 ? &dedicated : NULL, play, &sides[i]));
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        stress_join(threads[i]);
        played += sides[i].played;
    }
    free(sides);
    return stress_end("balls", played, rounds * 2 * PAIRS);
}
