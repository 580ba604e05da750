/* SPDX-License-Identifier: MIT */
/*
 * The second mode, VTHREAD_POSIX_THREADS=1: the threads that a program makes with pthread_create are virtual.
 */
#ifndef POSIX_THREAD_H
#define POSIX_THREAD_H

#include "posix/hook.h"

/*
 * A call of the calling thread is about to fail with ECANCELED.  Does not return to one that pthread_cancel has
 * cancelled.
 */
void thread_cancellation_point(void);

/* Is it one that pthread_create made?  Its frames never move. */
bool thread_is_posix(void);

#endif
