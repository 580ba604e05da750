/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/memory.h"

TestSuite(memory, .timeout = 20);

enum { BYTES = 64 * PAGE_BYTES };

/* A sanitizer would make something else of it. */
static void die_plainly(void)
{
    signal(SIGSEGV, SIG_DFL);
}

static char *reserved_and_committed(void)
{
    char *p = memory_reserve(BYTES, PAGE_BYTES);

    cr_assert_not_null(p);
    cr_assert(memory_commit(p, BYTES));
    return p;
}

Test(memory, reservations_are_aligned)
{
    for (size_t align = PAGE_BYTES; align <= (size_t)2 << 20; align *= 2) {
        char *p = memory_reserve(BYTES, align);

        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % align, 0);
        memory_unreserve(p, BYTES);
    }
}

Test(memory, a_reservation_is_inaccessible, .init = die_plainly, .signal = SIGSEGV)
{
    volatile char *p = memory_reserve(BYTES, PAGE_BYTES);

    p[0] = 1;
}

Test(memory, committed_pages_are_zero_and_writable)
{
    char *p = reserved_and_committed();

    for (size_t i = 0; i < BYTES; i++)
        cr_assert_eq(p[i], 0);
    memset(p, 1, BYTES);
    memory_unreserve(p, BYTES);
}

Test(memory, only_what_was_committed_is_accessible, .init = die_plainly, .signal = SIGSEGV)
{
    volatile char *p = memory_reserve(BYTES, PAGE_BYTES);

    cr_assert(memory_commit((void *)(uintptr_t)p, PAGE_BYTES));
    p[PAGE_BYTES - 1] = 1;
    p[PAGE_BYTES] = 1;
}

Test(memory, discarded_pages_are_zero_again)
{
    char *p = reserved_and_committed();

    memset(p, 1, BYTES);
    memory_discard(p + PAGE_BYTES, PAGE_BYTES);
    cr_assert_eq(p[PAGE_BYTES - 1], 1);
    cr_assert_eq(p[PAGE_BYTES], 0);
    cr_assert_eq(p[2 * PAGE_BYTES], 1);
}

Test(memory, a_guard_faults, .init = die_plainly, .signal = SIGSEGV)
{
    char *p = reserved_and_committed();

    cr_assert(memory_guard(p, PAGE_BYTES));
    ((volatile char *)p)[PAGE_BYTES] = 1;
    ((volatile char *)p)[PAGE_BYTES - 1] = 1;
}

Test(memory, a_guard_that_is_taken_away_leaves_zeroes)
{
    char *p = reserved_and_committed();

    memset(p, 1, BYTES);
    for (int i = 0; i < 3; i++) {
        cr_assert(memory_guard(p, PAGE_BYTES));
        cr_assert(memory_unguard(p, PAGE_BYTES));
        cr_assert_eq(p[0], 0);
        p[0] = 1;
    }
    cr_assert_eq(p[PAGE_BYTES], 1);
}

Test(memory, advice_about_huge_pages_is_only_advice)
{
    char *p = reserved_and_committed();

    memory_no_huge(p, BYTES);
    memory_huge(p, BYTES);
    memset(p, 1, BYTES);
}

Test(memory, allocations_are_zeroed)
{
    for (size_t bytes = 1; bytes < 100000; bytes = bytes * 3 + 1) {
        char *p = memory_alloc(bytes);

        cr_assert_not_null(p);
        for (size_t i = 0; i < bytes; i++)
            cr_assert_eq(p[i], 0);
        memory_free(p);
    }
    memory_free(NULL);
    memory_unreserve(NULL, 0);
}

static int asked[4];
static enum fault_site failing;

static bool fail_one_site(enum fault_site site)
{
    asked[site]++;
    return site == failing;
}

Test(memory, each_site_can_be_made_to_fail)
{
    char *p;

    fault_set_hook(fail_one_site);
    failing = FAULT_RESERVE;
    cr_assert_null(memory_reserve(BYTES, PAGE_BYTES));
    failing = FAULT_COMMIT;
    p = memory_reserve(BYTES, PAGE_BYTES);
    cr_assert_not_null(p);
    cr_assert_not(memory_commit(p, BYTES));
    failing = FAULT_ALLOC;
    cr_assert(memory_commit(p, BYTES));
    cr_assert_null(memory_alloc(1));
    cr_assert_eq(asked[FAULT_RESERVE], 2);
    cr_assert_eq(asked[FAULT_COMMIT], 2);
    cr_assert_eq(asked[FAULT_ALLOC], 1);
    fault_set_hook(NULL);
    cr_assert_not(fault_point(FAULT_ALLOC));
    memory_unreserve(p, BYTES);
}

Test(memory, errno_is_left_alone)
{
    char *p = reserved_and_committed();

    errno = 4711;
    cr_assert(memory_guard(p, PAGE_BYTES));
    cr_assert(memory_unguard(p, PAGE_BYTES));
    memory_discard(p, PAGE_BYTES);
    memory_discard((void *)1, PAGE_BYTES); /* refused by the kernel */
    memory_huge((void *)1, PAGE_BYTES);
    cr_assert_eq(errno, 4711);
}
