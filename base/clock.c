/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <stddef.h>
#include <time.h>

#include "base/atomic.h"

enum { LOOK_EVERY_NS = 1000 * 1000 };

static ATOMIC(clock_fn *) replacement;

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t clock_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_process_cpu_ns(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t clock_now_ns(void)
{
    clock_fn *fn = atomic_load_acquire(&replacement);

    return UNLIKELY(fn != NULL) ? fn() : clock_monotonic_ns();
}

int64_t clock_sleep_until_ns(int64_t deadline_ns)
{
    clock_fn *fn = atomic_load_acquire(&replacement);
    int64_t left_ns;

    if (LIKELY(fn == NULL) || deadline_ns == INT64_MAX)
        return deadline_ns;
    if (__builtin_sub_overflow(deadline_ns, fn(), &left_ns) || left_ns < 0) /* it is the past that is so far away */
        return 0;
    return clock_monotonic_ns() + (left_ns < LOOK_EVERY_NS ? left_ns : LOOK_EVERY_NS);
}

void clock_replace(clock_fn *fn)
{
    atomic_store_release(&replacement, fn);
}
