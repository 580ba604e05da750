/* SPDX-License-Identifier: MIT */
/*
 * Threads that run continuations, nested ones too, whose bodies wait, yield and
 * pin; continuations that go from thread to thread; threads that end inside one.
 */
#include <vthread/continuation.h>

#include "stress.h"

enum { THREADS = 50, TRAVELLERS = 8, STEPS = 6 };

static vthread_cont_scope_t outer_scope = VTHREAD_CONT_SCOPE_INITIALIZER("outer");
static vthread_cont_scope_t inner_scope = VTHREAD_CONT_SCOPE_INITIALIZER("inner");

static _Atomic(vthread_cont_t *) travellers[TRAVELLERS];
static _Atomic uint64_t seeds;

/* Any way of letting others run. */
static void let_others_run(uint64_t *random)
{
    switch (stress_below(random, 8)) {
    case 0:
        vthread_sleep_ns((int64_t)stress_below(random, 100000));
        break;
    case 1:
        MUST(vthread_unpark(vthread_self()));
        MUST(vthread_park());
        break;
    case 2:
        if (vthread_park_until(vthread_after_ns(20000)) == EINTR)
            abort();
        break;
    case 3:
        MUST(vthread_cont_pin("stress"));
        vthread_yield();
        if (stress_below(random, 4) == 0)
            vthread_sleep_ns(1000);
        if (vthread_cont_yield(&outer_scope, NULL) != EBUSY)
            abort();
        MUST(vthread_cont_unpin());
        break;
    case 4:
        MUST(vthread_pin("stress"));
        vthread_sleep_ns(1000);
        MUST(vthread_unpin());
        break;
    default:
        vthread_yield();
    }
}

static void *inner(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    double x = (double)(random % 1000);
    uint64_t steps = 0;
    double expected = x;

    for (int i = 0; i < STEPS; i++) {
        let_others_run(&random);
        x = x * 1.5 + 1;
        MUST(vthread_cont_yield(stress_below(&random, 2) == 0 ? &inner_scope : &outer_scope, (void *)1));
        expected = expected * 1.5 + 1;
        steps += x == expected;
    }
    return (void *)(uintptr_t)steps;
}

/* Runs two inner ones in turn; yields in between. */
static void *outer(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    vthread_cont_t *both[2];
    uint64_t steps = 0;
    int left = 2;
    void *value;

    for (int i = 0; i < 2; i++)
        MUST(vthread_cont_new(&both[i], &inner_scope, inner, (void *)(uintptr_t)stress_random(&random)));
    while (left > 0) {
        int i = (int)stress_below(&random, 2);
        int error = both[i] != NULL ? vthread_cont_run(both[i], &value) : -1;

        if (error == ENODATA) {
            steps += (uintptr_t)value;
            MUST(vthread_cont_free(both[i]));
            both[i] = NULL;
            left--;
        } else if (error > 0) {
            MUST(error);
        }
        if (stress_below(&random, 4) == 0)
            let_others_run(&random);
        if (stress_below(&random, 4) == 0)
            MUST(vthread_cont_yield(&outer_scope, NULL));
    }
    return (void *)(uintptr_t)steps;
}

static vthread_cont_t *make_outer(void)
{
    uint64_t random = atomic_fetch_add(&seeds, 1);
    vthread_cont_t *c;

    MUST(vthread_cont_new(&c, &outer_scope, outer, (void *)(uintptr_t)stress_random(&random)));
    return c;
}

static void *exits_inside(void *arg)
{
    (void)arg;
    vthread_yield();
    vthread_exit((void *)1);
}

static void *runs_to_its_end(void *arg)
{
    vthread_cont_run(arg, NULL);
    return NULL;
}

struct work {
    uint64_t rounds;
    uint64_t steps;
    uint64_t random;
};

/* One own continuation to its end, some turns of those that travel, and now and then a thread that ends inside one. */
static void *work(void *arg)
{
    struct work *w = arg;

    for (uint64_t round = 0; round < w->rounds; round++) {
        vthread_cont_t *own = make_outer();
        void *value;

        while (vthread_cont_run(own, &value) == 0) {
            _Atomic(vthread_cont_t *) *place = &travellers[stress_below(&w->random, TRAVELLERS)];
            vthread_cont_t *c = atomic_exchange(place, NULL);
            void *travelled;

            if (c == NULL)
                continue;
            switch (vthread_cont_run(c, &travelled)) {
            case ENODATA:
                w->steps += (uintptr_t)travelled;
                MUST(vthread_cont_free(c));
                break;
            case 0:
                while (c != NULL) { /* somebody may have put another there meanwhile */
                    place = &travellers[stress_below(&w->random, TRAVELLERS)];
                    c = atomic_exchange(place, c);
                }
                break;
            default:
                abort();
            }
        }
        w->steps += (uintptr_t)value;
        MUST(vthread_cont_free(own));
        if (round % 8 == 0) {
            MUST(vthread_cont_new(&own, &outer_scope, exits_inside, NULL));
            w->steps += (uintptr_t)stress_join(stress_start(runs_to_its_end, own));
            if (!vthread_cont_is_done(own))
                abort();
            MUST(vthread_cont_free(own));
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 15000);
    struct work works[THREADS];
    vthread_t threads[THREADS];
    uint64_t rounds = (uint64_t)s.count / THREADS + 1;
    uint64_t steps = 0;
    void *value;

    atomic_store(&seeds, s.seed);
    for (int i = 0; i < TRAVELLERS; i++)
        atomic_store(&travellers[i], make_outer());
    for (int i = 0; i < THREADS; i++) {
        works[i] = (struct work){.rounds = rounds, .random = s.seed + (uint64_t)i};
        threads[i] = stress_start(work, &works[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        stress_join(threads[i]);
        steps += works[i].steps;
    }
    for (int i = 0; i < TRAVELLERS; i++) {
        vthread_cont_t *c = atomic_load(&travellers[i]);

        if (c == NULL)
            continue;
        while (vthread_cont_run(c, &value) == 0)
            ;
        steps += (uintptr_t)value;
        MUST(vthread_cont_free(c));
    }
    return stress_end("steps", steps, (THREADS * rounds + TRAVELLERS) * 2 * STEPS + THREADS * ((rounds + 7) / 8));
}
