/* SPDX-License-Identifier: MIT */
/* Waiting for what nothing tells of: it is asked for again and again, at growing intervals. */
#ifndef NET_AGAIN_H
#define NET_AGAIN_H

#include <stdint.h>

#include "base/attributes.h"

struct thread;

struct again {
    int64_t interval_ns; /* 0 at first */
};

/* 0, ask again; -EINTR (the flag is cleared), -ETIMEDOUT. */
MAY_SWITCH
int again_wait(struct again *again, struct thread *self, int64_t deadline_ns);

#endif
