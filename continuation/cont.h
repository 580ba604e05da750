/* SPDX-License-Identifier: MIT */
/*
 * Freezing and thawing: a continuation keeps its address range for life, while
 * the bytes come and go.
 *
 *     on its stack (resident)               in a chunk (frozen)
 *
 *     top     +-----------------+
 *             | constant bytes  |  SWITCH_TOP_BYTES, same for every member
 *     base    +-----------------+           chunk + bytes  +----------+
 *             | frames          |   freeze ->              | the same |
 *             |                 |   <- thaw                | bytes    |
 *     sp      +-----------------+           chunk          +----------+
 *
 * Copying is lazy: leaving copies nothing; only when another member wants the
 * range are the resident's frames frozen.  All of it is done by the holder of
 * the stack (stack_word.h); SOLE and DEDICATED stacks have one member and never
 * copy.  "Resident" and "frozen" exclude each other: chunk == NULL means that
 * the frames, if any, are on the stack.
 *
 * Order of publication, for a collector that may stop us between any two
 * instructions: frames and length, chunk, and only then the stack's resident; and
 * back: frames, resident, chunk.  At any instant one of the two places holds them.
 */
#ifndef CONTINUATION_CONT_H
#define CONTINUATION_CONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "continuation/chunk.h"
#include "continuation/sanitizer.h"
#include "continuation/stack.h"
#include "continuation/switch.h"

struct cont {
    void *sp;       /* where it left off; NULL: has not run yet */
    void *chunk;    /* its frames, when frozen */
    uint32_t stack; /* index of its stack */
    uint32_t bytes; /* of the frames in the chunk */
};

/* Where what is frozen ends: with a sanitizer, its notes above the frames go along. */
static inline char *cont_base(const struct stack *stack)
{
    return SANITIZER_TOP_BYTES > 0 ? stack->top : stack->top - SWITCH_TOP_BYTES;
}

static inline struct sanitizer_side *cont_side(const struct stack *stack)
{
    return (struct sanitizer_side *)(void *)(stack->top - SANITIZER_TOP_BYTES);
}

/* A continuation is about to begin (switch_begin) on a vacant stack that the caller holds; returns its top. */
static inline char *cont_begin(const struct stack *stack)
{
    char *top = stack->top - SANITIZER_TOP_BYTES;

    sanitizer_memory_usable(top - SWITCH_FIRST_BYTES, SWITCH_FIRST_BYTES + SANITIZER_TOP_BYTES);
    sanitizer_side_init(cont_side(stack), stack->limit, stack->top);
    return top;
}

/* The same, with first frames for switch_in; returns their sp. */
static inline void *cont_prepare(const struct stack *stack, const struct switch_entry *entry)
{
    return switch_prepare(cont_begin(stack), entry);
}

/* For the sanitizers: immediately before a switch to the stack, or from it, or from it for the last time. */
ALWAYS_INLINE void sanitizer_in(struct switch_frame *frame, const struct stack *stack)
{
    (void)frame, (void)stack;
    sanitizer_enter(&frame->side, cont_side(stack));
}

ALWAYS_INLINE void sanitizer_out(struct switch_frame *frame, const struct stack *stack)
{
    (void)frame, (void)stack;
    sanitizer_leave(&frame->side, cont_side(stack), false);
}

ALWAYS_INLINE void sanitizer_last_out(struct switch_frame *frame, const struct stack *stack)
{
    (void)frame, (void)stack;
    sanitizer_leave(&frame->side, cont_side(stack), true);
}

/* The frames from sp up are dead, whether they ended or were dropped. */
static inline void cont_frames_end(const struct stack *stack, void *sp)
{
    sanitizer_side_fini(cont_side(stack));
    sanitizer_clean(sp, stack->top);
}

static inline uint32_t cont_frame_bytes(const struct cont *cont)
{
    if (cont->chunk != NULL || cont->sp == NULL)
        return cont->chunk != NULL ? cont->bytes : 0;
    return (uint32_t)(cont_base(stack_at(cont->stack)) - (char *)cont->sp);
}

/* Copy the frames of a resident to a chunk.  False when out of memory: nothing changed. */
NODISCARD bool cont_freeze(struct cont *cont, struct stack *stack, struct chunk_cache *cache);

/* Bring the frames of a frozen continuation back; its stack is vacant. */
void cont_thaw(struct cont *cont, struct stack *stack, struct chunk_cache *cache);

/* Free the frames of a frozen continuation that shall not go on. */
COLD void cont_drop_chunk(struct cont *cont, struct chunk_cache *cache);

/*
 * The caller holds the shared stack: make cont the resident.  False when
 * there is no memory to freeze the present one; nothing changed.
 */
NODISCARD static inline bool cont_occupy(struct cont *cont, struct stack *stack, struct chunk_cache *cache)
{
    if (stack->resident == cont)
        return true;
    if (stack->resident != NULL && !cont_freeze(stack->resident, stack, cache))
        return false;
    if (cont->chunk != NULL)
        cont_thaw(cont, stack, cache);
    stack->resident = cont;
    return true;
}

/* Drop a continuation that ended or shall not go on; the caller holds its stack. */
static inline void cont_drop(struct cont *cont, struct stack *stack, struct chunk_cache *cache)
{
    if (UNLIKELY(cont->chunk != NULL))
        cont_drop_chunk(cont, cache);
    else if (cont->sp != NULL)
        cont_frames_end(stack, cont->sp);
    if (stack->resident == cont)
        stack->resident = NULL;
    cont->sp = NULL;
}

#endif
