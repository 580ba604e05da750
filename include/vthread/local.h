/* SPDX-License-Identifier: MIT */
/*
 * Values that belong to a thread: keys, and scoped values.
 *
 *     #include <vthread/local.h>
 *
 *     static vthread_key_t buffer_key;
 *     static vthread_scoped_value_t user = VTHREAD_SCOPED_VALUE_INITIALIZER("user");
 *
 *     static char *buffer(void)
 *     {
 *         char *mine = vthread_getspecific(buffer_key);
 *
 *         if (mine == NULL && (mine = malloc(4096)) != NULL && vthread_setspecific(buffer_key, mine) != 0) {
 *             free(mine);
 *             mine = NULL;
 *         }
 *         return mine;
 *     }
 *
 *     static void *serve(void *arg)
 *     {
 *         printf("%s, for %s\n", buffer() != NULL ? "ready" : "no memory", (char *)vthread_scoped_value_get(&user));
 *         return arg;
 *     }
 *
 *     int main(void)
 *     {
 *         if (vthread_key_create(&buffer_key, free) != 0)
 *             return 1;
 *         return vthread_scoped_value_run(&user, "somebody", serve, NULL, NULL);
 *     }
 *
 * A thread that uses neither pays nothing for them.  Every call may be made from virtual and
 * platform threads; on a carrier's own stack (in a callback of the runtime) nothing is set or
 * bound, and what would change that returns EDEADLK.
 */
#ifndef VTHREAD_LOCAL_H
#define VTHREAD_LOCAL_H

#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- keys ---- */

/*
 * Names a value that each thread has for itself, NULL at first.  0 names none; the name of a
 * key that was deleted is not used again.
 */
typedef uint64_t vthread_key_t;

/* Keys at a time. */
#define VTHREAD_KEYS_MAX 4096

/* How often destructors run over the values that destructors have set. */
#define VTHREAD_DESTRUCTOR_ITERATIONS 4

/*
 * Make a key.
 *
 * destructor: called for each value other than NULL that a thread leaves, on that thread, when
 *             it ends: after fn has returned or vthread_exit was called, before anybody
 *             who waits for the thread goes on.  It may block, and finds its own value set to
 *             NULL.  Not called in threads that exit() ends, main's included.  NULL: none.
 *
 * Returns 0, EINVAL (ret_key is NULL), or EAGAIN: there are VTHREAD_KEYS_MAX.
 */
VTHREAD_API int vthread_key_create(vthread_key_t *ret_key, void (*destructor)(void *value));

/*
 * The same, and a thread that is created has a value from the beginning, unless its creator has
 * none or it was created with no_inherit.
 *
 * copy: makes it of the creator's value, on the creator, during the call that creates;
 *       NULL from it: the new thread has none.  A NULL copy: both have the same value (and
 *       both call the destructor for it).  It may block; it may not end its thread.
 *
 * If the thread comes to nothing, the destructor is called by whoever sees to that: the call
 * that could not create it, or vthread_detach or vthread_runtime_shutdown of one not started.
 */
VTHREAD_API int vthread_key_create_inheritable(vthread_key_t *ret_key, void *(*copy)(void *value),
                                               void (*destructor)(void *value));

/* Delete a key.  What threads have as its value is forgotten; no destructor is called.  0, or EINVAL: no such key. */
VTHREAD_API int vthread_key_delete(vthread_key_t key);

/* Set the calling thread's value.  0, EINVAL (no such key), ENOMEM, or what starting the runtime returns. */
VTHREAD_API int vthread_setspecific(vthread_key_t key, const void *value);

/* The calling thread's value; NULL: none, or no such key.  Never allocates. */
VTHREAD_API void *vthread_getspecific(vthread_key_t key);

/* ---- scoped values ---- */

/*
 * A value that is bound while a function runs, for all that is called from there, and cannot be
 * changed meanwhile, only hidden by another binding further in (the JDK's ScopedValue).
 * Only its address counts; the name is for reports.
 *
 * Subtasks of a scope (scope.h) inherit what is bound where the scope was opened;
 * threads that are created, and tasks given to an executor, do not.
 *
 * A binding made in the body of a continuation belongs to that body: it goes with it when it
 * yields, and is there again when somebody runs it on.  Around it the body sees what is bound
 * where it is run.
 */
typedef struct vthread_scoped_value {
    const char *name;
} vthread_scoped_value_t;

/* clang-format off */
#define VTHREAD_SCOPED_VALUE_INITIALIZER(name) {name}
/* clang-format on */

/*
 * Call fn(arg) with the value bound, here and now: on the caller's stack, so arg may be a
 * local.  If fn ends the thread, by vthread_exit, the binding ends with it.
 *
 * value:   may point to a local, too; but then a fork that would inherit it is refused (EFAULT)
 *          if this is a virtual thread with a SHARED stack: vthread_scoped_value_run_copy.
 * ret_ret: receives what fn returned; may be NULL.
 *
 * Returns 0, or the code of fn if that ended with vthread_fail, or, without having called it,
 *   EINVAL   scoped or fn is NULL
 *   ENOMEM   no memory
 *   EDEADLK  on a carrier's own stack
 *
 * May switch, if fn does.
 */
VTHREAD_API int vthread_scoped_value_run(const vthread_scoped_value_t *scoped, void *value, void *(*fn)(void *arg),
                                         void *arg, void **ret_ret);

/*
 * The same with a copy of `size` bytes at ptr as the value: aligned for any type, and freed
 * when neither this call nor anybody who has inherited it needs it any more.
 */
VTHREAD_API int vthread_scoped_value_run_copy(const vthread_scoped_value_t *scoped, const void *ptr, size_t size,
                                              void *(*fn)(void *arg), void *arg, void **ret_ret);

/* The value of the innermost binding; NULL: it is not bound. */
VTHREAD_API void *vthread_scoped_value_get(const vthread_scoped_value_t *scoped);
VTHREAD_API bool vthread_scoped_value_is_bound(const vthread_scoped_value_t *scoped);

#ifdef __cplusplus
}
#endif

#endif
