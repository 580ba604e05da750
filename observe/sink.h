/* SPDX-License-Identifier: MIT */
/* Where a dump goes: a descriptor, with a buffer before it. */
#ifndef OBSERVE_SINK_H
#define OBSERVE_SINK_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/attributes.h"

struct sink {
    int fd;
    int error; /* the first; nothing is written after it */
    size_t used;
    sigset_t mask;         /* of the caller, to be restored */
    bool pipe_was_pending; /* a SIGPIPE of before, which is not ours to take */
    char buffer[32 * 1024];
};

/* Between these no write raises SIGPIPE.  Returns the error, or 0. */
void sink_begin(struct sink *sink, int fd);
int sink_end(struct sink *sink);

void sink_put(struct sink *sink, const char *bytes, size_t size);
PRINTF_FORMAT(2, 3) void sink_print(struct sink *sink, const char *format, ...);

#endif
