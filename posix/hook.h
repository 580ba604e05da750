/* SPDX-License-Identifier: MIT */
/*
 * What every hook begins with: who calls, and from where.
 *
 * A hook is the libc's function unless a virtual thread calls it, and it is that, too, for the runtime itself and
 * what it is made of: they call the same names while they hold locks, and mean what they say.  Those are known by the
 * address that the hook returns to.
 *
 * errno.  After a wait the code may be on another OS thread (where VTHREAD_POSIX_MIGRATE allows that), and compilers
 * keep the address of errno.  So it is read in the functions that make the system call, none of which waits and
 * none of which is inlined (they return -Exxx), and written by posix_fail alone.  What a hook asks the kernel beside,
 * and in vain at first, leaves no trace: callers of a call that has succeeded find the errno that they had (OpenSSL
 * tells the end from EAGAIN by it).
 */
#ifndef POSIX_HOOK_H
#define POSIX_HOOK_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <vthread/net.h>
#include <vthread/vthread.h>

#include "base/attributes.h"
#include "posix/real.h"

#define HOOK __attribute__((visibility("default")))

/* The address is the runtime's own; or (library) libevent's, in which the program's loops may be as well as ours. */
bool own_is_runtime(const void *address);
bool own_is_library(const void *address);

/* Where we call the program, and where what it calls as its last may return to: not the runtime's own. */
#define OWN_CALLS_SECTION "program_calls"

/* Do we park?  LOOPS: for calls that loops over events are made of. */
#define IS_VIRTUAL() (UNLIKELY(vthread_self_virtual() != NULL) && !own_is_library(__builtin_return_address(0)))
#define PARKS() IS_VIRTUAL()
#define LOOPS() (UNLIKELY(vthread_self_virtual() != NULL) && !own_is_runtime(__builtin_return_address(0)))

/* errno := error; -1. */
NOINLINE int posix_fail(int error);

/* A count, or -Exxx, as the libc's functions return it. */
static inline ssize_t posix_result(ssize_t n)
{
    return LIKELY(n >= 0) ? n : posix_fail((int)-n);
}

/* -errno, which is as it was before. */
static inline int posix_take_errno(int before)
{
    int error = errno;

    errno = before;
    return -error;
}

/* The result of a libc function, called here, as a count or -Exxx; errno stays what it was.  Not over a wait. */
#define RESULT(call)                                                                                                   \
    ({                                                                                                                 \
        int result_before = errno;                                                                                     \
        __auto_type result_n = (call);                                                                                 \
        UNLIKELY(result_n < 0) ? posix_take_errno(result_before) : result_n;                                           \
    })

/* fcntl's F_SETLKW and F_OFD_SETLKW on a virtual thread. */
MAY_SWITCH
int process_lock_file(int fd, int command, struct flock *lock);

/* Is it this process, not a child of vfork that borrows its memory? */
bool posix_is_our_process(void);

#endif
