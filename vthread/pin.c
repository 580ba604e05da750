/* SPDX-License-Identifier: MIT */
/*
 * Pins and blocking sections.
 *
 * A pin keeps the thread on its carrier; a blocking section also gives the
 * carrier's place away meanwhile, and keeps the stack, for somebody may hold
 * addresses in it.  Both count in one byte: pins in the low bits, sections above.
 */
#include <errno.h>

#include "vthread/mount.h"
#include "vthread/thread.h"

enum { BLOCKING_MAX = 31 };

static int pin(struct thread *self, const char *reason)
{
    struct thread_cold *cold = thread_cold(self);
    struct thread_extra *extra;

    if (cold->pins == UINT8_MAX)
        return EAGAIN;
    if (cold->pins++ == 0) {
        self->flags |= THREAD_PINNED;
        extra = thread_extra_get(self); /* without memory the pin has no name, that is all */
        if (extra != NULL)
            extra->pin_reason = reason;
    }
    return 0;
}

static int unpin(struct thread *self)
{
    struct thread_cold *cold = thread_cold(self);

    if (cold->pins == 0)
        return EINVAL;
    if (--cold->pins == 0)
        self->flags &= (uint8_t)~THREAD_PINNED;
    return 0;
}

void unpin_all(struct thread *self)
{
    if (thread_cold(self)->blocking > 0)
        carrier_unblock(carrier_self());
    thread_cold(self)->blocking = 0;
    thread_cold(self)->pins = 0;
    self->flags &= (uint8_t)~THREAD_PINNED;
}

int vthread_pin(const char *reason)
{
    struct thread *self = thread_mounted();

    return self != NULL ? pin(self, reason) : 0;
}

int vthread_unpin(void)
{
    struct thread *self = thread_mounted();
    int error = 0;

    if (self != NULL) /* the pins of open blocking sections are not ours to take */
        error = thread_cold(self)->pins > thread_cold(self)->blocking ? unpin(self) : EINVAL;

    if (error != 0)
        misuse("vthread_unpin", "unpinned more often than pinned; every vthread_unpin needs a vthread_pin before it");
    return error;
}

bool vthread_is_pinned(const char **ret_reason)
{
    struct thread *self = thread_mounted();
    struct thread_extra *extra;

    if (self == NULL || !(self->flags & THREAD_PINNED))
        return false;
    extra = thread_extra(self);
    if (ret_reason != NULL)
        *ret_reason = extra != NULL ? extra->pin_reason : NULL;
    return true;
}

int vthread_blocking_begin(const char *what)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();
    int error;

    if (self == NULL)
        return 0;
    if (thread_cold(self)->blocking == BLOCKING_MAX)
        return EAGAIN;
    error = pin(self, what);
    if (error == 0 && thread_cold(self)->blocking++ == 0)
        carrier_block(&p->carrier);
    return error;
}

int vthread_blocking_end(void)
{
    struct processor *p = processor_self();
    struct thread *self = thread_mounted();
    struct thread_cold *cold;

    if (self == NULL)
        return 0;
    cold = thread_cold(self);
    if (cold->blocking == 0) {
        misuse("vthread_blocking_end", "no section is open; every vthread_blocking_end needs a vthread_blocking_begin");
        return EINVAL;
    }
    if (--cold->blocking == 0)
        carrier_unblock(&p->carrier);
    return unpin(self);
}

void *vthread_blocking_call(void *(*fn)(void *arg), void *arg)
{
    void *value;
    bool began = vthread_blocking_begin("vthread_blocking_call") == 0;

    value = fn(arg);
    if (began)
        vthread_blocking_end();
    return value;
}
