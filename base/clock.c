/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <stddef.h>
#include <time.h>

#include "base/atomic.h"

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

void clock_replace(clock_fn *fn)
{
    atomic_store_release(&replacement, fn);
}
