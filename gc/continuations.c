/* SPDX-License-Identifier: MIT */
/*
 * Continuations that are collected.
 *
 * Others are roots with all their frames for as long as they are suspended.  Of these the object lies in collected
 * memory, as one of a kind of its own, and its frames are looked into when the object is marked, and only then: whether
 * it is reached from a root or from what its own frames refer to makes the difference.  When it has not been reached,
 * its finalizer frees it, stack and all.
 *
 * While it runs its frames belong to the thread that it runs on, which may have forgotten the object: so one that is
 * RUNNING, or suspended inside an outer one, is kept (roots.c).  In the few instructions between SUSPENDED and the
 * switch it is in a register.
 */
#include <errno.h>

#include <vthread/gc.h>

#include "base/memory.h"
#include "gc/collector.h"

static unsigned kind;

bool continuations_are(unsigned object_kind)
{
    return object_kind == kind;
}

void continuations_each_range(const struct vthread_cont *c, void (*fn)(const void *from, const void *to, void *user),
                              void *user)
{
    const struct vthread_cont *inner = c->inner;

    if (c->stack == NULL) /* being made, or free: bdwgc may look at any place of the kind */
        return;
    /* Not its parent: one that is kept only because it runs, or is suspended inside that, must not keep it. */
    fn(&c->scope, &c->scope + 1, user);
    fn(&c->value, &c->value + 1, user);
    if (atomic_load_relaxed(&c->state) != NESTED_SUSPENDED)
        return;
    fn(c->frame.cont_sp, inner->stack->top, user);
    for (; inner != c; inner = inner->parent)
        fn(inner->frame.runner_sp, inner->parent->stack->top, user);
}

/* ---- with the world stopped ---- */

struct marking {
    struct GC_ms_entry *next;
    struct GC_ms_entry *limit;
    void *from;
};

NO_SANITIZE static void mark_range(const void *from, const void *to, void *user)
{
    struct marking *marking = user;

    for (void *const *at = from; (const void *)(at + 1) <= to; at++)
        marking->next = GC_MARK_AND_PUSH(*at, marking->next, marking->limit, (void **)marking->from);
}

static struct GC_ms_entry *mark(GC_word *object, struct GC_ms_entry *next, struct GC_ms_entry *limit, GC_word unused)
{
    struct marking marking = {next, limit, object};

    (void)unused;
    continuations_each_range((const struct vthread_cont *)(void *)object, mark_range, &marking);
    return marking.next;
}

/* ---- */

void continuations_init(void)
{
    kind = GC_new_kind(GC_new_free_list(), GC_MAKE_PROC(GC_new_proc(mark), 0), 0, 1);
}

/* What was suspended inside is on its own from then on, and its turn comes in a later collection. */
static void free_dropped(void *object, void *unused)
{
    (void)unused;
    (void)vthread_cont_free(object); /* EBUSY: the program has freed it */
}

int vthread_gc_cont_new(vthread_cont_t **ret_cont, const vthread_cont_scope_t *scope, void *(*fn)(void *arg), void *arg)
{
    struct vthread_cont *c;
    void *object;
    int error = collector_start();

    if (ret_cont == NULL)
        return EINVAL;
    if (error == 0)
        error = vthread_cont_new(&c, scope, fn, arg);
    if (error != 0)
        return error;
    object = fault_point(FAULT_ALLOC) ? NULL : GC_generic_malloc(sizeof *c, (int)kind);
    if (object == NULL || !finalizer_set(object, free_dropped, NULL)) {
        (void)vthread_cont_free(c);
        return ENOMEM;
    }
    *ret_cont = nested_move(c, object);
    return 0;
}
