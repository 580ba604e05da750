/* SPDX-License-Identifier: MIT */
/*
 * Virtual threads.
 *
 * A virtual thread is a function that runs beside others, written in plain
 * blocking style.  It costs a few hundred bytes while it waits, so there may be
 * a million of them; a few OS threads, the carriers, run them all.
 *
 *     #include <vthread/vthread.h>
 *
 *     static void *task(void *arg)
 *     {
 *         vthread_sleep_ms(100);
 *         return arg;
 *     }
 *
 *     int main(void)
 *     {
 *         vthread_t t;
 *         void *value;
 *
 *         if (vthread_create(&t, NULL, task, "done") != 0)
 *             return 1;
 *         vthread_join(t, &value);
 *         return 0;
 *     }
 *
 * What you owe
 *   - Your stack is private: while a virtual thread waits, others may use the
 *     addresses of its locals.  No other thread may use a pointer to them.  Pass
 *     by value (vthread_create_copy), allocate, or ask for a DEDICATED stack.
 *     Refused with EFAULT where the library can see it.
 *   - Hold no pthread mutex, and keep no pointer to a thread-local variable,
 *     across a call that may switch: you may go on on another carrier.
 *   - Virtual threads are daemons: returning from main ends them.
 *
 * Every call may be made from virtual threads and from any other thread of the
 * program (a "platform thread", blocked for real where a virtual one would
 * park), unless it says otherwise.  None is async-signal-safe.  After fork the
 * child may only exec or exit: calls there return ENOTSUP.
 *
 * Blocking calls are marked "may switch": they return, perhaps on another
 * carrier, when what they wait for happens, when their deadline passes
 * (ETIMEDOUT), or when the thread is interrupted (EINTR, which clears the flag).
 */
#ifndef VTHREAD_VTHREAD_H
#define VTHREAD_VTHREAD_H

#include <vthread/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Names a thread, virtual or platform.  One word, copied freely; NULL names
 * none.  Naming a thread that has ended is harmless.
 */
typedef struct vthread *vthread_t;

/* ---- attributes ---- */

typedef enum vthread_kind {
    VTHREAD_KIND_VIRTUAL = 0,
    VTHREAD_KIND_PLATFORM = 1, /* an OS thread of its own, with the same kind of handle */
} vthread_kind_t;

typedef enum vthread_stack {
    VTHREAD_STACK_DEFAULT = 0,   /* as configured for the runtime; SHARED unless changed */
    VTHREAD_STACK_SHARED = 1,    /* frames move to the heap while it waits: hundreds of bytes */
    VTHREAD_STACK_DEDICATED = 2, /* frames never move, others may point into them: 4-8 KB */
} vthread_stack_t;

typedef enum vthread_failure_kind {
    VTHREAD_FAILURE_FAILED = 0,          /* ended with vthread_fail and nobody to tell */
    VTHREAD_FAILURE_STACK_OVERFLOW = 1,  /* the program ends after the handler */
    VTHREAD_FAILURE_PINNED_AT_END = 2,   /* ended with pins or blocking sections open */
    VTHREAD_FAILURE_LOCKS_HELD = 3,      /* ended as the owner of locks, which nobody will get any more (sync.h) */
    VTHREAD_FAILURE_SCOPE_ABANDONED = 4, /* ended with a scope open (scope.h), which is then closed; once for each */
} vthread_failure_kind_t;

typedef struct vthread_failure {
    vthread_failure_kind_t kind;
    int error; /* the code given to vthread_fail; 0 for other kinds */
    vthread_t thread;
    const char *name; /* valid during the call */
} vthread_failure_t;

typedef void vthread_failure_handler_t(const vthread_failure_t *failure, void *user);

/*
 * How to create a thread.  All zero is the default; a NULL pointer means the
 * same.  Copied during the call.  Words in `reserved` must be zero (EINVAL).
 */
typedef struct vthread_attr {
    const char *name;        /* NULL: name_prefix, or the id in decimal */
    const char *name_prefix; /* the name is the prefix followed by ... */
    uint64_t *name_counter;  /* ... this number, which is then incremented; NULL: the id */
    vthread_kind_t kind;
    vthread_stack_t stack;
    size_t stack_bytes;                    /* DEDICATED and PLATFORM: usable bytes; 0: the default */
    bool sticky_carrier;                   /* always resumed by the carrier that first ran it: one OS thread */
    bool no_inherit;                       /* inherits no inheritable locals */
    bool detached;                         /* nobody will join it; not with vthread_new, which has vthread_detach */
    vthread_failure_handler_t *on_failure; /* NULL: as set with vthread_set_failure_handler */
    void *user;                            /* handed to on_failure */
    uintptr_t reserved[4];
} vthread_attr_t;

/* ---- creating, joining, ending ---- */

/*
 * Start a thread that runs fn(arg).
 *
 * ret_thread: receives its name, to be given to vthread_join or vthread_detach
 *             exactly once.  NULL: the thread is detached from the beginning.
 *
 * Returns 0, or
 *   EINVAL     fn is NULL, or the attributes are wrong
 *   EFAULT     arg points into the calling virtual thread's own stack: use
 *              vthread_create_copy, allocate it, or a DEDICATED stack
 *   EAGAIN     no OS thread to be had (at first use, or kind PLATFORM)
 *   ENOMEM     no memory
 *   ECANCELED  the runtime is shutting down
 *   ENOTSUP    in the child of a fork
 *
 * Ordering: what the caller did before is visible to fn.
 */
VTHREAD_API int vthread_create(vthread_t *ret_thread, const vthread_attr_t *attr, void *(*fn)(void *arg), void *arg);

/*
 * The same with a copy of `size` bytes at ptr as the argument.  The copy is
 * aligned for any type and freed when the thread ends: do not return a pointer
 * into it.  This is the way to pass locals.
 */
VTHREAD_API int vthread_create_copy(vthread_t *ret_thread, const vthread_attr_t *attr, void *(*fn)(void *arg),
                                    const void *ptr, size_t size);

/* Like vthread_create, but the thread is NEW until vthread_start; ret_thread may not be NULL. */
VTHREAD_API int vthread_new(vthread_t *ret_thread, const vthread_attr_t *attr, void *(*fn)(void *arg), void *arg);

/* Returns 0, EBUSY (started before), EINVAL (NULL), ESRCH (ended), EAGAIN or ENOMEM (PLATFORM). */
VTHREAD_API int vthread_start(vthread_t thread);

/*
 * Wait until a thread has ended.
 *
 * Consumes the creator's reference when it returns 0, and only then; several may
 * wait at once and all get 0.
 *
 * ret_value: receives what fn returned; NULL if it was cut short or failed.
 *
 * Returns 0, or
 *   ESRCH    joined or detached before, and ended
 *   EINVAL   NULL, not started, detached and still running, or not created by
 *            this library
 *   EDEADLK  the calling thread itself
 *   EINTR    interrupted    ETIMEDOUT  the deadline passed
 *
 * May switch.  Ordering: everything the thread did is visible on return.
 */
VTHREAD_API int vthread_join(vthread_t thread, void **ret_value);
VTHREAD_API int vthread_join_until(vthread_t thread, void **ret_value, int64_t deadline_ns);

/* Nobody will join it.  One that is NEW is discarded.  Returns 0, EINVAL (detached before) or ESRCH. */
VTHREAD_API int vthread_detach(vthread_t thread);

/*
 * A counted reference that keeps name, interrupt flag, value and joinability
 * past the end.  ref returns 0, ESRCH or EAGAIN (65,535 are held).  unref of
 * NULL does nothing.
 */
VTHREAD_API int vthread_ref(vthread_t thread);
VTHREAD_API int vthread_unref(vthread_t thread);

/*
 * End the calling thread as failed: `return vthread_fail(error);`  error is positive.
 * The failure handler is called at the end; at once, where there is no memory to
 * keep the error until then.
 */
VTHREAD_API void *vthread_fail(int error);

/*
 * End the calling virtual (or created platform) thread.  Destructors of keys (local.h)
 * run, `cleanup` attributes and C++ destructors do not: prefer return.
 */
VTHREAD_API VTHREAD_NORETURN void vthread_exit(void *value);

/* ---- identity ---- */

/* The calling thread; NULL only when there is no memory to name a platform thread. */
VTHREAD_API vthread_t vthread_self(void);

/* The same, but NULL unless a virtual thread is calling: on platform threads, in callbacks of the runtime, after fork. */
VTHREAD_API vthread_t vthread_self_virtual(void);

VTHREAD_API bool vthread_equal(vthread_t a, vthread_t b);

/* Never reused; 0 for NULL. */
VTHREAD_API uint64_t vthread_id(vthread_t thread);
VTHREAD_API bool vthread_is_virtual(vthread_t thread);

/*
 * Copy the name, with its terminating zero.  Returns 0, ERANGE (the buffer is
 * too small; nothing written), ESRCH (ended) or EINVAL (NULL).
 */
VTHREAD_API int vthread_name(vthread_t thread, char *buffer, size_t size);

/* Returns 0, EINVAL, ESRCH or ENOMEM.  The name is copied. */
VTHREAD_API int vthread_setname(vthread_t thread, const char *name);

/* Started and not ended. */
VTHREAD_API bool vthread_is_alive(vthread_t thread);

/* Internal states, after the JDK's; what is seen may be past when it is returned. */
typedef enum vthread_state {
    VTHREAD_NEW = 0,
    VTHREAD_STARTED = 1,
    VTHREAD_RUNNING = 2,
    VTHREAD_PARKING = 3,
    VTHREAD_PARKED = 4,
    VTHREAD_PINNED = 5,
    VTHREAD_TIMED_PARKING = 6,
    VTHREAD_TIMED_PARKED = 7,
    VTHREAD_TIMED_PINNED = 8,
    VTHREAD_UNPARKED = 9,
    VTHREAD_YIELDING = 10,
    VTHREAD_YIELDED = 11,
    VTHREAD_TERMINATED = 12,
} vthread_state_t;

/* As java.lang.Thread.State.  BLOCKED: waits for a mutex, lock, rwlock or monitor (sync.h), with a deadline or without.
 */
typedef enum vthread_public_state {
    VTHREAD_PUBLIC_NEW = 0,
    VTHREAD_PUBLIC_RUNNABLE = 1,
    VTHREAD_PUBLIC_BLOCKED = 2,
    VTHREAD_PUBLIC_WAITING = 3,
    VTHREAD_PUBLIC_TIMED_WAITING = 4,
    VTHREAD_PUBLIC_TERMINATED = 5,
} vthread_public_state_t;

VTHREAD_API vthread_state_t vthread_state(vthread_t thread);
VTHREAD_API vthread_public_state_t vthread_public_state(vthread_t thread);
VTHREAD_API const char *vthread_state_name(vthread_state_t state);

/*
 * Return addresses of a thread's frames, innermost first: of the calling thread,
 * or of a virtual one that is parked.  Returns how many were written (at most
 * n), -EAGAIN when it is running or being moved just now, -EINVAL or -ESRCH.
 * Frames built without frame pointers or unwind tables end the walk.
 */
VTHREAD_API int vthread_backtrace(vthread_t thread, void **pcs, int n);

/* ---- scheduling ---- */

/* Let others run.  Returns at once when pinned or on a platform thread (sched_yield).  May switch. */
VTHREAD_API void vthread_yield(void);

/* In a spin loop of a few turns: tells the CPU, does not switch. */
VTHREAD_API void vthread_spin_hint(void);

/*
 * In a long computation: yields if this thread has had its time slice (about
 * 10 ms since it was last resumed), and otherwise costs next to nothing.  May switch.
 */
VTHREAD_API void vthread_checkpoint(void);

/*
 * Sleep.  0 ns yields.  Returns 0, EINTR, or EINVAL (negative).  May switch.
 */
VTHREAD_API int vthread_sleep_ns(int64_t duration_ns);
VTHREAD_API int vthread_sleep_ms(int64_t duration_ms);
VTHREAD_API int vthread_sleep_until(int64_t deadline_ns);

/* ---- time ---- */

VTHREAD_API int64_t vthread_now_ns(void);

/* Deadlines from now; saturate at VTHREAD_FOREVER, and at VTHREAD_NOW for negative durations. */
VTHREAD_API int64_t vthread_after_ns(int64_t duration_ns);
VTHREAD_API int64_t vthread_after_ms(int64_t duration_ms);

/* ---- park and unpark: what locks and queues are made of ---- */

/*
 * Wait until a permit is available, consume it and return.  A permit given
 * earlier is consumed at once.  May also return early without one, so wait in a
 * loop on your own condition.
 *
 * blocker: only for those who look at the thread from outside; may be NULL.
 *
 * Returns 0, or
 *   ETIMEDOUT  the deadline passed first
 *   EINTR      interrupted; the flag stays set
 *   EDEADLK    called from a callback of the runtime, which must not block
 *
 * May switch.  Ordering: effects before the matching vthread_unpark are visible
 * on return.
 */
VTHREAD_API int vthread_park(void);
VTHREAD_API int vthread_park_until(int64_t deadline_ns);
VTHREAD_API int vthread_park_on(void *blocker);
VTHREAD_API int vthread_park_on_until(void *blocker, int64_t deadline_ns);

/* Give the thread a permit; however often, it has one.  NULL or an ended thread: nothing.  Returns 0. */
VTHREAD_API int vthread_unpark(vthread_t thread);

/* ---- interruption: a request to stop waiting, delivered once ---- */

/* Set the flag and end the thread's interruptible wait.  Returns 0; NULL or an ended thread: nothing. */
VTHREAD_API int vthread_interrupt(vthread_t thread);
VTHREAD_API bool vthread_is_interrupted(vthread_t thread);

/* Of the calling thread: was the flag set?  Clears it. */
VTHREAD_API bool vthread_interrupted(void);

/* ---- pinning and blocking ---- */

/*
 * Between pin and unpin a virtual thread stays on its carrier: parking blocks
 * the carrier's OS thread, and a spare takes its place.  Nests, up to 255 (monitors and sections are counted apart).
 *
 * reason: a literal, for reports.
 *
 * pin returns 0 or EAGAIN (too deep); unpin 0 or EINVAL (not pinned).  On a
 * platform thread both do nothing.
 */
VTHREAD_API int vthread_pin(const char *reason);
VTHREAD_API int vthread_unpin(void);

/* ret_reason: of the outermost pin. */
VTHREAD_API bool vthread_is_pinned(const char **ret_reason);

/*
 * Between begin and end the thread may block its OS thread (a foreign library, a
 * slow disk): a spare carrier serves the others.  Pinned inside.  The stack
 * stays in use, so threads that share it wait too: inside, wait for no other virtual
 * thread, such as the owner of a mutex, for it may be one of those.  Ask for a DEDICATED
 * stack where that matters.  Nests, up to 31 (EAGAIN), and with pins.
 */
VTHREAD_API int vthread_blocking_begin(const char *what);
VTHREAD_API int vthread_blocking_end(void);

/* fn(arg) inside such a section; on the same OS thread, so pointers to locals are fine.  Returns its value. */
VTHREAD_API void *vthread_blocking_call(void *(*fn)(void *arg), void *arg);

/*
 * Between begin and end the thread stays on its carrier: it parks as ever, and others run meanwhile, but it is
 * resumed on the OS thread that it left.  For code that may keep addresses of thread-local variables, errno's too,
 * over a wait: what is in libraries that do not know of virtual threads.
 *
 * Nests, up to 7.  begin returns 0 or EAGAIN (too deep), end 0 or EINVAL (no begin).  On a platform thread
 * both do nothing.  A carrier that threads have to come back to does not retire.
 */
VTHREAD_API int vthread_stay_begin(void);
VTHREAD_API int vthread_stay_end(void);

/* ---- failure and misuse ---- */

/* For threads without on_failure.  NULL brings back the default: one line on stderr. */
VTHREAD_API void vthread_set_failure_handler(vthread_failure_handler_t *handler, void *user);

/*
 * Called with a message that names thread, call and the ways out when the
 * library is used wrongly; the call then returns its error.  NULL brings back
 * the default: one line on stderr.
 */
typedef void vthread_misuse_handler_t(const char *message, void *user);
VTHREAD_API void vthread_set_misuse_handler(vthread_misuse_handler_t *handler, void *user);

#ifdef __cplusplus
}
#endif
#endif
