/* SPDX-License-Identifier: MIT */
/* Virtual threads, threads of kind PLATFORM and foreign pthreads wait for each other alike. */
#include <pthread.h>

#include "tokens.h"

enum { VIRTUAL = 24, PLATFORM = 4, FOREIGN = 4, ALL = VIRTUAL + PLATFORM + FOREIGN };

static void wait_parked(struct place *self)
{
    int error = stress_below(&self->random, 2) ? vthread_park() : vthread_park_until(vthread_after_ms(1000));

    if (error != 0 && error != ETIMEDOUT)
        atomic_fetch_add(&self->all->errors, 1);
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 15000);
    struct ring_of_places all;
    vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM, .name_prefix = "platform-"};
    vthread_t threads[VIRTUAL + PLATFORM];
    pthread_t foreign[FOREIGN];
    int n = 0;

    tokens_init(&all, ALL, 7, s.count, s.seed, wait_parked);
    for (; n < VIRTUAL; n++)
        threads[n] = stress_start(place_run, &all.places[n]);
    for (; n < VIRTUAL + PLATFORM; n++)
        MUST(vthread_create(&threads[n], &platform, place_run, &all.places[n]));
    for (; n < ALL; n++)
        MUST(pthread_create(&foreign[n - VIRTUAL - PLATFORM], NULL, place_run, &all.places[n]));
    for (int i = 0; i < VIRTUAL + PLATFORM; i++)
        stress_join(threads[i]);
    for (int i = 0; i < FOREIGN; i++)
        pthread_join(foreign[i], NULL);
    return stress_end("tokens", tokens_fini(&all) + atomic_load(&all.errors), 7);
}
