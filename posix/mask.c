/* SPDX-License-Identifier: MIT */
/*
 * No signal reaches a virtual thread: carriers block everything asynchronous, and go on doing so whatever mask it
 * sets.  So the mask is kept under a key and is nobody else's business until a child inherits it.
 */
#include "posix/mask.h"

#include <errno.h>

#include <vthread/local.h>

static sigset_t of_process; /* what a thread has that has not set any */
static vthread_key_t key;

/* Before any virtual thread is there. */
__attribute__((constructor)) static void look_at_mask(void)
{
    REAL(pthread_sigmask)(SIG_SETMASK, NULL, &of_process);
    if (vthread_key_create(&key, free) != 0)
        abort(); /* a process that has used them all up before it begins */
}

static const sigset_t *own_mask(void)
{
    const sigset_t *mask = vthread_getspecific(key);

    return mask != NULL ? mask : &of_process;
}

static int keep_mask(const sigset_t *mask)
{
    sigset_t *kept = vthread_getspecific(key);
    int error;

    if (kept != NULL) {
        *kept = *mask;
        return 0;
    }
    kept = malloc(sizeof *kept);
    if (kept == NULL)
        return ENOMEM;
    *kept = *mask;
    error = vthread_setspecific(key, kept);
    if (error != 0)
        free(kept);
    return error;
}

/* False: there is no such way to change it. */
static bool change(sigset_t *mask, int how, const sigset_t *set)
{
    if (how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK)
        return false;
    if (how == SIG_SETMASK)
        sigemptyset(mask);
    for (int signal = 1; signal <= SIGRTMAX; signal++) {
        if (sigismember(set, signal) != 1 || signal == SIGKILL || signal == SIGSTOP)
            continue;
        if (how == SIG_UNBLOCK)
            sigdelset(mask, signal);
        else
            sigaddset(mask, signal);
    }
    return true;
}

static int set_mask(int how, const sigset_t *set, sigset_t *ret_old)
{
    sigset_t old = *own_mask();
    sigset_t now = old;
    int error = 0;

    if (set != NULL)
        error = change(&now, how, set) ? keep_mask(&now) : EINVAL;
    if (error == 0 && ret_old != NULL)
        *ret_old = old;
    return error;
}

void mask_of_child(sigset_t *ret_mask)
{
    if (vthread_self_virtual() != NULL)
        *ret_mask = *own_mask();
    else
        REAL(pthread_sigmask)(SIG_SETMASK, NULL, ret_mask);
}

HOOK int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    return IS_VIRTUAL() ? set_mask(how, set, old) : REAL(pthread_sigmask)(how, set, old);
}

HOOK int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    int error;

    if (!IS_VIRTUAL())
        return REAL(sigprocmask)(how, set, old);
    error = set_mask(how, set, old);
    return error != 0 ? posix_fail(error) : 0;
}
