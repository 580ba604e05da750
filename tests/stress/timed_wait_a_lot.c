/* SPDX-License-Identifier: MIT */
/*
 * Deadlines race with unparks: no message is missed, no wait ends by its deadline before it, and
 * a deadline that has passed does end it.
 */
#include "stress.h"

enum { PAIRS = 50 };

struct channel {
    _Alignas(64) _Atomic uint64_t sent;
    _Atomic uint64_t seen;
    _Atomic uint64_t receiver;
    uint64_t random;
    uint64_t rounds;
    uint64_t wrong;
    vthread_t sender;
};

static void *receive(void *arg)
{
    struct channel *c = arg;

    atomic_store(&c->receiver, (uintptr_t)vthread_self());
    for (uint64_t round = 1; round <= c->rounds; round++) {
        while (atomic_load(&c->sent) < round) {
            int64_t deadline_ns = vthread_after_ns((int64_t)stress_below(&c->random, 150000));
            int error = vthread_park_until(deadline_ns);

            if (error != 0 && error != ETIMEDOUT)
                c->wrong++;
            if (error == ETIMEDOUT && vthread_now_ns() < deadline_ns)
                c->wrong++;
        }
        atomic_store(&c->seen, round);
    }
    return NULL;
}

static void *send(void *arg)
{
    struct channel *c = arg;
    uint64_t random = (uintptr_t)c ^ c->rounds;

    for (uint64_t round = 1; round <= c->rounds; round++) {
        switch (stress_below(&random, 4)) {
        case 0:
            vthread_sleep_ns((int64_t)stress_below(&random, 150000));
            break;
        case 1:
            for (uint64_t i = stress_below(&random, 2000); i > 0; i--)
                vthread_spin_hint();
            break;
        case 2:
            vthread_yield();
            break;
        default:
            break;
        }
        atomic_store(&c->sent, round);
        vthread_unpark((vthread_t)(uintptr_t)atomic_load(&c->receiver));
        while (atomic_load(&c->seen) + 1 < round) /* at most one ahead */
            vthread_yield();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 30000);
    struct channel *channels = aligned_alloc(64, PAIRS * sizeof *channels);
    vthread_t receivers[PAIRS];
    uint64_t rounds = (uint64_t)s.count / PAIRS + 1;
    uint64_t seen = 0;

    memset(channels, 0, PAIRS * sizeof *channels);
    for (int i = 0; i < PAIRS; i++) {
        channels[i].random = s.seed + (uint64_t)i;
        channels[i].rounds = rounds;
        receivers[i] = stress_start(receive, &channels[i]);
        channels[i].sender = stress_start(send, &channels[i]);
    }
    for (int i = 0; i < PAIRS; i++) {
        stress_join(receivers[i]);
        stress_join(channels[i].sender);
        seen += atomic_load(&channels[i].seen) + 1000000 * channels[i].wrong;
    }
    free(channels);
    return stress_end("messages", seen, rounds * PAIRS);
}
