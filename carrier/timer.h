/* SPDX-License-Identifier: MIT */
/*
 * Timers: a 4-ary heap for every carrier, of entries that name what waits.
 *
 * An entry is (deadline, id, sequence): 16 bytes, four siblings to a cache line.
 * Where an id's entry stands is kept in a dense column beside the heaps, indexed
 * by id, so that a cancellation needs no search and moving an entry touches
 * 8 bytes of a small array instead of a cold record.
 *
 * Roles: the owner inserts; anybody removes or fires what is due, all under the
 * heap's lock.  A waiter removes its entry before user code goes on, so an
 * entry never outlives its wait; one that is being fired at that moment is
 * told apart by its sequence number, which the firing side passes on.
 */
#ifndef CARRIER_TIMER_H
#define CARRIER_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/futex.h"

struct timer_entry {
    int64_t deadline_ns;
    uint32_t id;
    uint32_t sequence;
};

/* 0: no timer; else heap number + 1 above, position in the heap below. */
typedef ATOMIC(uint64_t) timer_position;

struct timer_heap {
    struct lock lock;
    uint32_t number;
    uint32_t count;
    uint32_t capacity;
    ATOMIC(int64_t) earliest_ns; /* INT64_MAX: none; read without the lock */
    struct timer_entry *entries; /* entries[3] is the root, so that siblings share a line */
    void *allocation;
};

/* The column, indexed by id; set once before the first heap is used. */
extern timer_position *timer_positions;

void timer_heap_init(struct timer_heap *heap, uint32_t number);
void timer_heap_fini(struct timer_heap *heap);

/* False when out of memory.  The id has no timer now. */
NODISCARD bool timer_insert(struct timer_heap *heap, int64_t deadline_ns, uint32_t id, uint32_t sequence);

static inline bool timer_is_set(uint32_t id)
{
    /* acquire: pairs with the release by the one that fired it. */
    return atomic_load_acquire(&timer_positions[id]) != 0;
}

/* Take the id's entry out of whichever heap it is in.  False: it has fired, or there was none. */
bool timer_remove(struct timer_heap *(*heap_of)(uint32_t number), uint32_t id);

/* Move up to max due entries out.  Returns how many. */
uint32_t timer_take_due(struct timer_heap *heap, int64_t now_ns, struct timer_entry *into, uint32_t max);

#endif
