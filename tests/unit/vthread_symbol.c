/* SPDX-License-Identifier: MIT */
/* Names for addresses: of this program, of libraries, of nothing. */
#include <dlfcn.h>
#include <fcntl.h>

#include "vthread/symbol.h"
#include "vthread_help.h"

#ifdef VTHREAD_HAS_SYMBOLS
enum { HAS_SYMBOLS = 1 };
#else
enum { HAS_SYMBOLS = 0 };
#endif

static int call_line;

/* Its own return address: in its caller, after the call. */
static NOINLINE uintptr_t where(void)
{
    return (uintptr_t)__builtin_return_address(0);
}

static NOINLINE uintptr_t calls_where(void)
{
    uintptr_t pc;

    call_line = __LINE__ + 1;
    pc = where();
    __asm__ volatile("" : "+r"(pc)); /* no tail call */
    return pc;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

Test(symbol, call_in_this_program)
{
    uintptr_t pc = calls_where();
    struct symbol symbol;

    cr_assert(symbol_find(pc, SYMBOL_RETURN_ADDRESS, &symbol));
    cr_assert_gt(strlen(symbol.object), 0);
    if (!HAS_SYMBOLS)
        cr_skip_test("built without symbols");
    cr_assert_str_eq(symbol.function, "calls_where");
    cr_assert(ends_with(symbol.file, "vthread_symbol.c"), "%s", symbol.file);
    cr_assert_eq(symbol.line, call_line, "%d, not %d", symbol.line, call_line);
    cr_assert(ends_with(symbol.object, "unit-vthread"), "%s", symbol.object);
    cr_assert_eq((uintptr_t)calls_where + symbol.offset, pc);
}

static int inlined_line;

__attribute__((always_inline)) static inline uintptr_t inlined_inner(void)
{
    uintptr_t pc = where();

    __asm__ volatile("" : "+r"(pc));
    return pc;
}

__attribute__((always_inline)) static inline uintptr_t inlined_outer(void)
{
    return inlined_inner();
}

static NOINLINE uintptr_t calls_inlined(void)
{
    uintptr_t pc;

    inlined_line = __LINE__ + 1;
    pc = inlined_outer();
    __asm__ volatile("" : "+r"(pc));
    return pc;
}

/* Function and line belong together. */
Test(symbol, call_in_what_is_inlined)
{
    uintptr_t pc = calls_inlined();
    struct symbol symbol;

    if (!HAS_SYMBOLS)
        cr_skip_test("built without symbols");
    cr_assert(symbol_find(pc, SYMBOL_RETURN_ADDRESS, &symbol));
    cr_assert_str_eq(symbol.function, "calls_inlined");
    cr_assert_eq(symbol.line, inlined_line, "%d, not %d", symbol.line, inlined_line);
}

Test(symbol, beginning_of_a_function)
{
    struct symbol symbol;

    cr_assert(symbol_find((uintptr_t)calls_where, SYMBOL_INSTRUCTION, &symbol));
    if (!HAS_SYMBOLS)
        cr_skip_test("built without symbols");
    cr_assert_str_eq(symbol.function, "calls_where");
    cr_assert_eq(symbol.offset, 0);
}

Test(symbol, function_of_a_library)
{
    struct symbol symbol;

    cr_assert(symbol_find((uintptr_t)dlsym(RTLD_DEFAULT, "l64a"), SYMBOL_INSTRUCTION, &symbol));
    cr_assert(strstr(symbol.function, "l64a") != NULL, "%s", symbol.function);
    cr_assert(strstr(symbol.object, "libc") != NULL, "%s", symbol.object);
    cr_assert_eq(symbol.offset, 0);
}

Test(symbol, library_that_is_loaded_later)
{
    struct symbol symbol;
    void *library, *function;

    cr_assert(symbol_find((uintptr_t)calls_where, SYMBOL_INSTRUCTION, &symbol));
    library = dlopen("libresolv.so.2", RTLD_NOW);
    function = library != NULL ? dlsym(library, "ns_format_ttl") : NULL;
    if (function == NULL)
        cr_skip_test("no libresolv here");
    cr_assert(symbol_find((uintptr_t)function, SYMBOL_INSTRUCTION, &symbol));
    cr_assert(strstr(symbol.function, "ns_format_ttl") != NULL, "%s", symbol.function);
    cr_assert(strstr(symbol.object, "libresolv") != NULL, "%s", symbol.object);
}

Test(symbol, no_code)
{
    static const uintptr_t none[] = {0, 1, UINTPTR_MAX};
    struct symbol symbol;
    char text[64];

    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        cr_assert_not(symbol_find(none[i], SYMBOL_RETURN_ADDRESS, &symbol));
        cr_assert_str_eq(symbol.function, "");
        cr_assert_str_eq(symbol.file, "");
        cr_assert_str_eq(symbol.object, "");
        cr_assert_eq(symbol.line, 0);
    }
    cr_assert_str_eq(symbol_text(0x10, &symbol, text, sizeof text), "0x10");
}

Test(symbol, text)
{
    struct symbol symbol = {.offset = 0x12, .line = 34, .function = "f", .file = "/a/b.c", .object = "/lib/x.so"};
    char text[64];

    cr_assert_str_eq(symbol_text(0x1000, &symbol, text, sizeof text), "f+0x12 (b.c:34)");
    symbol.line = 0;
    cr_assert_str_eq(symbol_text(0x1000, &symbol, text, sizeof text), "f+0x12 (x.so)");
    symbol.function[0] = '\0';
    cr_assert_str_eq(symbol_text(0x1000, &symbol, text, sizeof text), "0x1000 (x.so+0x12)");
    cr_assert_str_eq(symbol_text(0x1000, &symbol, text, 5), "0x10");
}

/* Files that stay open are not for the programs that this one starts. */
static int inheritable_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);

        n += flags >= 0 && !(flags & FD_CLOEXEC);
    }
    return n;
}

Test(symbol, descriptors_are_not_inherited)
{
    struct symbol symbol;
    int before;

    symbol_forget();
    before = inheritable_descriptors();
    cr_assert(symbol_find((uintptr_t)calls_where, SYMBOL_INSTRUCTION, &symbol));
    cr_assert(symbol_find((uintptr_t)fcntl, SYMBOL_INSTRUCTION, &symbol));
    cr_assert_eq(inheritable_descriptors(), before);
    symbol_forget();
}

static void *find_often(void *arg)
{
    struct symbol symbol;

    (void)arg;
    for (int i = 0; i < 200; i++) {
        CHECK(symbol_find((uintptr_t)find_often, SYMBOL_INSTRUCTION, &symbol));
        CHECK(symbol.offset == 0);
        if (i % 50 == 0)
            symbol_forget();
    }
    return NULL;
}

Test(symbol, many_threads_at_a_time)
{
    pthread_t threads[4];
    void *wrong;

    if (!HAS_SYMBOLS)
        cr_skip_test("dladdr knows no static functions");
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, find_often, NULL), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &wrong);
        cr_assert_null(wrong, "%s", (char *)wrong);
    }
}
