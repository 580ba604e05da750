/* SPDX-License-Identifier: MIT */
/* Threads come and go by the thousand, detached, copied, unstarted, joined; each runs once. */
#include "stress.h"

static _Atomic uint64_t ran;

static void *count_copy(void *arg)
{
    const uint64_t *copy = arg;

    atomic_fetch_add(&ran, *copy);
    return NULL;
}

static void *count_one(void *arg)
{
    atomic_fetch_add(&ran, 1);
    return arg;
}

static void *exit_early(void *arg)
{
    atomic_fetch_add(&ran, 1);
    vthread_exit(arg);
}

static uint64_t spawn_one(uint64_t *random)
{
    uint64_t one = 1;
    vthread_attr_t named = {.name = "spawned", .stack = stress_below(random, 4) == 0 ? VTHREAD_STACK_DEDICATED : 0};
    vthread_t t;

    switch (stress_below(random, 6)) {
    case 0:
        MUST(vthread_create(NULL, NULL, count_one, NULL));
        return 1;
    case 1:
        MUST(vthread_create_copy(NULL, &named, count_copy, &one, sizeof one));
        return 1;
    case 2:
        MUST(vthread_new(&t, NULL, count_one, NULL));
        MUST(vthread_detach(t));
        return 0;
    case 3:
        MUST(vthread_new(&t, &named, exit_early, random));
        MUST(vthread_start(t));
        if (stress_join(t) != random)
            abort();
        return 1;
    case 4:
        MUST(vthread_create(&t, NULL, count_one, NULL));
        MUST(vthread_detach(t));
        return 1;
    default:
        stress_join(stress_start(count_one, NULL));
        return 1;
    }
}

struct spawner {
    uint64_t random;
    uint64_t rounds;
    uint64_t spawned;
};

static void *spawn(void *arg)
{
    struct spawner *self = arg;

    for (uint64_t i = 0; i < self->rounds; i++)
        self->spawned += spawn_one(&self->random);
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 60000);
    static struct spawner spawners[8];
    vthread_t threads[8];
    uint64_t expected = 0;
    uint64_t seen;

    for (int i = 0; i < 8; i++) {
        spawners[i] = (struct spawner){s.seed + (uint64_t)i, (uint64_t)s.count / 8 + 1, 0};
        threads[i] = stress_start(spawn, &spawners[i]);
    }
    for (int i = 0; i < 8; i++) {
        stress_join(threads[i]);
        expected += spawners[i].spawned;
    }
    /* The detached ones may be on their way still. */
    MUST(vthread_runtime_shutdown(VTHREAD_FOREVER));
    seen = atomic_load(&ran);
    return stress_end("ran", seen, expected);
}
