/* SPDX-License-Identifier: MIT */
/*
 * What the sanitizers and valgrind are told; nothing at all in ordinary builds.
 *
 * Each side of a switch has a struct sanitizer_side: a runner's is in its
 * switch_frame, a continuation's lies at the top of its stack, and moves to the
 * chunk and back with the frames.  Whoever switches says so immediately before:
 *
 *     sanitizer_in(&frame, stack);         sanitizer_out(&frame, stack);
 *     switch_in(&frame, sp, value);        switch_out(&frame, value);
 *
 * with the stack that is switched to, or from: the leaf's, where nested.  For the
 * last time it is sanitizer_last_out.  These are inline because ThreadSanitizer counts function
 * entries and exits by fiber.
 *
 * AddressSanitizer: the bounds of the stack; frozen frames carry their shadow (one
 * byte for eight) behind them in the chunk; what frames that never return leave
 * poisoned is cleaned.
 * ThreadSanitizer: a fiber for every continuation.
 * valgrind: stacks are registered, and what lies below a stack pointer that has
 * moved up is made usable again before frames are put there.
 */
#ifndef CONTINUATION_SANITIZER_H
#define CONTINUATION_SANITIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

struct sanitizer_side {
#if BUILT_WITH_ASAN
    void *fake_stack;
    const void *bottom;
    size_t bytes;
#elif BUILT_WITH_TSAN
    void *fiber;
#endif
};

/* Above the frames of every continuation, frozen with them. */
#if BUILT_WITH_ASAN || BUILT_WITH_TSAN
#define SANITIZER_TOP_BYTES 64
#else
#define SANITIZER_TOP_BYTES 0
#endif

/* ---- AddressSanitizer ---- */

#if BUILT_WITH_ASAN

void __asan_unpoison_memory_region(void const volatile *from, size_t bytes);
void __lsan_ignore_object(const void *p);
void __sanitizer_start_switch_fiber(void **ret_fake_stack, const void *bottom, size_t bytes);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **ret_bottom, size_t *ret_bytes);

static inline uint32_t sanitizer_shadow_bytes(uint32_t bytes)
{
    return (bytes / 8 + 7) / 8 * 8;
}

/* Save the shadow of [from, from + bytes) and unpoison the range; and bring it back. */
void sanitizer_frames_leave(void *from, uint32_t bytes, void *shadow);
void sanitizer_frames_return(void *to, uint32_t bytes, const void *shadow);

static inline void sanitizer_side_init(struct sanitizer_side *side, char *limit, char *top)
{
    *side = (struct sanitizer_side){NULL, limit, (size_t)(top - limit)};
}

ALWAYS_INLINE void sanitizer_enter(struct sanitizer_side *runner, struct sanitizer_side *side)
{
    __sanitizer_start_switch_fiber(&runner->fake_stack, side->bottom, side->bytes);
    __sanitizer_finish_switch_fiber(side->fake_stack, &runner->bottom, &runner->bytes);
}

ALWAYS_INLINE void sanitizer_leave(struct sanitizer_side *runner, struct sanitizer_side *side, bool last)
{
    __sanitizer_start_switch_fiber(last ? NULL : &side->fake_stack, runner->bottom, runner->bytes);
    __sanitizer_finish_switch_fiber(runner->fake_stack, NULL, NULL);
}

static inline void sanitizer_side_fini(struct sanitizer_side *side)
{
    (void)side; /* a fake stack of one that is dropped is lost */
}

static inline void sanitizer_clean(char *from, char *to)
{
    __asan_unpoison_memory_region(from, (size_t)(to - from));
}

/* A block from malloc hangs in a record, where LeakSanitizer does not look: it, and what it leads to, is no leak. */
static inline void sanitizer_keep(const void *block)
{
    __lsan_ignore_object(block);
}

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

static inline void sanitizer_clean(char *from, char *to)
{
    (void)from, (void)to;
}

static inline void sanitizer_keep(const void *block)
{
    (void)block;
}

#endif

/* ---- ThreadSanitizer ---- */

#if BUILT_WITH_TSAN

void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);

static inline void sanitizer_side_init(struct sanitizer_side *side, char *limit, char *top)
{
    (void)limit, (void)top;
    side->fiber = __tsan_create_fiber(0);
}

/* Both switches order what was before them: the threads of one OS thread run one after another. */
ALWAYS_INLINE void sanitizer_enter(struct sanitizer_side *runner, struct sanitizer_side *side)
{
    runner->fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(side->fiber, 0);
}

ALWAYS_INLINE void sanitizer_leave(struct sanitizer_side *runner, struct sanitizer_side *side, bool last)
{
    void *fiber = side->fiber;

    if (last)
        side->fiber = NULL;
    __tsan_switch_to_fiber(runner->fiber, 0);
    if (last)
        __tsan_destroy_fiber(fiber);
}

static inline void sanitizer_side_fini(struct sanitizer_side *side)
{
    if (side->fiber != NULL)
        __tsan_destroy_fiber(side->fiber);
}

#elif !BUILT_WITH_ASAN

static inline void sanitizer_side_init(struct sanitizer_side *side, char *limit, char *top)
{
    (void)side, (void)limit, (void)top;
}

ALWAYS_INLINE void sanitizer_enter(struct sanitizer_side *runner, struct sanitizer_side *side)
{
    (void)runner, (void)side;
}

ALWAYS_INLINE void sanitizer_leave(struct sanitizer_side *runner, struct sanitizer_side *side, bool last)
{
    (void)runner, (void)side, (void)last;
}

static inline void sanitizer_side_fini(struct sanitizer_side *side)
{
    (void)side;
}

#endif

/* ---- valgrind ---- */

#if __has_include(<valgrind/memcheck.h>)
#define WITH_VALGRIND 1

/* Does valgrind run us?  Set before the first stack is made. */
extern HIDDEN bool sanitizer_valgrind;
void sanitizer_valgrind_look(void);
uint32_t sanitizer_stack_register_slow(char *limit, char *top);
void sanitizer_stack_deregister_slow(uint32_t id);
void sanitizer_memory_usable_slow(void *p, size_t bytes);

#else
#define WITH_VALGRIND 0

#define sanitizer_valgrind false
static inline void sanitizer_valgrind_look(void)
{
}
#define sanitizer_stack_register_slow(limit, top) 0
#define sanitizer_stack_deregister_slow(id) ((void)(id))
#define sanitizer_memory_usable_slow(p, bytes) ((void)(p))

#endif

/* Returns what deregister wants. */
static inline uint32_t sanitizer_stack_register(char *limit, char *top)
{
    (void)limit, (void)top;
    return UNLIKELY(sanitizer_valgrind) ? sanitizer_stack_register_slow(limit, top) : 0;
}

static inline void sanitizer_stack_deregister(uint32_t id)
{
    if (UNLIKELY(sanitizer_valgrind))
        sanitizer_stack_deregister_slow(id);
}

/* The range is about to be filled with frames. */
static inline void sanitizer_memory_usable(void *p, size_t bytes)
{
    (void)bytes;
    if (UNLIKELY(sanitizer_valgrind))
        sanitizer_memory_usable_slow(p, bytes);
}

#endif
