/* SPDX-License-Identifier: MIT */
/*
 * Calls of the C library that block and that nothing else can be done about: on the carrier's own stack, with the
 * thread's given up and a spare carrier for the others (vthread_blocking_call_apart).
 */
#ifndef POSIX_APART_H
#define POSIX_APART_H

#include "posix/hook.h"

/*
 * fn(arguments), where arguments is a structure of that size: moved to the heap for the call, and back, for the stack
 * it lies in is not there meanwhile.
 */
void apart_call(void *(*fn)(void *arguments), void *arguments, size_t size);

/* The same, but in place: what the arguments point to may lie in the thread's stack. */
void apart_call_here(void *(*fn)(void *arguments), void *arguments);

/* Might it lie in the calling thread's stack?  Or so near to it that it costs nothing to think so. */
static inline bool apart_is_near(const void *p)
{
    return (uintptr_t)p - (uintptr_t)__builtin_frame_address(0) < (64u << 20);
}

#endif
