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
 * instructions: copy, length, chunk, and only then the stack's resident; at any
 * instant one of the two places holds the frames.
 */
#ifndef CONTINUATION_CONT_H
#define CONTINUATION_CONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "continuation/chunk.h"
#include "continuation/stack.h"
#include "continuation/switch.h"

struct cont {
    void *sp;       /* where it left off; NULL: has not run yet */
    void *chunk;    /* its frames, when frozen */
    uint32_t stack; /* index of its stack */
    uint32_t bytes; /* of the frames in the chunk */
};

static inline char *cont_base(const struct stack *stack)
{
    return stack->top - SWITCH_TOP_BYTES;
}

static inline uint32_t cont_frame_bytes(const struct cont *cont)
{
    return cont->chunk != NULL ? cont->bytes : cont->sp == NULL ? 0 : (uint32_t)(cont_base(stack_at(cont->stack)) - (char *)cont->sp);
}

/* Copy the frames of a resident to a chunk.  False when out of memory: nothing changed. */
NODISCARD bool cont_freeze(struct cont *cont, struct stack *stack, struct chunk_cache *cache);

/* Bring the frames of a frozen continuation back; its stack is vacant. */
void cont_thaw(struct cont *cont, struct stack *stack, struct chunk_cache *cache);

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
    if (stack->resident == cont)
        stack->resident = NULL;
    if (cont->chunk != NULL) {
        chunk_free(cache, cont->chunk, cont->bytes);
        cont->chunk = NULL;
    }
    cont->sp = NULL;
}

#endif
