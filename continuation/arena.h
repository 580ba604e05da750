/* SPDX-License-Identifier: MIT */
/*
 * Address space, reserved a segment at a time and handed out in pieces that are
 * never given back singly.  One segment is enough for most programs; reserving all
 * that could ever be needed would cost nothing either, but not where address space
 * is limited (ulimit -v), or emulated page by page.
 *
 * Thread-safety: the caller's lock.
 */
#ifndef CONTINUATION_ARENA_H
#define CONTINUATION_ARENA_H

#include <stddef.h>
#include <stdint.h>

enum { ARENA_SEGMENTS = 4096, ARENA_ALIGN = 2 * 1024 * 1024 };

struct arena {
    char *at;
    char *end;
    uint32_t count;
    struct {
        char *base;
        size_t bytes;
    } segments[ARENA_SEGMENTS];
};

/* Inaccessible yet; NULL when there is none.  Contiguous with the piece before, most of the time. */
char *arena_take(struct arena *arena, size_t bytes);

/* Give a piece back that was the latest to be taken. */
static inline void arena_untake(struct arena *arena, char *piece)
{
    arena->at = piece;
}

/* All of it is gone; the arena is as new. */
void arena_fini(struct arena *arena);

#endif
