/* SPDX-License-Identifier: MIT */
/*
 * What the code under test takes from base/: allocation, the clock, panics and
 * the lock's slow path.
 *
 * Each actor allocates from an arena of its own, so that addresses do not depend
 * on the interleaving; nothing freed is used again within an execution.
 */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/panic.h"
#include "tests/model/explorer/internal.h"

enum { ARENA_BYTES = 1 << 16 };

static struct {
    _Alignas(64) char bytes[ARENA_BYTES];
} arenas[ACTORS + 1]; /* the last is setup's */
static size_t arena_used[ACTORS + 1];

extern char __start_model_book[] __attribute__((weak));
extern char __stop_model_book[] __attribute__((weak));
extern char __start_model_shared[] __attribute__((weak));
extern char __stop_model_shared[] __attribute__((weak));

void memory_reset(void)
{
    memset(arena_used, 0, sizeof arena_used);
    if (__start_model_book != NULL)
        memset(__start_model_book, 0, (size_t)(__stop_model_book - __start_model_book));
    if (__start_model_shared != NULL)
        memset(__start_model_shared, 0, (size_t)(__stop_model_shared - __start_model_shared));
}

void memory_discard(void *base, size_t bytes)
{
    (void)base, (void)bytes; /* nothing looks at it again */
}

void *memory_alloc(size_t bytes)
{
    int arena = self == NOBODY ? ACTORS : self;
    size_t header = CACHE_LINE;
    char *p = arenas[arena].bytes + arena_used[arena];

    bytes = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    if (arena_used[arena] + header + bytes > ARENA_BYTES)
        model_fail("more than %d bytes allocated by one actor", ARENA_BYTES);
    arena_used[arena] += header + bytes;
    *(size_t *)(void *)p = bytes;
    memset(p + header, 0, bytes);
    return p + header;
}

void *memory_alloc_lines(size_t bytes)
{
    return memory_alloc(bytes); /* a line for everybody */
}

void memory_free(void *p)
{
    if (p != NULL && self != NOBODY)
        race_freed((uintptr_t)p, *(size_t *)(void *)((char *)p - CACHE_LINE));
}

/* Nobody walks the lists here. */
void *memory_hold(size_t bytes)
{
    return memory_alloc(bytes);
}

void *memory_hold_lines(size_t bytes)
{
    return memory_alloc(bytes);
}

void memory_let_go(void *p)
{
    memory_free(p);
}

bool fault_point(enum fault_site site)
{
    (void)site;
    return false;
}

/* Time stands still until a sleeper's deadline is met; then every deadline has passed. */
int64_t clock_now_ns(void)
{
    return actor_time_passed() ? INT64_MAX / 2 : 0;
}

int64_t clock_monotonic_ns(void)
{
    return clock_now_ns();
}

int64_t clock_sleep_until_ns(int64_t deadline_ns)
{
    return deadline_ns;
}

void panic(const char *what)
{
    model_fail("panic: %s", what);
}

void panic_at(const char *what, const char *file, int line)
{
    model_fail("panic: %s (%s:%d)", what, file, line);
}
