/* SPDX-License-Identifier: MIT */
/*
 * Lines of virtual threads that wait for something with an address: a pthread mutex, a pthread condition.
 *
 * A wake may come too early or not at all where something is signalled in a way that we do not see: whoever waits
 * looks again now and then, or may be woken for nothing.  Needs no memory, for an allocator's own mutexes are among
 * what is waited for: with no place left in the line, a wait is a short sleep.
 */
#ifndef POSIX_LINE_H
#define POSIX_LINE_H

#include "posix/hook.h"

struct line_waiter;

/* Get in line; from here on wakes are not lost.  NULL: no place. */
struct line_waiter *line_enter(const void *address);

/* Wait until woken: 0, or ETIMEDOUT. Never interrupted; an interruption is told after line_leave. */
MAY_SWITCH
int line_wait(struct line_waiter *w, int64_t deadline_ns);

/* True: it has been woken. A wake that came together with the end of the time counts. */
bool line_leave(struct line_waiter *w);

/* Wake the first that waits for that address, or all.  Any thread. */
void line_wake(const void *address, bool all);

/* End the waits for that address, and no more: all stay in line, and are not woken. */
void line_nudge(const void *address);

/* In the child of a fork, where none of those who wait is there: nobody does, and no lock of ours is held. */
void line_forget_all(void);

#endif
