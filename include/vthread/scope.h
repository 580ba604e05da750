/* SPDX-License-Identifier: MIT */
/*
 * Structured scopes: subtasks that live no longer than the block that forks them (the JDK's
 * StructuredTaskScope).
 *
 *     #include <vthread/scope.h>
 *
 *     static void *find_user(void *id);
 *     static void *find_order(void *id);
 *
 *     int handle(void *id)
 *     {
 *         vthread_scope_params_t params = {.deadline_ns = vthread_after_ms(100), .discard = free};
 *         vthread_scope_t *scope;
 *         vthread_subtask_t *user, *order;
 *         void *u, *o;
 *         int error = vthread_scope_open(&scope, &params);
 *
 *         if (error != 0)
 *             return error;
 *         error = vthread_scope_fork(scope, find_user, id, &user);
 *         if (error == 0)
 *             error = vthread_scope_fork(scope, find_order, id, &order);
 *         if (error == 0)
 *             error = vthread_scope_join(scope);
 *         if (error == 0) {
 *             vthread_subtask_result(user, &u);
 *             vthread_subtask_result(order, &o);
 *             use_and_free(u, o);
 *         }
 *         vthread_scope_close(scope);
 *         return error;
 *     }
 *
 * Whoever opens a scope owns it: forks, joins, takes results and closes, in that order; scopes
 * nest, the innermost is closed first.  Each subtask is a thread, virtual unless attr says
 * otherwise, and inherits the scoped values (local.h) that are bound where the scope was opened.
 * It succeeds with the value that fn returns (or gives to vthread_exit), and fails by `return
 * vthread_fail(error)`; no failure handler is called for it.
 *
 * The joiner decides what the outcome is, and when the rest is not needed any more.  Then the
 * scope is cancelled: subtasks that have not begun never will, those that run are
 * interrupted, and what they still return is discarded.  join does not wait for them; close does.
 *
 * A scope belongs to its thread even if it is opened in the body of a continuation: close it
 * before the body yields.
 *
 * Calls may be made from virtual and platform threads.  Those of the owner return EPERM, and
 * tell the misuse handler, when another thread makes them.
 */
#ifndef VTHREAD_SCOPE_H
#define VTHREAD_SCOPE_H

#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Thread-safety: the owner's, but for _cancel, _is_cancelled and _error: of any thread, until close. */
typedef struct vthread_scope vthread_scope_t;

/* Thread-safety: any thread.  Ends with its scope. */
typedef struct vthread_subtask vthread_subtask_t;

typedef enum vthread_scope_joiner {
    VTHREAD_SCOPE_ALL_SUCCEED = 0, /* the first failure cancels; else all values are the result */
    VTHREAD_SCOPE_ANY_SUCCEED = 1, /* the first success cancels, and its value is the result */
    VTHREAD_SCOPE_AWAIT_ALL = 2,   /* nothing cancels; the values of those that succeed are the result */
} vthread_scope_joiner_t;

/* All zero is the default; NULL means the same.  Copied during the call.  Words in `reserved` must be zero (EINVAL). */
typedef struct vthread_scope_params {
    vthread_scope_joiner_t joiner;
    const char *name;             /* for reports */
    vthread_attr_t attr;          /* of the subtasks' threads */
    int64_t deadline_ns;          /* when this passes the scope is cancelled; 0: never */
    void (*discard)(void *value); /* gets each value but NULL that nobody took, in the subtask or in close; may block,
                                     must return */
    uintptr_t reserved[4];
} vthread_scope_params_t;

/*
 * Open a scope within those that the calling thread has open.  To be given to
 * vthread_scope_close; a thread that ends before is reported to its failure handler
 * (VTHREAD_FAILURE_SCOPE_ABANDONED), and then closes it.
 *
 * Returns 0, or
 *   EINVAL  ret_scope is NULL, or the parameters are wrong
 *   ENOMEM  no memory
 *   ECANCELED, EAGAIN, ENOTSUP  as vthread_create
 *   EDEADLK on a carrier's own stack (in a callback of the runtime)
 */
VTHREAD_API int vthread_scope_open(vthread_scope_t **ret_scope, const vthread_scope_params_t *params);

/*
 * Run fn(arg) in a thread of its own.  In a scope that is cancelled this succeeds, but nothing runs.
 *
 * ret_subtask: receives what its result can be asked of, until close.  NULL: nothing is kept
 *              of it; its value is discarded at once, unless it is what ANY_SUCCEED has waited for.
 *
 * Returns 0, or
 *   EINVAL  scope or fn is NULL, or the scope was joined
 *   EPERM   the caller does not own it; or other scoped values are bound than where it was opened
 *   EFAULT  arg, or a scoped value that would be inherited, points into the calling virtual
 *           thread's own stack: use vthread_scope_fork_copy, vthread_scoped_value_run_copy
 *   ENOMEM, EAGAIN, ECANCELED (the runtime is shutting down), ENOTSUP  as vthread_create
 *
 * Ordering: what the caller did before is visible to fn.
 */
VTHREAD_API int vthread_scope_fork(vthread_scope_t *scope, void *(*fn)(void *arg), void *arg,
                                   vthread_subtask_t **ret_subtask);

/*
 * The same with a copy of `size` bytes at ptr as the argument.  It is aligned for any type and
 * freed when the subtask ends: do not return a pointer into it.
 */
VTHREAD_API int vthread_scope_fork_copy(vthread_scope_t *scope, void *(*fn)(void *arg), const void *ptr, size_t size,
                                        vthread_subtask_t **ret_subtask);

/*
 * Wait until all subtasks have ended, or the scope is cancelled.  Once it has returned anything
 * but EINTR (_until: but ETIMEDOUT, too, while the scope is not cancelled) it returns
 * the same ever after, and there is no forking any more.
 *
 * Returns 0, or
 *   ECHILD     ALL_SUCCEED: one has failed.  ANY_SUCCEED: none has succeeded
 *   ETIMEDOUT  the scope's deadline has passed
 *   ECANCELED  vthread_scope_cancel was called
 *   EINTR      this wait was interrupted, which clears the flag; may be called again
 *   EINVAL     NULL    EPERM  the caller does not own it
 *
 * May switch.  Ordering: everything that the subtasks which have ended did is visible on return.
 */
VTHREAD_API int vthread_scope_join(vthread_scope_t *scope);

/*
 * The same, but waits no longer than until the deadline: ETIMEDOUT, and nothing has happened to
 * the scope.  (If it is the scope's own deadline that has passed, the next join says so at once.)
 */
VTHREAD_API int vthread_scope_join_until(vthread_scope_t *scope, int64_t deadline_ns);

/*
 * Take the next value of the result, in the order of forking: of subtasks that were kept and have
 * succeeded, and were not taken before.  ANY_SUCCEED: there is one.
 *
 * ret_value: receives the value, which is then the program's.  NULL: only see whether there is one.
 *
 * Returns 0, ENODATA (no more), what join returned if that was not 0, EINVAL (NULL, or not joined
 * yet) or EPERM.
 */
VTHREAD_API int vthread_scope_result(vthread_scope_t *scope, void **ret_value);

/* The code of the first failure; 0: none has failed. */
VTHREAD_API int vthread_scope_error(vthread_scope_t *scope);

/* Cancel it; its join returns ECANCELED, unless it is over or cancelled already.  Any thread.  0, or EINVAL: NULL. */
VTHREAD_API int vthread_scope_cancel(vthread_scope_t *scope);
VTHREAD_API bool vthread_scope_is_cancelled(vthread_scope_t *scope);

/*
 * Cancel what still runs, wait until all have ended, discard what nobody took, and free the scope.
 * Never interrupted; an interrupt meanwhile stays.  NULL: nothing.
 *
 * Returns 0, or
 *   ECANCELED  closed, but nobody had called join since the first fork
 *   EPERM      not closed: the caller does not own it, or has opened another one since
 *
 * May switch.  Ordering: everything the subtasks did is visible on return.
 */
VTHREAD_API int vthread_scope_close(vthread_scope_t *scope);

/* ---- subtasks ---- */

typedef enum vthread_subtask_state {
    VTHREAD_SUBTASK_UNAVAILABLE = 0, /* has not ended, or not before the scope was cancelled */
    VTHREAD_SUBTASK_SUCCEEDED = 1,
    VTHREAD_SUBTASK_FAILED = 2,
} vthread_subtask_state_t;

/* What is seen may be past when it is returned, before join. */
VTHREAD_API vthread_subtask_state_t vthread_subtask_state(vthread_subtask_t *subtask);

/*
 * Its value, which is then the program's, and given to everybody who asks here.
 *
 * Returns 0, ECHILD (it failed), ECANCELED (it is UNAVAILABLE) or EINVAL (NULL, or the scope
 * was not joined yet).  A NULL ret_value: the value is not taken.
 */
VTHREAD_API int vthread_subtask_result(vthread_subtask_t *subtask, void **ret_value);

/* The code it failed with; 0: it has not failed. */
VTHREAD_API int vthread_subtask_error(vthread_subtask_t *subtask);

#ifdef __cplusplus
}
#endif

#endif
