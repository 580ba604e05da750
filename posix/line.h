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

void line_leave(struct line_waiter *w);

/* Wake the first that waits for that address, or all.  Any thread. */
void line_wake(const void *address, bool all);

#endif
