/* SPDX-License-Identifier: MIT */
/*
 * Thread records: five parallel columns, free lists, generations.
 *
 * A free record has the generation of its next life, so no handle names it.
 * When a generation is used up (after four thousand million lives) the record
 * is retired for good: ids are never reused.
 *
 * The columns are reserved once and stay: a platform thread may be looking at a
 * word while the runtime goes down.  Then the records of platform threads live
 * on, and of the pages beyond the last of them the memory is given back; a word
 * that is read there meanwhile is 0, and nothing that is done to it matters.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "continuation/sanitizer.h"
#include "vthread/local_internal.h"
#include "vthread/thread.h"

enum {
    STEP = 4096,           /* records committed at a time */
    HUGE_FROM = 16 * STEP, /* beyond so many, huge pages are worth having */
};

struct thread *thread_table;
struct thread_cold *thread_cold_table;
struct thread_waiter *thread_waiters;
struct thread_room *thread_rooms;
__typeof__(thread_count) thread_count;

static struct {
    struct lock lock;
    uint32_t committed;
    uint32_t max;
    uint32_t first_generation; /* of records that were never used */
    struct thread *batches;    /* linked by cont.chunk; within a batch by link */
} depot;

static void unreserve(void)
{
    memory_unreserve(thread_table, depot.max * sizeof(struct thread));
    memory_unreserve(thread_cold_table, depot.max * sizeof(struct thread_cold));
    memory_unreserve(thread_waiters, depot.max * sizeof(struct thread_waiter));
    memory_unreserve(thread_rooms, depot.max * sizeof(struct thread_room));
    memory_unreserve(timer_positions, depot.max * sizeof(timer_position));
    thread_table = NULL;
    thread_cold_table = NULL;
    thread_waiters = NULL;
    thread_rooms = NULL;
    timer_positions = NULL;
}

bool record_init(void)
{
    if (thread_table != NULL)
        return true;
    for (depot.max = 1u << 26; depot.max >= STEP; depot.max /= 2) {
        thread_table = memory_reserve(depot.max * sizeof(struct thread), (size_t)2 << 20);
        thread_cold_table = memory_reserve(depot.max * sizeof(struct thread_cold), (size_t)2 << 20);
        thread_waiters = memory_reserve(depot.max * sizeof(struct thread_waiter), (size_t)2 << 20);
        thread_rooms = memory_reserve(depot.max * sizeof(struct thread_room), (size_t)2 << 20);
        timer_positions = memory_reserve(depot.max * sizeof(timer_position), (size_t)2 << 20);
        if (thread_table != NULL && thread_cold_table != NULL && thread_waiters != NULL && thread_rooms != NULL &&
            timer_positions != NULL)
            return true;
        unreserve(); /* nobody has seen them */
    }
    return false;
}

/* ---- the end of a life of the runtime ---- */

/* Handles of this life of the runtime name nothing in the next: its generations begin where these end. */
static void pass_generations(void)
{
    uint32_t count = record_count();

    for (uint32_t i = 1; i < count; i++) {
        uint32_t generation = word_generation(atomic_load_relaxed(&thread_table[i].word));

        if (generation >= depot.first_generation)
            depot.first_generation = generation < UINT32_MAX ? generation + 1 : generation;
    }
}

/* Free, and of a generation that no handle has.  A mere reader may be there. */
static void make_free(struct thread *t)
{
    uint64_t w = atomic_load_relaxed(&t->word);

    atomic_store_relaxed(&t->phase, VTHREAD_TERMINATED);
    atomic_store_relaxed(&t->word, (w & WORD_SEQUENCE_MASK) | WORD_TERMINATED |
                                       (uint64_t)depot.first_generation << WORD_GENERATION_SHIFT);
}

static void discard_pages(void *column, size_t from, size_t to)
{
    char *begin = column;

    from = (from + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    if (from < to)
        memory_discard(begin + from, to - from);
}

static bool is_in_use(struct thread *t)
{
    enum word_state state = word_state(atomic_load_acquire(&t->word));

    return state == WORD_ACTIVE || state == WORD_PARKED;
}

/* Free records up to `end`, in batches again. */
static void rebuild(uint32_t end)
{
    struct record_cache cache = {0};

    depot.batches = NULL;
    for (uint32_t i = end - 1; i >= 1; i--) {
        struct thread *t = &thread_table[i];

        if (is_in_use(t))
            continue;
        make_free(t);
        atomic_store_relaxed(&thread_cold(t)->value, NULL);
        atomic_store_relaxed(&t->slot, NULL);
        t->cont.chunk = NULL;
        t->link.thread = cache.head;
        cache.head = t;
        if (++cache.count == RECORD_BATCH)
            record_drain(&cache, RECORD_BATCH);
    }
    record_cache_flush(&cache);
}

void record_end_life(void)
{
    uint32_t count = record_count();
    uint32_t end = 1;

    pass_generations();
    for (uint32_t i = 1; i < count; i++) {
        if (is_in_use(&thread_table[i]))
            end = i + 1;
        else
            thread_extra_free(&thread_table[i]); /* of one that nobody has joined */
    }
    end = end > 1 ? (end - 2) / RECORD_BATCH * RECORD_BATCH + RECORD_BATCH + 1 : 1;
    atomic_store_release(&thread_count, end > 1 ? end : 0);
    rebuild(end);
    discard_pages(thread_table, end * sizeof(struct thread), count * sizeof(struct thread));
    discard_pages(thread_cold_table, end * sizeof(struct thread_cold), count * sizeof(struct thread_cold));
    discard_pages(thread_waiters, end * sizeof(struct thread_waiter), count * sizeof(struct thread_waiter));
    discard_pages(thread_rooms, end * sizeof(struct thread_room), count * sizeof(struct thread_room));
    discard_pages(timer_positions, end * sizeof(timer_position), count * sizeof(timer_position));
}

/* ---- making them ---- */

size_t record_committed_bytes(void)
{
    return (size_t)record_count() * (sizeof(struct thread) + sizeof(struct thread_cold));
}

static bool commit_locked(void)
{
    size_t from = depot.committed;

    if (from + STEP > depot.max || !memory_commit(thread_table + from, STEP * sizeof(struct thread)) ||
        !memory_commit(thread_cold_table + from, STEP * sizeof(struct thread_cold)) ||
        !memory_commit(thread_waiters + from, STEP * sizeof(struct thread_waiter)) ||
        !memory_commit(thread_rooms + from, STEP * sizeof(struct thread_room)) ||
        !memory_commit(timer_positions + from, STEP * sizeof(timer_position)))
        return false;
    if (from >= HUGE_FROM) {
        memory_huge(thread_table + from, STEP * sizeof(struct thread));
        memory_huge(thread_cold_table + from, STEP * sizeof(struct thread_cold));
    }
    depot.committed += STEP;
    return true;
}

/* A batch of records that were never used. */
static struct thread *fresh_locked(uint32_t *ret_count)
{
    uint32_t from = atomic_load_relaxed(&thread_count);
    struct thread *head = NULL;

    if (from == 0)
        from = 1;
    if (from + RECORD_BATCH > depot.committed && !commit_locked())
        return NULL;
    for (uint32_t i = from + RECORD_BATCH - 1; i >= from; i--) {
        struct thread *t = &thread_table[i];

        atomic_store_relaxed(&t->phase, VTHREAD_TERMINATED);
        atomic_store_relaxed(&t->word, WORD_TERMINATED | (uint64_t)depot.first_generation << WORD_GENERATION_SHIFT);
        t->link.thread = head;
        head = t;
    }
    atomic_store_release(&thread_count, from + RECORD_BATCH);
    *ret_count = RECORD_BATCH;
    return head;
}

bool record_refill(struct record_cache *cache)
{
    lock_acquire(&depot.lock);
    struct thread *batch = depot.batches;

    if (batch != NULL) {
        depot.batches = batch->cont.chunk;
        batch->cont.chunk = NULL;
        cache->head = batch;
        cache->count = batch->cont.bytes;
    } else {
        cache->head = fresh_locked(&cache->count);
    }
    lock_release(&depot.lock);
    return cache->head != NULL;
}

void record_drain(struct record_cache *cache, uint32_t n)
{
    struct thread *batch = cache->head;
    struct thread *last = batch;

    for (uint32_t i = 1; i < n; i++)
        last = last->link.thread;
    cache->head = last->link.thread;
    cache->count -= n;
    last->link.thread = NULL;
    batch->cont.bytes = n;
    lock_acquire(&depot.lock);
    batch->cont.chunk = depot.batches;
    depot.batches = batch;
    lock_release(&depot.lock);
}

void record_cache_flush(struct record_cache *cache)
{
    if (cache->count > 0)
        record_drain(cache, cache->count);
}

struct thread_extra *thread_extra_get(struct thread *t)
{
    struct thread_extra *extra = thread_extra(t);
    struct thread_extra *made;

    if (extra != NULL || (made = memory_alloc(sizeof *made)) == NULL)
        return extra;
    if (!atomic_cas_acq_rel(&thread_cold(t)->extra, &extra, made)) {
        memory_free(made);
        return extra;
    }
    sanitizer_keep(made);
    return made;
}

void thread_extra_free(struct thread *t)
{
    struct thread_extra *extra = thread_extra(t);

    if (LIKELY(extra == NULL))
        return;
    memory_free(extra->name);
    memory_let_go(extra->copy);
    memory_let_go(extra->locals); /* of one whose end was never reached */
    bindings_release(extra->bindings);
    memory_free(extra);
    atomic_store_relaxed(&thread_cold(t)->extra, NULL);
}
