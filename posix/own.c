/* SPDX-License-Identifier: MIT */
/*
 * Which addresses are the runtime's: libvthread, this library, and the libraries that they are made of, as they lie
 * in memory when this one is initialised.
 */
#include <errno.h>
#include <link.h>
#include <string.h>

#include "posix/hook.h"

struct range {
    uintptr_t begin;
    uintptr_t end;
    bool is_runtime;
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
             {"libevent", false},     {"libgc.so", false},
             {"libunwind", false},    {"libdw", false},
             {"libelf", false},       {"libyajl", false}};

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

static int add(struct dl_phdr_info *info, size_t size, void *arg)
{
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash != NULL ? slash + 1 : info->dlpi_name;

    (void)size;
    (void)arg;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && own.count < RANGES_MAX; i++)
        if (strncmp(name, names[i].prefix, strlen(names[i].prefix)) == 0) {
            own.list[own.count] = range_of(info);
            own.list[own.count++].is_runtime = names[i].is_runtime;
        }
    return 0;
}

/* Before any other thread, and any virtual one, is there. */
__attribute__((constructor(102))) static void look_around(void)
{
    dl_iterate_phdr(add, NULL);
}

static bool is_own(const void *address, bool libraries)
{
    for (unsigned i = 0; i < own.count; i++)
        if ((uintptr_t)address - own.list[i].begin < own.list[i].end - own.list[i].begin)
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
    errno = error;
    return -1;
}
