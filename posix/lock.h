/* SPDX-License-Identifier: MIT */
/* What virtual threads do with locks of the C library's, under whatever name they are asked to. */
#ifndef POSIX_LOCK_H
#define POSIX_LOCK_H

#include "posix/hook.h"

/* As pthread_mutex_clocklock. */
MAY_SWITCH
int lock_mutex(pthread_mutex_t *mutex, int64_t deadline_ns);

/* The same of one that was just taken with that result, or not: it is held from now on, and pins. */
int lock_taken(pthread_mutex_t *mutex, int error);

/* Any thread. */
int lock_release(pthread_mutex_t *mutex);

/* As pthread_cond_clockwait. */
MAY_SWITCH
int lock_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns);

MAY_SWITCH
int lock_once(pthread_once_t *once, void (*fn)(void));

/* In the child of a fork: no other thread is inside pthread_once. */
void lock_forget_others(void);

/* A time on a clock that one can wait for (else EINVAL). */
bool lock_is_time(clockid_t clock, const struct timespec *until);
int64_t lock_deadline_of(clockid_t clock, const struct timespec *until);

#endif
