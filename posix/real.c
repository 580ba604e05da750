/* SPDX-License-Identifier: MIT */
#include "posix/real.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/syscall.h>

struct real real_table;

/* Not by write, which is one of them. */
static void say(const char *text)
{
    (void)!syscall(SYS_write, STDERR_FILENO, text, strlen(text));
}

NOINLINE void *real_find(void *at, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (found == NULL) {
        say("vthread-posix: the C library has no ");
        say(name);
        say("\n");
        abort();
    }
    __atomic_store_n((void **)at, found, __ATOMIC_RELAXED);
    return found;
}

__attribute__((constructor(101))) static void find_all(void)
{
#define REAL_FIND(name) *(void **)(void *)&real_table.name = dlsym(RTLD_NEXT, #name);
    REAL_FUNCTIONS(REAL_FIND)
    REAL_OTHERS(REAL_FIND)
#undef REAL_FIND
}
