/* SPDX-License-Identifier: MIT */
/*
 * Making and freeing public continuations.
 *
 * An object lies at the top of its stack, so it costs no memory of its own, and the
 * lines it shares with the first frames are in the cache when it is run.  Freed ones
 * are kept, stack and all, in a magazine of the OS thread; what it has too much of
 * goes back to the pool of dedicated stacks.
 */
#include <errno.h>

#include "continuation/nested.h"

enum {
    MAGAZINE_MAX = 64,
    TRIM_EVERY = 256, /* frees of the hottest object, to give back what a deep call touched */
    OBJECT_BYTES = (sizeof(struct vthread_cont) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE,
};

_Thread_local struct nested_thread nested_thread __attribute__((tls_model("initial-exec"), visibility("hidden"), used));

void (*nested_forget)(struct binding *bindings);

static struct vthread_cont *object_of(struct stack *stack)
{
    return (struct vthread_cont *)(void *)(stack->top - SANITIZER_TOP_BYTES - OBJECT_BYTES);
}

static void count(struct nested_thread *self, int32_t change)
{
    /* release: the object was touched for the last time, see life.c */
    atomic_store_release(&self->alive, atomic_load_relaxed(&self->alive) + change);
}

/* Count one that is about to be made.  False, and nothing done: the stacks are gone, or others. */
static bool enter(struct nested_thread *self)
{
    count(self, 1);
    barrier_light(); /* pairs with the heavy one in continuation_stop */
    if (LIKELY(self->epoch == atomic_load_relaxed(&nested_epoch)))
        return true;
    count(self, -1);
    return false;
}

static COLD int enter_slow(struct nested_thread *self)
{
    int error;

    do
        error = nested_enlist(self);
    while (error == 0 && !enter(self));
    return error;
}

static COLD struct vthread_cont *from_pool(void)
{
    struct stack *stack = stack_dedicated_take(&(struct stack_cache){0}, 0);
    struct vthread_cont *c;

    if (stack == NULL)
        return NULL;
    c = object_of(stack);
    sanitizer_memory_usable(c, (size_t)(stack->top - (char *)c));
    c->stack = stack;
    atomic_init(&c->state, NESTED_FREE);
    stack->body = c;
    return c;
}

void nested_drain(struct nested_thread *self, uint32_t n)
{
    struct stack_cache cache = {0};

    for (; n > 0; n--) {
        struct vthread_cont *c = self->magazine;
        struct stack *stack = c->stack;

        self->magazine = c->parent;
        self->count--;
        stack_trim(stack, c);
        stack->body = NULL;
        stack->next_free = cache.dedicated;
        cache.dedicated = stack;
    }
    stack_cache_flush(&cache);
}

int vthread_cont_new(vthread_cont_t **ret_cont, const vthread_cont_scope_t *scope, void *(*fn)(void *arg), void *arg)
{
    struct nested_thread *self = nested_self();
    struct vthread_cont *c;
    int error;

    if (UNLIKELY(ret_cont == NULL) || UNLIKELY(scope == NULL) || UNLIKELY(fn == NULL))
        return EINVAL;
    if (UNLIKELY(!enter(self))) {
        error = enter_slow(self);
        if (error != 0)
            return error;
    }
    c = self->magazine;
    if (LIKELY(c != NULL)) {
        self->magazine = c->parent;
        self->count--;
    } else {
        c = from_pool();
        if (c == NULL) {
            count(self, -1);
            return ENOMEM;
        }
    }
    c->inner = c;
    c->parent = NULL;
    c->scope = scope;
    c->pins = 0;
    c->bindings = NULL;
    sanitizer_memory_usable((char *)c - SWITCH_FIRST_BYTES, SWITCH_FIRST_BYTES);
    sanitizer_side_init(cont_side(c->stack), c->stack->limit, c->stack->top);
    c->frame.cont_sp = switch_prepare((char *)c, &(struct switch_entry){fn, arg, nested_finish});
    atomic_store_release(&c->state, NESTED_SUSPENDED);
    *ret_cont = c;
    return 0;
}

/* What c ran when it was suspended stands by itself from now on. */
static COLD void detach_inner(struct vthread_cont *c)
{
    struct vthread_cont *child = c->inner;

    while (child->parent != c)
        child = child->parent;
    child->parent = NULL;
    child->inner = c->inner;
    child->frame.cont_sp = c->frame.cont_sp;
    atomic_store_release(&child->state, NESTED_SUSPENDED);
}

struct vthread_cont *nested_move(struct vthread_cont *c, void *to)
{
    struct vthread_cont *moved = to;

    *moved = *c;
    moved->inner = moved;
    moved->away = true;
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* a collector finds one or the other, and the same frames */
    c->stack->body = moved;
    atomic_store_relaxed(&c->state, NESTED_FREE);
    return moved;
}

/* Of one that is to be freed: only its place on the stack is used again. */
static COLD struct vthread_cont *come_back(struct vthread_cont *c)
{
    struct vthread_cont *own = object_of(c->stack);

    own->stack = c->stack;
    c->stack->body = own;
    atomic_store_relaxed(&c->state, NESTED_FREE);
    return own;
}

int vthread_cont_free(vthread_cont_t *c)
{
    struct nested_thread *self = nested_self();
    uint8_t state;

    if (c == NULL)
        return 0;
    state = atomic_load_acquire(&c->state); /* pairs with the end of the last run */
    if (UNLIKELY(state != NESTED_DONE)) {
        if (state != NESTED_SUSPENDED)
            return EBUSY;
        if (c->inner != c)
            detach_inner(c);
    }
    if (UNLIKELY(c->bindings != NULL))
        nested_forget(c->bindings);
    if (UNLIKELY(c->away))
        c = come_back(c);
    atomic_store_relaxed(&c->state, NESTED_FREE);
    sanitizer_side_fini(cont_side(c->stack));
    sanitizer_clean(c->stack->limit, c->stack->top);
    if (UNLIKELY(self->epoch != atomic_load_relaxed(&nested_epoch)) && nested_enlist(self) != 0) {
        c->stack->body = NULL;
        stack_give_back(&(struct stack_cache){.dedicated_count = STACK_CACHE_MAX}, c->stack);
        nested_count_freed();
        return 0;
    }
    c->parent = self->magazine;
    self->magazine = c;
    self->count++;
    if (UNLIKELY(++self->frees % TRIM_EVERY == 0))
        stack_trim(c->stack, c);
    if (UNLIKELY(self->count > MAGAZINE_MAX))
        nested_drain(self, MAGAZINE_MAX / 2);
    count(self, -1);
    return 0;
}
