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
 *     VTHREAD_PINNED_MS       pinned parks from so many milliseconds on are events; default 20
 *     VTHREAD_HOG_MS          the same for carriers that one thread holds; default 20
 *     VTHREAD_TRACE_PINNED    short, full: print those events to stderr, with one frame, or with all
 *     VTHREAD_TRACE_HOGS      the same
 *     VTHREAD_CHECK_MUTEXES   1: look at every wait whether an OS mutex is held across it
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
    bool check_mutexes;          /* VTHREAD_CHECK_MUTEXES */
    int64_t pinned_threshold_ns; /* 1: every pinned park is an event */
    int64_t hog_threshold_ns;
    uintptr_t reserved[6];
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

/* ---- pinned parks ---- */

/* What kept a thread on its carrier when it parked. */
typedef enum vthread_pin_kind {
    VTHREAD_PIN_EXPLICIT = 0,      /* vthread_pin */
    VTHREAD_PIN_MONITOR = 1,       /* it is inside a vthread_monitor_t */
    VTHREAD_PIN_BLOCKING = 2,      /* a blocking section; its stack is kept, too */
    VTHREAD_PIN_CONTINUATION = 3,  /* vthread_cont_pin, in a continuation that it runs */
    VTHREAD_PIN_FOREIGN_STACK = 4, /* it stands on a stack that is not its own: a signal handler, a foreign coroutine */
    VTHREAD_PIN_NO_MEMORY = 5,     /* nothing, but there was no memory to leave the carrier by */
    VTHREAD_PIN_CALLBACK = 6,      /* a callback on a carrier's own stack: the wait was refused (EDEADLK) */
} vthread_pin_kind_t;

enum { VTHREAD_PIN_KINDS = 7 };

/* "explicit pin", "monitor", ... */
VTHREAD_API const char *vthread_pin_kind_name(vthread_pin_kind_t kind);

/* Since the runtime started. */
typedef struct vthread_pin_stats {
    uint64_t parks;   /* begun */
    int64_t total_ns; /* of those that are over */
    int64_t max_ns;   /* the longest of them */
} vthread_pin_stats_t;

/* The sum of parks is pinned_parks of the statistics above (CALLBACK, which blocks nobody, left out).  Returns 0. */
VTHREAD_API int vthread_runtime_pin_stats(vthread_pin_stats_t ret_stats[VTHREAD_PIN_KINDS]);

/* ---- events: what went wrong, or slowly ---- */

typedef enum vthread_event_kind {
    VTHREAD_EVENT_PINNED = 1 << 0,   /* a pinned park of at least the threshold is over */
    VTHREAD_EVENT_HOG = 1 << 1,      /* a thread has held its carrier for the threshold, and still does */
    VTHREAD_EVENT_HOG_END = 1 << 2,  /* that one has let it go; duration_ns is all of it */
    VTHREAD_EVENT_OS_MUTEX = 1 << 3, /* a thread waits that holds a pthread mutex (check_mutexes) */
    VTHREAD_EVENT_SPARE = 1 << 4,    /* a carrier was started or woken in place of one that is blocked or held */
    VTHREAD_EVENT_FAILURE = 1 << 5,  /* what failure handlers are told (vthread.h), stack overflows excepted */
    VTHREAD_EVENT_PINNING = 1 << 6,  /* a pinned park has lasted for the threshold, and goes on; PINNED follows */
} vthread_event_kind_t;

#define VTHREAD_EVENT_ALL 0x7f

/* Everything in it is valid during the call only.  What says nothing of the kind is zero. */
typedef struct vthread_event {
    vthread_event_kind_t kind;
    int64_t time_ns;  /* when it was noticed (vthread_now_ns) */
    vthread_t thread; /* may have ended meanwhile; NULL: none of the library's (HOG: code between two threads) */
    uint64_t id;
    const char *name;
    int carrier;         /* its number, as in dumps; -1: none */
    int64_t duration_ns; /* PINNED: the carrier was blocked for; PINNING, HOG: blocked or held so far */
    uint64_t lost;       /* events that there was no room for since the one before */

    vthread_pin_kind_t pin; /* PINNED, PINNING */
    const char *reason;     /* those: what was given to vthread_pin, _cont_pin or _blocking_begin; FAILURE: which */
    void *pinned_at;        /* PINNED, PINNING: return address of the call that pinned it; NULL: there is none */
    bool computing;         /* HOG: it computes; else it is blocked in a system call, or in a page fault */
    bool rescued;           /* HOG: others waited, and a spare carrier has taken over by now */
    const void *mutex;      /* OS_MUTEX: its address, if it is known */
    int error;              /* FAILURE: as told the handler */

    /*
     * Return addresses, innermost first.  PINNED, PINNING: of the thread where it waits, the frame that pinned it among
     * them.
     * HOG: a sample of what it did; the first is where it stood.  As many as are sure: perhaps none.
     */
    void *const *stack;
    int depth;
    uintptr_t reserved[4];
} vthread_event_t;

typedef void vthread_event_fn(const vthread_event_t *event, void *user);

/*
 * Have fn called for every event of a kind in mask that happens from now on.  PINNING is also told of pinned parks that
 * have begun before, so that one may subscribe when a program has stopped going on.
 *
 * It is called on a thread of the library's own, one event after another, long after the event perhaps; it holds
 * nothing, so fn may do whatever a platform thread may: wait, call the library, subscribe and unsubscribe.
 * What it delays is other events only.  Of those, 1,024 are kept; more are lost, and counted.
 * Subscriptions outlast a shutdown, but not a fork: a child, if the runtime had not been started before so that it may
 * use the library, makes its own.  While there is none that asks for them, events cost a load each.
 *
 * ret_id:  to unsubscribe with
 *
 * Returns 0, EINVAL (an empty or unknown mask, fn is NULL), ENOMEM, EAGAIN (no OS thread) or ENOTSUP (child of a fork).
 */
VTHREAD_API int vthread_event_subscribe(uint32_t mask, vthread_event_fn *fn, void *user, uint64_t *ret_id);

/*
 * End it.  What has happened before is still delivered, and on return no call of fn is under way.  From within a
 * callback it ends at once, and the call it is made from is the last.
 *
 * Hold no lock that fn takes.  Blocks the OS thread; a virtual thread's carrier is replaced meanwhile.  Returns 0,
 * EINVAL (no such subscription, or somebody else is ending it) or ENOTSUP.
 */
VTHREAD_API int vthread_event_unsubscribe(uint64_t id);

/*
 * Describe an event, as the traces do: in one line that has no end of line, or, with `full`, with a line for each
 * frame of the stack after it: function, file and line.  Takes microseconds a frame, the first time milliseconds.
 *
 * Like snprintf: writes at most size bytes, the terminating zero included, and returns the length of the whole, or
 * -EINVAL.
 */
VTHREAD_API int vthread_event_text(const vthread_event_t *event, bool full, char *buffer, size_t size);

/*
 * So many carriers run at once from now on.  With fewer, those that are too many retire between two tasks, but
 * for those that have run sticky threads first: these stay until the threads end.
 *
 * Returns 0 or EINVAL (0 or more than the maximal pool size).
 */
VTHREAD_API int vthread_runtime_set_parallelism(unsigned n);

/* ---- thread dumps ---- */

typedef enum vthread_dump_format {
    VTHREAD_DUMP_TEXT = 0, /* for reading */
    VTHREAD_DUMP_JSON = 1, /* for programs; the schema is in docs/thread-dump.md */
} vthread_dump_format_t;

/*
 * Write what all threads are doing, virtual ones and the platform threads that the library knows: state, what each
 * waits for and who owns that, its stack where that can be had (docs/thread-dump.md); by executor and scope; and the
 * carriers.
 *
 * Nobody waits for it, but those that run are interrupted for some microseconds: each is seen at an instant of its own,
 * and those that come or go meanwhile may be in it or not.  It is written while it is made, with memory for a few bytes of each thread at most.  An error leaves
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
