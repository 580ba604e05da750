/* SPDX-License-Identifier: MIT */
#include "base/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { SPINS = 100 };

static bool wait_once(void *word, uint32_t value, int64_t deadline_ns)
{
    struct timespec ts;
    struct timespec *timeout = NULL;
    int saved = errno;
    long r;
    bool expired;

    if (deadline_ns != INT64_MAX) {
        if (deadline_ns < 0)
            deadline_ns = 0;
        ts.tv_sec = (time_t)(deadline_ns / 1000000000);
        ts.tv_nsec = (long)(deadline_ns % 1000000000);
        timeout = &ts;
    }
    /* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time. */
    r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value, timeout, NULL, FUTEX_BITSET_MATCH_ANY);
    expired = r < 0 && errno == ETIMEDOUT;
    errno = saved;
    return !expired;
}

#if BUILT_WITH_TSAN
/*
 * ThreadSanitizer keeps a signal back until the thread next calls a function that it knows, and it does not know
 * this system call: a thread that only waits would never see its handler run.  So it calls one now and then.
 */
bool futex_wait(void *word, uint32_t value, int64_t deadline_ns)
{
    int64_t look_ns = clock_monotonic_ns() + 50000000;
    bool in_time = wait_once(word, value, deadline_ns < look_ns ? deadline_ns : look_ns);

    usleep(0);
    return in_time || deadline_ns >= look_ns;
}
#else
bool futex_wait(void *word, uint32_t value, int64_t deadline_ns)
{
    return wait_once(word, value, deadline_ns);
}
#endif

void futex_wake(void *word, int count)
{
    int saved = errno;

    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
    errno = saved;
}

void lock_acquire_slow(struct lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        cpu_pause();
        if (atomic_load_relaxed(&lock->word) == 0 && lock_try(lock))
            return;
    }
    while (atomic_exchange_acquire(&lock->word, 2) != 0)
        futex_wait(&lock->word, 2, INT64_MAX);
}
