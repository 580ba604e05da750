/* SPDX-License-Identifier: MIT */
/*
 * The roots that bdwgc does not find by itself: see collector.h.
 *
 * The world is stopped, so everything stands still in the middle of whatever it was; what may be
 * half done is said where it is read.  Threads that are not registered run on, and change nothing that is
 * looked at here (vthread/collector.h).
 */
#include "gc/collector.h"
#include "gc/leaks.h"

#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "carrier/carrier.h"

enum { BLOCK_BYTES = 256 * 1024, AHEAD = 8 };

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

/*
 * The threads, by carrier, whose frames have been dealt with: they run, and so their record
 * says where they were when they ran last.
 */
static const struct thread *covered[CARRIERS_MAX + 1];

/*
 * What may be a pointer is gathered in blocks, and each block pushed as one range, to be looked into later.  Pushing
 * the frames as they are would cost a call each, or, eagerly, an entry of the mark stack for every
 * object found: with a million threads that is full again and again, and then bdwgc looks through its whole heap for
 * what did not find room.  Blocks are mapped, with the world stopped, as nobody's lock is needed for that.
 */
static struct {
    struct block {
        struct block *next;
        void *words[BLOCK_BYTES / sizeof(void *) - 1];
    } * first;    /* the one that is being filled; then those that are full */
    size_t count; /* words in the first */
} gathered;

static bool more_room(void)
{
    struct block *b = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (b == MAP_FAILED)
        return false;
    if (gathered.first != NULL)
        GC_push_all(gathered.first->words, gathered.first->words + gathered.count);
    b->next = gathered.first;
    gathered.first = b;
    gathered.count = 0;
    return true;
}

/* Frames have red zones, and what is read may be anything. */
NO_SANITIZE static void push(const void *from, const void *to)
{
    void *const *end = to;

    for (void *const *at = from; at < end; at++) {
        void *word = *at;

        if (LIKELY(word < GC_least_plausible_heap_addr || word > GC_greatest_plausible_heap_addr))
            continue;
        if (UNLIKELY(gathered.first == NULL || gathered.count == LENGTH_OF(gathered.first->words)) && !more_room()) {
            GC_push_all_eager((void *)(uintptr_t)at, (void *)(uintptr_t)end); /* it does not go without */
            return;
        }
        gathered.first->words[gathered.count++] = word;
    }
}

static inline void push_word(void *word)
{
    push(&word, &word + 1);
}

static void push_gathered(void)
{
    if (gathered.first != NULL)
        GC_push_all(gathered.first->words, gathered.first->words + gathered.count);
}

void roots_forget(void)
{
    struct block *b;

    while ((b = gathered.first) != NULL) {
        gathered.first = b->next;
        munmap(b, BLOCK_BYTES);
    }
    gathered.count = 0;
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
    const struct stack *own = stack_at(t->cont.stack); /* p->stack may be that of the one before, or after */
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

    if (UNLIKELY(leaks_wanted()) && leaks_consider(t)) {
        if (extra != NULL) /* its own alone; the copy of its argument may be known to others */
            memory_pass_over(extra->locals);
        return;
    }
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
        enum nested_state state = c != NULL ? atomic_load_relaxed(&c->state) : NESTED_FREE;

        if (state == NESTED_SUSPENDED && !c->away) /* else see continuations.c */
            push_suspended(c);
        else if (state == NESTED_RUNNING)
            push_word(c); /* one that is away; and who runs it may not know it any more */
        else if (state == NESTED_DONE && !c->away)
            push_word(c->value); /* whoever runs it again is told */
    }
}

static void push_block(void *block, size_t bytes)
{
    push(block, (char *)block + bytes / sizeof(void *) * sizeof(void *));
}

void roots_each_range(struct thread *t, void (*fn)(const void *from, const void *to))
{
    struct thread_extra *extra = thread_extra(t);
    const struct stack *s = stack_at(t->cont.stack);
    char *chunk = t->cont.chunk;

    if (chunk != NULL)
        fn(chunk, chunk + t->cont.bytes);
    else
        fn(t->cont.sp, s->top);
    if (t->flags & THREAD_NESTED) {
        const struct vthread_cont *c = extra->nested;

        fn(extra->leaf_sp, c->stack->top);
        for (; c->parent != NULL; c = c->parent)
            fn(c->frame.runner_sp, c->parent->stack->top);
    }
    if (extra != NULL) {
        fn(extra, extra + 1);
        if (extra->copy != NULL)
            fn(extra->copy, (char *)extra->copy + memory_held_bytes(extra->copy));
        if (extra->locals != NULL)
            fn(extra->locals, (char *)extra->locals + memory_held_bytes(extra->locals));
    }
    fn(&t->slot, &t->slot + 1);
}

void roots_push(void)
{
    leaks_begin();
    for (const struct mutator *m = world_stopped; m != NULL; m = m->next)
        push_stopped(m);
    if (thread_table != NULL)
        push_threads();
    if (stack_table != NULL)
        push_bodies();
    memory_each_held(push_block);
    push_gathered();
    memset(covered, 0, sizeof covered);
}
