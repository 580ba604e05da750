/* SPDX-License-Identifier: MIT */
/*
 * Compiler attributes in one place; empty where a compiler lacks them.
 */
#ifndef BASE_ATTRIBUTES_H
#define BASE_ATTRIBUTES_H

#include <stddef.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOINLINE __attribute__((noinline))
#define COLD __attribute__((cold, noinline))
#define NORETURN __attribute__((noreturn))
#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_FORMAT(fmt, first) __attribute__((format(printf, fmt, first)))
/* On declarations of data that hot paths read: spares them the indirection of position-independent code. */
#define HIDDEN __attribute__((visibility("hidden")))
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Written by different threads: keep on lines of their own. */
#define CACHE_LINE 64
#define CACHE_ALIGNED __attribute__((aligned(CACHE_LINE)))

/*
 * Marks, for the reader, a call after which the code may run on another OS
 * thread: every thread-local value read before it is stale after it.
 */
#define MAY_SWITCH

/* Outside every sanitizer's instrumentation. */
#define NO_SANITIZE __attribute__((no_sanitize("address", "thread", "undefined")))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#if defined(__SANITIZE_ADDRESS__)
#define BUILT_WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BUILT_WITH_ASAN 1
#endif
#endif
#ifndef BUILT_WITH_ASAN
#define BUILT_WITH_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define BUILT_WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BUILT_WITH_TSAN 1
#endif
#endif
#ifndef BUILT_WITH_TSAN
#define BUILT_WITH_TSAN 0
#endif

#endif
