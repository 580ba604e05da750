/* SPDX-License-Identifier: MIT */
/* Values of keys and bindings of scoped values, as other files and layers see them. */
#ifndef VTHREAD_LOCAL_INTERNAL_H
#define VTHREAD_LOCAL_INTERNAL_H

#include <vthread/local.h>

#include "vthread/thread.h"

/* ---- keys (local.c) ---- */

struct locals;

/*
 * What a thread that the caller is about to make inherits; NULL: nothing.  0 or ENOMEM.
 * Calls the copy functions of keys, so not in a call that was begun.
 */
MAY_SWITCH
int locals_inherit_slow(struct locals *from, struct locals **ret_locals);

MAY_SWITCH
static inline int locals_inherit(const vthread_attr_t *attr, struct locals **ret_locals)
{
    struct thread *self = thread_self_if_known();
    struct thread_extra *extra = self != NULL ? thread_extra(self) : NULL;

    *ret_locals = NULL;
    if (LIKELY(extra == NULL) || extra->locals == NULL || (attr != NULL && attr->no_inherit))
        return 0;
    return locals_inherit_slow(extra->locals, ret_locals);
}

/* Of a thread that came to nothing: call the destructors here.  Not in a call that was begun. */
MAY_SWITCH
void locals_destroy(struct locals *locals);

/* Take them out of the record, which nobody else is using. */
static inline struct locals *locals_take(struct thread *t)
{
    struct thread_extra *extra = thread_extra(t);
    struct locals *locals = extra != NULL ? extra->locals : NULL;

    if (locals != NULL)
        extra->locals = NULL;
    return locals;
}

/* The calling thread ends. */
MAY_SWITCH
void locals_run_destructors(struct thread_extra *extra);

/* ---- bindings (scoped.c) ---- */

struct binding;

/* The innermost binding here; NULL: nothing is bound. */
struct binding *bindings_innermost(void);

/* All that is bound here, with a reference, for others to inherit.  0 or ENOMEM. */
int bindings_capture(struct binding **ret_bindings);

/* One reference more; one less.  NULL: nothing. */
struct binding *bindings_hold(struct binding *bindings);
void bindings_release(struct binding *bindings);

/* EFAULT, and said so, if a value among them points into the stack of the thread that bound it; else 0. */
int bindings_refuse_private(const char *call, const struct binding *bindings);

#endif
