/* SPDX-License-Identifier: MIT */
/* Others look at threads, rename, unpark and interrupt them while they live, end and are reused. */
#include <pthread.h>

#include "stress.h"

enum { SLOTS = 64, CHURNERS = 8, OBSERVERS = 2, FOREIGN = 2 };

static _Atomic uint64_t slots[SLOTS];
static _Atomic bool stop;
static _Atomic uint64_t wrong;
static _Atomic uint64_t ran;

static void *live_shortly(void *arg)
{
    if (vthread_pin("looked at") == 0)
        vthread_unpin();
    for (uint64_t i = (uintptr_t)arg % 4; i > 0; i--)
        vthread_yield();
    if ((uintptr_t)arg % 8 == 0)
        vthread_setname(vthread_self(), "by itself");
    atomic_fetch_add(&ran, 1);
    return NULL;
}

/* A name that is not one of those ever given has been read while it was being freed. */
static bool is_plausible(const char *name)
{
    return strcmp(name, "by itself") == 0 || strcmp(name, "by another") == 0 || strncmp(name, "born-", 5) == 0 ||
           (*name != '\0' && strspn(name, "0123456789") == strlen(name));
}

static void observe_one(uint64_t *random)
{
    vthread_t t = (vthread_t)(uintptr_t)atomic_load(&slots[stress_below(random, SLOTS)]);
    char name[64];
    int error;

    switch (stress_below(random, 8)) {
    case 0:
        error = vthread_name(t, name, sizeof name);
        if (error == 0 ? !is_plausible(name) : error != ESRCH && !(error == EINVAL && t == NULL))
            atomic_fetch_add(&wrong, 1);
        break;
    case 1:
        error = vthread_setname(t, "by another");
        if (error != 0 && error != ESRCH && t != NULL)
            atomic_fetch_add(&wrong, 1);
        break;
    case 2:
        if (strcmp(vthread_state_name(vthread_state(t)), "UNKNOWN") == 0)
            atomic_fetch_add(&wrong, 1);
        break;
    case 3:
        if ((unsigned)vthread_public_state(t) > VTHREAD_PUBLIC_TERMINATED)
            atomic_fetch_add(&wrong, 1);
        break;
    case 4:
        vthread_interrupt(t);
        vthread_is_interrupted(t);
        break;
    case 5:
        if (vthread_ref(t) == 0)
            MUST(vthread_unref(t));
        break;
    case 6:
        vthread_is_alive(t);
        vthread_is_virtual(t);
        break;
    default:
        vthread_unpark(t);
        break;
    }
}

static void *observe(void *arg)
{
    uint64_t random = (uintptr_t)arg;

    while (!atomic_load(&stop)) {
        for (int i = 0; i < 20; i++)
            observe_one(&random);
        vthread_yield();
    }
    return NULL;
}

struct churner {
    uint64_t random;
    uint64_t rounds;
};

static void *churn(void *arg)
{
    struct churner *self = arg;

    for (uint64_t i = 0; i < self->rounds; i++) {
        vthread_attr_t named = {.name_prefix = "born-", .on_failure = NULL};
        uint64_t random = stress_random(&self->random) >> 1;
        vthread_t t;
        int error;

        MUST(vthread_new(&t, random % 2 ? &named : NULL, live_shortly, (void *)(uintptr_t)random));
        atomic_store(&slots[stress_below(&self->random, SLOTS)], (uintptr_t)t);
        MUST(vthread_start(t));
        while ((error = vthread_join(t, NULL)) == EINTR) /* we are in no slot, but let it be said */
            ;
        MUST(error);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 30000);
    static struct churner churners[CHURNERS];
    vthread_t threads[CHURNERS + OBSERVERS];
    pthread_t foreign[FOREIGN];
    uint64_t rounds = (uint64_t)s.count / CHURNERS + 1;

    for (int i = 0; i < FOREIGN; i++)
        MUST(pthread_create(&foreign[i], NULL, observe, (void *)(uintptr_t)(s.seed % 65537 + (uint64_t)i)));
    for (int i = 0; i < OBSERVERS; i++)
        threads[CHURNERS + i] = stress_start(observe, (void *)(uintptr_t)(s.seed % 1000003 + (uint64_t)i));
    for (int i = 0; i < CHURNERS; i++) {
        churners[i] = (struct churner){s.seed + (uint64_t)i, rounds};
        threads[i] = stress_start(churn, &churners[i]);
    }
    for (int i = 0; i < CHURNERS; i++)
        stress_join(threads[i]);
    atomic_store(&stop, true);
    for (int i = 0; i < OBSERVERS; i++)
        stress_join(threads[CHURNERS + i]);
    for (int i = 0; i < FOREIGN; i++)
        pthread_join(foreign[i], NULL);
    return stress_end("ran", atomic_load(&ran) + 1000000 * atomic_load(&wrong), rounds * CHURNERS);
}
