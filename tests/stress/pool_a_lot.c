/* SPDX-License-Identifier: MIT */
/*
 * Pools under everything at once: threads of both kinds acquire, with deadlines and without, are
 * interrupted, release and discard; creating fails, objects turn out invalid or grow old; the
 * pool is closed in the middle.  Then another, with other numbers.  In every other round the pool is
 * freed while threads wait in it and the last objects come back.
 *
 * No object has two holders, there are never more than there may be, and all that were
 * created are destroyed.
 */
#include <vthread/pool.h>

#include "stress.h"

enum { VIRTUAL = 24, PLATFORM = 4, ALL = VIRTUAL + PLATFORM, PER_ROUND = 3000, MAX_OBJECTS = 6 };

struct object {
    _Atomic int holders;
    _Atomic bool alive;
};

struct actor {
    uint64_t random;
    uint64_t acquired;
    uint64_t wrong;
    vthread_t thread;
};

static struct actor actors[ALL];
static vthread_pool_t *pool;
static vthread_pool_params_t params;
static _Atomic int64_t left; /* in this round */
static _Atomic int running;
static _Atomic uint64_t by_callbacks; /* seed of what they do */
static _Atomic uint64_t wrong;
static _Atomic uint32_t alive;

static uint64_t any_below(uint64_t n)
{
    uint64_t state = atomic_fetch_add(&by_callbacks, 1);

    return stress_below(&state, n);
}

/* What takes a while, on either kind of thread. */
static void linger(uint64_t random)
{
    if (random % 4 == 0)
        vthread_yield();
    else if (random % 32 == 1)
        vthread_sleep_ns(20000);
}

static int create(void *user, void **ret_obj)
{
    struct object *o;
    uint32_t now = atomic_fetch_add(&alive, 1) + 1; /* from before it exists */

    atomic_fetch_add(&wrong, now > params.max_objects || user != &params);
    linger(any_below(32));
    if (any_below(8) == 0 || (o = calloc(1, sizeof *o)) == NULL) {
        atomic_fetch_sub(&alive, 1);
        return ECONNREFUSED;
    }
    atomic_store(&o->alive, true);
    *ret_obj = o;
    return 0;
}

static bool validate(void *user, void *obj)
{
    struct object *o = obj;

    atomic_fetch_add(&wrong, atomic_fetch_add(&o->holders, 1) != 0 || !atomic_load(&o->alive) || user != &params);
    linger(any_below(32));
    atomic_fetch_sub(&o->holders, 1);
    return any_below(16) != 0;
}

static void destroy(void *user, void *obj)
{
    struct object *o = obj;

    atomic_fetch_add(&wrong, atomic_load(&o->holders) != 0 || !atomic_exchange(&o->alive, false) || user != &params);
    linger(any_below(32));
    free(o);
    atomic_fetch_sub(&alive, 1);
}

static void make(uint64_t *random)
{
    params = (vthread_pool_params_t){
        .max_objects = 1 + (uint32_t)stress_below(random, MAX_OBJECTS),
        .max_idle_ns = stress_below(random, 2) ? 1 + (int64_t)stress_below(random, 200000) : 0,
        .create = create,
        .validate = stress_below(random, 4) ? validate : NULL,
        .destroy = destroy,
        .user = &params,
    };
    MUST(vthread_pool_new(&pool, &params));
}

static void hold(struct actor *a, struct object *o)
{
    a->acquired++;
    a->wrong += atomic_fetch_add(&o->holders, 1) != 0 || !atomic_load(&o->alive);
    linger(stress_random(&a->random));
    a->wrong += atomic_fetch_sub(&o->holders, 1) != 1;
    if (stress_below(&a->random, 10) == 0)
        a->wrong += vthread_pool_discard(pool, o) != 0;
    else
        a->wrong += vthread_pool_release(pool, o) != 0;
}

/* Once; the pool's answer. */
static int acquire(struct actor *a)
{
    int64_t deadline_ns = VTHREAD_FOREVER;
    void *obj = NULL;
    int error;

    if (stress_below(&a->random, 3) == 0)
        deadline_ns = vthread_after_ns((int64_t)stress_below(&a->random, 100000));
    else if (stress_below(&a->random, 10) == 0)
        deadline_ns = VTHREAD_NOW;
    error = vthread_pool_acquire_until(pool, &obj, deadline_ns);
    if (error == 0)
        hold(a, obj);
    else
        a->wrong += (error == ETIMEDOUT && deadline_ns == VTHREAD_FOREVER) ||
                    (error != ETIMEDOUT && error != EINTR && error != ECANCELED && error != ECONNREFUSED);
    return error;
}

static void *act(void *arg)
{
    struct actor *a = arg;

    while (acquire(a) != ECANCELED)
        atomic_fetch_sub(&left, 1);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

/* Once, and without a deadline: to be sent home, or to get what comes back before that. */
static void *wait_in_it(void *arg)
{
    struct actor *a = arg;
    void *obj = NULL;
    int error = vthread_pool_acquire(pool, &obj);

    if (error == 0)
        hold(a, obj);
    else
        a->wrong += error != ECANCELED && error != ECONNREFUSED;
    return NULL;
}

static void *interrupt_them(void *arg)
{
    while (atomic_load(&running) > 0) {
        vthread_interrupt(actors[stress_below(arg, ALL)].thread);
        vthread_sleep_ns(5000);
    }
    return NULL;
}

static void start_actors(void *(*fn)(void *arg), int n)
{
    static const vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};

    for (int i = 0; i < n; i++)
        MUST(vthread_create(&actors[i].thread, i < VIRTUAL ? NULL : &platform, fn, &actors[i]));
}

static vthread_pool_stats_t stats(void)
{
    vthread_pool_stats_t s;

    MUST(vthread_pool_stats(pool, &s));
    return s;
}

/* Close it in the middle.  How many acquires it says. */
static uint64_t close_in_the_middle(uint64_t *random)
{
    static uint64_t for_interrupts;
    vthread_pool_stats_t s;
    vthread_t interrupter;

    for_interrupts = stress_random(random);
    atomic_store(&left, PER_ROUND);
    atomic_store(&running, ALL);
    start_actors(act, ALL);
    interrupter = stress_start(interrupt_them, &for_interrupts);
    while (atomic_load(&left) > 0)
        vthread_sleep_ns(100000);
    MUST(vthread_pool_close(pool));
    s = stats();
    atomic_fetch_add(&wrong,
                     s.created != s.destroyed || s.in_use + s.idle + s.waiting != 0 || atomic_load(&alive) != 0);
    for (int i = 0; i < ALL; i++)
        stress_join(actors[i].thread);
    stress_join(interrupter);
    MUST(vthread_pool_free(pool));
    return s.acquires;
}

struct holding {
    void *objs[MAX_OBJECTS];
};

static void *give_back(void *arg)
{
    struct holding *h = arg;

    for (uint32_t i = 0; i < params.max_objects; i++)
        MUST(vthread_pool_release(pool, h->objs[i]));
    return NULL;
}

/* Free it while all the places are taken, threads wait, and others give back. */
static uint64_t free_in_the_middle(uint64_t *random)
{
    struct holding h;
    vthread_t giver;
    uint64_t before = 0, after = 0;

    for (uint32_t i = 0; i < params.max_objects; i++)
        while (vthread_pool_acquire(pool, &h.objs[i]) != 0)
            ;
    for (int i = 0; i < VIRTUAL; i++)
        before += actors[i].acquired;
    start_actors(wait_in_it, VIRTUAL);
    while (stats().waiting < VIRTUAL)
        vthread_sleep_ns(100000);
    MUST(vthread_create_copy(&giver, NULL, give_back, &h, sizeof h));
    for (uint64_t i = stress_below(random, 50); i > 0; i--)
        vthread_yield();
    MUST(vthread_pool_free(pool));
    atomic_fetch_add(&wrong, atomic_load(&alive) != 0);
    for (int i = 0; i < VIRTUAL; i++)
        stress_join(actors[i].thread);
    stress_join(giver);
    for (int i = 0; i < VIRTUAL; i++)
        after += actors[i].acquired;
    return after - before;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 200);
    uint64_t told = 0, acquired = 0, mistakes;

    atomic_store(&by_callbacks, s.seed);
    for (int i = 0; i < ALL; i++)
        actors[i].random = s.seed + (uint64_t)i + 1;
    for (long round = 0; round < s.count; round++) {
        make(&s.seed);
        told += round % 2 ? close_in_the_middle(&s.seed) : free_in_the_middle(&s.seed);
    }
    mistakes = atomic_load(&wrong);
    for (int i = 0; i < ALL; i++) {
        acquired += actors[i].acquired;
        mistakes += actors[i].wrong;
    }
    return stress_end("acquired", told + 1000000000 * mistakes, acquired);
}
