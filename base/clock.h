/* SPDX-License-Identifier: MIT */
/*
 * The clock that deadlines are measured against, in nanoseconds.
 *
 * CLOCK_MONOTONIC unless replaced: tests put a clock of their own here, which
 * moves as it likes, at any rate from 0 up.  clock_replace(NULL) brings the real one
 * back.  To be replaced while nobody waits for a deadline.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

typedef int64_t clock_fn(void);

int64_t clock_now_ns(void);
int64_t clock_monotonic_ns(void);
void clock_replace(clock_fn *fn);

/*
 * Until when, on CLOCK_MONOTONIC, may one who waits for deadline_ns sleep in the
 * kernel?  With the clock replaced only a millisecond at a time: whether the
 * deadline has passed is then for clock_now_ns to say.
 */
int64_t clock_sleep_until_ns(int64_t deadline_ns);

/* CPU time used so far by the whole process. */
int64_t clock_process_cpu_ns(void);

#endif
