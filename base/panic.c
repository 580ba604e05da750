/* SPDX-License-Identifier: MIT */
#include "base/panic.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"

static void put(const char *s)
{
    ssize_t ignored = write(STDERR_FILENO, s, strlen(s));
    (void)ignored;
}

void (*panic_report)(void);

NORETURN static void end_all(void)
{
    static ATOMIC(bool) reported;

    if (!atomic_exchange_acq_rel(&reported, true)) {
        if (panic_report != NULL)
            panic_report();
    } else {
        nanosleep(&(struct timespec){1, 0}, NULL);
    }
    abort();
}

void panic(const char *what)
{
    put("vthread: broken invariant: ");
    put(what);
    put("\n");
    end_all();
}

void panic_at(const char *what, const char *file, int line)
{
    char digits[12];
    char *p = digits + sizeof digits - 1;

    *p = '\0';
    do
        *--p = (char)('0' + line % 10);
    while ((line /= 10) > 0);
    put("vthread: broken invariant: ");
    put(what);
    put(" (");
    put(file);
    put(":");
    put(p);
    put(")\n");
    end_all();
}
