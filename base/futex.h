/* SPDX-License-Identifier: MIT */
/*
 * What the runtime sleeps on itself: futex(2), and a small lock over it.
 *
 * These block the OS thread.  A `struct lock` is held for a few dozen
 * instructions at a time and never across a switch of stacks.
 */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

/*
 * Sleep while *word == value, until woken or until deadline_ns (CLOCK_MONOTONIC,
 * INT64_MAX: no deadline).  May return early.  Returns false when the deadline passed.
 */
bool futex_wait(void *word, uint32_t value, int64_t deadline_ns);
void futex_wake(void *word, int count);

/* 0 free, 1 held, 2 held and somebody may be asleep (Drepper, "Futexes are tricky"). */
struct lock {
    ATOMIC(uint32_t) word;
};

#define LOCK_INITIALIZER                                                                                               \
    {                                                                                                                  \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }

void lock_acquire_slow(struct lock *lock);

static inline bool lock_try(struct lock *lock)
{
    uint32_t free = 0;

    return atomic_cas_acq_rel(&lock->word, &free, 1);
}

static inline void lock_acquire(struct lock *lock)
{
    if (UNLIKELY(!lock_try(lock)))
        lock_acquire_slow(lock);
}

static inline void lock_release(struct lock *lock)
{
    if (UNLIKELY(atomic_exchange_acq_rel(&lock->word, 0) == 2))
        futex_wake(&lock->word, 1);
}

#endif
