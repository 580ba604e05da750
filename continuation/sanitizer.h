/* SPDX-License-Identifier: MIT */
/*
 * What the sanitizers and valgrind are told; nothing at all in ordinary builds.
 *
 * AddressSanitizer: every switch is announced, and frozen frames carry their
 * shadow (one byte for eight) behind them in the chunk.
 * ThreadSanitizer: a fiber for every stack that is switched to.
 */
#ifndef CONTINUATION_SANITIZER_H
#define CONTINUATION_SANITIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

#if BUILT_WITH_ASAN

static inline uint32_t sanitizer_shadow_bytes(uint32_t bytes)
{
    return (bytes / 8 + 7) / 8 * 8;
}

/* Save the shadow of [from, from + bytes) to `shadow` and unpoison the range. */
void sanitizer_frames_leave(void *from, uint32_t bytes, void *shadow);
void sanitizer_frames_return(void *to, uint32_t bytes, const void *shadow);

#else

static inline uint32_t sanitizer_shadow_bytes(uint32_t bytes)
{
    (void)bytes;
    return 0;
}

static inline void sanitizer_frames_leave(void *from, uint32_t bytes, void *shadow)
{
    (void)from, (void)bytes, (void)shadow;
}

static inline void sanitizer_frames_return(void *to, uint32_t bytes, const void *shadow)
{
    (void)to, (void)bytes, (void)shadow;
}

#endif
#endif
