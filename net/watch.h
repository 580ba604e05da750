/* SPDX-License-Identifier: MIT */
/*
 * vthread_wait_fd: waiting for a descriptor without taking anybody's turn.
 */
#ifndef NET_WATCH_H
#define NET_WATCH_H

struct descriptor;

/* By the closer, with the descriptor's lock. */
void watch_cancel_all_locked(struct descriptor *d);

#endif
