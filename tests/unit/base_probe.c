/* SPDX-License-Identifier: MIT */
/* Reading memory that may not be there. */
#include "base/probe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"

static struct probe probe;

static void begin(void)
{
    cr_assert_eq(probe_open(&probe), 0);
}

static void end(void)
{
    probe_close(&probe);
}

TestSuite(probe, .init = begin, .fini = end, .timeout = 60);

Test(probe, memory_that_is_there)
{
    static const char text[] = "what is to be read";
    char copy[sizeof text] = "";

    cr_assert(probe_read(&probe, text, copy, sizeof text));
    cr_assert_str_eq(copy, text);
}

/* And what comes after that is not mixed up with it. */
Test(probe, memory_that_is_not_there)
{
    char *pages = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char copy[64];

    cr_assert_neq(pages, MAP_FAILED);
    memset(pages, 'x', PAGE_BYTES);
    cr_assert_eq(munmap(pages + PAGE_BYTES, PAGE_BYTES), 0);
    errno = 4711;
    for (size_t there = 0; there <= sizeof copy; there++) {
        memset(copy, 0, sizeof copy);
        cr_assert_eq(probe_read(&probe, pages + PAGE_BYTES - there, copy, sizeof copy), there == sizeof copy, "%zu",
                     there);
        memset(copy, 0, sizeof copy);
        cr_assert(probe_read(&probe, "next", copy, 5));
        cr_assert_str_eq(copy, "next");
    }
    cr_assert_not(probe_read(&probe, NULL, copy, 1));
    cr_assert_eq(errno, 4711);
    munmap(pages, PAGE_BYTES);
}
