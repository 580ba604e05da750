/* SPDX-License-Identifier: MIT */
/* Many sleep for random times, again and again: all wake, none early. */
#include "stress.h"

struct sleeper {
    uint64_t random;
    uint64_t slept;
    uint64_t early;
    vthread_t thread;
};

enum { TURNS = 5 };

static void *sleep_and_wake(void *arg)
{
    struct sleeper *s = arg;

    for (int i = 0; i < TURNS; i++) {
        int64_t deadline_ns = vthread_after_ns((int64_t)stress_below(&s->random, 50 * 1000 * 1000));

        /* Permits do not shorten a sleep. */
        if (i % 2 == 0)
            vthread_unpark(vthread_self());
        if (vthread_sleep_until(deadline_ns) == 0)
            s->slept++;
        if (vthread_now_ns() < deadline_ns)
            s->early++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 30000);
    long count = stress_threads(s.count);
    struct sleeper *sleepers = calloc((size_t)count, sizeof *sleepers);
    uint64_t slept = 0;

    for (long i = 0; i < count; i++) {
        sleepers[i].random = s.seed + (uint64_t)i;
        sleepers[i].thread = stress_start(sleep_and_wake, &sleepers[i]);
    }
    for (long i = 0; i < count; i++) {
        stress_join(sleepers[i].thread);
        slept += sleepers[i].slept - sleepers[i].early;
    }
    free(sleepers);
    return stress_end("sleeps", slept, (uint64_t)count * TURNS);
}
