/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>

#include "base/memory.h"
#include "carrier/timer.h"

TestSuite(timer, .timeout = 60);

enum { IDS = 2000, HEAPS = 3 };

static struct timer_heap heaps[HEAPS];

static struct timer_heap *heap_of(uint32_t number)
{
    return &heaps[number];
}

static void begin(void)
{
    timer_positions = calloc(IDS, sizeof *timer_positions);
    for (uint32_t i = 0; i < HEAPS; i++)
        timer_heap_init(&heaps[i], i);
}

static void end(void)
{
    for (uint32_t i = 0; i < HEAPS; i++)
        timer_heap_fini(&heaps[i]);
    free(timer_positions);
}

static int64_t earliest(struct timer_heap *heap)
{
    return atomic_load_acquire(&heap->earliest_ns);
}

Test(timer, an_empty_heap)
{
    struct timer_entry into[4];

    begin();
    cr_assert_eq(earliest(&heaps[0]), INT64_MAX);
    cr_assert_eq(timer_take_due(&heaps[0], INT64_MAX, into, 4), 0);
    cr_assert_not(timer_is_set(7));
    cr_assert_not(timer_remove(heap_of, 7));
    end();
}

Test(timer, fires_when_due_and_not_before)
{
    struct timer_entry into[4];

    begin();
    cr_assert(timer_insert(&heaps[0], 100, 7, 42));
    cr_assert(timer_is_set(7));
    cr_assert_eq(earliest(&heaps[0]), 100);
    cr_assert_eq(timer_take_due(&heaps[0], 99, into, 4), 0);
    cr_assert_eq(timer_take_due(&heaps[0], 100, into, 4), 1);
    cr_assert_eq(into[0].id, 7);
    cr_assert_eq(into[0].sequence, 42);
    cr_assert_eq(into[0].deadline_ns, 100);
    cr_assert_not(timer_is_set(7));
    cr_assert_eq(earliest(&heaps[0]), INT64_MAX);
    end();
}

Test(timer, a_removed_one_does_not_fire)
{
    struct timer_entry into[4];

    begin();
    cr_assert(timer_insert(&heaps[1], 100, 1, 0));
    cr_assert(timer_insert(&heaps[1], 50, 2, 0));
    cr_assert(timer_insert(&heaps[1], 150, 3, 0));
    cr_assert(timer_remove(heap_of, 2));
    cr_assert_not(timer_remove(heap_of, 2));
    cr_assert_eq(earliest(&heaps[1]), 100);
    cr_assert_eq(timer_take_due(&heaps[1], 1000, into, 4), 2);
    cr_assert_eq(into[0].id, 1);
    cr_assert_eq(into[1].id, 3);
    end();
}

Test(timer, no_more_at_a_time_than_asked_for)
{
    struct timer_entry into[4];

    begin();
    for (uint32_t i = 0; i < 10; i++)
        cr_assert(timer_insert(&heaps[0], 100 - (int64_t)i, i, 0));
    cr_assert_eq(timer_take_due(&heaps[0], 1000, into, 4), 4);
    cr_assert_eq(into[0].deadline_ns, 91);
    cr_assert_eq(timer_take_due(&heaps[0], 1000, into, 4), 4);
    cr_assert_eq(timer_take_due(&heaps[0], 1000, into, 4), 2);
    cr_assert_eq(into[1].deadline_ns, 100);
    end();
}

static bool fail_always(enum fault_site site)
{
    (void)site;
    return true;
}

Test(timer, without_memory_nothing_is_inserted)
{
    struct timer_entry into[4];
    uint32_t n = 0;

    begin();
    fault_set_hook(fail_always);
    cr_assert_not(timer_insert(&heaps[0], 100, 0, 0));
    fault_set_hook(NULL);
    cr_assert_not(timer_is_set(0));
    cr_assert(timer_insert(&heaps[0], 100, n++, 0));
    fault_set_hook(fail_always);
    while (timer_insert(&heaps[0], 100 + (int64_t)n, n, 0))
        n++;
    fault_set_hook(NULL);
    cr_assert_not(timer_is_set(n));
    cr_assert_eq(heaps[0].count, n);
    cr_assert_eq(timer_take_due(&heaps[0], 100, into, 4), 1, "those before are as they were");
    cr_assert(timer_insert(&heaps[0], 1, n, 0));
    cr_assert_eq(earliest(&heaps[0]), 1);
    end();
}

/* ---- against a table that is searched from end to end ---- */

static struct {
    int64_t deadline_ns; /* -1: none */
    uint32_t heap;
    uint32_t sequence;
} expected[IDS];

static uint64_t random_state = 88172645463325252u;

static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16) % n;
}

static int64_t expected_earliest(uint32_t heap)
{
    int64_t least = INT64_MAX;

    for (uint32_t id = 0; id < IDS; id++)
        if (expected[id].deadline_ns >= 0 && expected[id].heap == heap && expected[id].deadline_ns < least)
            least = expected[id].deadline_ns;
    return least;
}

static void insert_or_remove(void)
{
    uint32_t id = random_below(IDS);

    cr_assert_eq(timer_is_set(id), expected[id].deadline_ns >= 0);
    if (expected[id].deadline_ns >= 0) {
        cr_assert(timer_remove(heap_of, id));
        expected[id].deadline_ns = -1;
        return;
    }
    expected[id].deadline_ns = random_below(random_below(2) ? 100 : 1000000); /* many equal ones, too */
    expected[id].heap = random_below(HEAPS);
    expected[id].sequence++;
    cr_assert(timer_insert(&heaps[expected[id].heap], expected[id].deadline_ns, id, expected[id].sequence));
}

static void take_some(void)
{
    struct timer_entry into[8];
    uint32_t heap = random_below(HEAPS);
    int64_t now = random_below(200000);
    uint32_t n = timer_take_due(&heaps[heap], now, into, 1 + random_below(8));

    for (uint32_t i = 0; i < n; i++) {
        cr_assert_leq(into[i].deadline_ns, now);
        cr_assert_eq(into[i].deadline_ns, expected_earliest(heap), "the earliest first");
        cr_assert_eq(into[i].deadline_ns, expected[into[i].id].deadline_ns);
        cr_assert_eq(into[i].sequence, expected[into[i].id].sequence);
        expected[into[i].id].deadline_ns = -1;
    }
    cr_assert_eq(earliest(&heaps[heap]), expected_earliest(heap));
}

Test(timer, random_operations_against_a_table)
{
    begin();
    for (uint32_t id = 0; id < IDS; id++)
        expected[id].deadline_ns = -1;
    for (int step = 0; step < 60000; step++)
        if (random_below(10) == 0)
            take_some();
        else
            insert_or_remove();
    end();
}
