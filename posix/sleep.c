/* SPDX-License-Identifier: MIT */
/* sleep and its kin, sched_yield. */
#include <errno.h>
#include <threads.h>

#include "posix/wait.h"

/* Sleeps until then; 0 or ECANCELED, and what was left of it. */
static int sleep_to(int64_t deadline_ns, struct timespec *ret_left)
{
    int error = wait_may_begin();
    int64_t left_ns;

    if (error == 0 && deadline_ns <= vthread_now_ns())
        wait_turn();
    else if (error == 0)
        error = wait_until(deadline_ns);
    left_ns = error != 0 ? deadline_ns - vthread_now_ns() : 0;
    if (left_ns < 0 || deadline_ns == VTHREAD_NOW)
        left_ns = 0;
    if (ret_left != NULL && error != 0)
        *ret_left = (struct timespec){.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    return error;
}

static bool is_duration(const struct timespec *ts)
{
    return ts != NULL && ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < 1000000000;
}

HOOK unsigned sleep(unsigned seconds)
{
    struct timespec left;
    int error;

    if (!PARKS())
        return REAL(sleep)(seconds);
    error = sleep_to(wait_after((int64_t)seconds * 1000000000), &left);
    if (error == 0)
        return 0;
    posix_fail(error);
    return (unsigned)(left.tv_sec + (left.tv_nsec > 0)); /* not 0, which would mean that all is well */
}

HOOK int usleep(useconds_t microseconds)
{
    int error;

    if (!PARKS())
        return REAL(usleep)(microseconds);
    error = sleep_to(wait_after((int64_t)microseconds * 1000), NULL);
    return error != 0 ? posix_fail(error) : 0;
}

HOOK int nanosleep(const struct timespec *duration, struct timespec *left)
{
    int error;

    if (!PARKS() || !is_duration(duration))
        return REAL(nanosleep)(duration, left);
    error = sleep_to(wait_after(wait_ns_of(duration)), left);
    return error != 0 ? posix_fail(error) : 0;
}

/* Clocks that run as fast as ours does.  One that is set meanwhile is not looked at again. */
static bool is_ordinary(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_TAI;
}

HOOK int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left)
{
    struct timespec now;
    int64_t ns;

    if (!PARKS() || !is_duration(time) || !is_ordinary(clock) || (flags & ~TIMER_ABSTIME))
        return REAL(clock_nanosleep)(clock, flags, time, left);
    ns = wait_ns_of(time);
    if (!(flags & TIMER_ABSTIME))
        return sleep_to(wait_after(ns), left);
    clock_gettime(clock, &now);
    return sleep_to(wait_after(ns - wait_ns_of(&now)), NULL);
}

/* -1: interrupted by a signal, in C11; here by vthread_interrupt. */
HOOK int thrd_sleep(const struct timespec *duration, struct timespec *left)
{
    if (!PARKS() || !is_duration(duration))
        return REAL(thrd_sleep)(duration, left);
    return sleep_to(wait_after(wait_ns_of(duration)), left) != 0 ? -1 : 0;
}

HOOK void thrd_yield(void)
{
    if (PARKS())
        wait_turn();
    else
        REAL(thrd_yield)();
}

HOOK int sched_yield(void)
{
    if (!PARKS())
        return REAL(sched_yield)();
    wait_turn();
    return 0;
}
