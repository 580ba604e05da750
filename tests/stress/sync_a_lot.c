/* SPDX-License-Identifier: MIT */
/*
 * Random operations on the objects of sync.h, with random deadlines and interrupts, by virtual
 * and platform threads: what a lock guards is counted exactly, no permit is made or lost, and
 * nobody is left waiting.
 */
#include <vthread/sync.h>

#include "stress.h"

enum { VIRTUAL = 28, PLATFORM = 4, ALL = VIRTUAL + PLATFORM, PERMITS = 5, PARTIES = 4, OBJECTS = 2 };

static struct {
    vthread_mutex_t mutex;
    vthread_lock_t lock; /* the second is fair */
    vthread_rwlock_t rwlock;
    vthread_sem_t sem; /* the second is fair */
    vthread_barrier_t barrier;
    vthread_monitor_t monitor;
    /* Plain, under the locks of these names. */
    uint64_t by_mutex, by_lock, by_rwlock, by_rwlock_too, by_monitor;
    _Atomic int readers, writers, in_use;
} objects[OBJECTS];

/* A box for one item, with a condition for each side. */
static struct {
    vthread_mutex_t mutex;
    vthread_cond_t filled, emptied;
    bool full;
    uint64_t put, taken;
} box;

struct actor {
    uint64_t random;
    uint64_t by_mutex, by_lock, by_rwlock, by_monitor, put, taken;
    uint64_t wrong;
    _Alignas(64) vthread_t thread;
};

static struct actor actors[ALL];
static _Atomic int64_t left;
static _Atomic int running;
static atomic_bool over;
static _Atomic uint64_t deadlocks; /* found, though there can be none */

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

static void linger(struct actor *a)
{
    uint64_t what = stress_below(&a->random, 16);

    if (what == 0)
        vthread_yield();
    else if (what == 1)
        vthread_sleep_ns(1000);
}

/* What may come of a wait that has a deadline, or none. */
static bool got_it(struct actor *a, int error)
{
    if (error != 0 && error != EINTR && error != ETIMEDOUT)
        a->wrong++;
    return error == 0;
}

static void use_mutex(struct actor *a, int i)
{
    int error = 0;

    switch (stress_below(&a->random, 4)) {
    case 0:
        error = vthread_mutex_lock_until(&objects[i].mutex, soon(a));
        break;
    case 1:
        error = vthread_mutex_lock_interruptible(&objects[i].mutex);
        break;
    case 2:
        error = vthread_mutex_trylock(&objects[i].mutex) == 0 ? 0 : EINTR;
        break;
    default:
        error = vthread_mutex_lock(&objects[i].mutex);
        a->wrong += error != 0;
    }
    if (!got_it(a, error))
        return;
    objects[i].by_mutex++;
    a->by_mutex++;
    linger(a);
    a->wrong += vthread_mutex_unlock(&objects[i].mutex) != 0;
}

static void use_lock(struct actor *a, int i)
{
    int error = stress_below(&a->random, 2) ? vthread_lock_lock_until(&objects[i].lock, soon(a))
                                            : vthread_lock_lock(&objects[i].lock);

    if (!got_it(a, error))
        return;
    a->wrong += vthread_lock_lock(&objects[i].lock) != 0;
    objects[i].by_lock++;
    a->by_lock++;
    linger(a);
    a->wrong += vthread_lock_hold_count(&objects[i].lock) != 2;
    a->wrong += vthread_lock_unlock(&objects[i].lock) + vthread_lock_unlock(&objects[i].lock) != 0;
}

static void read_it(struct actor *a, int i)
{
    int error = 0;

    switch (stress_below(&a->random, 4)) {
    case 0:
        error = vthread_rwlock_rdlock_until(&objects[i].rwlock, soon(a));
        break;
    case 1:
        error = vthread_rwlock_tryrdlock(&objects[i].rwlock) == 0 ? 0 : EINTR;
        break;
    default:
        error = vthread_rwlock_rdlock(&objects[i].rwlock);
        a->wrong += error != 0;
    }
    if (!got_it(a, error))
        return;
    atomic_fetch_add(&objects[i].readers, 1);
    a->wrong += atomic_load(&objects[i].writers) != 0;
    a->wrong += objects[i].by_rwlock != objects[i].by_rwlock_too;
    linger(a);
    atomic_fetch_sub(&objects[i].readers, 1);
    a->wrong += vthread_rwlock_unlock(&objects[i].rwlock) != 0;
}

static void write_it(struct actor *a, int i)
{
    int error = stress_below(&a->random, 2) ? vthread_rwlock_wrlock_until(&objects[i].rwlock, soon(a))
                                            : vthread_rwlock_wrlock(&objects[i].rwlock);

    if (!got_it(a, error))
        return;
    a->wrong += atomic_fetch_add(&objects[i].writers, 1) != 0 || atomic_load(&objects[i].readers) != 0;
    objects[i].by_rwlock++;
    a->by_rwlock++;
    linger(a);
    objects[i].by_rwlock_too++;
    atomic_fetch_sub(&objects[i].writers, 1);
    a->wrong += vthread_rwlock_unlock(&objects[i].rwlock) != 0;
}

static void use_sem(struct actor *a, int i)
{
    int n = (int)stress_below(&a->random, PERMITS + 1);
    int error = 0;

    switch (stress_below(&a->random, 5)) {
    case 0:
        error = vthread_sem_acquire(&objects[i].sem, n);
        break;
    case 1:
        error = vthread_sem_tryacquire(&objects[i].sem, n) == 0 ? 0 : EINTR;
        break;
    case 2:
        n = vthread_sem_drain(&objects[i].sem);
        break;
    case 3:
        error = vthread_sem_acquire_uninterruptible(&objects[i].sem, n);
        a->wrong += error != 0;
        break;
    default:
        error = vthread_sem_acquire_until(&objects[i].sem, n, soon(a));
    }
    if (!got_it(a, error))
        return;
    a->wrong += atomic_fetch_add(&objects[i].in_use, n) + n > PERMITS;
    linger(a);
    atomic_fetch_sub(&objects[i].in_use, n);
    /* Back at once, or one after the other. */
    if (stress_below(&a->random, 2)) {
        a->wrong += vthread_sem_release(&objects[i].sem, n) != 0;
    } else {
        for (; n > 0; n--)
            a->wrong += vthread_sem_release(&objects[i].sem, 1) != 0;
    }
}

/* Others may not come: never without a deadline.  Broken, it is mended by whoever finds it so. */
static void use_barrier(struct actor *a, int i)
{
    int index =
        vthread_barrier_wait_until(&objects[i].barrier, vthread_after_ns((int64_t)stress_below(&a->random, 200000)));

    if (index == -ECANCELED)
        vthread_barrier_reset(&objects[i].barrier);
    else if (index >= PARTIES || (index < 0 && index != -EINTR && index != -ETIMEDOUT))
        a->wrong++;
}

static void use_monitor(struct actor *a, int i)
{
    int error = 0;

    a->wrong += vthread_monitor_enter(&objects[i].monitor) != 0;
    objects[i].by_monitor++;
    a->by_monitor++;
    switch (stress_below(&a->random, 8)) {
    case 0:
        error = vthread_monitor_wait_until(&objects[i].monitor,
                                           vthread_after_ns((int64_t)stress_below(&a->random, 100000)));
        break;
    case 1:
        error = vthread_monitor_notify_all(&objects[i].monitor);
        break;
    default:
        error = vthread_monitor_notify(&objects[i].monitor);
    }
    got_it(a, error);
    objects[i].by_monitor++;
    a->by_monitor++;
    a->wrong += vthread_monitor_exit(&objects[i].monitor) != 0;
}

/*
 * One signal for each change, to one waiter: if one is lost, the two sides come to a stand.  Only
 * deadlines far away, then, and interrupts; a deadline that passes is a mistake.
 */
static void use_box(struct actor *a, bool fills)
{
    int64_t deadline_ns = stress_below(&a->random, 2) ? VTHREAD_FOREVER : vthread_after_ms(100000);
    int error = 0;

    a->wrong += vthread_mutex_lock(&box.mutex) != 0;
    while (box.full == fills && error == 0) {
        if (atomic_load(&over))
            error = EINTR;
        else
            error = vthread_cond_wait_until(fills ? &box.emptied : &box.filled, &box.mutex, deadline_ns);
    }
    a->wrong += error == ETIMEDOUT;
    if (got_it(a, error)) {
        box.full = fills;
        *(fills ? &box.put : &box.taken) += 1;
        *(fills ? &a->put : &a->taken) += 1;
        vthread_cond_signal(fills ? &box.filled : &box.emptied);
    }
    a->wrong += vthread_mutex_unlock(&box.mutex) != 0;
}

static void *act(void *arg)
{
    struct actor *a = arg;

    while (atomic_fetch_sub(&left, 1) > 0) {
        int i = (int)stress_below(&a->random, OBJECTS);

        switch (stress_below(&a->random, 9)) {
        case 0:
            use_mutex(a, i);
            break;
        case 1:
            use_lock(a, i);
            break;
        case 2:
        case 3:
            read_it(a, i);
            break;
        case 4:
            write_it(a, i);
            break;
        case 5:
            use_sem(a, i);
            break;
        case 6:
            use_barrier(a, i);
            break;
        case 7:
            use_monitor(a, i);
            break;
        default:
            use_box(a, stress_below(&a->random, 2));
        }
        if (stress_below(&a->random, 16) == 0)
            vthread_interrupted(); /* not delivered in any wait */
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

/* Whoever waits at the box for somebody who does not come any more is sent home. */
static void *interrupt_them(void *arg)
{
    uint64_t random = *(uint64_t *)arg;

    while (atomic_load(&running) > 0) {
        if (atomic_load(&left) <= 0)
            atomic_store(&over, true);
        vthread_interrupt(actors[stress_below(&random, ALL)].thread);
        if (stress_below(&random, 8) == 0)
            atomic_fetch_add(&deadlocks, vthread_find_deadlocks(NULL, 0) != 0);
        vthread_sleep_ns(5000);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static const vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};
    static uint64_t random;
    struct stress s = stress_begin(argc, argv, 600000);
    struct actor sum = {0};
    uint64_t counted = 0;
    vthread_t interrupter;

    for (int i = 0; i < OBJECTS; i++) {
        MUST(vthread_lock_init(&objects[i].lock, &(vthread_lock_params_t){.fair = i}));
        MUST(vthread_sem_init(&objects[i].sem, PERMITS, &(vthread_sem_params_t){.fair = i}));
        MUST(vthread_barrier_init(&objects[i].barrier, PARTIES));
    }
    random = s.seed;
    atomic_store(&left, s.count);
    atomic_store(&running, ALL);
    for (int i = 0; i < ALL; i++)
        actors[i].random = s.seed + (uint64_t)i + 1;
    for (int i = 0; i < ALL; i++)
        MUST(vthread_create(&actors[i].thread, i < VIRTUAL ? NULL : &platform, act, &actors[i]));
    interrupter = stress_start(interrupt_them, &random);
    for (int i = 0; i < ALL; i++)
        stress_join(actors[i].thread);
    stress_join(interrupter);

    for (int i = 0; i < ALL; i++) {
        sum.by_mutex += actors[i].by_mutex;
        sum.by_lock += actors[i].by_lock;
        sum.by_rwlock += actors[i].by_rwlock;
        sum.by_monitor += actors[i].by_monitor;
        sum.put += actors[i].put;
        sum.taken += actors[i].taken;
        sum.wrong += actors[i].wrong;
    }
    for (int i = 0; i < OBJECTS; i++) {
        counted += objects[i].by_mutex + objects[i].by_lock + objects[i].by_rwlock + objects[i].by_monitor;
        sum.wrong += vthread_sem_available(&objects[i].sem) != PERMITS;
        sum.wrong += objects[i].by_rwlock != objects[i].by_rwlock_too;
        MUST(vthread_mutex_destroy(&objects[i].mutex));
        MUST(vthread_lock_destroy(&objects[i].lock));
        MUST(vthread_rwlock_destroy(&objects[i].rwlock));
        MUST(vthread_sem_destroy(&objects[i].sem));
        MUST(vthread_barrier_destroy(&objects[i].barrier));
        MUST(vthread_monitor_destroy(&objects[i].monitor));
    }
    sum.wrong += atomic_load(&deadlocks);
    MUST(vthread_cond_destroy(&box.filled));
    MUST(vthread_cond_destroy(&box.emptied));
    sum.wrong += box.put != sum.put || box.taken != sum.taken || box.put - box.taken != box.full;
    return stress_end("sections", counted + 1000000000 * sum.wrong,
                      sum.by_mutex + sum.by_lock + sum.by_rwlock + sum.by_monitor);
}
