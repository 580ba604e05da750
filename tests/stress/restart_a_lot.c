/* SPDX-License-Identifier: MIT */
/* The runtime is started, used and shut down again and again; each time all of it comes and goes. */
#include "stress.h"

static _Atomic uint64_t ended;

static void *work_or_wait(void *arg)
{
    uint64_t random = (uintptr_t)arg;

    switch (random % 5) {
    case 0:
        vthread_yield();
        break;
    case 1: /* until the shutdown interrupts it */
        while (vthread_park() != EINTR)
            ;
        break;
    case 2:
        vthread_sleep_ms(60000);
        break;
    case 3:
        vthread_sleep_ns((int64_t)(random % 100000));
        break;
    default:
        break;
    }
    atomic_fetch_add(&ended, 1);
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 100);
    uint64_t created = 0;

    for (long cycle = 0; cycle < s.count; cycle++) {
        uint64_t n = stress_below(&s.seed, 100);
        vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};

        for (uint64_t i = 0; i < n; i++)
            MUST(vthread_create(NULL, i == 7 ? &platform : NULL, work_or_wait,
                                (void *)(uintptr_t)(stress_random(&s.seed) >> 1)));
        created += n;
        if (stress_below(&s.seed, 2) == 0)
            usleep((useconds_t)stress_below(&s.seed, 1000));
        MUST(vthread_runtime_shutdown(vthread_after_ms(20000)));
    }
    return stress_end("ended", atomic_load(&ended), created);
}
