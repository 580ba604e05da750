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

/* False: there is no thread to be had. */
static bool call_elsewhere(void *(*fn)(void *argument), void *argument)
{
    vthread_attr_t attr = {.kind = VTHREAD_KIND_PLATFORM, .name = "posix"};
    bool stays = wait_stay();
    bool interrupted = false;
    vthread_t helper;
    bool done = vthread_create(&helper, &attr, fn, argument) == 0;

    if (done)
        while (vthread_join(helper, NULL) == EINTR)
            interrupted = true; /* such calls are not interrupted; it is told later */
    if (interrupted)
        vthread_interrupt(vthread_self_virtual());
    wait_leave(stays);
    return done;
}

void apart_call_copy(void *(*fn)(void *arguments), void *arguments, size_t size)
{
    void *copy = malloc(size);

    if (copy != NULL) {
        memcpy(copy, arguments, size);
        if (call_elsewhere(fn, copy)) {
            memcpy(arguments, copy, size);
            free(copy);
            return;
        }
        free(copy);
    }
    vthread_blocking_call(fn, arguments);
}
