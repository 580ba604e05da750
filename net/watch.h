/* SPDX-License-Identifier: MIT */
/*
 * vthread_wait_fd, vthread_poll: waiting for descriptors without taking anybody's turn.
 */
#ifndef NET_WATCH_H
#define NET_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct descriptor;

/*
 * As vthread_wait_fd_until, for this layer's own use.  also: -1, or a descriptor whose closing ends the wait, too
 * (-ECANCELED).  Either may have been closed and opened anew since the caller looked at it last.
 */
MAY_SWITCH
int watch_wait(int fd, int events, int also, int64_t deadline_ns);

/* By the closer, with the descriptor's lock. */
void watch_cancel_all_locked(struct descriptor *d);

#endif
