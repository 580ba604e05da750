/* SPDX-License-Identifier: MIT */
/*
 * The signal mask of a virtual thread.  Carriers block everything asynchronous; that is nothing to hand on to the
 * programs that are started on them.
 */
#ifndef POSIX_MASK_H
#define POSIX_MASK_H

#include "posix/hook.h"

/* What a child of the calling thread begins with: its mask, or, of a virtual one that has not set any, the process's.
 */
void mask_of_child(sigset_t *ret_mask);

#endif
