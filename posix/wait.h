/* SPDX-License-Identifier: MIT */
/*
 * Waiting as a hook waits: on the same carrier (unless VTHREAD_POSIX_MIGRATE=1), and an interruption leaves
 * the thread's flag set.  0 or Exxx; ETIMEDOUT is the deadline's, ECANCELED says interrupted, or closed meanwhile.
 */
#ifndef POSIX_WAIT_H
#define POSIX_WAIT_H

#include "posix/hook.h"

/* Before a call that may wait, whether it is going to or not: 0 or ECANCELED. */
int wait_may_begin(void);

/* events: POLLIN, POLLOUT or both. */
MAY_SWITCH
int wait_fd(int fd, int events, int64_t deadline_ns);

/*
 * The number may be another file's after a wait; the call is over then.  Remember before the first wait, and ask after
 * the last one, before anything is done with the number.
 */
struct wait_file {
    int fd;
    int64_t generation;
};

struct wait_file wait_remember(int fd);
int wait_is_same(const struct wait_file *file); /* 0 or ECANCELED */

/* A call that waits for one file until it has got what it wants: {.fd = …, .events = …, .deadline_ns = …}. */
struct wait {
    int fd;
    int events;
    int64_t deadline_ns;
    struct wait_file file; /* remembered before the first wait */
    unsigned times;        /* without success in between: set to 0 after one */
    bool has_begun;
};

/* wait_fd, and wait_again; and it is still that file. */
MAY_SWITCH
int wait_next(struct wait *w);

/*
 * For descriptors that were all open just now: how many are ready; 0: none in time; or -Exxx (-ECANCELED: one of
 * them has been closed meanwhile, too; -EMFILE, -ENFILE: as vthread_poll).
 */
MAY_SWITCH
int wait_poll(struct pollfd *fds, nfds_t count, int64_t deadline_ns);

/* As vthread_sendfile. */
MAY_SWITCH
ssize_t wait_sendfile(int out, int in, off_t *offset, size_t count, int64_t deadline_ns);

/* VTHREAD_FOREVER is for ever. */
MAY_SWITCH
int wait_until(int64_t deadline_ns);

MAY_SWITCH
void wait_turn(void); /* yield */

/* Around other calls that wait: wait_leave(wait_stay()). */
bool wait_stay(void);
void wait_leave(bool stays);

/*
 * A wait that ends with "ready" when there is nothing to be had, and again: others were faster, or the file
 * reports what it does not have (a unix socket's full queue).  Wait a little, if that was not the first time.
 */
MAY_SWITCH
int wait_again(unsigned *times, int64_t deadline_ns);

/* What SO_RCVTIMEO or SO_SNDTIMEO says from now on. */
int64_t wait_deadline_of(int fd, int option);

/* The deadline `ns` from now. */
static inline int64_t wait_after(int64_t ns)
{
    return ns <= 0 ? VTHREAD_NOW : vthread_after_ns(ns);
}

int64_t wait_ns_of(const struct timespec *ts); /* saturates */

#endif
