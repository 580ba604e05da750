/* SPDX-License-Identifier: MIT */
/*
 * Stacks: address ranges on which continuations run.
 *
 * All of the default size come from one reserved arena.  A stack is SOLE (one
 * member: nothing is ever copied), SHARED (many members take turns under the
 * stack word), or DEDICATED (one member, whose frames the user may point into).
 *
 *     low                                                         high
 *     | guard (>= 64 KiB) |  usable, touched from the top  | colour |
 *                         ^limit                           ^top
 *
 * The stride is the size plus guard plus an odd number of pages, and tops are
 * coloured by cache lines: equal offsets would fight for the same sets.
 *
 * Thread-safety: a descriptor belongs to whoever holds the stack.  Free lists
 * are kept per carrier (struct stack_cache) over a shared, locked list.
 */
#ifndef CONTINUATION_STACK_H
#define CONTINUATION_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "continuation/stack_word.h"

enum stack_kind { STACK_NONE, STACK_SOLE, STACK_SHARED, STACK_DEDICATED };

struct cont;

struct stack {
    struct stack_word word; /* SHARED only */
    struct cont *resident;  /* whose frames lie here; the holder's (SHARED, and SOLE in strict mode) */
    char *top;
    char *limit;
    struct stack *next_free;
    ATOMIC(uint32_t) members; /* SHARED: written by the holder; a hint for choosing */
    uint8_t kind;
    ATOMIC(bool) vacated; /* strict mode: [limit, page end of top) faults; the holder's, and read by a fault handler */
    uint16_t trimmed;     /* epoch of the last look for pages to give back */
    char *base;           /* of a mapping of its own (odd sizes), else NULL */
    struct vthread_cont *body; /* the public continuation that it is of (nested.h), running or not; NULL: none */
};

struct stack_params {
    size_t stack_bytes;  /* usable bytes of a default stack */
    uint32_t sole_max;   /* SOLE stacks altogether */
    uint32_t shared_max; /* SHARED stacks altogether */
};

struct stack_cache {
    struct stack *sole;
    struct stack *dedicated;
    uint32_t sole_count;
    uint32_t dedicated_count;
    uint32_t random;
    /* Of the shared stacks this owner prefers every shares-th, beginning with this one: their lines stay with it. */
    uint32_t share;
    uint32_t shares; /* 0: no preference */
};

enum { STACK_CACHE_MAX = 128, STACK_GUARD_BYTES = 64 * 1024, STACK_INDEX_NONE = 0 };

bool stack_init(const struct stack_params *params);
void stack_fini(void);
size_t stack_default_bytes(void);

/* Index 0 names no stack. */
extern HIDDEN struct stack *stack_table;

static inline struct stack *stack_at(uint32_t index)
{
    return &stack_table[index];
}

static inline uint32_t stack_index(const struct stack *stack)
{
    return (uint32_t)(stack - stack_table);
}

static inline bool stack_is_shared(const struct stack *stack)
{
    return stack->kind == STACK_SHARED;
}

static inline bool stack_is_vacated(const struct stack *stack)
{
    return atomic_load_relaxed(&stack->vacated);
}

static inline bool stack_contains(const struct stack *stack, const void *p)
{
    return (const char *)p >= stack->limit && (const char *)p < stack->top;
}

/* A stack of one's own; NULL when the tier is used up or memory is. */
struct stack *stack_sole_take(struct stack_cache *cache);
struct stack *stack_dedicated_take(struct stack_cache *cache, size_t bytes);
void stack_give_back(struct stack_cache *cache, struct stack *stack);

/*
 * The less loaded of two random shared stacks that nobody holds, if there is
 * one; never `not_this` if there is another.  NULL when there is none at all.
 */
struct stack *stack_shared_choose(struct stack_cache *cache, const struct stack *not_this);

/* The holder counts members in and out: others read the number for choosing only. */
static inline void stack_shared_join(struct stack *stack)
{
    atomic_store_relaxed(&stack->members, atomic_load_relaxed(&stack->members) + 1);
}

static inline void stack_shared_leave(struct stack *stack)
{
    atomic_store_relaxed(&stack->members, atomic_load_relaxed(&stack->members) - 1);
}

void stack_cache_flush(struct stack_cache *cache);

/*
 * Give back pages below sp that one deep call touched.  The caller holds the
 * stack, and nothing below sp is live.
 */
void stack_trim(struct stack *stack, const void *sp);

/* The stack whose usable range or guard contains the address; NULL: none of ours. */
struct stack *stack_find(const void *address, bool *ret_in_guard);

uint32_t stack_count(void);

#endif
