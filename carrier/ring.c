/* SPDX-License-Identifier: MIT */
#include "carrier/ring.h"

#include "base/memory.h"
#include "base/panic.h"

enum { TRIM_FROM = 16 * 1024 }; /* pushes, since the last time */

bool ring_init(struct ring *ring)
{
    *ring = (struct ring){0};
    ring->slots = memory_alloc(RING_INITIAL_CAPACITY * sizeof(struct task *));
    ring->capacity = RING_INITIAL_CAPACITY;
    return ring->slots != NULL;
}

void ring_fini(struct ring *ring)
{
    memory_free(ring->slots);
    ring->slots = NULL;
}

bool ring_grow(struct ring *ring, uint32_t more)
{
    uint64_t tail = atomic_load_relaxed(&ring->tail);
    uint32_t capacity = ring->capacity;
    struct task **slots;
    bool ok;

    /* The lock keeps thieves out (invariant 3); the owner is not inside itself. */
    lock_acquire(&ring->lock);
    uint64_t head = atomic_load_relaxed(&ring->head);

    while (tail - head + more > capacity)
        capacity *= 2;
    ok = capacity == ring->capacity;
    if (!ok && (slots = memory_alloc(capacity * sizeof(struct task *))) != NULL) {
        for (uint64_t i = head; i < tail; i++)
            slots[i & (capacity - 1)] = ring->slots[i & (ring->capacity - 1)];
        memory_free(ring->slots);
        ring->slots = slots;
        ring->capacity = capacity;
        ok = true;
    }
    lock_release(&ring->lock);
    return ok;
}

void ring_trim(struct ring *ring)
{
    uint64_t tail = atomic_load_relaxed(&ring->tail);
    char *from = (char *)(((uintptr_t)ring->slots + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
    char *to = (char *)((uintptr_t)(ring->slots + ring->capacity) / PAGE_BYTES * PAGE_BYTES);

    if (tail - ring->trimmed_tail < TRIM_FROM || ring_count(ring) > 0)
        return;
    ring->trimmed_tail = tail;
    if (to > from) /* no slot is in use, and thieves read none that is not */
        memory_discard(from, (size_t)(to - from));
}

struct task *ring_take_slow(struct ring *ring)
{
    struct task *task = NULL;
    uint64_t head;

    /* Step back first: the thief may be about to look. */
    atomic_store_release(&ring->owner_inside, 0);
    lock_acquire(&ring->lock);
    head = atomic_load_relaxed(&ring->head);
    if (head != atomic_load_relaxed(&ring->tail)) {
        task = ring->slots[head & (ring->capacity - 1)];
        atomic_store_relaxed(&ring->head, head + 1);
    }
    lock_release(&ring->lock);
    return task;
}

int ring_steal(struct ring *ring, struct task **into, uint32_t max)
{
    int count = RING_EMPTY;
    uint64_t head;
    uint64_t n;

    if (ring_count(ring) == 0)
        return RING_EMPTY;
    if (!lock_try(&ring->lock))
        return RING_BUSY;
    atomic_store_relaxed(&ring->thief_inside, 1);
    barrier_heavy(); /* pairs with the light barrier in ring_take */
    /* acquire: pairs with the owner's release when it leaves; its head is visible. */
    if (atomic_load_acquire(&ring->owner_inside) != 0) {
        count = RING_BUSY;
    } else {
        head = atomic_load_relaxed(&ring->head);
        /* acquire: pairs with ring_push; the slots up to tail are filled. */
        n = (atomic_load_acquire(&ring->tail) - head + 1) / 2;
        if (n > max)
            n = max;
        for (uint64_t i = 0; i < n; i++)
            into[i] = ring->slots[(head + i) & (ring->capacity - 1)];
        atomic_store_release(&ring->head, head + n); /* pairs with ring_push's acquire */
        count = (int)n;
    }
    atomic_store_release(&ring->thief_inside, 0);
    lock_release(&ring->lock);
    return count;
}
