/* SPDX-License-Identifier: MIT */
#include "base/memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/atomic.h"

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
    void *copy = memory_alloc(bytes > 0 ? bytes : 1);

    if (copy != NULL && bytes > 0)
        memcpy(copy, from, bytes);
    return copy;
}

void memory_free(void *p)
{
    free(p);
}
