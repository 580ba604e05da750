/* SPDX-License-Identifier: MIT */
/*
 * Platform threads call whatever there is to call while the runtime goes down and comes up again under them.  They know
 * threads of this life and of former ones; each thread that was made runs once.
 */
#include "stress.h"

#include <pthread.h>

enum { CALLERS = 4, KNOWN = 64 };

static _Atomic(vthread_t) known[KNOWN];
static _Atomic uint64_t created;
static _Atomic uint64_t ran;
static atomic_bool enough;

static void *park_or_not(void *arg)
{
    uint64_t random = (uintptr_t)arg;

    if (random % 4 == 0)
        vthread_yield();
    else if (random % 4 == 1)
        vthread_park(); /* until somebody's unpark, or the shutdown's interrupt */
    else if (random % 4 == 2)
        vthread_sleep_ns((int64_t)(random % 1000000));
    atomic_fetch_add(&ran, 1);
    return NULL;
}

static vthread_t somebody(uint64_t *seed)
{
    return atomic_load(&known[stress_below(seed, KNOWN)]);
}

static void create_one(uint64_t *seed)
{
    vthread_attr_t attr = {.kind = stress_below(seed, 64) == 0 ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL,
                           .name = stress_below(seed, 4) == 0 ? "named" : NULL};
    vthread_t t = NULL;
    void *arg = (void *)(uintptr_t)(stress_random(seed) >> 1);
    int error;

    if (stress_below(seed, 8) == 0) {
        error = vthread_new(&t, &attr, park_or_not, arg);
        if (error == 0 && (error = vthread_start(t)) != 0)
            return; /* a shutdown came between: it is discarded */
    } else {
        error = vthread_create(&t, &attr, park_or_not, arg);
    }
    if (error == 0) {
        atomic_fetch_add(&created, 1);
        atomic_store(&known[stress_below(seed, KNOWN)], t);
    } else if (error != ECANCELED) {
        MUST(error);
    }
}

static void observe(vthread_t t)
{
    vthread_runtime_stats_t stats;
    void *pcs[8];
    char name[64];

    vthread_state(t);
    vthread_is_alive(t);
    vthread_is_virtual(t);
    vthread_is_interrupted(t);
    vthread_name(t, name, sizeof name);
    vthread_setname(t, "renamed");
    vthread_backtrace(t, pcs, 8);
    if (vthread_ref(t) == 0)
        vthread_unref(t);
    if ((uintptr_t)t % 16 == 0)
        vthread_runtime_stats(&stats);
}

static void *call(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    vthread_t self = NULL;

    while (!atomic_load(&enough)) {
        vthread_t t = somebody(&seed);

        switch (stress_below(&seed, 8)) {
        case 0:
        case 1:
            create_one(&seed);
            break;
        case 2:
            vthread_interrupt(t);
            break;
        case 3:
            if (t != NULL)
                vthread_join_until(t, NULL, vthread_after_ns((int64_t)stress_below(&seed, 200000)));
            break;
        case 4:
            if (t != NULL)
                vthread_detach(t);
            break;
        case 5:
            observe(t);
            break;
        default:
            vthread_unpark(t);
            break;
        }
        if (self == NULL)
            self = vthread_self();
        else if (vthread_self() != self || !vthread_is_alive(self))
            abort(); /* a platform thread has one handle until it ends */
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 100);
    pthread_t callers[CALLERS];

    for (int i = 0; i < CALLERS; i++)
        MUST(pthread_create(&callers[i], NULL, call, (void *)(uintptr_t)stress_random(&s.seed)));
    for (long cycle = 0; cycle < s.count; cycle++) {
        usleep((useconds_t)stress_below(&s.seed, 2000));
        MUST(vthread_runtime_shutdown(vthread_after_ms(30000)));
    }
    atomic_store(&enough, true);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i], NULL);
    MUST(vthread_runtime_shutdown(vthread_after_ms(30000)));
    return stress_end("ran", atomic_load(&ran), atomic_load(&created));
}
