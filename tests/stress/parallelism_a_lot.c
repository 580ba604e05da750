/* SPDX-License-Identifier: MIT */
/* The number of carriers goes up and down under load: nothing stays behind in a carrier that retires. */
#include "tokens.h"

static void wait_somehow(struct place *self)
{
    switch (stress_below(&self->random, 6)) {
    case 0:
        vthread_yield();
        return;
    case 1:
        vthread_sleep_ns((int64_t)stress_below(&self->random, 100000));
        return;
    case 2:
        MUST(vthread_pin("parallelism_a_lot"));
        if (!place_has_token(self))
            vthread_park();
        MUST(vthread_unpin());
        return;
    default:
        vthread_park();
    }
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 30000);
    struct ring_of_places all;
    vthread_t threads[48];

    tokens_init(&all, 48, 9, s.count, s.seed, wait_somehow);
    for (int i = 0; i < 48; i++)
        threads[i] = stress_start(place_run, &all.places[i]);
    while (!atomic_load(&all.stop)) {
        MUST(vthread_runtime_set_parallelism(1 + (unsigned)stress_below(&s.seed, 8)));
        usleep((useconds_t)stress_below(&s.seed, 2000));
    }
    for (int i = 0; i < 48; i++)
        stress_join(threads[i]);
    return stress_end("tokens", tokens_fini(&all), 9);
}
