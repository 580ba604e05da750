/* SPDX-License-Identifier: MIT */
/* What io.c offers to the rest of the layer. */
#ifndef NET_IO_H
#define NET_IO_H

#include <stddef.h>
#include <sys/types.h>

struct operation;

/* In one's turn: write what there is room for, whatever kind of descriptor it is.  How much, or -Exxx. */
ssize_t io_try_write(struct operation *op, const void *buffer, size_t size);

#endif
