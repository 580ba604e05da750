/* SPDX-License-Identifier: MIT */
#include "continuation/cont.h"

#include <string.h>

#include "base/panic.h"
#include "continuation/sanitizer.h"

/*
 * Frames are copied in 16-byte steps with loads and stores that no sanitizer
 * instruments: it would take the poison between the variables for an error.
 */
NO_SANITIZE static void copy_frames(void *to, const void *from, uint32_t bytes)
{
#if BUILT_WITH_ASAN || BUILT_WITH_TSAN
    volatile uint64_t *t = to;
    const volatile uint64_t *f = from;

    for (uint32_t i = 0; i < bytes / 8; i++)
        t[i] = f[i];
#else
    memcpy(to, from, bytes);
#endif
}

bool cont_freeze(struct cont *cont, struct stack *stack, struct chunk_cache *cache)
{
    uint32_t bytes = (uint32_t)(cont_base(stack) - (char *)cont->sp);
    void *chunk = chunk_alloc(cache, bytes + sanitizer_shadow_bytes(bytes));

    ASSERT2(cont->chunk == NULL && stack->resident == cont);
    ASSERT2((char *)cont->sp >= stack->limit && bytes % 8 == 0);
    if (UNLIKELY(chunk == NULL))
        return false;
    copy_frames(chunk, cont->sp, bytes);
    sanitizer_frames_leave(cont->sp, bytes, (char *)chunk + bytes);
    cont->bytes = bytes;
    cont->chunk = chunk;
    stack->resident = NULL;
    return true;
}

void cont_thaw(struct cont *cont, struct stack *stack, struct chunk_cache *cache)
{
    void *chunk = cont->chunk;
    uint32_t bytes = cont->bytes;

    ASSERT2(stack->resident == NULL);
    copy_frames(cont->sp, chunk, bytes);
    sanitizer_frames_return(cont->sp, bytes, (char *)chunk + bytes);
    stack->resident = cont;
    cont->chunk = NULL;
    chunk_free(cache, chunk, bytes + sanitizer_shadow_bytes(bytes));
}
