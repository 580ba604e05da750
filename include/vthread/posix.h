/* SPDX-License-Identifier: MIT */
/*
 * libvthread-posix: code that knows nothing of virtual threads, on virtual threads.
 *
 *     cc program.c $(pkg-config --cflags --libs vthread-posix)
 *     LD_PRELOAD=libvthread-posix.so.0 ./program
 *
 * The library defines the C library's own names: read, poll, connect, nanosleep and so on.  On a virtual thread they
 * park instead of blocking the carrier; anywhere else they are the C library's.  So a client library that blocks (of
 * a database, say) can be used from thousands of virtual threads as it is.  docs/posix.md has the list, and what
 * keeps its meaning and what does not.
 *
 * VTHREAD_POSIX_THREADS=1 in the environment makes the threads of such a program virtual as well: pthread_create makes
 * virtual threads, and pthread_join and its kin know them.  docs/posix.md says which programs can take that.
 */
#ifndef VTHREAD_POSIX_H
#define VTHREAD_POSIX_H

#include <vthread/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Did it take effect: are the names that this library defines the first to be found in this process?  They are not
 * when it was linked behind the C library, or when something else was preloaded that defines them, too.
 * vthread_has("posix") asks the same, and needs no libvthread-posix to be linked with.
 *
 * ret_name: the first of them that is somebody else's.
 *
 * Returns 0 or ENOTSUP.  Any thread.
 */
VTHREAD_API int vthread_posix_check(const char **ret_name);

#ifdef __cplusplus
}
#endif
#endif
