/* SPDX-License-Identifier: MIT */
#ifndef TESTS_POSIX_CONNECT_SPY_H
#define TESTS_POSIX_CONNECT_SPY_H

#include <stdatomic.h>

#define SPY __attribute__((visibility("default")))

extern SPY atomic_int connect_spy_calls;
extern SPY atomic_int connect_spy_blocking;   /* of a socket that would have waited inside the kernel */
extern SPY atomic_int connect_spy_interrupts; /* so many calls fail with EINTR */

#endif
