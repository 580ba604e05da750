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

/* As vthread_wait_fd_until, for this layer's own use. */
MAY_SWITCH
int watch_wait(int fd, int events, int64_t deadline_ns);

/* A file of which the caller knows that it was open; the number may be another's by now. */
struct watched {
    int fd;
    uint32_t generation;
};

/*
 * The same for the first of two files; that either is closed, or has been since the caller looked, ends it
 * (-ECANCELED).
 */
MAY_SWITCH
int watch_wait_of_two(const struct watched files[2], int events, int64_t deadline_ns);

/* By the closer, with the descriptor's lock. */
void watch_cancel_all_locked(struct descriptor *d);

#endif
