/* SPDX-License-Identifier: MIT */
/*
 * The frame of every call that may wait for a descriptor:
 *
 *     struct operation op;
 *     ssize_t n = operation_begin(&op, fd, SLOT_READ, deadline_ns);
 *
 *     while (n == 0) {
 *         n = try it;
 *         if (n != -EAGAIN)
 *             return operation_end(&op, n);
 *         n = operation_wait(&op);
 *     }
 *     return n;
 *
 * Between begin and end the caller has its turn at the slot, so of several
 * readers each gets what it asks for in one piece, in the order of their calls.
 * The kernel is asked first, and a wait follows only an EAGAIN; but see net/README.md, the saved read.
 */
#ifndef NET_OPERATION_H
#define NET_OPERATION_H

#include <sys/types.h>

#include "net/descriptor.h"

struct operation {
    struct descriptor *d;
    struct thread *self;
    int64_t deadline_ns;
    int fd;
    uint8_t direction;
    uint8_t kind;
};

/* 0, or -Exxx.  For a KIND_FILE there is no slot, and no EAGAIN. */
NODISCARD int operation_begin(struct operation *op, int fd, enum slot_direction direction, int64_t deadline_ns);

/*
 * The same for calls that do not count towards the thread's turn (thread_may_wait).  Accept: with a few connections in
 * each of its turns a server that has much to do would take seconds to let a thousand in.
 */
NODISCARD int operation_begin_uncounted(struct operation *op, int fd, enum slot_direction direction,
                                        int64_t deadline_ns);

/* The same, but it waits for no turn, nor looks for interrupts: -EBUSY.  By who is inside another operation. */
NODISCARD int operation_try_begin(struct operation *op, int fd, enum slot_direction direction);

/* Returns result. */
ssize_t operation_end(struct operation *op, ssize_t result);
/* The same after a read of `size` bytes at most. */
ssize_t operation_end_read(struct operation *op, ssize_t result, size_t size);

/*
 * Before the first try of a read: if it would get EAGAIN, wait without it.  Results as
 * operation_wait's.  A read does not time out without having asked the kernel.
 */
MAY_SWITCH
NODISCARD int operation_wait_if_drained(struct operation *op);
/* In the middle of a read that wants more: the kernel gave less than was asked for.  Is another try pointless? */
bool operation_has_drained(struct operation *op);

/* After EAGAIN: 0, try again; or -Exxx, and the operation has ended. */
MAY_SWITCH
NODISCARD int operation_wait(struct operation *op);

/* Wait for some time at most, for what is no event; the same results. */
MAY_SWITCH
NODISCARD int operation_pause(struct operation *op, int64_t duration_ns);

/* Announce that there was no free descriptor; then ask the kernel once more, then pause. */
void operation_want_descriptor(struct operation *op);
/* A descriptor has become free: end such pauses. */
void operation_descriptor_freed(void);
void operation_fini(void);

#endif
