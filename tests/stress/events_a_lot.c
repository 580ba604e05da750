/* SPDX-License-Identifier: MIT */
/*
 * Every pinned wait is an event, most threads hold their carriers for a while, and subscribers come and go: on virtual
 * threads, on platform threads, and from within callbacks.  No token is lost, and no callback comes after
 * its subscription's end.
 */
#include "tokens.h"

#include <pthread.h>

struct subscriber {
    _Atomic int inside;
    _Atomic bool ended;
    _Atomic uint64_t told;
};

static _Atomic uint64_t wrong;
static _Atomic uint64_t told;
static _Atomic bool stop;

static void on_event(const vthread_event_t *e, void *user)
{
    struct subscriber *s = user;
    char text[256];

    if (atomic_load(&s->ended) || e->kind == 0 || e->name == NULL || e->depth < 0)
        atomic_fetch_add(&wrong, 1);
    if (atomic_fetch_add(&s->told, 1) % 64 == 0 && vthread_event_text(e, e->id % 2 == 0, text, sizeof text) <= 0)
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&told, 1);
}

static void come_and_go(uint64_t *random)
{
    struct subscriber *s = calloc(1, sizeof *s);
    uint64_t id;

    MUST(vthread_event_subscribe(VTHREAD_EVENT_ALL, on_event, s, &id));
    vthread_sleep_ns((int64_t)stress_below(random, 2000000));
    MUST(vthread_event_unsubscribe(id));
    atomic_store(&s->ended, true);
    free(s); /* a late call would be a use after free */
}

static void *virtual_subscriber(void *arg)
{
    uint64_t *random = arg;

    while (!atomic_load(&stop))
        come_and_go(random);
    return NULL;
}

static void leave_at_once(const vthread_event_t *e, void *user)
{
    (void)e;
    if (vthread_event_unsubscribe(atomic_load((_Atomic uint64_t *)user)) == 0) /* else its owner has been first */
        atomic_store((_Atomic uint64_t *)user, 0);
}

static void *platform_subscriber(void *arg)
{
    uint64_t *random = arg;

    while (!atomic_load(&stop)) {
        _Atomic uint64_t *id = calloc(1, sizeof *id);

        come_and_go(random);
        /* One that ends itself, if anything happens; else we do. */
        MUST(vthread_event_subscribe(VTHREAD_EVENT_PINNED, leave_at_once, (void *)id, (uint64_t *)id));
        usleep(500);
        if (atomic_load(id) == 0 || vthread_event_unsubscribe(atomic_load(id)) != 0)
            while (atomic_load(id) != 0)
                usleep(100);
        free((void *)id);
    }
    return NULL;
}

static void wait_pinned(struct place *self)
{
    static const char *const reasons[] = {"one", "two", "three"};
    bool blocking = stress_below(&self->random, 8) == 0;

    if (stress_below(&self->random, 512) == 0)
        usleep(3000); /* a hog */
    if (blocking)
        MUST(vthread_blocking_begin("events_a_lot"));
    MUST(vthread_pin(reasons[stress_below(&self->random, 3)]));
    if (!place_has_token(self) && vthread_park_until(blocking ? vthread_after_ns(50000) : VTHREAD_FOREVER) == EINTR)
        atomic_fetch_add(&self->all->errors, 1);
    MUST(vthread_unpin());
    if (blocking)
        MUST(vthread_blocking_end());
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 15000);
    static uint64_t random[4];
    uint64_t found;
    vthread_t virtuals[2];
    pthread_t platforms[2];

    setenv("VTHREAD_PINNED_MS", "0", 1);
    setenv("VTHREAD_HOG_MS", "1", 1);
    for (int i = 0; i < 4; i++)
        random[i] = s.seed + (uint64_t)i;
    for (int i = 0; i < 2; i++) {
        virtuals[i] = stress_start(virtual_subscriber, &random[i]);
        MUST(pthread_create(&platforms[i], NULL, platform_subscriber, &random[2 + i]));
    }
    found = tokens_run(24, 5, s.count, s.seed, NULL, wait_pinned);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        stress_join(virtuals[i]);
        pthread_join(platforms[i], NULL);
    }
    printf("told %" PRIu64 "\n", atomic_load(&told));
    return stress_end("tokens", atomic_load(&wrong) == 0 ? found : UINT64_MAX, 5);
}
