/* SPDX-License-Identifier: MIT */
#include "carrier/timer.h"

#include <string.h>

#include "base/memory.h"
#include "base/panic.h"

/* The root at 3 puts the children of i, 4i-8 .. 4i-5, on one 64-byte line. */
enum { ROOT = 3, INITIAL = 64 };

timer_position *timer_positions;

void timer_heap_init(struct timer_heap *heap, uint32_t number)
{
    *heap = (struct timer_heap){.number = number};
    atomic_init(&heap->earliest_ns, INT64_MAX);
}

void timer_heap_fini(struct timer_heap *heap)
{
    memory_free(heap->allocation);
    heap->allocation = NULL;
    heap->entries = NULL;
    heap->capacity = heap->count = 0;
}

static bool grow(struct timer_heap *heap)
{
    uint32_t capacity = heap->capacity == 0 ? INITIAL : heap->capacity * 2;
    void *allocation = memory_alloc((capacity + ROOT) * sizeof(struct timer_entry) + CACHE_LINE);
    struct timer_entry *entries;

    if (allocation == NULL)
        return false;
    entries = (struct timer_entry *)(((uintptr_t)allocation + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (heap->count > 0)
        memcpy(entries, heap->entries, (heap->count + ROOT) * sizeof *entries);
    memory_free(heap->allocation);
    heap->allocation = allocation;
    heap->entries = entries;
    heap->capacity = capacity;
    return true;
}

static void put(struct timer_heap *heap, uint32_t at, struct timer_entry entry)
{
    heap->entries[at] = entry;
    atomic_store_relaxed(&timer_positions[entry.id], ((uint64_t)(heap->number + 1) << 32) | at);
}

static uint32_t parent_of(uint32_t at)
{
    return (at + 8) / 4;
}

static void sift_up(struct timer_heap *heap, uint32_t at, struct timer_entry entry)
{
    while (at > ROOT && heap->entries[parent_of(at)].deadline_ns > entry.deadline_ns) {
        put(heap, at, heap->entries[parent_of(at)]);
        at = parent_of(at);
    }
    put(heap, at, entry);
}

static void sift_down(struct timer_heap *heap, uint32_t at, struct timer_entry entry)
{
    uint32_t end = heap->count + ROOT;

    for (;;) {
        uint32_t child = 4 * at - 8;
        uint32_t last = child + 4 < end ? child + 4 : end;
        uint32_t best = child;

        if (child >= end)
            break;
        for (uint32_t i = child + 1; i < last; i++)
            if (heap->entries[i].deadline_ns < heap->entries[best].deadline_ns)
                best = i;
        if (heap->entries[best].deadline_ns >= entry.deadline_ns)
            break;
        put(heap, at, heap->entries[best]);
        at = best;
    }
    put(heap, at, entry);
}

static void publish_earliest(struct timer_heap *heap)
{
    atomic_store_release(&heap->earliest_ns, heap->count > 0 ? heap->entries[ROOT].deadline_ns : INT64_MAX);
}

static void remove_at(struct timer_heap *heap, uint32_t at)
{
    struct timer_entry last = heap->entries[heap->count + ROOT - 1];

    /* release: whoever sees the timer gone sees what its firing wrote before. */
    atomic_store_release(&timer_positions[heap->entries[at].id], 0);
    heap->count--;
    if (at < heap->count + ROOT) {
        if (at > ROOT && heap->entries[parent_of(at)].deadline_ns > last.deadline_ns)
            sift_up(heap, at, last);
        else
            sift_down(heap, at, last);
    }
}

bool timer_insert(struct timer_heap *heap, int64_t deadline_ns, uint32_t id, uint32_t sequence)
{
    bool ok;

    ASSERT1(!timer_is_set(id));
    lock_acquire(&heap->lock);
    ok = heap->count < heap->capacity || grow(heap);
    if (ok) {
        heap->count++;
        sift_up(heap, heap->count + ROOT - 1, (struct timer_entry){deadline_ns, id, sequence});
        publish_earliest(heap);
    }
    lock_release(&heap->lock);
    return ok;
}

bool timer_remove(struct timer_heap *(*heap_of)(uint32_t number), uint32_t id)
{
    uint64_t position = atomic_load_acquire(&timer_positions[id]);
    struct timer_heap *heap;
    bool found;

    if (position == 0)
        return false;
    heap = heap_of((uint32_t)(position >> 32) - 1);
    lock_acquire(&heap->lock);
    position = atomic_load_relaxed(&timer_positions[id]); /* under the lock */
    found = position != 0;
    if (found) {
        remove_at(heap, (uint32_t)position);
        publish_earliest(heap);
    }
    lock_release(&heap->lock);
    return found;
}

uint32_t timer_take_due(struct timer_heap *heap, int64_t now_ns, struct timer_entry *into, uint32_t max)
{
    uint32_t n = 0;

    if (atomic_load_acquire(&heap->earliest_ns) > now_ns)
        return 0;
    lock_acquire(&heap->lock);
    while (n < max && heap->count > 0 && heap->entries[ROOT].deadline_ns <= now_ns) {
        into[n++] = heap->entries[ROOT];
        remove_at(heap, ROOT);
    }
    publish_earliest(heap);
    lock_release(&heap->lock);
    return n;
}
