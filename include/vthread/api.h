/* SPDX-License-Identifier: MIT */
/*
 * Attributes used by every public header, and deadlines.
 *
 * Errors: a call that yields a count, descriptor or index returns it or -Exxx;
 * every other call returns 0 or a positive Exxx.  errno is neither read nor set.
 * Outputs (ret_...) may be NULL and are written on success only.
 *
 * Time: int64_t nanoseconds.  A deadline is an absolute time on CLOCK_MONOTONIC
 * and comes last; VTHREAD_FOREVER never passes, VTHREAD_NOW has passed already.
 */
#ifndef VTHREAD_API_H
#define VTHREAD_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VTHREAD_API __attribute__((visibility("default")))
#define VTHREAD_NODISCARD __attribute__((warn_unused_result))
#define VTHREAD_NORETURN __attribute__((noreturn))
#else
#define VTHREAD_API
#define VTHREAD_NODISCARD
#define VTHREAD_NORETURN
#endif

#define VTHREAD_FOREVER INT64_MAX
#define VTHREAD_NOW INT64_MIN

#endif
