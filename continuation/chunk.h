/* SPDX-License-Identifier: MIT */
/*
 * Chunks: heap memory for frozen frames, in classes that fit them.
 *
 * Steps of 16 bytes up to 1 KiB, then sixteen classes to each doubling, so at
 * most 6 % is lost.  Chunks carry no header: whoever holds one knows its size.
 * Each carrier has a cache; what it has too much of goes to the shared depot in
 * batches and comes back from there.  Large ones (above CHUNK_CLASS_MAX) are
 * mappings of their own, given back at once.
 *
 * Thread-safety: a cache has one owner; the depot behind it is shared.
 */
#ifndef CONTINUATION_CHUNK_H
#define CONTINUATION_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

enum {
    CHUNK_STEP = 16,
    CHUNK_MIN = 32,
    CHUNK_FINE_MAX = 1024,
    CHUNK_CLASS_MAX = 64 * 1024,
    CHUNK_FINE_CLASSES = CHUNK_FINE_MAX / CHUNK_STEP, /* 16, 32 ... 1024 */
    CHUNK_CLASSES = CHUNK_FINE_CLASSES + 6 * 16,      /* 1024 * 2^6 = 64 KiB */
    CHUNK_BATCH = 64,                                 /* at most; 64 KiB of larger ones */
};

/* What lies in a free one. */
struct chunk_free {
    struct chunk_free *next;
    struct chunk_free *next_batch; /* depot: first of the next batch */
    uint32_t count;                /* depot: chunks in this batch */
};

struct chunk_cache {
    struct chunk_list {
        struct chunk_free *head;
        uint32_t count;
    } lists[CHUNK_CLASSES];
};

/* Nothing has to be begun; fini gives all memory back, and what was allocated is gone. */
void chunk_fini(void);
void chunk_cache_flush(struct chunk_cache *cache);

void *chunk_alloc_slow(struct chunk_cache *cache, uint32_t bytes);
void chunk_free_slow(struct chunk_cache *cache, void *chunk, uint32_t bytes);

/* The class of small ones. */
static inline uint32_t chunk_fine_class(uint32_t bytes)
{
    return ((bytes > CHUNK_MIN ? bytes : CHUNK_MIN) - 1) / CHUNK_STEP;
}

/* NULL when out of memory.  bytes > 0. */
static inline void *chunk_alloc(struct chunk_cache *cache, uint32_t bytes)
{
    struct chunk_list *list = &cache->lists[UNLIKELY(bytes > CHUNK_FINE_MAX) ? 0 : chunk_fine_class(bytes)];
    struct chunk_free *chunk = list->head;

    if (UNLIKELY(bytes > CHUNK_FINE_MAX || chunk == NULL))
        return chunk_alloc_slow(cache, bytes);
    list->head = chunk->next;
    list->count--;
    return chunk;
}

/* bytes: what was asked for when it was allocated. */
static inline void chunk_free(struct chunk_cache *cache, void *chunk, uint32_t bytes)
{
    struct chunk_list *list = &cache->lists[UNLIKELY(bytes > CHUNK_FINE_MAX) ? 0 : chunk_fine_class(bytes)];

    if (UNLIKELY(bytes > CHUNK_FINE_MAX || list->count + 1 >= 2 * CHUNK_BATCH)) {
        chunk_free_slow(cache, chunk, bytes);
        return;
    }
    ((struct chunk_free *)chunk)->next = list->head;
    list->head = chunk;
    list->count++;
}

/* Bytes that a chunk for so many really takes. */
uint32_t chunk_usable(uint32_t bytes);

/* Memory taken from the system for chunks so far. */
size_t chunk_committed_bytes(void);

#endif
