/* SPDX-License-Identifier: MIT */
#include "posix/apart.h"

#include <errno.h>
#include <string.h>

#include "posix/thread.h"
#include "posix/wait.h"

bool apart_is_near(const void *p)
{
    return !thread_is_posix() && (uintptr_t)p - (uintptr_t)__builtin_frame_address(0) < (64u << 20);
}

void *apart_call(void *(*fn)(void *argument), void *argument)
{
    vthread_attr_t attr = {.kind = VTHREAD_KIND_PLATFORM, .name = "posix"};
    bool stays = wait_stay();
    bool interrupted = false;
    void *value = NULL;
    vthread_t helper;

    if (!apart_is_near(argument) && vthread_create(&helper, &attr, fn, argument) == 0) {
        while (vthread_join(helper, &value) == EINTR)
            interrupted = true; /* such calls are not interrupted; it is told later */
        if (interrupted)
            vthread_interrupt(vthread_self_virtual());
    } else { /* the argument lies in the stack, or there is no thread to be had: here, then */
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
