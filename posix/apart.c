/* SPDX-License-Identifier: MIT */
#include "posix/apart.h"

#include <string.h>

void apart_call(void *(*fn)(void *arguments), void *arguments, size_t size)
{
    void *copy = malloc(size);

    if (copy == NULL) {
        apart_call_here(fn, arguments);
        return;
    }
    memcpy(copy, arguments, size);
    vthread_blocking_call_apart(fn, copy);
    memcpy(arguments, copy, size);
    free(copy);
}

void apart_call_here(void *(*fn)(void *arguments), void *arguments)
{
    vthread_blocking_call(fn, arguments);
}
