/* SPDX-License-Identifier: MIT */
#ifndef POSIX_FORK_H
#define POSIX_FORK_H

#include "posix/hook.h"

/* What vfork is to the calling thread.  Jumped to: vfork's child must not return into a frame that its parent needs. */
void *fork_vfork(void);

#endif
