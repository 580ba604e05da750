/* SPDX-License-Identifier: MIT */
/*
 * Scoped values.
 *
 * A binding is a node of a list that only grows at its head and never changes: who inherits
 * takes a reference to the head, and both go on from there.  Nodes lie on the heap, for
 * frames move.
 *
 * The thread has a list, and so has each public continuation: what its body binds stays with it
 * while it is suspended.  What is seen is the innermost continuation's list, then those of
 * the ones around it, then the thread's.  To be inherited they are put into one: a link is a
 * node that binds nothing itself, but stands for another list.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/memory.h"
#include "base/panic.h"
#include "continuation/nested.h"
#include "vthread/local_internal.h"
#include "vthread/work.h"

struct binding {
    ATOMIC(uint32_t) references;
    bool is_private;                      /* its value points into the stack of the thread that bound it */
    bool any_private;                     /* its own, or one further out */
    const vthread_scoped_value_t *scoped; /* NULL: a link */
    void *value;
    struct binding *inner; /* of a link: the list to look through first */
    struct binding *next;  /* bound before it */
    max_align_t copy[];
};

/* ---- references ---- */

struct binding *bindings_hold(struct binding *b)
{
    if (b != NULL)
        atomic_fetch_add_relaxed(&b->references, 1); /* of a list that is held already */
    return b;
}

void bindings_release(struct binding *b)
{
    while (b != NULL && atomic_fetch_sub_acq_rel(&b->references, 1) == 1) {
        struct binding *next = b->next;

        bindings_release(b->inner);
        memory_let_go(b);
        b = next;
    }
}

/* In front of next, whose reference it takes over. */
static void set_next(struct binding *b, struct binding *next)
{
    b->next = next;
    b->any_private =
        b->is_private || (b->inner != NULL && b->inner->any_private) || (next != NULL && next->any_private);
}

static struct binding *make(const vthread_scoped_value_t *scoped, size_t copy_bytes)
{
    struct binding *b = memory_hold(sizeof *b + copy_bytes);

    if (b == NULL)
        return NULL;
    atomic_store_relaxed(&b->references, 1);
    b->scoped = scoped;
    return b;
}

/* ---- looking ---- */

static struct binding *find_in(struct binding *b, const vthread_scoped_value_t *scoped)
{
    struct binding *found;

    for (; b != NULL; b = b->next) {
        if (b->scoped == scoped)
            return b;
        if (b->inner != NULL && (found = find_in(b->inner, scoped)) != NULL)
            return found;
    }
    return NULL;
}

/* Where the thread's own list begins; NULL: it has none, and no place for one yet. */
static struct binding **list_of(struct thread *self)
{
    struct thread_work *work = self != NULL ? thread_work(self) : NULL;
    struct thread_extra *extra = self != NULL ? thread_extra(self) : NULL;

    if (work != NULL && work->hooks->bindings != NULL)
        return work->hooks->bindings(work);
    return extra != NULL ? &extra->bindings : NULL;
}

static struct binding *of_thread(void)
{
    struct binding **list = list_of(thread_self_if_known());

    return list != NULL ? *list : NULL;
}

static struct binding *find(const vthread_scoped_value_t *scoped)
{
    struct binding *found;

    if (UNLIKELY(scoped == NULL))
        return NULL;
    for (struct vthread_cont *c = nested_self()->innermost; c != NULL; c = c->parent)
        if ((found = find_in(c->bindings, scoped)) != NULL)
            return found;
    return find_in(of_thread(), scoped);
}

void *vthread_scoped_value_get(const vthread_scoped_value_t *scoped)
{
    struct binding *b = find(scoped);

    return b != NULL ? b->value : NULL;
}

bool vthread_scoped_value_is_bound(const vthread_scoped_value_t *scoped)
{
    return find(scoped) != NULL;
}

/* ---- binding ---- */

/* fn may end the thread, or go on in another one if this is the body of a continuation; `home` stays where it is. */
static int run(struct binding *b, void *(*fn)(void *arg), void *arg, void **ret_ret)
{
    int error;
    struct thread *self = thread_self(&error);
    struct vthread_cont *c = nested_self()->innermost;
    struct binding **home = NULL;
    struct failure before, failure;
    void *value;

    if (self != NULL && (c != NULL || list_of(self) != NULL || thread_extra_own(self) != NULL))
        home = c != NULL ? &c->bindings : list_of(self);
    if (home == NULL) {
        bindings_release(b);
        return self != NULL ? ENOMEM : error;
    }
    set_next(b, *home);
    *home = b;
    before = thread_take_failure(self);
    value = fn(arg);
    self = thread_self_if_known();
    failure = thread_take_failure(self);
    if (UNLIKELY(before.failed)) /* this is called by a destructor, in a thread that has failed */
        thread_put_failure(self, before);
    ASSERT1(*home == b);
    *home = bindings_hold(b->next);
    bindings_release(b);
    if (failure.failed)
        return failure.error;
    if (ret_ret != NULL)
        *ret_ret = value;
    return 0;
}

int vthread_scoped_value_run(const vthread_scoped_value_t *scoped, void *value, void *(*fn)(void *arg), void *arg,
                             void **ret_ret)
{
    struct binding *b;

    if (scoped == NULL || fn == NULL)
        return EINVAL;
    b = make(scoped, 0);
    if (b == NULL)
        return ENOMEM;
    b->value = value;
    b->is_private = stack_is_private(value);
    return run(b, fn, arg, ret_ret);
}

int vthread_scoped_value_run_copy(const vthread_scoped_value_t *scoped, const void *ptr, size_t size,
                                  void *(*fn)(void *arg), void *arg, void **ret_ret)
{
    struct binding *b;

    if (scoped == NULL || fn == NULL || (ptr == NULL && size > 0))
        return EINVAL;
    b = size <= PTRDIFF_MAX / 2 ? make(scoped, size) : NULL;
    if (b == NULL)
        return ENOMEM;
    if (size > 0)
        memcpy(b->copy, ptr, size);
    b->value = b->copy;
    return run(b, fn, arg, ret_ret);
}

/* ---- handing on ---- */

struct binding *bindings_innermost(void)
{
    for (struct vthread_cont *c = nested_self()->innermost; c != NULL; c = c->parent)
        if (c->bindings != NULL)
            return c->bindings;
    return of_thread();
}

/* What is seen from inside c, in one list. */
static int capture(struct vthread_cont *c, struct binding **ret_bindings)
{
    struct binding *around;
    struct binding *link;
    int error;

    if (c == NULL) {
        *ret_bindings = bindings_hold(of_thread());
        return 0;
    }
    error = capture(c->parent, &around);
    if (error != 0)
        return error;
    if (c->bindings == NULL || around == NULL) {
        *ret_bindings = c->bindings != NULL ? bindings_hold(c->bindings) : around;
        return 0;
    }
    link = make(NULL, 0);
    if (link == NULL) {
        bindings_release(around);
        return ENOMEM;
    }
    link->inner = bindings_hold(c->bindings);
    set_next(link, around);
    *ret_bindings = link;
    return 0;
}

int bindings_capture(struct binding **ret_bindings)
{
    return capture(nested_self()->innermost, ret_bindings);
}

static const struct binding *find_private(const struct binding *b)
{
    for (; b != NULL; b = b->next)
        if (b->is_private)
            return b;
        else if (b->inner != NULL && b->inner->any_private)
            return find_private(b->inner);
    return NULL;
}

int bindings_refuse_private(const char *call, const struct binding *bindings)
{
    const struct binding *b;

    if (LIKELY(bindings == NULL) || LIKELY(!bindings->any_private))
        return 0;
    b = find_private(bindings);
    misuse(
        call,
        "the scoped value %s, which would be inherited, is %p, in the stack of the virtual thread that has bound it, "
        "whose frames move while it waits; bind a copy (vthread_scoped_value_run_copy), or allocate it",
        b->scoped->name != NULL ? b->scoped->name : "(without a name)", b->value);
    return EFAULT;
}
