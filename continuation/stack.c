/* SPDX-License-Identifier: MIT */
#include "continuation/stack.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/futex.h"
#include "base/memory.h"
#include "base/panic.h"
#include "continuation/arena.h"
#include "continuation/sanitizer.h"

enum {
    TABLE_MAX = 1u << 22,    /* descriptors reserved */
    TABLE_STEP = 256 * 1024, /* committed at a time */
    COLOURS = 16,            /* tops shifted by up to so many cache lines */
    NEAR_MIN = 8,            /* shared stacks to choose from, or all of them are near */
    MEMBERS_PER_STACK = 32,  /* shared stacks are opened as members arrive */
    KEEP_BYTES = 16 * 1024,  /* below sp, not worth giving back */
};

#define TABLE_BYTES (TABLE_MAX * sizeof(struct stack))

struct stack *stack_table;

static struct {
    struct lock lock;
    struct stack_params params;
    size_t stride;
    struct arena arena;   /* of default-sized stacks */
    uint32_t arena_count; /* of those made so far */
    size_t table_committed;
    ATOMIC(uint32_t) count; /* descriptors in use so far, from index 1 */
    ATOMIC(uint32_t) sole_count;
    ATOMIC(struct stack *) free_sole;
    struct stack *free_dedicated;
    struct stack *free_odd; /* descriptors alone, their mapping gone */
    struct stack **shared;
    ATOMIC(uint32_t) shared_count;
} pool;

size_t stack_default_bytes(void)
{
    return pool.params.stack_bytes;
}

uint32_t stack_count(void)
{
    return atomic_load_acquire(&pool.count); /* pairs with descriptor_new_locked */
}

bool stack_init(const struct stack_params *params)
{
    size_t pages;

    if (stack_table != NULL)
        return true;
    sanitizer_valgrind_look();
    pool.params = *params;
    pool.params.stack_bytes = (params->stack_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    pages = (pool.params.stack_bytes + STACK_GUARD_BYTES) / PAGE_BYTES + 1;
    pages |= 1; /* odd */
    pool.stride = pages * PAGE_BYTES;
    stack_table = memory_reserve(TABLE_BYTES, TABLE_STEP);
    pool.shared = memory_alloc(params->shared_max * sizeof *pool.shared);
    if (stack_table != NULL && (pool.shared != NULL || params->shared_max == 0))
        return true;
    stack_fini();
    return false;
}

void stack_fini(void)
{
    for (uint32_t i = 1; i <= stack_count(); i++)
        if (stack_table[i].base != NULL)
            munmap(stack_table[i].base, (size_t)(stack_table[i].top - stack_table[i].base));
    void *table = stack_table;

    atomic_store_release(&pool.count, 0); /* a collector may look at any time: there are none */
    stack_table = NULL;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    memory_free(pool.shared);
    arena_fini(&pool.arena);
    memory_unreserve(table, TABLE_BYTES);
    memset(&pool, 0, sizeof pool);
}

/* A new descriptor; with the lock held. */
static struct stack *descriptor_new_locked(void)
{
    uint32_t index = atomic_load_relaxed(&pool.count) + 1;
    size_t need = (size_t)(index + 1) * sizeof(struct stack);

    if (index >= TABLE_MAX)
        return NULL;
    if (need > pool.table_committed) {
        if (!memory_commit((char *)stack_table + pool.table_committed, TABLE_STEP))
            return NULL;
        pool.table_committed += TABLE_STEP;
    }
    atomic_store_release(&pool.count, index); /* what is not set up yet contains no address */
    return &stack_table[index];
}

/* A new default-sized stack from the arena; with the lock held. */
static struct stack *arena_new_locked(enum stack_kind kind)
{
    char *base = arena_take(&pool.arena, pool.stride);
    struct stack *s;

    if (base == NULL)
        return NULL;
    if (!memory_commit(base, pool.stride))
        goto fail;
    memory_no_huge(base, pool.stride);
    if (!memory_guard(base, STACK_GUARD_BYTES))
        goto fail;
    s = descriptor_new_locked();
    if (s == NULL)
        goto fail;
    s->limit = base + STACK_GUARD_BYTES;
    s->top = base + pool.stride - (pool.arena_count++ % COLOURS) * CACHE_LINE;
    s->kind = (uint8_t)kind;
    sanitizer_stack_register(s->limit, s->top);
    return s;
fail:
    arena_untake(&pool.arena, base);
    return NULL;
}

/* A mapping of its own for an odd size; with the lock held. */
static struct stack *odd_new_locked(size_t bytes)
{
    size_t whole = (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES + STACK_GUARD_BYTES;
    struct stack *s = pool.free_odd;
    int saved = errno;
    char *base;

    if (s != NULL)
        pool.free_odd = s->next_free;
    else if ((s = descriptor_new_locked()) == NULL)
        return NULL;
    base = fault_point(FAULT_COMMIT)
               ? MAP_FAILED
               : mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED || !memory_guard(base, STACK_GUARD_BYTES)) {
        if (base != MAP_FAILED)
            munmap(base, whole);
        s->next_free = pool.free_odd;
        pool.free_odd = s;
        errno = saved;
        return NULL;
    }
    memory_no_huge(base, whole);
    s->base = base;
    s->limit = base + STACK_GUARD_BYTES;
    s->top = base + whole;
    s->kind = STACK_DEDICATED;
    atomic_store_relaxed(&s->members, sanitizer_stack_register(s->limit, s->top)); /* nobody else uses the field */
    return s;
}

struct stack *stack_sole_take(struct stack_cache *cache)
{
    struct stack *s = cache->sole;
    uint32_t sole;

    if (LIKELY(s != NULL)) {
        cache->sole = s->next_free;
        cache->sole_count--;
        return s;
    }
    /* A look without the lock: at worst a shared stack is used. */
    if (atomic_load_relaxed(&pool.free_sole) == NULL && atomic_load_relaxed(&pool.sole_count) >= pool.params.sole_max)
        return NULL;
    lock_acquire(&pool.lock);
    s = atomic_load_relaxed(&pool.free_sole);
    sole = atomic_load_relaxed(&pool.sole_count);
    if (s != NULL)
        atomic_store_relaxed(&pool.free_sole, s->next_free);
    else if (sole < pool.params.sole_max && (s = arena_new_locked(STACK_SOLE)) != NULL)
        atomic_store_relaxed(&pool.sole_count, sole + 1);
    lock_release(&pool.lock);
    return s;
}

struct stack *stack_dedicated_take(struct stack_cache *cache, size_t bytes)
{
    struct stack *s = NULL;

    if (bytes != 0 && bytes != pool.params.stack_bytes) {
        lock_acquire(&pool.lock);
        s = odd_new_locked(bytes);
        lock_release(&pool.lock);
        return s;
    }
    s = cache->dedicated;
    if (s != NULL) {
        cache->dedicated = s->next_free;
        cache->dedicated_count--;
        return s;
    }
    lock_acquire(&pool.lock);
    s = pool.free_dedicated;
    if (s != NULL)
        pool.free_dedicated = s->next_free;
    else
        s = arena_new_locked(STACK_DEDICATED);
    lock_release(&pool.lock);
    return s;
}

static void free_locked(struct stack *s)
{
    if (s->kind == STACK_SOLE) {
        s->next_free = atomic_load_relaxed(&pool.free_sole);
        atomic_store_relaxed(&pool.free_sole, s);
    } else {
        s->next_free = pool.free_dedicated;
        pool.free_dedicated = s;
    }
}

void stack_give_back(struct stack_cache *cache, struct stack *s)
{
    struct stack **list = s->kind == STACK_SOLE ? &cache->sole : &cache->dedicated;
    uint32_t *count = s->kind == STACK_SOLE ? &cache->sole_count : &cache->dedicated_count;

    s->resident = NULL;
    if (UNLIKELY(s->base != NULL)) {
        lock_acquire(&pool.lock);
        sanitizer_stack_deregister(atomic_load_relaxed(&s->members));
        munmap(s->base, (size_t)(s->top - s->base));
        s->base = NULL;
        s->limit = s->top = NULL;
        s->next_free = pool.free_odd;
        pool.free_odd = s;
        lock_release(&pool.lock);
        return;
    }
    if (LIKELY(*count < STACK_CACHE_MAX)) {
        s->next_free = *list;
        *list = s;
        ++*count;
        return;
    }
    lock_acquire(&pool.lock);
    free_locked(s);
    lock_release(&pool.lock);
}

void stack_cache_flush(struct stack_cache *cache)
{
    struct stack *lists[] = {cache->sole, cache->dedicated};

    lock_acquire(&pool.lock);
    for (int i = 0; i < 2; i++)
        for (struct stack *s = lists[i], *next; s != NULL; s = next) {
            next = s->next_free;
            free_locked(s);
        }
    lock_release(&pool.lock);
    cache->sole = cache->dedicated = NULL;
    cache->sole_count = cache->dedicated_count = 0;
}

static uint32_t random_below(struct stack_cache *cache, uint32_t n)
{
    uint32_t x = cache->random ? cache->random : 2463534242u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    cache->random = x;
    return (uint32_t)(((uint64_t)x * n) >> 32);
}

/* A random shared stack, of those that the owner of the cache prefers if there are enough. */
static struct stack *near_one(struct stack_cache *cache, uint32_t n)
{
    uint32_t each = cache->shares > 1 ? n / cache->shares : 0;

    return pool
        .shared[each < NEAR_MIN ? random_below(cache, n) : random_below(cache, each) * cache->shares + cache->share];
}

/* Open another shared stack, unless somebody has just done so. */
static uint32_t shared_open(uint32_t seen)
{
    uint32_t n;

    lock_acquire(&pool.lock);
    n = atomic_load_relaxed(&pool.shared_count);
    if (n == seen && n < pool.params.shared_max) {
        struct stack *s = arena_new_locked(STACK_SHARED);

        if (s != NULL) {
            pool.shared[n++] = s;
            atomic_store_release(&pool.shared_count, n); /* pairs with the acquire in choose */
        }
    }
    lock_release(&pool.lock);
    return n;
}

static bool is_free(struct stack *s)
{
    return atomic_load_relaxed(&s->word.word) == STACK_FREE; /* a hint */
}

static bool is_better(struct stack *s, struct stack *than)
{
    if (is_free(s) != is_free(than))
        return is_free(s);
    return atomic_load_relaxed(&s->members) < atomic_load_relaxed(&than->members);
}

/* Two random near ones; more, from everywhere, only while none of those seen is free. */
static struct stack *choose(struct stack_cache *cache, const struct stack *not_this, uint32_t n)
{
    struct stack *best = NULL;

    for (int tries = 0; tries < 16 && (tries < 2 || best == NULL || !is_free(best)); tries++) {
        struct stack *s = tries < 2 ? near_one(cache, n) : pool.shared[random_below(cache, n)];

        if (s == not_this && n > 1)
            continue;
        if (best == NULL || is_better(s, best))
            best = s;
    }
    return best != NULL ? best : pool.shared[pool.shared[0] == not_this && n > 1];
}

struct stack *stack_shared_choose(struct stack_cache *cache, const struct stack *not_this)
{
    uint32_t n = atomic_load_acquire(&pool.shared_count);
    struct stack *best = n > 0 ? choose(cache, not_this, n) : NULL;

    if (UNLIKELY(n < pool.params.shared_max) &&
        (n < 2 || !is_free(best) || atomic_load_relaxed(&best->members) >= MEMBERS_PER_STACK)) {
        n = shared_open(n);
        best = n > 0 ? choose(cache, not_this, n) : NULL;
    }
    return best;
}

void stack_trim(struct stack *stack, const void *sp)
{
    unsigned char touched[64];
    char *high = (char *)((uintptr_t)sp / PAGE_BYTES * PAGE_BYTES) - KEEP_BYTES;

    if (high <= stack->limit)
        return;
    /* Deep calls touch from the top down: one look just below tells. */
    char *look = high - sizeof touched * PAGE_BYTES;

    if (look < stack->limit)
        look = stack->limit;
    if (mincore(look, (size_t)(high - look), touched) != 0)
        return;
    for (size_t i = 0; i < (size_t)(high - look) / PAGE_BYTES; i++)
        if (touched[i] & 1) {
            memory_discard(stack->limit, (size_t)(high - stack->limit));
            return;
        }
}

/* Also in signal handlers, so without the lock: one that is being set up contains no address yet. */
NO_SANITIZE struct stack *stack_find(const void *address, bool *ret_in_guard)
{
    const char *p = address;

    for (uint32_t i = 1; i <= stack_count(); i++) {
        struct stack *s = &stack_table[i];

        if (p < s->top && p >= s->limit - STACK_GUARD_BYTES) {
            *ret_in_guard = p < s->limit;
            return s;
        }
    }
    return NULL;
}
