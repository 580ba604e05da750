/* SPDX-License-Identifier: MIT */
/*
 * Birth: create, create_copy, new, start.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "vthread/local_internal.h"
#include "vthread/mount.h"
#include "vthread/thread.h"
#include "vthread/work.h"

enum { NAME_MAX_BYTES = 256 };

bool thread_attr_is_valid(const vthread_attr_t *attr)
{
    for (size_t i = 0; i < sizeof attr->reserved / sizeof attr->reserved[0]; i++)
        if (attr->reserved[i] != 0)
            return false;
    return (unsigned)attr->kind <= VTHREAD_KIND_PLATFORM && (unsigned)attr->stack <= VTHREAD_STACK_DEDICATED &&
           (attr->stack_bytes == 0 || attr->stack == VTHREAD_STACK_DEDICATED || attr->kind == VTHREAD_KIND_PLATFORM) &&
           attr->stack_bytes <= (size_t)1 << 40 && (attr->name == NULL || strlen(attr->name) < NAME_MAX_BYTES) &&
           (attr->name_prefix == NULL || strlen(attr->name_prefix) < NAME_MAX_BYTES - 24);
}

static bool set_name(struct thread_extra *extra, const vthread_attr_t *attr)
{
    char buffer[NAME_MAX_BYTES];
    const char *name = attr->name;

    if (name == NULL && attr->name_prefix != NULL && attr->name_counter != NULL) {
        uint64_t number = __atomic_fetch_add(attr->name_counter, 1, __ATOMIC_RELAXED);

        snprintf(buffer, sizeof buffer, "%s%llu", attr->name_prefix, (unsigned long long)number);
        name = buffer;
    }
    if (name == NULL)
        return true;
    extra->name = memory_alloc(strlen(name) + 1);
    if (extra->name != NULL)
        strcpy(extra->name, name);
    return extra->name != NULL;
}

/* The part of the attributes that needs an extra. */
static int apply_attr(struct thread *t, const vthread_attr_t *attr)
{
    vthread_stack_t stack = attr->stack == VTHREAD_STACK_DEFAULT ? runtime_default_stack() : attr->stack;
    struct thread_extra *extra;

    if (attr->kind == VTHREAD_KIND_PLATFORM)
        t->flags |= THREAD_PLATFORM;
    else if (stack == VTHREAD_STACK_DEDICATED)
        t->flags |= THREAD_DEDICATED;
    if (attr->sticky_carrier)
        t->flags |= THREAD_STICKY;
    if (attr->name == NULL && attr->name_prefix == NULL && attr->on_failure == NULL && attr->stack_bytes == 0)
        return 0;
    extra = thread_extra_get(t);
    if (extra == NULL || !set_name(extra, attr))
        return ENOMEM;
    extra->on_failure = attr->on_failure;
    extra->user = attr->user;
    extra->stack_bytes = attr->stack_bytes;
    if (extra->name == NULL && attr->name_prefix != NULL) {
        vthread_attr_t named = *attr;
        uint64_t id = (uint64_t)(uintptr_t)thread_handle(t);

        named.name_counter = &id;
        if (!set_name(extra, &named))
            return ENOMEM;
    }
    return 0;
}

/* What a creation works with. */
struct maker {
    struct processor *p; /* NULL: a platform thread, in a call (runtime_begin_call) until made() */
    struct record_cache *cache;
    struct locals *locals; /* that the thread is to inherit, until it has them */
};

/* A thread that came to nothing, and that nobody has seen. */
static COLD void discard(struct thread *t, struct maker *m)
{
    if (m->locals == NULL)
        m->locals = locals_take(t);
    atomic_store_relaxed(&t->word, word_with_state(atomic_load_relaxed(&t->word), WORD_TERMINATED));
    thread_extra_free(t);
    atomic_store_relaxed(&t->slot, NULL);
    record_free(m->cache, t);
}

static COLD int bequeath(struct thread *t, struct maker *m)
{
    struct thread_extra *extra = thread_extra_get(t);

    if (extra == NULL)
        return ENOMEM;
    extra->locals = m->locals;
    m->locals = NULL;
    return 0;
}

static COLD int enter(struct processor *p)
{
    return p != NULL ? runtime_enter() : runtime_begin_call();
}

ALWAYS_INLINE void made(struct maker *m)
{
    if (UNLIKELY(m->p == NULL))
        platform_end_call();
    if (UNLIKELY(m->locals != NULL))
        locals_destroy(m->locals);
}

/* A record in state NEW. */
ALWAYS_INLINE int set_up(struct thread **ret_t, struct maker *m, const vthread_attr_t *attr, void *(*fn)(void *arg),
                         void *arg)
{
    struct processor *p = m->p;
    struct thread *t;
    uint64_t w;
    int error;

    if (UNLIKELY(fn == NULL))
        return EINVAL;
    if (UNLIKELY(attr != NULL) && !thread_attr_is_valid(attr))
        return EINVAL;
    m->cache = p != NULL ? &p->records : record_cache_self();
    t = record_alloc(m->cache);
    if (UNLIKELY(t == NULL))
        return ENOMEM;
    struct thread_cold *cold = thread_cold(t);

    *cold = (struct thread_cold){.fn = fn};
    t->cont.sp = NULL;
    t->cont.stack = p != NULL && p->current != NULL ? p->current->cont.stack : STACK_INDEX_NONE;
    t->flags = 0;
    t->reason = 0;
    t->predictor = 0;
    t->in_room = 0;
    t->stays = 0;
    atomic_store_release(&t->held, 0); /* as all of its stores (thread_holds) */
    t->carrier = CARRIER_NONE;
    atomic_store_relaxed(&t->slot, arg);
    w = atomic_load_relaxed(&t->word);
    atomic_store_release(&t->word, w & (WORD_SEQUENCE_MASK | ~(uint64_t)0 << WORD_GENERATION_SHIFT)); /* see begin */
    if (UNLIKELY(attr != NULL) || UNLIKELY(runtime_default_stack() == VTHREAD_STACK_DEDICATED)) {
        vthread_attr_t none = {0};

        error = apply_attr(t, attr != NULL ? attr : &none);
        if (error != 0) {
            discard(t, m);
            return error;
        }
    }
    if (UNLIKELY(m->locals != NULL) && (error = bequeath(t, m)) != 0) {
        discard(t, m);
        return error;
    }
    *ret_t = t;
    return 0;
}

/* The same, and the call is begun if all went well: the caller ends it with made(). */
ALWAYS_INLINE int prepare(struct thread **ret_t, struct maker *m, const vthread_attr_t *attr, void *(*fn)(void *arg),
                          void *arg)
{
    int error = locals_inherit(attr, &m->locals);

    if (UNLIKELY(error != 0))
        return error;
    m->p = processor_self();
    if (UNLIKELY(m->p == NULL) || UNLIKELY(runtime_refuses_threads())) {
        error = enter(m->p);
        if (error != 0) {
            locals_destroy(m->locals);
            return error;
        }
    }
    error = set_up(ret_t, m, attr, fn, arg);
    if (UNLIKELY(error != 0))
        made(m);
    return error;
}

ALWAYS_INLINE void launch(struct processor *p, struct thread *t)
{
    atomic_store_relaxed(&t->phase, VTHREAD_STARTED);
    if (LIKELY(p != NULL)) {
        atomic_store_relaxed(&p->created, atomic_load_relaxed(&p->created) + 1);
        carrier_push(&p->carrier, &t->link.task);
    } else {
        runtime_count_created(1);
        pool_inject(&t->link.task);
    }
}

ALWAYS_INLINE int begin(vthread_t *ret_thread, const vthread_attr_t *attr, struct thread *t, struct maker *m)
{
    uint64_t w = word_with_state(atomic_load_relaxed(&t->word), WORD_ACTIVE);
    int error;

    if (ret_thread == NULL || (UNLIKELY(attr != NULL) && attr->detached))
        w |= WORD_CONSUMED;
    /*
     * Published by the push, to all but those who walk over the records.  They may look at the word, but take hold of a
     * thread only if its phase is another than TERMINATED, which it is left in by its last life: then nobody stores the
     * word any more but by CAS.
     */
    atomic_store_release(&t->word, w);
    vthread_t handle = thread_handle_of(t, w);

    if (UNLIKELY(t->flags & THREAD_PLATFORM)) {
        error = platform_create(t);
        if (error != 0) {
            discard(t, m);
            made(m);
            return error;
        }
    } else {
        launch(m->p, t);
    }
    made(m);
    if (UNLIKELY(runtime_refuses_threads())) /* a shutdown began meanwhile, and may not have seen it */
        vthread_interrupt(handle);
    if (ret_thread != NULL)
        *ret_thread = handle;
    return 0;
}

int vthread_create(vthread_t *ret_thread, const vthread_attr_t *attr, void *(*fn)(void *arg), void *arg)
{
    struct maker m;
    struct thread *t;
    int error;

    if (UNLIKELY(stack_is_private(arg)))
        return stack_refuse_private("vthread_create", "the argument", arg);
    error = prepare(&t, &m, attr, fn, arg);
    return LIKELY(error == 0) ? begin(ret_thread, attr, t, &m) : error;
}

int vthread_create_copy(vthread_t *ret_thread, const vthread_attr_t *attr, void *(*fn)(void *arg), const void *ptr,
                        size_t size)
{
    struct maker m;
    struct thread *t;
    struct thread_extra *extra;
    int error;

    if (ptr == NULL && size > 0)
        return EINVAL;
    error = prepare(&t, &m, attr, fn, NULL);
    if (error != 0)
        return error;
    extra = thread_extra_get(t);
    if (extra == NULL || (extra->copy = memory_copy(ptr, size)) == NULL) {
        discard(t, &m);
        made(&m);
        return ENOMEM;
    }
    atomic_store_relaxed(&t->slot, extra->copy);
    return begin(ret_thread, attr, t, &m);
}

int thread_create_work(const vthread_attr_t *attr, struct thread_work *work)
{
    struct maker m;
    struct thread *t;
    int error = prepare(&t, &m, attr, work_marked(work), NULL);

    if (UNLIKELY(error != 0))
        return error;
    /* release: who reads the handle sees what the work was set up with */
    atomic_store_release(&work->thread, thread_handle(t));
    return begin(NULL, attr, t, &m);
}

int vthread_new(vthread_t *ret_thread, const vthread_attr_t *attr, void *(*fn)(void *arg), void *arg)
{
    struct maker m;
    struct thread *t;
    int error;

    if (ret_thread == NULL || (attr != NULL && attr->detached))
        return EINVAL;
    if (stack_is_private(arg))
        return stack_refuse_private("vthread_new", "the argument", arg);
    error = prepare(&t, &m, attr, fn, arg);
    if (error != 0)
        return error;
    atomic_store_release(&t->phase, VTHREAD_NEW); /* it is complete */
    *ret_thread = thread_handle(t);
    made(&m);
    return 0;
}

static int start(vthread_t thread, struct processor *p)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    int error;

    if (t == NULL)
        return EINVAL;
    if (!word_leave_new(&t->word, generation, WORD_ACTIVE, 0)) {
        uint64_t w = atomic_load_acquire(&t->word);

        return word_generation(w) == generation && word_state(w) != WORD_TERMINATED ? EBUSY : ESRCH;
    }
    if (!(t->flags & THREAD_PLATFORM)) {
        launch(p, t);
        return 0;
    }
    error = platform_create(t);
    if (error != 0) { /* NEW again, to be tried once more or detached; others may have set bits meanwhile */
        _Static_assert(WORD_NEW == 0, "cleared bits mean NEW");
        word_clear(&t->word, WORD_STATE_MASK);
    }
    return error;
}

int vthread_start(vthread_t thread)
{
    struct maker m = {.p = processor_self()};
    int error = enter(m.p);

    if (error != 0)
        return error;
    error = start(thread, m.p);
    made(&m);
    return error;
}
