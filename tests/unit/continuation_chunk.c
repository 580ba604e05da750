/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>

#include "base/memory.h"
#include "continuation/chunk.h"

static struct chunk_cache cache;

TestSuite(chunk, .fini = chunk_fini);

Test(chunk, classes_fit_closely)
{
    uint32_t before = 0;

    for (uint32_t bytes = 1; bytes <= 3 * CHUNK_CLASS_MAX; bytes++) {
        uint32_t usable = chunk_usable(bytes);
        uint32_t lost = usable - bytes;

        cr_assert_geq(usable, bytes);
        cr_assert_geq(usable, before, "%u", bytes);
        cr_assert_eq(usable % 16, 0);
        cr_assert(bytes <= CHUNK_MIN || lost < CHUNK_STEP || lost * 16 <= bytes + 16 || bytes > CHUNK_CLASS_MAX,
                  "%u bytes take %u", bytes, usable);
        before = usable;
    }
}

Test(chunk, every_class_gives_memory_of_its_own)
{
    enum { SIZES = 400, EACH = 5 };
    static unsigned char *chunks[SIZES][EACH];

    for (uint32_t i = 0; i < SIZES; i++)
        for (uint32_t k = 0; k < EACH; k++) {
            uint32_t bytes = 1 + i * 173;

            chunks[i][k] = chunk_alloc(&cache, bytes);
            cr_assert_not_null(chunks[i][k]);
            cr_assert_eq((uintptr_t)chunks[i][k] % 16, 0);
            memset(chunks[i][k], (int)(i * EACH + k), bytes);
        }
    for (uint32_t i = 0; i < SIZES; i++)
        for (uint32_t k = 0; k < EACH; k++) {
            uint32_t bytes = 1 + i * 173;

            for (uint32_t b = 0; b < bytes; b++)
                cr_assert_eq(chunks[i][k][b], (unsigned char)(i * EACH + k));
            chunk_free(&cache, chunks[i][k], bytes);
        }
}

Test(chunk, the_newest_is_used_first)
{
    void *a = chunk_alloc(&cache, 300);

    chunk_free(&cache, a, 300);
    cr_assert_eq(chunk_alloc(&cache, 290), a, "of the same class");
}

Test(chunk, what_one_frees_another_uses)
{
    enum { N = 10 * CHUNK_BATCH };
    static void *chunks[N];
    struct chunk_cache other = {0};
    size_t committed;

    for (int i = 0; i < N; i++)
        chunks[i] = chunk_alloc(&cache, 500);
    for (int i = 0; i < N; i++)
        chunk_free(&cache, chunks[i], 500);
    chunk_cache_flush(&cache);
    committed = chunk_committed_bytes();
    for (int i = 0; i < N; i++) {
        void *chunk = chunk_alloc(&other, 500);
        int known = 0;

        for (int k = 0; k < N && !known; k++)
            known = chunks[k] == chunk;
        cr_assert(known);
    }
    cr_assert_eq(chunk_committed_bytes(), committed);
}

Test(chunk, a_cache_keeps_little)
{
    static void *chunks[1000];

    for (uint32_t bytes = 512; bytes <= CHUNK_CLASS_MAX; bytes *= 2) {
        uint32_t count = 0;

        for (int i = 0; i < 1000; i++)
            chunks[i] = chunk_alloc(&cache, bytes);
        for (int i = 0; i < 1000; i++)
            chunk_free(&cache, chunks[i], bytes);
        for (int class = 0; class < CHUNK_CLASSES; class ++)
            count += cache.lists[class].count;
        cr_assert_leq(count, 2 * CHUNK_BATCH);
        cr_assert_leq(count * bytes, 4 * CHUNK_CLASS_MAX);
        chunk_cache_flush(&cache);
    }
}

Test(chunk, large_ones_are_given_back)
{
    for (int i = 0; i < 1000; i++) {
        unsigned char *chunk = chunk_alloc(&cache, 16 << 20);

        cr_assert_not_null(chunk);
        chunk[0] = chunk[(16 << 20) - 1] = 1;
        chunk_free(&cache, chunk, 16 << 20);
    }
    cr_assert_eq(chunk_committed_bytes(), 0);
}

static bool refuse(enum fault_site site)
{
    return site == FAULT_COMMIT;
}

Test(chunk, out_of_memory_is_told_and_passes)
{
    uint32_t got = 0;

    fault_set_hook(refuse);
    cr_assert_null(chunk_alloc(&cache, 100));
    cr_assert_null(chunk_alloc(&cache, 1 << 20));
    fault_set_hook(NULL);
    cr_assert_not_null(chunk_alloc(&cache, 100));
    cr_assert_not_null(chunk_alloc(&cache, 1 << 20));
    fault_set_hook(refuse);
    while (chunk_alloc(&cache, 1000) != NULL) /* what is committed still serves */
        got++;
    cr_assert_gt(got, 0);
    fault_set_hook(NULL);
    cr_assert_not_null(chunk_alloc(&cache, 1000));
}

Test(chunk, may_start_again)
{
    cr_assert_not_null(chunk_alloc(&cache, 100));
    chunk_fini();
    memset(&cache, 0, sizeof cache);
    cr_assert_eq(chunk_committed_bytes(), 0);
    cr_assert_not_null(chunk_alloc(&cache, 100));
}
