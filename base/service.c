/* SPDX-License-Identifier: MIT */
#include "base/service.h"

#include <errno.h>
#include <signal.h>

#include "base/memory.h"

/* Not inline: a virtual thread's errno is found anew here, and no place of it is kept. */
NOINLINE int service_start(pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg)
{
    int saved = errno;
    sigset_t all, old;
    int error;

    if (fault_point(FAULT_THREAD))
        return EAGAIN;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* inherited, so that no signal slips in at birth */
    error = pthread_create(ret_thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error == 0)
        pthread_setname_np(*ret_thread, name);
    errno = saved;
    return error;
}
