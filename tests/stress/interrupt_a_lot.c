/* SPDX-License-Identifier: MIT */
/* Each interrupt is delivered exactly once, in whatever kind of wait, or before it, it comes. */
#include "stress.h"

enum { VICTIMS = 40, SENDERS = 8 };

struct victim {
    _Alignas(64) _Atomic uint32_t armed; /* 1: an interrupt is on its way; the next one waits for us */
    _Atomic bool quit;
    uint64_t random;
    uint64_t received;
    uint64_t wrong;
    vthread_t thread;
};

static struct victim victims[VICTIMS];
static _Atomic int64_t left;
static _Atomic uint64_t sent;
static vthread_t endless; /* for those who wait by joining it */

static void *never_end(void *arg)
{
    while (vthread_park() != EINTR || !vthread_interrupted())
        ;
    return arg;
}

/* One wait; true if it was cut short by an interrupt, which is then no longer pending. */
static bool wait_once(struct victim *self)
{
    void *value = NULL;
    int64_t deadline_ns = vthread_after_ns((int64_t)stress_below(&self->random, 300000));
    int error;

    switch (stress_below(&self->random, 5)) {
    case 0:
        error = vthread_sleep_until(deadline_ns);
        break;
    case 1:
        error = vthread_join_until(endless, &value, deadline_ns);
        if (error != EINTR && error != ETIMEDOUT)
            self->wrong++;
        break;
    case 2:
        if (vthread_pin("interrupt_a_lot") != 0)
            self->wrong++;
        error = vthread_park_until(deadline_ns);
        if (vthread_unpin() != 0)
            self->wrong++;
        return vthread_interrupted();
    case 3:
        vthread_yield();
        return vthread_interrupted();
    default:
        error = vthread_park_until(deadline_ns);
        /* park keeps the flag. */
        if (error == EINTR && !vthread_is_interrupted(vthread_self()))
            self->wrong++;
        return vthread_interrupted();
    }
    return error == EINTR;
}

static void *suffer(void *arg)
{
    struct victim *self = arg;

    for (;;) {
        bool quit = atomic_load(&self->quit); /* before the wait: nothing comes after it was set */

        if (wait_once(self)) {
            self->received++;
            atomic_store(&self->armed, 0);
        } else if (quit && atomic_load(&self->armed) == 0) {
            return NULL;
        }
    }
}

static void *interrupt_others(void *arg)
{
    uint64_t random = (uintptr_t)arg;

    while (atomic_fetch_sub(&left, 1) > 0) {
        struct victim *v = &victims[stress_below(&random, VICTIMS)];
        uint32_t unarmed = 0;

        if (atomic_compare_exchange_strong(&v->armed, &unarmed, 1)) {
            atomic_fetch_add(&sent, 1);
            vthread_interrupt(v->thread);
        }
        if (stress_below(&random, 3) == 0)
            vthread_yield();
        if (stress_below(&random, 50) == 0)
            vthread_sleep_ns(50000);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 40000);
    vthread_t senders[SENDERS];
    uint64_t received = 0;
    uint64_t wrong = 0;

    atomic_store(&left, s.count);
    endless = stress_start(never_end, NULL);
    for (int i = 0; i < VICTIMS; i++) {
        victims[i].random = s.seed + (uint64_t)i;
        victims[i].thread = stress_start(suffer, &victims[i]);
    }
    for (int i = 0; i < SENDERS; i++)
        senders[i] = stress_start(interrupt_others, (void *)(uintptr_t)(s.seed % 1000003 + (uint64_t)i));
    for (int i = 0; i < SENDERS; i++)
        stress_join(senders[i]);
    for (int i = 0; i < VICTIMS; i++) {
        atomic_store(&victims[i].quit, true);
        stress_join(victims[i].thread);
        received += victims[i].received;
        wrong += victims[i].wrong;
    }
    vthread_interrupt(endless);
    stress_join(endless);
    return stress_end("interrupts", received + 1000000 * wrong, atomic_load(&sent));
}
