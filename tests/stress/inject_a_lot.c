/* SPDX-License-Identifier: MIT */
/* Several foreign threads create, unpark, interrupt and join virtual threads all the time. */
#include <pthread.h>

#include "stress.h"

enum { INJECTORS = 4, LIVE = 16 };

struct injector {
    uint64_t random;
    long rounds;
    uint64_t sum;
};

struct job {
    _Atomic bool go;
    uint64_t value;
};

static void *wait_for_go(void *arg)
{
    struct job *job = arg;

    while (!atomic_load(&job->go))
        if (vthread_park() == EINTR)
            vthread_interrupted();
    return (void *)(uintptr_t)job->value;
}

static void *inject(void *arg)
{
    struct injector *self = arg;
    struct job jobs[LIVE]; /* on a platform thread's stack: fine */
    vthread_t threads[LIVE];

    for (long round = 0; round < self->rounds; round++) {
        for (int i = 0; i < LIVE; i++) {
            atomic_store(&jobs[i].go, false);
            jobs[i].value = (uint64_t)i + 1;
            threads[i] = stress_start(wait_for_go, &jobs[i]);
        }
        for (int i = 0; i < LIVE; i++)
            if (stress_below(&self->random, 3) == 0)
                vthread_interrupt(threads[stress_below(&self->random, LIVE)]);
        for (int i = 0; i < LIVE; i++) {
            atomic_store(&jobs[i].go, true);
            vthread_unpark(threads[i]);
        }
        for (int i = 0; i < LIVE; i++)
            self->sum += (uintptr_t)stress_join(threads[i]);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 40000);
    struct injector injectors[INJECTORS];
    pthread_t threads[INJECTORS];
    long rounds = s.count / INJECTORS / LIVE + 1;
    uint64_t sum = 0;

    for (int i = 0; i < INJECTORS; i++) {
        injectors[i] = (struct injector){s.seed + (uint64_t)i, rounds, 0};
        MUST(pthread_create(&threads[i], NULL, inject, &injectors[i]));
    }
    for (int i = 0; i < INJECTORS; i++) {
        pthread_join(threads[i], NULL);
        sum += injectors[i].sum;
    }
    return stress_end("sum", sum, (uint64_t)rounds * INJECTORS * (LIVE * (LIVE + 1) / 2));
}
