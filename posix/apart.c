/* SPDX-License-Identifier: MIT */
#include "posix/apart.h"

#include <errno.h>
#include <string.h>

#include "posix/wait.h"

void *apart_call(void *(*fn)(void *argument), void *argument)
{
    bool stays = wait_stay();
    bool interrupted = false;
    void *value = NULL;
    vthread_t helper;
    int error =
        vthread_create(&helper, &(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM, .name = "posix"}, fn, argument);

    if (error == 0) {
        while (vthread_join(helper, &value) == EINTR)
            interrupted = true; /* such calls are not interrupted; it is told later */
        if (interrupted)
            vthread_interrupt(vthread_self_virtual());
    } else { /* no thread to be had, or the argument lies in the stack: here, then */
        value = vthread_blocking_call(fn, argument);
    }
    wait_leave(stays);
    return value;
}

void apart_call_copy(void *(*fn)(void *arguments), void *arguments, size_t size)
{
    void *copy = malloc(size);

    if (copy == NULL) {
        vthread_blocking_call(fn, arguments);
        return;
    }
    memcpy(copy, arguments, size);
    apart_call(fn, copy);
    memcpy(arguments, copy, size);
    free(copy);
}
