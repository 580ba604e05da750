/* SPDX-License-Identifier: MIT */
/*
 * Address space and pages, and the place where faults are injected.
 *
 * Everything the runtime takes from the system goes through here or through
 * fault_point(), so that a test can make the n-th request fail.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attributes.h"

#define PAGE_BYTES 4096u

enum fault_site { FAULT_RESERVE, FAULT_COMMIT, FAULT_ALLOC, FAULT_THREAD };

/* Returns true when this request shall fail.  NULL (the default): none does. */
typedef bool fault_hook(enum fault_site site);
void fault_set_hook(fault_hook *hook);
bool fault_point(enum fault_site site);

/* Address space without memory: inaccessible until committed.  NULL when there is none. */
void *memory_reserve(size_t bytes, size_t align);
void memory_unreserve(void *base, size_t bytes);

/* Make whole pages of a reservation usable (zeroed); false when out of memory. */
NODISCARD bool memory_commit(void *base, size_t bytes);

/* Give the pages' memory back; their contents become zero. */
void memory_discard(void *base, size_t bytes);

/* Never / preferably backed by huge pages. */
void memory_no_huge(void *base, size_t bytes);
void memory_huge(void *base, size_t bytes);

/*
 * Make pages fault on access, and usable again (contents zero).  Uses
 * MADV_GUARD_INSTALL, which splits no mapping, where the kernel has it.
 */
NODISCARD bool memory_guard(void *base, size_t bytes);
NODISCARD bool memory_unguard(void *base, size_t bytes);

void *memory_alloc(size_t bytes);       /* zeroed; NULL when out of memory */
void *memory_alloc_lines(size_t bytes); /* the same, at the beginning of a cache line */
/* Held, and to be let go; of no bytes, too, which is not NULL.  NULL when out of memory. */
void *memory_copy(const void *from, size_t bytes);
void memory_free(void *p);

/*
 * Memory that is held: what of the program's lies in it may point into the memory of a
 * collector (gc/), which walks all blocks there are.  As memory_alloc, but freed with memory_let_go.
 *
 * The blocks are in a few lists, each under its lock.  The collector walks them while all threads that it
 * knows are stopped, some of them with such a lock held; so it takes none, goes by `next` alone, and a
 * block joins or leaves with one store.  A thread that it does not know must not change the lists
 * meanwhile: once memory_hold_hook is set, each calls it first, and it sees to that.
 */
void *memory_hold(size_t bytes);
void *memory_hold_lines(size_t bytes); /* the same, at the beginning of a cache line */
void memory_let_go(void *p);

typedef void memory_hold_hook(void);
/* On return nobody who has not called it is in the middle of a change. */
void memory_set_hold_hook(memory_hold_hook *hook);
size_t memory_held_bytes(const void *p);
void memory_each_held(void (*fn)(void *block, size_t bytes));
/* With the world stopped: have the next walk pass this block over.  NULL: nothing. */
void memory_pass_over(void *p);

#endif
