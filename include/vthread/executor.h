/* SPDX-License-Identifier: MIT */
/*
 * Executors run tasks; a future is what becomes of one.
 *
 *     #include <vthread/executor.h>
 *
 *     static void *fetch(void *url);
 *
 *     int main(void)
 *     {
 *         vthread_executor_t *ex;
 *         vthread_future_t *page;
 *         void *text;
 *
 *         if (vthread_executor_new_per_task(&ex, NULL) != 0 ||
 *             vthread_executor_submit(ex, fetch, "example.org", &page) != 0)
 *             return 1;
 *         if (vthread_future_get(page, &text) == 0)
 *             puts(text);
 *         vthread_future_free(page);
 *         return vthread_executor_free(ex);
 *     }
 *
 * A task is a function, void *fn(void *arg).  It succeeds with the value that it returns (or
 * gives to vthread_exit), and fails by `return vthread_fail(error)`; it must not end its thread by
 * pthread_exit.  When it ends, scopes that it has left open are closed, and destructors of its keys
 * are called, as at the end of a thread, on whatever thread it ran.  Two kinds of executor:
 *     per task  each task is a virtual thread of its own: for tasks that wait
 *     fixed     so many platform threads take tasks from a queue, in order: for tasks that
 *               compute.  vthread_executor_cpu is one that all share.
 *
 * A task's argument is used by another thread: one that points into the calling virtual
 * thread's own stack is refused with EFAULT (but see vthread_executor_call).  Use
 * vthread_executor_submit_copy, allocate it, or a DEDICATED stack.
 *
 * Every call may be made from virtual and platform threads, by any number of threads at
 * once, but for the _free of an object that is still in use elsewhere.
 */
#ifndef VTHREAD_EXECUTOR_H
#define VTHREAD_EXECUTOR_H

#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vthread_executor vthread_executor_t;
typedef struct vthread_future vthread_future_t;

/* All zero is the default; NULL means the same.  Copied during the call.  Words in `reserved` must be zero (EINVAL). */
typedef struct vthread_executor_params {
    /*
     * Of the threads.  With a name_prefix and no name_counter, or with neither but a name
     * below, they are numbered from 0.  fixed: kind is PLATFORM whatever it says here.
     */
    vthread_attr_t attr;
    unsigned threads; /* fixed: how many, at most 65,536; 0: one for each CPU this process may use */
    /*
     * Gets each value but NULL that nobody took; NULL: they are forgotten.  May block, but not wait for the executor,
     * and must return.  Those of failed and cancelled tasks come when the task ends, maybe after its failure was seen.
     */
    void (*discard)(void *value);
    const char *name; /* the threads are called NAME-0, NAME-1, ... where attr does not name them */
    uintptr_t reserved[4];
} vthread_executor_params_t;

/* ---- executors ---- */

/*
 * new_per_task: each task gets a thread of its own, a virtual one unless attr says otherwise.
 * new_fixed: starts its threads.
 *
 * Returns 0, EINVAL (ret_executor is NULL, or the parameters are wrong), ENOMEM, EAGAIN (no OS
 * thread to be had), ECANCELED (the runtime is shutting down) or ENOTSUP (in the child of a
 * fork).  To be given to vthread_executor_free.
 */
VTHREAD_API int vthread_executor_new_per_task(vthread_executor_t **ret_executor,
                                              const vthread_executor_params_t *params);
VTHREAD_API int vthread_executor_new_fixed(vthread_executor_t **ret_executor, const vthread_executor_params_t *params);

/*
 * The fixed executor that all share, with one thread for each CPU this process may use.  It
 * starts with the first call of this, and is nobody's to end (EPERM); a shutdown of the
 * runtime ends it, and this call starts it anew, at the same address.  NULL: no memory, no OS
 * thread to be had, or the runtime is shutting down.
 */
VTHREAD_API vthread_executor_t *vthread_executor_cpu(void);

/*
 * Have fn(arg) run.
 *
 * ret_future: receives its future, to be given to vthread_future_free.  NULL: nothing is kept;
 *             a value goes to discard, a failure to the failure handler as that of a thread.
 *
 * Returns 0, or
 *   ECANCELED  the executor, or the runtime, has been shut down
 *   EINVAL     ex or fn is NULL     EFAULT  arg points into the caller's private stack
 *   ENOMEM, EAGAIN, ENOTSUP         as vthread_create
 *
 * Does not wait.  Ordering: what the caller did before is visible to fn.
 */
VTHREAD_API int vthread_executor_submit(vthread_executor_t *ex, void *(*fn)(void *arg), void *arg,
                                        vthread_future_t **ret_future);

/*
 * The same with a copy of `size` bytes at ptr as the argument, aligned for any type and freed
 * when the task ends: do not return a pointer into it.  This is the way to pass locals.
 */
VTHREAD_API int vthread_executor_submit_copy(vthread_executor_t *ex, void *(*fn)(void *arg), const void *ptr,
                                             size_t size, vthread_future_t **ret_future);

/*
 * Have fn(arg) run and wait to its end: to compute elsewhere.  An interrupt of the caller goes
 * to the task.
 *
 * arg may be a local.  If it lies in the caller's private stack, that stays where it is meanwhile,
 * as in vthread_blocking_begin: a spare carrier serves the others, but threads that
 * share the stack wait as well, and the task must not need them.
 *
 * Returns 0; the code that the task failed with; ECANCELED (shut down before it began); EDEADLK
 * (called by a task of the same fixed executor, or in a callback of the runtime); or as submit.
 * May switch.
 */
VTHREAD_API int vthread_executor_call(vthread_executor_t *ex, void *(*fn)(void *arg), void *arg, void **ret_value);

typedef struct vthread_task {
    void *(*fn)(void *arg);
    void *arg;
} vthread_task_t;

/*
 * Run n tasks, and wait until all have ended, well or not.
 *
 * futures: room for n, which are to be freed; NULL: nothing is kept.
 *
 * Returns 0, or
 *   ETIMEDOUT  the deadline passed: those that had not ended are cancelled and interrupted.
 *              The futures are there all the same, each with a result or cancelled
 *   EINTR      interrupted (which clears the flag), or as submit: those that have not ended are
 *              cancelled and interrupted, and no futures are left
 * May switch.
 */
VTHREAD_API int vthread_executor_invoke_all(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n,
                                            vthread_future_t **futures);
VTHREAD_API int vthread_executor_invoke_all_until(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n,
                                                  vthread_future_t **futures, int64_t deadline_ns);

/*
 * Run n tasks, and wait until one has succeeded: its value is the result.  All others are then
 * cancelled and interrupted, and so are all when this fails.
 *
 * Returns 0, or
 *   ECHILD     none has succeeded
 *   EINVAL     n is 0
 *   EINTR      interrupted (which clears the flag)    ETIMEDOUT  the deadline passed
 *   or as submit
 * May switch.
 */
VTHREAD_API int vthread_executor_invoke_any(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n,
                                            void **ret_value);
VTHREAD_API int vthread_executor_invoke_any_until(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n,
                                                  void **ret_value, int64_t deadline_ns);

/* ---- the end of an executor ---- */

/*
 * From now on submit fails with ECANCELED; tasks that were submitted before go on.  Does not
 * wait, and may be called again.  Returns 0, EINVAL (NULL) or EPERM (the one of _cpu).
 */
VTHREAD_API int vthread_executor_shutdown(vthread_executor_t *ex);

/*
 * The same; and tasks that run are interrupted, those still queued in a fixed executor never
 * run, and their futures are cancelled.  Returns how many those are, or -EINVAL or -EPERM.
 */
VTHREAD_API int vthread_executor_shutdown_now(vthread_executor_t *ex);

/*
 * Wait until it has been shut down and its last task has ended.
 *
 * Returns 0, ETIMEDOUT, EINTR (which clears the flag), EINVAL (NULL), or EDEADLK (called by one
 * of its own tasks, or in a callback of the runtime).  May switch.  Ordering: everything the
 * tasks did is visible on return.
 */
VTHREAD_API int vthread_executor_await_until(vthread_executor_t *ex, int64_t deadline_ns);

/*
 * Shut down, and wait for the last task.  An interrupt meanwhile does shutdown_now, and stays set;
 * the wait goes on.  Twice is fine.  Returns 0, EPERM, EDEADLK, or 0 for NULL; or, if this is a platform
 * thread's first call of the library, what vthread_create may return: then it is shut down only.  May switch.
 */
VTHREAD_API int vthread_executor_close(vthread_executor_t *ex);

/* Close it first, then free it.  Futures stay until they are freed.  Returns as close. */
VTHREAD_API int vthread_executor_free(vthread_executor_t *ex);

VTHREAD_API bool vthread_executor_is_shutdown(vthread_executor_t *ex);
VTHREAD_API bool vthread_executor_is_terminated(vthread_executor_t *ex); /* and all tasks have ended */

typedef struct vthread_executor_stats {
    uint64_t submitted;
    uint64_t completed; /* have ended, or never will begin */
    uint64_t running;
    uint64_t queued;  /* fixed: wait for a thread */
    unsigned threads; /* fixed: that it has */
    uintptr_t reserved[4];
} vthread_executor_stats_t;

/* A snapshot; its numbers need not agree with each other.  Returns 0 or EINVAL (NULL). */
VTHREAD_API int vthread_executor_stats(vthread_executor_t *ex, vthread_executor_stats_t *ret_stats);

/* ---- futures ---- */

typedef enum vthread_future_state {
    VTHREAD_FUTURE_PENDING = 0, /* its task has not begun */
    VTHREAD_FUTURE_RUNNING = 1,
    VTHREAD_FUTURE_SUCCEEDED = 2,
    VTHREAD_FUTURE_FAILED = 3,
    VTHREAD_FUTURE_CANCELLED = 4, /* though its task may be running still */
} vthread_future_state_t;

/*
 * Wait for the result.  Several may wait at once, and each gets it, as often as it asks.
 *
 * ret_value: receives the value, which is then the program's.  NULL: wait only; the value is not taken.
 *
 * Returns 0, or
 *   ECHILD     the task failed; vthread_future_error says with which code
 *   ECANCELED  it was cancelled
 *   EINTR      the caller was interrupted, which clears the flag   ETIMEDOUT  the deadline passed
 *   EDEADLK    called by its own task, or in a callback of the runtime   EINVAL  NULL
 *
 * May switch.  Ordering: everything the task did is visible on return.
 */
VTHREAD_API int vthread_future_get(vthread_future_t *future, void **ret_value);
VTHREAD_API int vthread_future_get_until(vthread_future_t *future, void **ret_value, int64_t deadline_ns);

/* The code that the task failed with; 0 if it has not failed. */
VTHREAD_API int vthread_future_error(vthread_future_t *future);

/*
 * Give the result up: whoever waits gets ECANCELED, and a task that has not begun never does.
 * One that runs goes on, and its value is discarded; with `interrupt` it is interrupted.
 *
 * Returns 0 (it is cancelled, now or before), ESRCH (it has succeeded or failed) or EINVAL (NULL).
 */
VTHREAD_API int vthread_future_cancel(vthread_future_t *future, bool interrupt);

/* What is seen may be past when it is returned. */
VTHREAD_API vthread_future_state_t vthread_future_state(vthread_future_t *future);
VTHREAD_API bool vthread_future_is_done(vthread_future_t *future); /* succeeded, failed or cancelled */

/*
 * At any time, also after its executor: the task goes on, and a value that nobody took is
 * discarded, here or when the task ends; then a failure goes to the failure handler.  No other
 * call with this future may be under way.  Returns 0, also for NULL.
 */
VTHREAD_API int vthread_future_free(vthread_future_t *future);

#ifdef __cplusplus
}
#endif

#endif
