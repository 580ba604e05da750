/* SPDX-License-Identifier: MIT */
/*
 * The clock that deadlines are measured against, in nanoseconds.
 *
 * CLOCK_MONOTONIC unless replaced: tests put a clock of their own here.
 * clock_replace(NULL) brings the real one back.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

typedef int64_t clock_fn(void);

int64_t clock_now_ns(void);
int64_t clock_monotonic_ns(void);
void clock_replace(clock_fn *fn);

/* CPU time used so far by the whole process. */
int64_t clock_process_cpu_ns(void);

#endif
