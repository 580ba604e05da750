/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "continuation_runner.h"

TestSuite(stack, .init = runner_start_default);

static struct stack_cache cache;

Test(stack, geometry)
{
    bool coloured = false;
    struct stack *first = stack_sole_take(&cache);

    for (int i = 0; i < 10; i++) {
        struct stack *s = stack_sole_take(&cache);

        cr_assert_not_null(s);
        cr_assert_eq(s->kind, STACK_SOLE);
        cr_assert_eq((uintptr_t)s->top % CACHE_LINE, 0);
        cr_assert_geq(s->top - s->limit, 256 * 1024);
        cr_assert_eq(stack_at(stack_index(s)), s);
        cr_assert(stack_contains(s, s->limit));
        cr_assert(stack_contains(s, s->top - 1));
        cr_assert_not(stack_contains(s, s->top));
        cr_assert_not(stack_contains(s, s->limit - 1));
        memset(s->limit, 1, (size_t)(s->top - s->limit));
        coloured = coloured || (uintptr_t)s->top % PAGE_BYTES != (uintptr_t)first->top % PAGE_BYTES;
    }
    cr_assert(coloured);
}

Test(stack, the_guard_faults_at_its_near_end, .signal = SIGSEGV, .disabled = SANITIZED)
{
    struct stack *s = stack_sole_take(&cache);

    *(volatile char *)(s->limit - 1) = 1;
}

Test(stack, the_guard_faults_at_its_far_end, .signal = SIGSEGV, .disabled = SANITIZED)
{
    struct stack *s = stack_sole_take(&cache);

    *(volatile char *)(s->limit - STACK_GUARD_BYTES) = 1;
}

Test(stack, sole_ones_are_limited_and_come_back)
{
    struct stack *stacks[16];
    struct stack_cache other = {0};

    for (int i = 0; i < 16; i++)
        cr_assert_not_null(stacks[i] = stack_sole_take(&cache));
    cr_assert_null(stack_sole_take(&cache));
    stack_give_back(&cache, stacks[7]);
    cr_assert_eq(stack_sole_take(&cache), stacks[7]);
    stack_give_back(&cache, stacks[3]);
    cr_assert_null(stack_sole_take(&other), "it is in the cache of the first");
    stack_cache_flush(&cache);
    cr_assert_eq(stack_sole_take(&other), stacks[3]);
}

Test(stack, dedicated_ones_come_in_any_size)
{
    size_t sizes[] = {0, 1, 64 * 1024, 256 * 1024, 3 << 20};

    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct stack *s = stack_dedicated_take(&cache, sizes[i]);
            bool in_guard;

            cr_assert_not_null(s);
            cr_assert_eq(s->kind, STACK_DEDICATED);
            cr_assert_geq((size_t)(s->top - s->limit), sizes[i]);
            cr_assert_eq(s->base != NULL, sizes[i] != 0 && sizes[i] != 256 * 1024);
            memset(s->limit, 1, (size_t)(s->top - s->limit));
            cr_assert_eq(stack_find(s->limit, &in_guard), s);
            stack_give_back(&cache, s);
        }
    cr_assert_eq(stack_count(), 2, "descriptors are used again");
}

Test(stack, find)
{
    struct stack *a = stack_sole_take(&cache);
    struct stack *b = stack_sole_take(&cache);
    bool in_guard;
    int local;

    cr_assert_eq(stack_find(b->limit, &in_guard), b);
    cr_assert_not(in_guard);
    cr_assert_eq(stack_find(a->top - 1, &in_guard), a);
    cr_assert_not(in_guard);
    cr_assert_eq(stack_find(b->limit - 1, &in_guard), b);
    cr_assert(in_guard);
    cr_assert_eq(stack_find(b->limit - STACK_GUARD_BYTES, &in_guard), b);
    cr_assert(in_guard);
    cr_assert_null(stack_find(&local, &in_guard));
    cr_assert_null(stack_find(NULL, &in_guard));
}

Test(stack, shared_ones_open_as_members_arrive)
{
    struct stack *first = stack_shared_choose(&cache, NULL);
    struct stack *s = first;
    bool several = false;

    cr_assert_eq(first->kind, STACK_SHARED);
    for (int i = 0; i < 200; i++) {
        s = stack_shared_choose(&cache, s);
        cr_assert_not_null(s);
        stack_shared_join(s);
        several = several || s != first;
    }
    cr_assert(several);
    cr_assert_eq(stack_count(), 4, "as many as there may be");
}

Test(stack, never_the_creators_if_there_is_another)
{
    struct stack *s = stack_shared_choose(&cache, NULL);

    s = stack_shared_choose(&cache, s);
    for (int i = 0; i < 1000; i++) {
        struct stack *next = stack_shared_choose(&cache, s);

        cr_assert_neq(next, s);
        s = next;
    }
}

Test(stack, a_held_one_is_avoided)
{
    struct stack *held = stack_shared_choose(&cache, NULL);

    for (int i = 0; i < 200; i++)
        stack_shared_join(stack_shared_choose(&cache, NULL));
    cr_assert(stack_word_try(&held->word));
    for (int i = 0; i < 1000; i++)
        cr_assert_neq(stack_shared_choose(&cache, NULL), held);
}

Test(stack, members_are_spread)
{
    struct stack *stacks[4] = {0};
    uint32_t most = 0;
    uint32_t least = UINT32_MAX;

    for (int i = 0; i < 4000; i++) {
        struct stack *s = stack_shared_choose(&cache, NULL);

        stack_shared_join(s);
        stacks[stack_index(s) - 1] = s;
    }
    for (int i = 0; i < 4; i++) {
        uint32_t members = atomic_load_relaxed(&stacks[i]->members);

        most = members > most ? members : most;
        least = members < least ? members : least;
        while (members-- > 0)
            stack_shared_leave(stacks[i]);
        cr_assert_eq(atomic_load_relaxed(&stacks[i]->members), 0);
    }
    cr_assert_lt(most - least, 100);
}

static size_t resident_pages(struct stack *s)
{
    static unsigned char pages[256];
    size_t n = (size_t)(s->top - s->limit) / PAGE_BYTES;
    size_t found = 0;

    mincore(s->limit, n * PAGE_BYTES, pages);
    for (size_t i = 0; i < n; i++)
        found += pages[i] & 1;
    return found;
}

Test(stack, trim_gives_back_what_a_deep_call_touched)
{
    struct stack *s = stack_sole_take(&cache);

    memset(s->limit, 1, (size_t)(s->top - s->limit));
    cr_assert_geq(resident_pages(s), 64);
    stack_trim(s, s->top - 1000);
    cr_assert_leq(resident_pages(s), 8);
    cr_assert_eq(s->top[-1000], 1, "what is live stays");
    stack_trim(s, s->top - 1000);
    cr_assert_leq(resident_pages(s), 8);
}

static bool refuse_commit(enum fault_site site)
{
    return site == FAULT_COMMIT;
}

Test(stack, out_of_memory_is_told_and_passes)
{
    uint32_t count = stack_count();

    fault_set_hook(refuse_commit);
    cr_assert_null(stack_sole_take(&cache));
    cr_assert_null(stack_dedicated_take(&cache, 0));
    cr_assert_null(stack_dedicated_take(&cache, 10000));
    cr_assert_null(stack_shared_choose(&cache, NULL));
    fault_set_hook(NULL);
    cr_assert_eq(stack_count(), count);
    cr_assert_not_null(stack_sole_take(&cache));
    cr_assert_not_null(stack_dedicated_take(&cache, 0));
    cr_assert_not_null(stack_dedicated_take(&cache, 10000));
    cr_assert_not_null(stack_shared_choose(&cache, NULL));
}

static bool refuse_reserve(enum fault_site site)
{
    return site == FAULT_RESERVE;
}

static bool refuse_alloc(enum fault_site site)
{
    return site == FAULT_ALLOC;
}

Test(stack, may_end_and_start_again_with_other_sizes)
{
    const struct stack_params params = {.stack_bytes = 64 * 1024, .sole_max = 2, .shared_max = 1};
    struct stack *s;

    cr_assert_not_null(stack_dedicated_take(&cache, 12345));
    cr_assert(continuation_stop());
    cr_assert_null(stack_table);
    cr_assert(continuation_stop(), "twice is fine");
    fault_set_hook(refuse_reserve);
    cr_assert_neq(continuation_start(&params), 0);
    fault_set_hook(refuse_alloc);
    cr_assert_neq(continuation_start(&params), 0);
    fault_set_hook(NULL);
    cr_assert_eq(continuation_start(&params), 0);
    s = stack_sole_take(&(struct stack_cache){0});
    cr_assert_not_null(s);
    cr_assert_lt(s->top - s->limit, 128 * 1024);
    cr_assert_eq(stack_default_bytes(), 64 * 1024);
}

/* ---- the stack word; its interleavings are the business of tests/model ---- */

Test(stack_word, is_handed_to_one_after_the_other)
{
    struct stack_word word = {0};
    struct stack_member members[5];

    cr_assert(stack_word_acquire(&word, &members[0]));
    cr_assert_not(stack_word_try(&word));
    for (int i = 1; i < 4; i++)
        cr_assert_not(stack_word_acquire(&word, &members[i]));
    cr_assert_eq(stack_word_release(&word), &members[1]);
    cr_assert_not(stack_word_acquire(&word, &members[4]));
    for (int i = 2; i < 5; i++)
        cr_assert_eq(stack_word_release(&word), &members[i]);
    cr_assert_null(stack_word_release(&word));
    cr_assert(stack_word_try(&word));
}
