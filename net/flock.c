/* SPDX-License-Identifier: MIT */
/*
 * vthread_flock.  Nothing tells that a lock of a file is free, so it is tried again and again.
 */
#include <errno.h>
#include <sys/file.h>

#include <vthread/os.h>

#include "base/clock.h"
#include "net/again.h"
#include "net/descriptor.h"
#include "net/poller.h"
#include "net/system.h"
#include "vthread/thread.h"

/* It is taken, and may be waited for.  Another file's is not, should the number be that file's by now. */
static int wait_and_lock(struct thread *self, int fd, int operation, struct descriptor *d, uint32_t generation,
                         int64_t deadline_ns)
{
    struct again again = {0};
    int error;

    do {
        error = again_wait(&again, self, deadline_ns);
        if (error == -EINTR)
            return error;
        if (!descriptor_is_still(d, generation))
            return -ECANCELED;
        if (error == 0)
            error = system_flock(fd, operation | LOCK_NB);
    } while (error == -EWOULDBLOCK);
    /* Its closer may have come in between. */
    return error == -EBADF && !descriptor_is_still(d, generation) ? -ECANCELED : error;
}

int vthread_flock_until(int fd, int operation, int64_t deadline_ns)
{
    int error = net_enter();
    bool waits = !(operation & (LOCK_NB | LOCK_UN));
    struct descriptor *d = NULL;
    uint32_t generation;
    struct thread *self;

    if (error != 0)
        return -error;
    self = thread_self(&error);
    if (self == NULL)
        return error;
    if (waits && (atomic_load_relaxed(&self->word) & WORD_INTERRUPTED)) { /* a hint: the wait looks again */
        word_clear(&self->word, WORD_INTERRUPTED);
        return EINTR;
    }
    error = descriptor_get(fd, &d);
    if (error != 0)
        return -error;
    if (atomic_load_relaxed(&d->kind) == KIND_DEAD)
        return ECANCELED;
    generation = atomic_load_relaxed(&d->generation);
    error = system_flock(fd, operation | LOCK_NB);
    if (error != -EWOULDBLOCK || !waits)
        return -error;
    if (deadline_ns != INT64_MAX && deadline_ns <= clock_now_ns())
        return ETIMEDOUT;
    return -wait_and_lock(self, fd, operation, d, generation, deadline_ns);
}

int vthread_flock(int fd, int operation)
{
    return vthread_flock_until(fd, operation, VTHREAD_FOREVER);
}
