/* SPDX-License-Identifier: MIT */
#include "continuation/cont.h"

#include <string.h>

#include "base/panic.h"
#include "continuation/sanitizer.h"

enum { INLINE_COPY_MAX = 512, LOW_WORDS = 8 };

#if !BUILT_WITH_ASAN && !BUILT_WITH_TSAN
typedef uint64_t pair __attribute__((vector_size(16), aligned(8), may_alias));

static inline void copy_line(uint64_t *to, const uint64_t *from)
{
    pair a = *(const pair *)(from + 6);
    pair b = *(const pair *)(from + 4);
    pair c = *(const pair *)(from + 2);
    pair d = *(const pair *)from;

    *(pair *)(to + 6) = a;
    *(pair *)(to + 4) = b;
    *(pair *)(to + 2) = c;
    *(pair *)to = d;
}

/* The same word by word. */
static inline void copy_words(uint64_t *to, const uint64_t *from)
{
#pragma GCC unroll 8
    for (int i = LOW_WORDS - 1; i >= 0; i--) {
        uint64_t w = from[i];

        __asm__("" : "+r"(w)); /* not to be joined with its neighbours */
        to[i] = w;
    }
}
#endif

/*
 * Sanitizers must not look on: they would take the poison between variables for an
 * error.  (valgrind may: what memcpy copies stays as defined as it was.)
 */
NO_SANITIZE static void copy_frames(void *to, const void *from, uint32_t bytes)
{
#if BUILT_WITH_ASAN || BUILT_WITH_TSAN
    volatile uint64_t *t = to;
    const volatile uint64_t *f = from;

    for (uint32_t i = 0; i < bytes / 8; i++)
        t[i] = f[i];
#else
    /* A few hundred bytes most of the time: the library's dispatch would cost as much as the copy. */
    if (UNLIKELY(bytes > INLINE_COPY_MAX)) {
        memcpy(to, from, bytes);
        return;
    }
    /*
     * The registers at the low end were pushed one by one a moment ago: words of the same width are
     * forwarded from the store buffer, wider ones would wait for it.
     */
    const uint64_t *f = from;
    uint64_t *t = to;
    uint32_t n = bytes / 8;

    for (; n >= LOW_WORDS + 8; n -= 8)
        copy_line(t + n - 8, f + n - 8);
    uint32_t low = LIKELY(n >= LOW_WORDS) ? LOW_WORDS : 0;

    for (; n > low; n--)
        t[n - 1] = f[n - 1];
    if (low > 0)
        copy_words(t, f);
#endif
}

/* A collector that stops us in a signal handler sees what comes before done before what comes after. */
static inline void publish(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
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
    __atomic_store_n(&cont->chunk, chunk, __ATOMIC_RELEASE); /* who looks on without the stack (vthread/backtrace.c) */
    publish();
    stack->resident = NULL;
    return true;
}

void cont_thaw(struct cont *cont, struct stack *stack, struct chunk_cache *cache)
{
    void *chunk = cont->chunk;
    uint32_t bytes = cont->bytes;

    ASSERT2(stack->resident == NULL);
    sanitizer_memory_usable(cont->sp, bytes);
    copy_frames(cont->sp, chunk, bytes);
    sanitizer_frames_return(cont->sp, bytes, (char *)chunk + bytes);
    publish();
    stack->resident = cont;
    publish();
    cont->chunk = NULL;
    chunk_free(cache, chunk, bytes + sanitizer_shadow_bytes(bytes));
}

void cont_drop_chunk(struct cont *cont, struct chunk_cache *cache)
{
    sanitizer_side_fini((struct sanitizer_side *)(void *)((char *)cont->chunk + cont->bytes - SANITIZER_TOP_BYTES));
    chunk_free(cache, cont->chunk, cont->bytes + sanitizer_shadow_bytes(cont->bytes));
    cont->chunk = NULL;
}
