/* SPDX-License-Identifier: MIT */
/*
 * The interleaving, a line for each step, printed while an execution is repeated.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/model/explorer/internal.h"

enum { ENDS = 150 }; /* lines shown at either end of a very long execution */

bool tracing;
static int line;  /* of this execution, printed or not */
static int lines; /* of the execution before, when it is repeated */

void trace_begin(void)
{
    lines = tracing ? line : 0;
    line = 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    /* The folder too: there are several ring.c. */
    while (slash != NULL && slash > path && slash[-1] != '/')
        slash--;
    return slash == NULL ? path : slash;
}

void trace(const struct site *site, const struct location *location, const char *format, ...)
{
    char what[160];
    va_list args;
    int number = line++;

    if (!tracing || (lines > 2 * ENDS && number > ENDS && number < lines - ENDS))
        return;
    if (lines > 2 * ENDS && number == ENDS)
        fprintf(stderr, "  ...\n");
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    fprintf(stderr, "%5d  %-12s ", number, self == NOBODY ? "-" : actors[self].name);
    if (site == NULL) {
        fprintf(stderr, "%s\n", what);
        return;
    }
    fprintf(stderr, "%-9s%-26s %-30s %s  %s\n", site->operation,
            location != NULL ? location_name(location) : site->expression, what, site->function,
            base_name(site->where));
}

static int first_object(struct dl_phdr_info *info, size_t size, void *base)
{
    (void)size;
    *(uintptr_t *)base = info->dlpi_addr;
    return 1;
}

/* Where a plain access is written: the compiler tells only its address. */
void trace_code_address(const void *address)
{
    char command[128];
    char found[512];
    uintptr_t base = 0;
    FILE *pipe;

    if (!tracing || address == NULL)
        return;
    dl_iterate_phdr(first_object, &base);
    /* /proc/self would be the shell's. */
    snprintf(command, sizeof command, "addr2line -s -p -f -e /proc/%d/exe 0x%lx 2>/dev/null", (int)getpid(),
             (unsigned long)((uintptr_t)address - base - 1));
    pipe = popen(command, "r");
    if (pipe == NULL)
        return;
    while (fgets(found, sizeof found, pipe) != NULL)
        fprintf(stderr, "       plain access: %s", found);
    pclose(pipe);
}
