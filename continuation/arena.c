/* SPDX-License-Identifier: MIT */
#include "continuation/arena.h"

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"

#define SEGMENT_BYTES ((size_t)1 << 30)

/* Room for at least so many bytes; as much more as there is up to a whole segment. */
static bool grow(struct arena *arena, size_t bytes)
{
    if (arena->count == ARENA_SEGMENTS)
        return false;
    for (size_t want = SEGMENT_BYTES > bytes ? SEGMENT_BYTES : bytes;; want = want / 2 > bytes ? want / 2 : bytes) {
        char *base = memory_reserve(want, ARENA_ALIGN);

        if (base != NULL) {
            arena->segments[arena->count].base = base;
            arena->segments[arena->count++].bytes = want;
            arena->at = base;
            arena->end = base + want;
            return true;
        }
        if (want == bytes)
            return false;
    }
}

char *arena_take(struct arena *arena, size_t bytes)
{
    char *piece;

    if ((size_t)(arena->end - arena->at) < bytes && !grow(arena, bytes))
        return NULL;
    piece = arena->at;
    arena->at += bytes;
    return piece;
}

void arena_fini(struct arena *arena)
{
    for (uint32_t i = 0; i < arena->count; i++)
        memory_unreserve(arena->segments[i].base, arena->segments[i].bytes);
    memset(arena, 0, sizeof *arena);
}
