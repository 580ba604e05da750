/* SPDX-License-Identifier: MIT */
/*
 * Random puts, takes and selects on queues of every kind, with random deadlines and interrupts, by
 * virtual and platform threads: every element comes out once, in the order it was put in, and
 * nobody is left waiting.
 */
#include <vthread/queue.h>

#include "stress.h"

enum { VIRTUAL = 20, PLATFORM = 4, ALL = VIRTUAL + PLATFORM, QUEUES = 4 };

static const size_t capacities[QUEUES] = {0, 1, 7, VTHREAD_UNBOUNDED};
static vthread_queue_t *queues[QUEUES];

/* With a tail, so that no element is as long as a pointer. */
struct elem {
    uint64_t number; /* of its maker's elements in that queue */
    uint32_t maker;
    uint32_t check;
};

struct actor {
    uint64_t random;
    uint32_t index;
    uint64_t put[QUEUES];
    uint64_t taken[QUEUES];
    uint64_t last[QUEUES][ALL]; /* number of the latest element seen, by maker */
    uint64_t wrong;
    _Alignas(64) vthread_t thread;
};

static struct actor actors[ALL];
static _Atomic int64_t left;
static _Atomic int running;

static int64_t soon(struct actor *a)
{
    switch (stress_below(&a->random, 8)) {
    case 0:
        return VTHREAD_NOW;
    case 1:
        return VTHREAD_FOREVER;
    default:
        return vthread_after_ns((int64_t)stress_below(&a->random, 200000));
    }
}

static struct elem make(struct actor *a, int q)
{
    return (struct elem){a->put[q] + 1, a->index, (uint32_t)(a->put[q] + 1) * 31 + a->index};
}

/* One maker's elements come in order; others' may lie between. */
static void has_taken(struct actor *a, int q, const struct elem *elem)
{
    if (elem->maker >= ALL || elem->check != (uint32_t)elem->number * 31 + elem->maker ||
        elem->number <= a->last[q][elem->maker]) {
        a->wrong++;
        return;
    }
    a->last[q][elem->maker] = elem->number;
    a->taken[q]++;
}

static bool is_expected(int error)
{
    return error == 0 || error == EINTR || error == ETIMEDOUT || error == ECANCELED;
}

static void put_one(struct actor *a, int q)
{
    struct elem elem = make(a, q);
    int error = vthread_queue_put_until(queues[q], &elem, soon(a));

    a->put[q] += error == 0;
    a->wrong += !is_expected(error);
}

static void take_one(struct actor *a, int q)
{
    struct elem elem;
    int error = vthread_queue_take_until(queues[q], &elem, soon(a));

    if (error == 0)
        has_taken(a, q, &elem);
    a->wrong += !is_expected(error);
}

static void select_one(struct actor *a)
{
    vthread_queue_case_t cases[3];
    struct elem elems[3];
    int which[3];
    int chosen;

    for (int i = 0; i < 3; i++) {
        which[i] = (int)stress_below(&a->random, QUEUES);
        elems[i] = make(a, which[i]);
        cases[i] = (vthread_queue_case_t){.queue = queues[which[i]],
                                          .op = stress_below(&a->random, 2) ? VTHREAD_QUEUE_PUT : VTHREAD_QUEUE_TAKE,
                                          .elem = &elems[i]};
    }
    chosen = vthread_queue_select_until(cases, 3, soon(a));
    if (chosen < 0)
        a->wrong += !is_expected(-chosen);
    else if (cases[chosen].result != 0)
        a->wrong += cases[chosen].result != ECANCELED;
    else if (cases[chosen].op == VTHREAD_QUEUE_PUT)
        a->put[which[chosen]]++;
    else
        has_taken(a, which[chosen], &elems[chosen]);
}

static void *act(void *arg)
{
    struct actor *a = arg;

    while (atomic_fetch_sub(&left, 1) > 0) {
        int q = (int)stress_below(&a->random, QUEUES);

        switch (stress_below(&a->random, 5)) {
        case 0:
        case 1:
            put_one(a, q);
            break;
        case 2:
        case 3:
            take_one(a, q);
            break;
        default:
            select_one(a);
        }
        if (stress_below(&a->random, 16) == 0)
            vthread_interrupted(); /* not delivered in any wait */
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

/* Once all is done those who wait for somebody who does not come any more are sent home by close. */
static void *interrupt_them(void *arg)
{
    uint64_t random = *(uint64_t *)arg;
    bool closed = false;

    while (atomic_load(&running) > 0) {
        if (!closed && atomic_load(&left) <= 0) {
            for (int q = 0; q < QUEUES; q++)
                MUST(vthread_queue_close(queues[q]));
            closed = true;
        }
        vthread_interrupt(actors[stress_below(&random, ALL)].thread);
        vthread_sleep_ns(5000);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static const vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};
    static struct actor rest;
    static uint64_t random;
    struct stress s = stress_begin(argc, argv, 400000);
    uint64_t put = 0, taken = 0, wrong = 0;
    vthread_t interrupter;

    for (int q = 0; q < QUEUES; q++)
        MUST(vthread_queue_new(&queues[q], sizeof(struct elem), capacities[q]));
    random = s.seed;
    atomic_store(&left, s.count);
    atomic_store(&running, ALL);
    for (uint32_t i = 0; i < ALL; i++) {
        actors[i].random = s.seed + i + 1;
        actors[i].index = i;
    }
    for (int i = 0; i < ALL; i++)
        MUST(vthread_create(&actors[i].thread, i < VIRTUAL ? NULL : &platform, act, &actors[i]));
    interrupter = stress_start(interrupt_them, &random);
    for (int i = 0; i < ALL; i++)
        stress_join(actors[i].thread);
    stress_join(interrupter);

    for (int q = 0; q < QUEUES; q++) {
        struct elem elem;

        MUST(vthread_queue_close(queues[q]));
        while (vthread_queue_take(queues[q], &elem) == 0)
            has_taken(&rest, q, &elem);
        taken += rest.taken[q];
        MUST(vthread_queue_free(queues[q]));
    }
    for (int i = 0; i < ALL; i++) {
        for (int q = 0; q < QUEUES; q++) {
            put += actors[i].put[q];
            taken += actors[i].taken[q];
        }
        wrong += actors[i].wrong;
    }
    return stress_end("elements", taken + 1000000000 * (wrong + rest.wrong), put);
}
