/* SPDX-License-Identifier: MIT */
#include "base/memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/atomic.h"
#include "base/futex.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

static ATOMIC(fault_hook *) hook;

void fault_set_hook(fault_hook *fn)
{
    atomic_store_release(&hook, fn);
}

bool fault_point(enum fault_site site)
{
    fault_hook *fn = atomic_load_acquire(&hook);

    return UNLIKELY(fn != NULL) && fn(site);
}

void *memory_reserve(size_t bytes, size_t align)
{
    size_t whole = bytes + align;
    char *p;
    char *base;

    if (fault_point(FAULT_RESERVE))
        return NULL;
    p = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    base = (char *)(((uintptr_t)p + align - 1) / align * align);
    if (base > p)
        munmap(p, (size_t)(base - p));
    if (base + bytes < p + whole)
        munmap(base + bytes, (size_t)(p + whole - base - bytes));
    return base;
}

void memory_unreserve(void *base, size_t bytes)
{
    if (base != NULL)
        munmap(base, bytes);
}

bool memory_commit(void *base, size_t bytes)
{
    int saved = errno;
    bool ok = !fault_point(FAULT_COMMIT) && mprotect(base, bytes, PROT_READ | PROT_WRITE) == 0;

    errno = saved;
    return ok;
}

static bool advise(void *base, size_t bytes, int advice)
{
    int saved = errno;
    bool ok;

    /* EAGAIN: racing page faults kept a guard from going in; it is harmless to ask again. */
    while (!(ok = madvise(base, bytes, advice) == 0) && errno == EAGAIN)
        ;
    errno = saved;
    return ok;
}

void memory_discard(void *base, size_t bytes)
{
    advise(base, bytes, MADV_DONTNEED);
}

void memory_no_huge(void *base, size_t bytes)
{
    advise(base, bytes, MADV_NOHUGEPAGE);
}

void memory_huge(void *base, size_t bytes)
{
    advise(base, bytes, MADV_HUGEPAGE);
}

/* Emulators (qemu-user) say yes to every advice that they do not know, and do nothing. */
static bool advice_is_real(void *page)
{
    enum { UNKNOWN, REAL, IGNORED };
    static ATOMIC(int) known; /* relaxed: whoever asks finds the same answer */
    int state = atomic_load_relaxed(&known);

    if (UNLIKELY(state == UNKNOWN)) {
        state = advise(page, PAGE_BYTES, 12345) ? IGNORED : REAL;
        atomic_store_relaxed(&known, state);
    }
    return state == REAL;
}

bool memory_guard(void *base, size_t bytes)
{
    if (advice_is_real(base) && advise(base, bytes, MADV_GUARD_INSTALL))
        return true;
    memory_discard(base, bytes);
    return mprotect(base, bytes, PROT_NONE) == 0;
}

bool memory_unguard(void *base, size_t bytes)
{
    if (advice_is_real(base) && advise(base, bytes, MADV_GUARD_REMOVE))
        return true;
    return mprotect(base, bytes, PROT_READ | PROT_WRITE) == 0;
}

void *memory_alloc(size_t bytes)
{
    return fault_point(FAULT_ALLOC) ? NULL : calloc(1, bytes);
}

void *memory_alloc_lines(size_t bytes)
{
    void *p = NULL;

    if (fault_point(FAULT_ALLOC) || posix_memalign(&p, CACHE_LINE, bytes) != 0)
        return NULL;
    return memset(p, 0, bytes);
}

void *memory_copy(const void *from, size_t bytes)
{
    void *copy = memory_hold(bytes > 0 ? bytes : 1);

    if (copy != NULL && bytes > 0)
        memcpy(copy, from, bytes);
    return copy;
}

void memory_free(void *p)
{
    free(p);
}

/* ---- held ---- */

enum { HELD_LISTS = 64 };

/*
 * In front of each block.  The links are kept inverted: a leak checker shall not take a block for
 * reachable because it is in the list.
 */
struct held {
    uintptr_t next;      /* inverted struct held * */
    uintptr_t back;      /* inverted: the `next` that leads here; under the lock */
    size_t bytes;        /* of the block */
    uint16_t list;       /* index */
    uint16_t pass_over;  /* by the next walk */
    uint32_t from_start; /* of the allocation to the block */
};

_Static_assert(sizeof(struct held) % _Alignof(max_align_t) == 0, "the block behind it is aligned as malloc's are");

static struct {
    CACHE_ALIGNED struct lock lock;
    uintptr_t first; /* inverted; 0: empty and never used */
} held_lists[HELD_LISTS];

static ATOMIC(memory_hold_hook *) hold_hook;

static struct held *held_of(uintptr_t inverted)
{
    return inverted != 0 ? (struct held *)~inverted : NULL;
}

static uintptr_t inverted(const void *p)
{
    return p != NULL ? ~(uintptr_t)p : 0;
}

/* A collector that stops us between two stores sees them in this order. */
static void publish(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* With the lock, and known to the collector, if there is one. */
static void lists_lock(uint32_t list)
{
    memory_hold_hook *called = NULL;

    for (;;) {
        memory_hold_hook *now = atomic_load_relaxed(&hold_hook);

        if (UNLIKELY(now != called))
            now();
        lock_acquire(&held_lists[list].lock);
        if (LIKELY(atomic_load_relaxed(&hold_hook) == now)) /* else it was set meanwhile; see memory_set_hold_hook */
            return;
        lock_release(&held_lists[list].lock);
        called = now;
    }
}

void memory_set_hold_hook(memory_hold_hook *fn)
{
    atomic_store_seq_cst(&hold_hook, fn);
    for (uint32_t i = 0; i < HELD_LISTS; i++) { /* who has the lock now did not see it; who has it later, does */
        lock_acquire(&held_lists[i].lock);
        lock_release(&held_lists[i].lock);
    }
}

static void *hold(char *start, size_t from_start, size_t bytes)
{
    struct held *h = (struct held *)(void *)(start + from_start - sizeof *h);
    uint32_t list = (uint32_t)((uintptr_t)start / CACHE_LINE % HELD_LISTS);
    struct held *second;

    h->bytes = bytes;
    h->list = (uint16_t)list;
    h->pass_over = 0;
    h->from_start = (uint32_t)from_start;
    lists_lock(list);
    second = held_of(held_lists[list].first);
    h->next = held_lists[list].first;
    h->back = inverted(&held_lists[list].first);
    if (second != NULL)
        second->back = inverted(&h->next);
    publish();
    held_lists[list].first = inverted(h);
    lock_release(&held_lists[list].lock);
    return start + from_start;
}

void *memory_hold(size_t bytes)
{
    char *start = bytes <= SIZE_MAX / 2 ? memory_alloc(sizeof(struct held) + bytes) : NULL;

    return start != NULL ? hold(start, sizeof(struct held), bytes) : NULL;
}

void *memory_hold_lines(size_t bytes)
{
    char *start = bytes <= SIZE_MAX / 2 ? memory_alloc_lines(CACHE_LINE + bytes) : NULL;

    return start != NULL ? hold(start, CACHE_LINE, bytes) : NULL;
}

void memory_let_go(void *p)
{
    struct held *h;
    struct held *after;

    if (p == NULL)
        return;
    h = (struct held *)(void *)((char *)p - sizeof *h);
    lists_lock(h->list);
    after = held_of(h->next);
    *(uintptr_t *)~h->back = h->next;
    if (after != NULL)
        after->back = h->back;
    lock_release(&held_lists[h->list].lock);
    memory_free((char *)p - h->from_start);
}

size_t memory_held_bytes(const void *p)
{
    return ((const struct held *)p - 1)->bytes / sizeof(void *) * sizeof(void *);
}

void memory_each_held(void (*fn)(void *block, size_t bytes))
{
    for (uint32_t i = 0; i < HELD_LISTS; i++)
        for (struct held *h = held_of(held_lists[i].first); h != NULL; h = held_of(h->next)) {
            if (LIKELY(!h->pass_over))
                fn(h + 1, h->bytes);
            h->pass_over = 0;
        }
}

void memory_pass_over(void *p)
{
    if (p != NULL)
        ((struct held *)(void *)((char *)p - sizeof(struct held)))->pass_over = 1;
}
