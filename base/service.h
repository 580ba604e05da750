/* SPDX-License-Identifier: MIT */
/*
 * An OS thread that serves the runtime (not a carrier, nor one of the program's): it blocks all signals, which are the
 * program's business.
 */
#ifndef BASE_SERVICE_H
#define BASE_SERVICE_H

#include <pthread.h>

#include "base/attributes.h"

/*
 * name: at most 15 characters.  To be joined, or detached.  0, or EAGAIN: there is none; *ret_thread may have been
 * written to all the same.  errno stays.
 */
NODISCARD int service_start(pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg);

#endif
