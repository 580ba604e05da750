/* SPDX-License-Identifier: MIT */
/*
 * Which addresses are the runtime's: libvthread, this library, and the libraries that they are made of, as they lie
 * in memory when this one is initialised.  An allocator that the program brings along is one of those: the runtime
 * calls it where it must not wait.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include "posix/thread.h"

struct range {
    uintptr_t begin;
    uintptr_t end;
    bool is_runtime; /* not libevent, whose loops a program may run on virtual threads */
};

enum { RANGES_MAX = 16 };

static struct {
    unsigned count;
    struct range list[RANGES_MAX];
} own;

static const struct {
    const char *prefix;
    bool is_runtime;
} names[] = {{"libvthread.so", true}, {"libvthread-posix.so", true},
             {"libevent", false},     {"libgc.so", true},
             {"libunwind", true},     {"libdw", true},
             {"libelf", true},        {"libyajl", true}};

static struct range range_of(const struct dl_phdr_info *info)
{
    struct range r = {UINTPTR_MAX, 0, false};

    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + header->p_vaddr;

        if (header->p_type != PT_LOAD)
            continue;
        if (begin < r.begin)
            r.begin = begin;
        if (begin + header->p_memsz > r.end)
            r.end = begin + header->p_memsz;
    }
    return r;
}

static bool has(const struct range *r, uintptr_t address)
{
    return address - r->begin < r->end - r->begin;
}

static bool is_named(const char *name, bool *ret_is_runtime)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(name, names[i].prefix, strlen(names[i].prefix)) == 0) {
            *ret_is_runtime = names[i].is_runtime;
            return true;
        }
    return false;
}

/* Neither the C library, which calls what the program gives it, nor the program itself (it has no name). */
static bool is_allocator(const char *name, const struct range *r, uintptr_t allocator)
{
    return name[0] != '\0' && strncmp(name, "libc.so", 7) != 0 && has(r, allocator);
}

static int add(struct dl_phdr_info *info, size_t size, void *arg)
{
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash != NULL ? slash + 1 : info->dlpi_name;
    struct range r = range_of(info);

    (void)size;
    r.is_runtime = true;
    if (own.count < RANGES_MAX && (is_named(name, &r.is_runtime) || is_allocator(name, &r, *(uintptr_t *)arg)))
        own.list[own.count++] = r;
    return 0;
}

/* Before any other thread, and any virtual one, is there. */
__attribute__((constructor(102))) static void look_around(void)
{
    uintptr_t allocator = (uintptr_t)dlsym(RTLD_DEFAULT, "malloc"); /* by &malloc it might be found in our own PLT */

    dl_iterate_phdr(add, &allocator);
}

/* The linker's, of the section OWN_CALLS_SECTION. */
extern HIDDEN const char __start_program_calls[];
extern HIDDEN const char __stop_program_calls[];

static bool is_own(const void *address, bool libraries)
{
    /* An address that is returned to lies behind the call, and at most at the very end. */
    if ((uintptr_t)address - (uintptr_t)__start_program_calls <=
        (uintptr_t)(__stop_program_calls - __start_program_calls))
        return false;
    for (unsigned i = 0; i < own.count; i++)
        if (has(&own.list[i], (uintptr_t)address))
            return libraries || own.list[i].is_runtime;
    return false;
}

bool own_is_runtime(const void *address)
{
    return is_own(address, false);
}

bool own_is_library(const void *address)
{
    return is_own(address, true);
}

NOINLINE int posix_fail(int error)
{
    if (error == ECANCELED)
        thread_cancellation_point();
    errno = error;
    return -1;
}
