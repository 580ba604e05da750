/* SPDX-License-Identifier: MIT */
#include "continuation/chunk.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/futex.h"
#include "base/memory.h"
#include "base/panic.h"
#include "continuation/arena.h"

_Static_assert(sizeof(struct chunk_free) <= CHUNK_MIN, "a free chunk holds its links");

enum {
    SLAB_BYTES = 64 * 1024,
    HUGE_FROM_BYTES = 32 * 1024 * 1024, /* larger than this, the arena asks for huge pages */
    COMMIT_BYTES = ARENA_ALIGN,
};

static struct {
    struct lock lock;
    struct arena arena;
    char *at; /* of what is committed, the rest */
    char *end;
    size_t committed;
    struct chunk_class {
        struct lock lock;
        struct chunk_free *batches; /* lists of so many chunks as were drained at once */
        char *bump;                 /* the rest of the newest slab */
        char *bump_end;
    } classes[CHUNK_CLASSES];
} depot;

static uint32_t class_of(uint32_t bytes)
{
    if (bytes <= CHUNK_FINE_MAX)
        return chunk_fine_class(bytes);

    uint32_t doubling = 31u - (uint32_t)__builtin_clz(bytes - 1); /* 10: 1025..2048 */
    uint32_t step = (1u << doubling) / 16;

    return CHUNK_FINE_CLASSES + (doubling - 10) * 16 + (bytes - (1u << doubling) + step - 1) / step - 1;
}

static uint32_t class_bytes(uint32_t class)
{
    if (class < CHUNK_FINE_CLASSES)
        return (class + 1) * CHUNK_STEP;
    class -= CHUNK_FINE_CLASSES;
    return (1024u << (class / 16)) + (class % 16 + 1) * (64u << (class / 16));
}

/* How many go to the depot and come back at once: no more than 64 KiB of them. */
static uint32_t batch_of(uint32_t bytes)
{
    uint32_t n = CHUNK_CLASS_MAX / bytes;

    return LIKELY(n >= CHUNK_BATCH) ? CHUNK_BATCH : n + 1;
}

uint32_t chunk_usable(uint32_t bytes)
{
    return bytes > CHUNK_CLASS_MAX ? (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES : class_bytes(class_of(bytes));
}

void chunk_fini(void)
{
    arena_fini(&depot.arena);
    memset(&depot, 0, sizeof depot);
}

size_t chunk_committed_bytes(void)
{
    size_t bytes;

    lock_acquire(&depot.lock);
    bytes = depot.committed;
    lock_release(&depot.lock);
    return bytes;
}

/* Another piece of the arena becomes usable; with the lock held. */
static bool commit_locked(void)
{
    char *piece = arena_take(&depot.arena, COMMIT_BYTES);

    if (piece == NULL)
        return false;
    if (!memory_commit(piece, COMMIT_BYTES)) {
        arena_untake(&depot.arena, piece);
        return false;
    }
    if (depot.committed >= HUGE_FROM_BYTES)
        memory_huge(piece, COMMIT_BYTES);
    depot.committed += COMMIT_BYTES;
    if (piece != depot.end) /* else it goes on where the former ended */
        depot.at = piece;
    depot.end = piece + COMMIT_BYTES;
    return true;
}

/* A fresh slab; NULL when out of memory. */
static char *slab_new(size_t bytes)
{
    char *slab = NULL;

    lock_acquire(&depot.lock);
    if ((size_t)(depot.end - depot.at) >= bytes || commit_locked()) {
        slab = depot.at;
        depot.at += bytes;
    }
    lock_release(&depot.lock);
    return slab;
}

/* Fill an empty list of the cache from the depot. */
static bool refill(struct chunk_list *list, uint32_t class)
{
    struct chunk_class *c = &depot.classes[class];
    uint32_t bytes = class_bytes(class);
    struct chunk_free *batch;

    lock_acquire(&c->lock);
    batch = c->batches;
    if (batch != NULL) {
        c->batches = batch->next_batch;
        list->head = batch;
        list->count = batch->count;
    } else {
        if (c->bump == NULL || (size_t)(c->bump_end - c->bump) < bytes) {
            size_t slab = bytes * 4 > SLAB_BYTES ? 4 * SLAB_BYTES : SLAB_BYTES;
            char *p = slab_new(slab);

            if (p != NULL) {
                c->bump = p;
                c->bump_end = p + slab;
            }
        }
        /* Touch as little new memory as will do: a short run from the bump. */
        while (c->bump != NULL && (size_t)(c->bump_end - c->bump) >= bytes && list->count < 8) {
            struct chunk_free *f = (struct chunk_free *)(void *)(c->bump_end - bytes);

            c->bump_end -= bytes;
            f->next = list->head;
            list->head = f;
            list->count++;
        }
    }
    lock_release(&c->lock);
    return list->head != NULL;
}

/* Move n chunks (at least one, and so many are there) from the cache to the depot. */
static void drain(struct chunk_list *list, uint32_t class, uint32_t n)
{
    struct chunk_class *c = &depot.classes[class];
    struct chunk_free *batch = list->head;
    struct chunk_free *last = batch;

    for (uint32_t i = 1; i < n; i++)
        last = last->next;
    list->head = last->next;
    list->count -= n;
    last->next = NULL;
    batch->count = n;
    lock_acquire(&c->lock);
    batch->next_batch = c->batches;
    c->batches = batch;
    lock_release(&c->lock);
}

static void *large_alloc(uint32_t bytes)
{
    int saved = errno;
    void *p;

    if (fault_point(FAULT_COMMIT))
        return NULL;
    p = mmap(NULL, chunk_usable(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = saved;
    return p == MAP_FAILED ? NULL : p;
}

void *chunk_alloc_slow(struct chunk_cache *cache, uint32_t bytes)
{
    ASSERT1(bytes > 0);
    if (UNLIKELY(bytes > CHUNK_CLASS_MAX))
        return large_alloc(bytes);

    uint32_t class = class_of(bytes);
    struct chunk_list *list = &cache->lists[class];
    struct chunk_free *f = list->head;

    if (UNLIKELY(f == NULL)) {
        if (!refill(list, class))
            return NULL;
        f = list->head;
    }
    list->head = f->next;
    list->count--;
    return f;
}

void chunk_free_slow(struct chunk_cache *cache, void *chunk, uint32_t bytes)
{
    if (UNLIKELY(bytes > CHUNK_CLASS_MAX)) {
        munmap(chunk, chunk_usable(bytes));
        return;
    }

    uint32_t class = class_of(bytes);
    struct chunk_list *list = &cache->lists[class];
    struct chunk_free *f = chunk;

    f->next = list->head;
    list->head = f;
    if (UNLIKELY(++list->count >= 2 * batch_of(bytes)))
        drain(list, class, batch_of(bytes));
}

void chunk_cache_flush(struct chunk_cache *cache)
{
    for (uint32_t i = 0; i < CHUNK_CLASSES; i++)
        if (cache->lists[i].count > 0)
            drain(&cache->lists[i], i, cache->lists[i].count);
}
