/* SPDX-License-Identifier: MIT */
/*
 * Tokens that threads hand to each other at random; each test says how a thread
 * waits for one.
 *
 * A token lies at a place, and the thread of that place takes it away, counts a
 * hop and lays it down at another.  When all hops are made, whoever has a token
 * keeps it.  No token may be lost or doubled; a lost wake-up leaves a token lying
 * beside a thread that sleeps, and the test does not end.
 */
#ifndef TESTS_STRESS_TOKENS_H
#define TESTS_STRESS_TOKENS_H

#include "stress.h"

struct place {
    _Alignas(64) _Atomic uint64_t tokens;
    _Atomic uint64_t owner; /* vthread_t, once its thread has said who it is */
    uint64_t random;
    uint64_t kept;
    struct ring_of_places *all;
};

struct ring_of_places {
    int count;
    struct place *places;
    _Atomic int64_t hops;
    _Atomic bool stop;
    _Atomic uint64_t errors;
    /* Wait for something to happen; returning early is fine. */
    void (*wait)(struct place *self);
};

static inline void place_wake(struct place *p)
{
    vthread_unpark((vthread_t)(uintptr_t)atomic_load(&p->owner)); /* NULL: has not looked yet, and will */
}

static inline bool place_has_token(struct place *p)
{
    return atomic_load(&p->tokens) > 0 || atomic_load(&p->all->stop);
}

static inline void *place_run(void *arg)
{
    struct place *self = arg;
    struct ring_of_places *all = self->all;

    atomic_store(&self->owner, (uintptr_t)vthread_self());
    while (!atomic_load(&all->stop)) {
        struct place *next;

        if (atomic_load(&self->tokens) == 0) {
            all->wait(self);
            continue;
        }
        atomic_fetch_sub(&self->tokens, 1); /* only we take away */
        if (atomic_fetch_sub(&all->hops, 1) <= 0) {
            self->kept++;
            if (!atomic_exchange(&all->stop, true))
                for (int i = 0; i < all->count; i++)
                    place_wake(&all->places[i]);
            break;
        }
        next = &all->places[stress_below(&self->random, (uint64_t)all->count)];
        atomic_fetch_add(&next->tokens, 1);
        place_wake(next);
    }
    return NULL;
}

static inline void tokens_init(struct ring_of_places *all, int count, int tokens, long hops, uint64_t seed,
                               void (*wait)(struct place *self))
{
    *all = (struct ring_of_places){.count = count, .wait = wait};
    atomic_store(&all->hops, hops);
    all->places = aligned_alloc(64, (size_t)count * sizeof *all->places);
    memset(all->places, 0, (size_t)count * sizeof *all->places);
    for (int i = 0; i < count; i++) {
        all->places[i].all = all;
        all->places[i].random = seed + (uint64_t)i * 7919;
    }
    for (int i = 0; i < tokens; i++)
        atomic_fetch_add(&all->places[stress_below(&seed, (uint64_t)count)].tokens, 1);
}

/* Once every thread has ended: how many tokens there are. */
static inline uint64_t tokens_fini(struct ring_of_places *all)
{
    uint64_t found = 0;

    for (int i = 0; i < all->count; i++)
        found += all->places[i].kept + atomic_load(&all->places[i].tokens);
    free(all->places);
    return found;
}

/* With virtual threads only, those of odd places with attributes of their own (NULL: like the others). */
static inline uint64_t tokens_run(int count, int tokens, long hops, uint64_t seed, const vthread_attr_t *odd,
                                  void (*wait)(struct place *self))
{
    struct ring_of_places all; /* on main's stack, which is no virtual thread's */
    vthread_t *threads = calloc((size_t)count, sizeof *threads);
    uint64_t found;

    tokens_init(&all, count, tokens, hops, seed, wait);
    for (int i = 0; i < count; i++)
        MUST(vthread_create(&threads[i], i % 2 ? odd : NULL, place_run, &all.places[i]));
    for (int i = 0; i < count; i++)
        stress_join(threads[i]);
    free(threads);
    found = tokens_fini(&all);
    return atomic_load(&all.errors) == 0 ? found : UINT64_MAX;
}

#endif
