/* SPDX-License-Identifier: MIT */
/*
 * Memory for futures: made by the slab, never given back, handed out from a list of each
 * carrier's own.  What a carrier has too many or too few of goes through the depot, in batches.
 */
#include "base/memory.h"
#include "concurrent/future.h"

enum { BATCH = 64, CACHE_MAX = 2 * BATCH };

struct slab {
    CACHE_ALIGNED struct slab *next;
    struct vthread_future futures[BATCH];
};

struct cache {
    CACHE_ALIGNED struct vthread_future *head;
    uint32_t count;
};

static struct cache caches[CARRIERS_MAX]; /* each its carrier's */

static struct {
    struct lock lock;
    struct vthread_future *batches; /* linked by arg; within a batch by next */
    ATOMIC(struct slab *) slabs;
    struct cache outside; /* of all threads that are no carriers, under the lock */
} depot;

/* ---- under the lock ---- */

static struct vthread_future *make_batch_locked(void)
{
    struct slab *slab = memory_hold_lines(sizeof *slab);

    if (slab == NULL)
        return NULL;
    for (int i = 0; i < BATCH - 1; i++)
        slab->futures[i].next = &slab->futures[i + 1];
    slab->next = atomic_load_relaxed(&depot.slabs);
    atomic_store_release(&depot.slabs, slab); /* pairs with future_for_each_thread */
    return slab->futures;
}

static bool refill_locked(struct cache *cache)
{
    struct vthread_future *batch = depot.batches;

    if (batch != NULL)
        depot.batches = batch->arg;
    else if ((batch = make_batch_locked()) == NULL)
        return false;
    cache->head = batch;
    cache->count = BATCH;
    return true;
}

static void drain_locked(struct cache *cache)
{
    struct vthread_future *batch = cache->head;
    struct vthread_future *last = batch;

    for (int i = 1; i < BATCH; i++)
        last = last->next;
    cache->head = last->next;
    cache->count -= BATCH;
    last->next = NULL;
    batch->arg = depot.batches;
    depot.batches = batch;
}

/* ---- */

static inline struct vthread_future *pop(struct cache *cache)
{
    struct vthread_future *f = cache->head;

    cache->head = f->next;
    cache->count--;
    return f;
}

static inline void push(struct cache *cache, struct vthread_future *f)
{
    f->next = cache->head;
    cache->head = f;
    cache->count++;
}

static NOINLINE struct vthread_future *alloc_slow(struct cache *cache)
{
    struct vthread_future *f = NULL;

    lock_acquire(&depot.lock);
    if (cache->head != NULL || refill_locked(cache))
        f = pop(cache);
    lock_release(&depot.lock);
    return f;
}

static NOINLINE void free_slow(struct cache *cache, struct vthread_future *f)
{
    lock_acquire(&depot.lock);
    push(cache, f);
    if (cache->count >= CACHE_MAX)
        drain_locked(cache);
    lock_release(&depot.lock);
}

struct vthread_future *future_alloc(void)
{
    struct carrier *c = carrier_self();
    struct cache *cache = LIKELY(c != NULL) ? &caches[c->index] : &depot.outside;

    return LIKELY(c != NULL) && LIKELY(cache->head != NULL) ? pop(cache) : alloc_slow(cache);
}

void future_recycle(struct vthread_future *f)
{
    struct carrier *c = carrier_self();
    struct cache *cache = LIKELY(c != NULL) ? &caches[c->index] : &depot.outside;

    atomic_store_relaxed(&f->work.thread, NULL); /* before another executor's task has it: see future_for_each_thread */
    if (LIKELY(c != NULL) && LIKELY(cache->count < CACHE_MAX - 1))
        push(cache, f);
    else
        free_slow(cache, f);
}

/*
 * The handle, the executor, and the handle once more: if that is the same, it was this life's of
 * the future when the executor was read, for the next life takes the handle away before
 * it sets its executor (release), and no handle comes again.
 */
void future_for_each_thread(struct vthread_executor *ex, int (*fn)(vthread_t thread))
{
    for (struct slab *slab = atomic_load_acquire(&depot.slabs); slab != NULL; slab = slab->next) {
        for (int i = 0; i < BATCH; i++) {
            struct vthread_future *f = &slab->futures[i];
            vthread_t thread = atomic_load_acquire(&f->work.thread); /* pairs with thread_create_work */

            if (thread != NULL && atomic_load_acquire(&f->executor) == ex &&
                atomic_load_relaxed(&f->work.thread) == thread)
                fn(thread);
        }
    }
}
