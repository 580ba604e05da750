/* SPDX-License-Identifier: MIT */
/*
 * Threads that only yield take turns.  With one carrier nobody is ever more than two turns ahead; with
 * more, each carrier's threads are level, and nobody is starved.
 */
#include "stress.h"

enum { THREADS = 100 };

static struct runner {
    _Alignas(64) _Atomic uint64_t turns;
    uint64_t goal;
} runners[THREADS];
static _Atomic int ready;
static _Atomic int running;
static _Atomic uint64_t widest;

static void look_at_others(uint64_t mine)
{
    uint64_t least = mine;
    uint64_t seen = atomic_load(&widest);

    for (int i = 0; i < THREADS; i++) {
        uint64_t turns = atomic_load_explicit(&runners[i].turns, memory_order_relaxed);

        least = turns < least ? turns : least;
    }
    while (mine - least > seen && !atomic_compare_exchange_weak(&widest, &seen, mine - least))
        ;
}

static void *run(void *arg)
{
    struct runner *self = arg;

    atomic_fetch_add(&ready, 1);
    while (atomic_load(&ready) < THREADS)
        vthread_yield();
    for (uint64_t turn = 1; turn <= self->goal; turn++) {
        atomic_store_explicit(&self->turns, turn, memory_order_relaxed);
        if (turn % 64 == 0)
            look_at_others(turn);
        vthread_yield();
    }
    atomic_fetch_sub(&running, 1);
    while (atomic_load(&running) > 0) /* stay, so that the others' turns do not change */
        vthread_yield();
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 200000);
    const char *carriers = getenv("VTHREAD_PARALLELISM");
    vthread_t threads[THREADS];
    uint64_t goal = (uint64_t)s.count / THREADS + 64;
    uint64_t allowed = carriers != NULL && atoi(carriers) == 1 ? 2 : goal - 1;

    atomic_store(&running, THREADS);
    for (int i = 0; i < THREADS; i++) {
        runners[i].goal = goal;
        threads[i] = stress_start(run, &runners[i]);
    }
    for (int i = 0; i < THREADS; i++)
        stress_join(threads[i]);
    printf("turns %" PRIu64 ", widest lead %" PRIu64 ", allowed %" PRIu64 "\n", goal, atomic_load(&widest), allowed);
    return stress_end("too wide a lead", atomic_load(&widest) > allowed, 0);
}
