/* SPDX-License-Identifier: MIT */
/*
 * Continuations: function calls that can be suspended and run again later.
 *
 * A continuation runs fn(arg) on a stack of its own.  vthread_cont_run starts or
 * resumes it and returns when it yields or when fn has returned: a generator, a
 * coroutine, a parser that is fed piece by piece.  Nothing is scheduled; it runs
 * when somebody runs it.
 *
 *     #include <vthread/continuation.h>
 *
 *     static vthread_cont_scope_t gen = VTHREAD_CONT_SCOPE_INITIALIZER("gen");
 *
 *     static void *count(void *arg)
 *     {
 *         for (intptr_t i = 0; i < 3; i++)
 *             vthread_cont_yield(&gen, (void *)i);
 *         return arg;
 *     }
 *
 *     int main(void)
 *     {
 *         vthread_cont_t *c;
 *         void *value;
 *
 *         if (vthread_cont_new(&c, &gen, count, NULL) != 0)
 *             return 1;
 *         while (vthread_cont_run(c, &value) == 0)
 *             printf("%d\n", (int)(intptr_t)value);
 *         return vthread_cont_free(c);
 *     }
 *
 * Continuations nest: the body of one may run others.  A yield names a scope and
 * suspends everything from the innermost continuation out to the nearest one of
 * that scope, which goes on later from the very same point.
 *
 * The body may do all that its caller may do.  If the caller is a virtual thread,
 * blocking calls in the body park that thread as ever, body and all.
 *
 * What you owe
 *   - Any thread may run a continuation, but one at a time, and after a yield it
 *     may be another one: thread-local variables and held pthread mutexes stay
 *     with the thread.
 *   - Each has a stack of default size for itself, so pointers to its locals stay
 *     valid while it is suspended, and end with it: yield values rather than such
 *     pointers where the receiver may outlive it.
 *   - What belongs to the thread is not switched: a body that changes the rounding
 *     mode or enables floating point traps changes them back before it yields, and
 *     does not yield while it handles a C++ exception.  No exception may leave it.
 *   - Free what you have made before vthread_runtime_shutdown: it keeps the memory
 *     of the stacks as long as one continuation is left.
 */
#ifndef VTHREAD_CONTINUATION_H
#define VTHREAD_CONTINUATION_H

#include <vthread/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Thread-safety: run, yield, pin and free of one continuation by one thread at a time; is_done by any. */
typedef struct vthread_cont vthread_cont_t;

/* What a yield is addressed to.  Only its address counts; the name is for reports. */
typedef struct vthread_cont_scope {
    const char *name;
} vthread_cont_scope_t;

/* clang-format off */
#define VTHREAD_CONT_SCOPE_INITIALIZER(name) {name}
/* clang-format on */

/*
 * A continuation that will run fn(arg).  The scope must live as long.
 *
 * Returns 0, or
 *   EINVAL     a NULL where there may be none
 *   ENOMEM     no memory, or no address space for a stack
 *   ENOTSUP    a shadow stack is enforced for this process
 */
VTHREAD_API int vthread_cont_new(vthread_cont_t **ret_cont, const vthread_cont_scope_t *scope, void *(*fn)(void *arg),
                                 void *arg);

/*
 * Start it, or go on after its last yield.
 *
 * ret_value: receives what it yielded, or, with ENODATA, what fn returned.
 *
 * Returns 0 (it yielded), or
 *   ENODATA  fn has returned, now or earlier
 *   EBUSY    it is running: here, around us, or on another thread; or it is
 *            suspended inside an outer one, which is the one to run
 *   EINVAL   NULL
 *
 * Called by a virtual thread: may switch, if the body does.
 * Ordering: what was done before is visible to the body; what the body did, on return.
 */
VTHREAD_API int vthread_cont_run(vthread_cont_t *cont, void **ret_value);

/*
 * Inside a continuation: suspend all from the innermost one out to the nearest of
 * the scope, whose vthread_cont_run returns the value.
 *
 * Returns 0 once it is run again, or at once
 *   EPERM  none of those around us has this scope
 *   EBUSY  one that would be suspended is pinned
 */
VTHREAD_API int vthread_cont_yield(const vthread_cont_scope_t *scope, void *value);

/* Has fn returned?  False for NULL. */
VTHREAD_API bool vthread_cont_is_done(const vthread_cont_t *cont);

/*
 * Between pin and unpin the innermost running continuation cannot be suspended:
 * yields return EBUSY, and a virtual thread that blocks in it blocks its carrier.
 * Nests.
 *
 * reason: a literal, for reports.
 *
 * Returns 0; EPERM outside of any continuation; pin: EAGAIN (65,535 deep);
 * unpin: EINVAL (not pinned).
 */
VTHREAD_API int vthread_cont_pin(const char *reason);
VTHREAD_API int vthread_cont_unpin(void);

/*
 * Free it.  If it is suspended its frames are dropped: nothing in them runs, so
 * what they hold is lost.  Continuations suspended inside it are not freed; they
 * can be run or freed by themselves from then on.  NULL does nothing.
 *
 * Returns 0, or EBUSY: it is running, or suspended inside an outer one.
 */
VTHREAD_API int vthread_cont_free(vthread_cont_t *cont);

#ifdef __cplusplus
}
#endif
#endif
