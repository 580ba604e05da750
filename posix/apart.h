/* SPDX-License-Identifier: MIT */
/*
 * Calls of the C library that block and that nothing else can be done about: a platform thread makes them, and the
 * virtual thread parks until it has ended.  Not on the carrier, not even with another in its place: threads that
 * stay on it (vthread_stay_begin) would wait as well, and the one that ends this wait may be among them.
 */
#ifndef POSIX_APART_H
#define POSIX_APART_H

#include "posix/hook.h"

/* Might it lie in the calling thread's stack?  Or so near to it that it costs nothing to think so. */
bool apart_is_near(const void *p);

/*
 * fn elsewhere, with a copy of the arguments, `size` bytes, which is copied back.  Nothing that they lead to may lie in
 * the caller's stack, which is not there meanwhile; errno is the other thread's.
 */
MAY_SWITCH
void apart_call_copy(void *(*fn)(void *arguments), void *arguments, size_t size);

#endif
