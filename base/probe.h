/* SPDX-License-Identifier: MIT */
/*
 * Reading memory that may be gone: the kernel reads it for us, into a pipe, for write(2)
 * fails on bad addresses.
 *
 * What was read says nothing by itself; the caller finds out by other means whether the memory
 * was still what it takes it for.
 */
#ifndef BASE_PROBE_H
#define BASE_PROBE_H

#include <stdbool.h>
#include <stddef.h>

struct probe {
    int pipe[2];
};

/* 0, or the error of pipe2. */
int probe_open(struct probe *probe);
void probe_close(struct probe *probe);

/* Not more than a few hundred bytes; false: some of them are not there.  errno stays. */
bool probe_read(struct probe *probe, const void *at, void *to, size_t bytes);

#endif
