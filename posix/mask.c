/* SPDX-License-Identifier: MIT */
/*
 * A virtual thread that changes its mask changes its carrier's, and is pinned until it has changed it back.  The
 * carrier's, as it was before, is kept under a key, whose destructor puts it back if the thread ends first.
 */
#include "posix/mask.h"

#include <errno.h>
#include <string.h>

#include <vthread/local.h>

static sigset_t of_process;
static vthread_key_t key;

static void end_change(void *before)
{
    REAL(pthread_sigmask)(SIG_SETMASK, before, NULL);
    free(before);
    vthread_unpin();
}

/* Before any virtual thread is there. */
__attribute__((constructor)) static void look_at_mask(void)
{
    REAL(pthread_sigmask)(SIG_SETMASK, NULL, &of_process);
    if (vthread_key_create(&key, end_change) != 0)
        abort(); /* a process that has used them all up before it begins */
}

/* 0, ENOMEM, or EAGAIN: pinned too deeply. */
static int begin_change(const sigset_t *before)
{
    sigset_t *copy = malloc(sizeof *copy);
    int error = copy != NULL ? vthread_pin("the signal mask is changed") : ENOMEM;

    if (error == 0) {
        *copy = *before;
        error = vthread_setspecific(key, copy);
        if (error == 0)
            return 0;
        vthread_unpin();
    }
    free(copy);
    return error;
}

static NOINLINE int set_mask(int how, const sigset_t *set, sigset_t *ret_old)
{
    sigset_t *before = vthread_getspecific(key);
    sigset_t old;
    sigset_t now;
    int error;

    /* The kernel's sets are shorter, and are compared as they are. */
    memset(&old, 0, sizeof old);
    memset(&now, 0, sizeof now);
    error = REAL(pthread_sigmask)(how, set, &old);
    if (error != 0)
        return error;
    REAL(pthread_sigmask)(SIG_SETMASK, NULL, &now);
    if (before == NULL && memcmp(&old, &now, sizeof now) != 0) {
        error = begin_change(&old);
        if (error != 0) {
            REAL(pthread_sigmask)(SIG_SETMASK, &old, NULL);
            return error;
        }
    } else if (before != NULL && memcmp(before, &now, sizeof now) == 0) {
        vthread_setspecific(key, NULL);
        end_change(before);
    }
    if (ret_old != NULL)
        *ret_old = old;
    return 0;
}

void mask_of_child(sigset_t *ret_mask)
{
    if (vthread_self_virtual() != NULL && vthread_getspecific(key) == NULL)
        *ret_mask = of_process;
    else
        REAL(pthread_sigmask)(SIG_SETMASK, NULL, ret_mask);
}

HOOK int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    return IS_VIRTUAL() && set != NULL ? set_mask(how, set, old) : REAL(pthread_sigmask)(how, set, old);
}

HOOK int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    int error;

    if (!IS_VIRTUAL() || set == NULL)
        return REAL(sigprocmask)(how, set, old);
    error = set_mask(how, set, old);
    return error != 0 ? posix_fail(error) : 0;
}
