/* SPDX-License-Identifier: MIT */
/*
 * Plain accesses: must be ordered by happens-before, and not hit freed memory.
 *
 * The code under test is compiled with -fsanitize=thread but not linked with
 * ThreadSanitizer: the calls that the compiler inserts before each plain load
 * and store come here.  Because a race ends the exploration with a failure,
 * plain accesses need no scheduling points of their own: in every execution
 * without races they return what is in memory.
 *
 * Actors' own stacks are not looked at, nor the test's notes (MODEL_BOOK), nor
 * thread-local variables (errno): actors share one OS thread's.
 */
#include <string.h>

#include "tests/model/explorer/internal.h"

enum { GRANULE = 8, TABLE = 1 << 15, GRANULES_MAX = 1 << 13, TLS_BYTES = 4096 };

struct granule {
    uintptr_t address;
    bool freed;
    uint8_t location[GRANULE]; /* atomic field that covers this byte; 0: none */
    struct {
        struct plain_stamp written;
        uint32_t read[ACTORS];
        const void *write_at, *read_at[ACTORS]; /* code addresses, for the message */
    } bytes[GRANULE];
};

static struct granule granules[GRANULES_MAX];
static uint32_t granule_count;
static struct {
    uint32_t execution;
    uint32_t granule;
} table[TABLE];
static uint32_t execution;

extern char __start_model_book[] __attribute__((weak));
extern char __stop_model_book[] __attribute__((weak));

void race_reset(void)
{
    execution++;
    granule_count = 0;
}

static struct granule *granule_at(uintptr_t address, bool create)
{
    uint32_t i = (uint32_t)(mix(0, address) % TABLE);
    struct granule *g;

    for (;; i = (i + 1) % TABLE) {
        if (table[i].execution != execution)
            break;
        if (granules[table[i].granule].address == address)
            return &granules[table[i].granule];
    }
    if (!create)
        return NULL;
    if (granule_count == GRANULES_MAX)
        model_fail("plain accesses to more than %d bytes: raise GRANULES_MAX", GRANULES_MAX * GRANULE);
    table[i].execution = execution;
    table[i].granule = granule_count;
    g = &granules[granule_count++];
    memset(g, 0, sizeof *g);
    g->address = address;
    for (int k = 0; k < GRANULE; k++)
        g->bytes[k].written.writer = NOBODY;
    return g;
}

static void report(const char *mine, const void *mine_at, const char *theirs, int other, const void *theirs_at,
                   uintptr_t address)
{
    trace_code_address(mine_at);
    trace_code_address(theirs_at);
    model_fail("race: %s of %p by %s, unordered with a %s by %s", mine, (void *)address, actors[self].name, theirs,
               actors[other].name);
}

static void check_byte(struct granule *g, int k, bool is_write, const void *at)
{
    const uint32_t *clock = actors[self].now.clock;
    struct plain_stamp *w = &g->bytes[k].written;

    if (w->writer >= 0 && w->writer != self && w->clock > clock[w->writer])
        report(is_write ? "store" : "load", at, "store", w->writer, g->bytes[k].write_at, g->address + (unsigned)k);
    if (!is_write) {
        g->bytes[k].read[self] = clock[self];
        g->bytes[k].read_at[self] = at;
        return;
    }
    for (int i = 0; i < actor_count; i++)
        if (i != self && g->bytes[k].read[i] > clock[i])
            report("store", at, "load", i, g->bytes[k].read_at[i], g->address + (unsigned)k);
    *w = (struct plain_stamp){(int8_t)self, clock[self]};
    g->bytes[k].write_at = at;
}

static bool is_thread_local(uintptr_t address)
{
    uintptr_t pointer = (uintptr_t)__builtin_thread_pointer();

    return address - (pointer - TLS_BYTES) < 2 * TLS_BYTES;
}

static void plain_access(uintptr_t address, size_t size, bool is_write, const void *at)
{
    uint8_t last_location = 0;

    if (self == NOBODY || actor_stack_contains(address) || is_thread_local(address) ||
        (address >= (uintptr_t)__start_model_book && address < (uintptr_t)__stop_model_book))
        return;
    for (size_t i = 0; i < size; i++) {
        struct granule *g = granule_at((address + i) & ~(uintptr_t)(GRANULE - 1), true);
        int k = (int)((address + i) % GRANULE);

        if (g->freed) {
            trace_code_address(at);
            model_fail("%s of freed memory at %p by %s", is_write ? "store" : "load", (void *)(address + i),
                       actors[self].name);
        }
        if (g->location[k] != 0 && g->location[k] != last_location) {
            last_location = g->location[k];
            weak_plain_access(last_location, is_write);
        }
        if (g->location[k] == 0)
            check_byte(g, k, is_write, at);
    }
}

struct plain_stamp race_adopt(uintptr_t address, unsigned size, uint8_t index)
{
    struct plain_stamp stamp = {NOBODY, 0};

    for (unsigned i = 0; i < size; i++) {
        struct granule *g = granule_at((address + i) & ~(uintptr_t)(GRANULE - 1), true);
        int k = (int)((address + i) % GRANULE);

        if (g->freed)
            model_fail("atomic access to freed memory at %p", (void *)address);
        g->location[k] = index;
        if (g->bytes[k].written.writer >= 0)
            stamp = g->bytes[k].written;
    }
    return stamp;
}

void race_freed(uintptr_t address, size_t size)
{
    plain_access(address, size, true, __builtin_return_address(0));
    for (size_t i = 0; i < size; i += GRANULE)
        granule_at(address + i, true)->freed = true;
}

void race_check_freed(uintptr_t address)
{
    struct granule *g = granule_at(address & ~(uintptr_t)(GRANULE - 1), false);

    if (g != NULL && g->freed)
        model_fail("atomic access to freed memory at %p", (void *)address);
}

void model_plain(const void *p, size_t size, bool is_write)
{
    plain_access((uintptr_t)p, size, is_write, __builtin_return_address(0));
}

/* ---- what the compiler calls ---- */

#define HERE __builtin_return_address(0)
#define ACCESS(bytes)                                                                                                  \
    void __tsan_read##bytes(void *p);                                                                                  \
    void __tsan_write##bytes(void *p);                                                                                 \
    void __tsan_unaligned_read##bytes(void *p);                                                                        \
    void __tsan_unaligned_write##bytes(void *p);                                                                       \
    void __tsan_read_write##bytes(void *p);                                                                            \
    void __tsan_volatile_read##bytes(void *p);                                                                         \
    void __tsan_volatile_write##bytes(void *p);                                                                        \
    void __tsan_read##bytes(void *p)                                                                                   \
    {                                                                                                                  \
        plain_access((uintptr_t)p, bytes, false, HERE);                                                                \
    }                                                                                                                  \
    void __tsan_write##bytes(void *p)                                                                                  \
    {                                                                                                                  \
        plain_access((uintptr_t)p, bytes, true, HERE);                                                                 \
    }                                                                                                                  \
    void __tsan_unaligned_read##bytes(void *p)                                                                         \
    {                                                                                                                  \
        plain_access((uintptr_t)p, bytes, false, HERE);                                                                \
    }                                                                                                                  \
    void __tsan_unaligned_write##bytes(void *p)                                                                        \
    {                                                                                                                  \
        plain_access((uintptr_t)p, bytes, true, HERE);                                                                 \
    }                                                                                                                  \
    void __tsan_read_write##bytes(void *p)                                                                             \
    {                                                                                                                  \
        plain_access((uintptr_t)p, bytes, true, HERE);                                                                 \
    }                                                                                                                  \
    void __tsan_volatile_read##bytes(void *p)                                                                          \
    {                                                                                                                  \
        plain_access((uintptr_t)p, bytes, false, HERE);                                                                \
    }                                                                                                                  \
    void __tsan_volatile_write##bytes(void *p)                                                                         \
    {                                                                                                                  \
        plain_access((uintptr_t)p, bytes, true, HERE);                                                                 \
    }

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_read_range(void *p, size_t size);
void __tsan_write_range(void *p, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memmove(void *to, const void *from, size_t size);
void *__tsan_memset(void *to, int byte, size_t size);

void __tsan_init(void)
{
}
void __tsan_func_entry(void *caller)
{
    (void)caller;
}
void __tsan_func_exit(void)
{
}
void __tsan_read_range(void *p, size_t size)
{
    plain_access((uintptr_t)p, size, false, HERE);
}
void __tsan_write_range(void *p, size_t size)
{
    plain_access((uintptr_t)p, size, true, HERE);
}

void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    plain_access((uintptr_t)from, size, false, HERE);
    plain_access((uintptr_t)to, size, true, HERE);
    return memcpy(to, from, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size)
{
    plain_access((uintptr_t)from, size, false, HERE);
    plain_access((uintptr_t)to, size, true, HERE);
    return memmove(to, from, size);
}

void *__tsan_memset(void *to, int byte, size_t size)
{
    plain_access((uintptr_t)to, size, true, HERE);
    return memset(to, byte, size);
}
