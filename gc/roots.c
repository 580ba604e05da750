/* SPDX-License-Identifier: MIT */
/*
 * The roots that bdwgc does not find by itself: see collector.h.
 *
 * The world is stopped, so everything stands still in the middle of whatever it was; what may be
 * half done is said where it is read.  Threads that are not registered run on, and change nothing that is
 * looked at here (vthread/collector.h).
 */
#include "gc/collector.h"

#include <string.h>

#include "base/memory.h"
#include "carrier/carrier.h"

enum { WORDS = 512, AHEAD = 8 };

/*
 * The threads, by carrier, whose frames have been dealt with: they run, and so their record
 * says where they were when they ran last.
 */
static const struct thread *covered[CARRIERS_MAX + 1];

/*
 * Single words are gathered: each push has a cost of its own.  Cleared in the end: bdwgc has pushed the
 * static variables before, but looks into them only after this.
 */
static struct {
    uint32_t count;
    void *list[WORDS];
} words;

static void push(const void *from, const void *to)
{
    if (from < to)
        GC_push_all_eager((void *)(uintptr_t)from, (void *)(uintptr_t)to);
}

static void push_words(void)
{
    push(words.list, words.list + words.count);
    words.count = 0;
}

static inline void push_word(void *word)
{
    if (word == NULL)
        return;
    words.list[words.count++] = word;
    if (UNLIKELY(words.count == WORDS))
        push_words();
}

/* ---- stacks ---- */

/* From sp up; all of it, if that is not known. */
static void push_stack(const struct stack *s, const void *sp)
{
    if (s->top != NULL)
        push(sp != NULL && stack_contains(s, sp) ? sp : s->limit, s->top);
}

/* The lower of two places of which one is where the frames begin; NULL: neither is in the stack. */
static const void *lower(const struct stack *s, const void *a, const void *b)
{
    if (!stack_contains(s, a))
        return stack_contains(s, b) ? b : NULL;
    return stack_contains(s, b) && (const char *)b < (const char *)a ? b : a;
}

/*
 * The continuations around c, from its parent to the outermost, but not beyond `last` (NULL: all).
 * Returns where the runner of the outermost stands.
 */
static const void *push_parents(const struct vthread_cont *c, const struct vthread_cont *last)
{
    while (c->parent != NULL && c != last) {
        push_stack(c->parent->stack, c->frame.runner_sp);
        c = c->parent;
    }
    return c->frame.runner_sp;
}

/* Those from c out, up to but without `until`, of which nobody knows where exactly they stand. */
static void push_wholly(const struct vthread_cont *c, const struct vthread_cont *until)
{
    for (; c != NULL && c != until; c = c->parent)
        push_stack(c->stack, NULL);
}

static bool is_around(const struct vthread_cont *outer, const struct vthread_cont *c)
{
    for (; c != NULL; c = c->parent)
        if (c == outer)
            return true;
    return false;
}

/* ---- who was stopped ---- */

/*
 * Continuations that the OS thread is inside of.  On the stack of one of them (body) bdwgc scans itself.
 * Returns where the outermost has been run from; NULL: there is none, or that is not known.
 */
static const void *push_continuations(const struct mutator *m, const struct vthread_cont *innermost)
{
    const struct vthread_cont *body = m->on != NULL ? m->on->body : NULL;

    if (body == NULL) {
        push_wholly(innermost, NULL); /* just about to be entered, or a signal came in */
        return innermost != NULL ? push_parents(innermost, NULL) : NULL;
    }
    /* About to enter an inner one, or to leave for an outer one. */
    if (innermost != NULL && !is_around(innermost, body))
        push_wholly(innermost, body);
    return push_parents(body, NULL);
}

static void push_mounted(const struct mutator *m, struct processor *p, struct thread *t)
{
    const struct stack *own = p->stack;
    struct thread_extra *extra = t->flags & THREAD_NESTED ? thread_extra(t) : NULL;
    const struct vthread_cont *left = extra != NULL ? extra->nested : NULL;

    if (m->on_signal_stack) {
        push_wholly(left != NULL ? left : m->innermost, NULL);
        push_stack(own, NULL);
    } else if (m->on == own) {
        push_wholly(m->innermost, NULL);
    } else if (m->on != NULL && m->on->body != NULL) {
        push_stack(own, push_continuations(m, m->innermost));
    } else if (m->on != NULL) {
        return; /* still on the stack of the one before, which has handed over: this one stands where its record says */
    } else if (left != NULL) { /* between the leaf and the carrier */
        push_stack(left->stack, lower(left->stack, extra->leaf_sp, p->frame.cont_sp));
        push_stack(own, push_parents(left, NULL));
    } else {
        push_stack(own, lower(own, t->cont.sp, p->frame.cont_sp));
    }
    covered[t->carrier] = t;
}

static void push_stopped(const struct mutator *m)
{
    struct processor *p = m->processor;

    if (p == NULL) {
        const void *from = push_continuations(m, m->innermost);

        if (m->on != NULL && from != NULL)
            push(from, m->bottom);
        return;
    }
    if (m->on != NULL) /* what the carrier itself was at */
        push(p->frame.runner_sp, m->bottom);
    if (p->current != NULL)
        push_mounted(m, p, p->current);
}

/* ---- threads ---- */

static void push_frames(const struct thread *t)
{
    const struct cont *cont = &t->cont;
    char *chunk = cont->chunk;

    /* Copied completely before it is set, and given up only once they are back: one of the two has them. */
    if (chunk != NULL)
        push(chunk, chunk + cont->bytes);
    else
        push_stack(stack_at(cont->stack), cont->sp);
    if (UNLIKELY(t->flags & THREAD_NESTED)) {
        struct thread_extra *extra = thread_extra(t);

        push_stack(extra->nested->stack, extra->leaf_sp);
        push_parents(extra->nested, NULL);
    }
}

static void push_thread(struct thread *t)
{
    enum word_state state = word_state(atomic_load_relaxed(&t->word));
    struct thread_cold *cold = thread_cold(t);
    struct thread_extra *extra = thread_extra(t);

    push_word(atomic_load_relaxed(&t->slot));
    push_word(atomic_load_relaxed(&cold->value)); /* or the function, or its work: code and held memory */
    if (UNLIKELY(extra != NULL))
        push(extra, extra + 1);
    if (UNLIKELY(t->in_room))
        push(&thread_rooms[thread_index(t)], &thread_rooms[thread_index(t)] + 1);
    if (t->cont.sp != NULL && !(t->flags & THREAD_PLATFORM) && state != WORD_TERMINATED && state != WORD_NEW &&
        covered[t->carrier] != t)
        push_frames(t);
}

static void push_threads(void)
{
    uint32_t count = record_count();

    for (uint32_t i = 1; i < count; i++) {
        if (LIKELY(i + 2 * AHEAD < count)) {
            const struct thread *ahead = &thread_table[i + AHEAD];

            __builtin_prefetch(ahead + AHEAD);
            __builtin_prefetch(thread_cold(ahead));
            if (ahead->cont.chunk != NULL) {
                __builtin_prefetch(ahead->cont.chunk);
                __builtin_prefetch((char *)ahead->cont.chunk + CACHE_LINE);
                __builtin_prefetch((char *)ahead->cont.chunk + 2 * CACHE_LINE);
                __builtin_prefetch((char *)ahead->cont.chunk + 3 * CACHE_LINE);
            }
        }
        push_thread(&thread_table[i]);
    }
    push_words();
    memset(&words, 0, sizeof words);
}

/* ---- suspended continuations ---- */

/* From where it left off to its own stack's top: the inner ones first, if it yielded from inside those. */
static void push_suspended(const struct vthread_cont *c)
{
    push_stack(c->inner->stack, c->frame.cont_sp);
    push_parents(c->inner, c);
}

static void push_bodies(void)
{
    uint32_t count = stack_count();

    for (uint32_t i = 1; i <= count; i++) {
        struct vthread_cont *c = stack_at(i)->body;

        if (c != NULL && atomic_load_relaxed(&c->state) == NESTED_SUSPENDED)
            push_suspended(c);
    }
}

static void push_block(void *block, size_t bytes)
{
    push(block, (char *)block + bytes / sizeof(void *) * sizeof(void *));
}

void roots_push(void)
{
    for (const struct mutator *m = world_stopped; m != NULL; m = m->next)
        push_stopped(m);
    if (thread_table != NULL)
        push_threads();
    if (stack_table != NULL)
        push_bodies();
    memory_each_held(push_block);
    memset(covered, 0, sizeof covered);
}
