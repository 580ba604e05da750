/* SPDX-License-Identifier: MIT */
/* The futex, the lock over it, and the asymmetric barrier. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"

TestSuite(lock, .timeout = 30);

Test(lock, wait_returns_at_once_when_the_word_has_changed)
{
    ATOMIC(uint32_t) word = {1};

    cr_assert(futex_wait(&word, 0, INT64_MAX));
}

Test(lock, wait_ends_at_the_deadline)
{
    ATOMIC(uint32_t) word = {0};
    int64_t deadline_ns = clock_monotonic_ns() + 5000000;

    errno = 4711;
    while (futex_wait(&word, 0, deadline_ns))
        ;
    cr_assert_geq(clock_monotonic_ns(), deadline_ns);
    cr_assert_not(futex_wait(&word, 0, 0));
    cr_assert_not(futex_wait(&word, 0, INT64_MIN), "before the beginning of time");
    cr_assert_eq(errno, 4711);
}

static void *wake_later(void *arg)
{
    ATOMIC(uint32_t) *word = arg;

    usleep(3000);
    atomic_store_release(word, 1);
    futex_wake(word, 1);
    return NULL;
}

Test(lock, wait_ends_by_a_wake)
{
    static ATOMIC(uint32_t) word;
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, wake_later, &word), 0);
    while (atomic_load_acquire(&word) == 0)
        futex_wait(&word, 0, INT64_MAX);
    pthread_join(thread, NULL);
}

Test(lock, try_takes_a_free_lock_only)
{
    struct lock lock = LOCK_INITIALIZER;

    cr_assert(lock_try(&lock));
    cr_assert_not(lock_try(&lock));
    lock_release(&lock);
    cr_assert(lock_try(&lock));
    lock_release(&lock);
    lock_acquire(&lock);
    cr_assert_not(lock_try(&lock));
    lock_release(&lock);
}

enum { THREADS = 4, ROUNDS = 50000 };

static struct {
    struct lock lock;
    uint64_t first; /* equal to the other whenever the lock is free */
    uint64_t second;
    uint64_t torn;
} shared;

static void *change_both(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 7 == 0) {
            if (!lock_try(&shared.lock))
                lock_acquire(&shared.lock);
        } else {
            lock_acquire(&shared.lock);
        }
        shared.torn += shared.first != shared.second;
        shared.first++;
        if (i % 1000 == 0)
            sched_yield();
        shared.second++;
        lock_release(&shared.lock);
    }
    return arg;
}

Test(lock, one_at_a_time)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, change_both, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(shared.first, (uint64_t)THREADS * ROUNDS);
    cr_assert_eq(shared.second, shared.first);
    cr_assert_eq(shared.torn, 0);
    cr_assert_eq(atomic_load_relaxed(&shared.lock.word), 0);
}

Test(lock, operations_return_what_was_there)
{
    ATOMIC(uint64_t) word = {5};
    uint64_t expected = 4;

    cr_assert_eq(atomic_fetch_add_relaxed(&word, 2), 5);
    cr_assert_eq(atomic_fetch_sub_acq_rel(&word, 1), 7);
    cr_assert_eq(atomic_fetch_or_acq_rel(&word, 8), 6);
    cr_assert_eq(atomic_fetch_and_acq_rel(&word, 12), 14);
    cr_assert_eq(atomic_exchange_acq_rel(&word, 100), 12);
    cr_assert_not(atomic_cas_acq_rel(&word, &expected, 1));
    cr_assert_eq(expected, 100, "the value found");
    cr_assert(atomic_cas_acq_rel(&word, &expected, 1));
    cr_assert_eq(atomic_load_acquire(&word), 1);
}

/* Dekker's argument: both store, then look; at least one sees the other. */
static struct {
    ATOMIC(uint32_t) light;
    ATOMIC(uint32_t) heavy;
    uint32_t light_saw;
    uint32_t heavy_saw;
    pthread_barrier_t round;
} dekker;

enum { DEKKER_ROUNDS = 3000 };

static void *light_side(void *arg)
{
    for (int i = 0; i < DEKKER_ROUNDS; i++) {
        pthread_barrier_wait(&dekker.round);
        atomic_store_relaxed(&dekker.light, 1);
        barrier_light();
        dekker.light_saw = atomic_load_relaxed(&dekker.heavy);
        pthread_barrier_wait(&dekker.round);
        pthread_barrier_wait(&dekker.round);
    }
    return arg;
}

Test(lock, one_side_of_the_asymmetric_barrier_sees_the_other)
{
    pthread_t thread;
    int neither = 0;

    barrier_init();
    pthread_barrier_init(&dekker.round, NULL, 2);
    cr_assert_eq(pthread_create(&thread, NULL, light_side, NULL), 0);
    for (int i = 0; i < DEKKER_ROUNDS; i++) {
        pthread_barrier_wait(&dekker.round);
        atomic_store_relaxed(&dekker.heavy, 1);
        barrier_heavy();
        dekker.heavy_saw = atomic_load_relaxed(&dekker.light);
        pthread_barrier_wait(&dekker.round);
        neither += !dekker.light_saw && !dekker.heavy_saw;
        atomic_store_relaxed(&dekker.light, 0);
        atomic_store_relaxed(&dekker.heavy, 0);
        pthread_barrier_wait(&dekker.round);
    }
    pthread_join(thread, NULL);
    cr_assert_eq(neither, 0);
}
