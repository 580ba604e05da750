/* SPDX-License-Identifier: MIT */
/*
 * The runtime behind the threads: configuring, looking at and ending it.
 *
 * Nothing has to be called: it starts at the first use of the library, with
 * defaults and these environment variables, each of which wins over the default
 * but not over vthread_runtime_configure:
 *
 *     VTHREAD_PARALLELISM     carriers that run at once; default: the CPUs this process may use
 *     VTHREAD_MAX_POOL_SIZE   carriers at most, spares included; default 256
 *     VTHREAD_MIN_RUNNABLE    default 1
 *     VTHREAD_STACK           default kind of stack: shared, dedicated
 *     VTHREAD_STACK_BYTES     address space of a stack; default 1 MiB
 *     VTHREAD_SOLE_STACKS     threads with a stack to themselves before stacks are shared
 *     VTHREAD_STACKS          shared stacks at most (with VTHREAD_SOLE_STACKS=0 unless set)
 *     VTHREAD_STRICT          1: every wait moves the frames away and makes the place inaccessible
 *     VTHREAD_FORCE_MIGRATE   1: every resume happens on another carrier (for testing)
 *     VTHREAD_DUMP_SIGNAL     number or name (USR2, RTMIN+1) of a signal upon which a thread dump is written to
 *                             standard error; not one that the program handles itself when the runtime starts
 */
#ifndef VTHREAD_RUNTIME_H
#define VTHREAD_RUNTIME_H

#include <vthread/api.h>
#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All zero: defaults. */
typedef struct vthread_runtime_params {
    unsigned parallelism;
    unsigned max_pool_size;
    unsigned min_runnable;
    vthread_stack_t stack; /* what VTHREAD_STACK_DEFAULT means */
    size_t stack_bytes;
    unsigned stacks;      /* shared stacks at most */
    unsigned sole_stacks; /* threads with a stack to themselves; UINT_MAX: none */
    bool strict;
    uintptr_t reserved[8];
} vthread_runtime_params_t;

/* Before first use.  Returns 0, EBUSY (it runs already) or EINVAL. */
VTHREAD_API int vthread_runtime_configure(const vthread_runtime_params_t *params);

typedef struct vthread_runtime_stats {
    uint64_t threads_alive;   /* virtual threads started and not ended */
    uint64_t threads_created; /* since the runtime started */
    unsigned parallelism;
    unsigned carriers;         /* OS threads of the pool, spares included */
    unsigned carriers_running; /* entitled to run virtual threads now */
    unsigned carriers_idle;
    uint64_t queued; /* runnable and waiting for a carrier */
    uint64_t steals;
    uint64_t wakes; /* of sleeping carriers */
    uint64_t hogs;  /* carriers that one thread held for too long */
    uint64_t pinned_parks;
    uint64_t freezes;
    unsigned stacks;
    uint64_t chunk_bytes; /* memory for frozen frames */
    uint64_t record_bytes;
    uintptr_t reserved[8];
} vthread_runtime_stats_t;

/* A snapshot; its numbers need not agree with each other.  Returns 0. */
VTHREAD_API int vthread_runtime_stats(vthread_runtime_stats_t *ret_stats);

/* Returns 0 or EINVAL (0 or more than the maximal pool size). */
VTHREAD_API int vthread_runtime_set_parallelism(unsigned n);

/* ---- thread dumps ---- */

typedef enum vthread_dump_format {
    VTHREAD_DUMP_TEXT = 0, /* for reading */
    VTHREAD_DUMP_JSON = 1, /* for programs; the schema is in docs/thread-dump.md */
} vthread_dump_format_t;

/*
 * Write what all threads are doing, virtual ones and the platform threads that the library knows: state, what each
 * waits for and who owns that, the stacks of those that are parked; by executor and scope; and the carriers.
 *
 * No thread is stopped for it: each is seen at an instant of its own, and those that come or go meanwhile may be in it
 * or not.  It is written while it is made, with memory for a few bytes of each thread at most.  An error leaves
 * what was written before.
 *
 * Returns 0, or
 *   EINVAL   no such format
 *   ENOTSUP  the library was built without JSON; or in the child of a fork
 *   ENOMEM   no memory    EAGAIN  no OS thread    EMFILE, ENFILE  no descriptors
 *   EBADF, ENOSPC, EPIPE ...  what write(2) says
 *
 * Context: virtual or platform thread; for a virtual one an OS thread does it meanwhile.  May switch.  Never
 * interrupted.  Starts no runtime.  A shutdown of the runtime waits for a dump that is under way.
 */
VTHREAD_API int vthread_dump(int fd, vthread_dump_format_t format);

/* The same to a new file.  EEXIST: there is one of that name, which stays as it is; after other errors there is none.
 */
VTHREAD_API int vthread_dump_file(const char *path, vthread_dump_format_t format);

/*
 * End the runtime: new threads are refused (ECANCELED), those that live are
 * interrupted and waited for, the carriers stopped, everything freed.  A later
 * call of the library starts it anew.  Other platform threads may be calling the
 * library meanwhile; they keep their own handles until they end.  (The calls of
 * net.h and os.h on platform threads must have returned before.)
 *
 * Returns 0, or
 *   ETIMEDOUT  some are left, and the misuse handler was told their names; call again
 *   EDEADLK    called from a virtual thread
 *   EBUSY      another thread is doing it
 */
VTHREAD_API int vthread_runtime_shutdown(int64_t deadline_ns);

#ifdef __cplusplus
}
#endif
#endif
