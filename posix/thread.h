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

/*
 * A wait in a line (posix/line.h) that cancellation ends: say which, get in line, see whether it is cancelled already,
 * wait, say NULL.  pthread_cancel says that it is, and then wakes that line; one of the two sees the other.
 */
void thread_waits_in(const void *line);
bool thread_is_cancelled(void);

/* Should the thread end before the pop, then fn(arg) is called when those pushed later have been; *handler is the
 * caller's. */
void thread_cleanup_push(__pthread_unwind_buf_t *handler, void (*fn)(void *arg), void *arg);
void thread_cleanup_pop(__pthread_unwind_buf_t *handler);

/* Is it one that pthread_create made?  Its frames never move. */
bool thread_is_posix(void);

#endif
