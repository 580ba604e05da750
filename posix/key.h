/* SPDX-License-Identifier: MIT */
#ifndef POSIX_KEY_H
#define POSIX_KEY_H

#include <limits.h>

#include "posix/hook.h"

/* The calling virtual thread's values, by pthread key; NULL where it has none. */
void key_values(void *ret_values[PTHREAD_KEYS_MAX]);

/* Give them to the calling OS thread, which is all that is left of the virtual one after fork. */
void key_adopt(void *const values[PTHREAD_KEYS_MAX]);

#endif
