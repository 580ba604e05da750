/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vthread/gc.h>

#include "base/futex.h"
#include "base/memory.h"
#include "gc/collector.h"
#include "gc/leaks.h"
#include "vthread/work.h"

enum {
    KIND_WITHOUT_POINTERS = 0 /* of GC_MALLOC_ATOMIC: GC_I_PTRFREE */,
    SPARE = 4096,
    FRAMES_MAX = 32,
    LINE_BYTES = 400,
    WIPED_BYTES = 1024
};

leaks_word leaks_are_wanted;

/*
 * Addresses of objects are inverted wherever the finder keeps them: a copy that it leaves behind, in a vector
 * register that a signal or the dynamic linker then saves on the stack, would be a root in the next search.
 */
typedef uintptr_t hidden;

static inline hidden hide(void *object)
{
    return ~(hidden)object;
}

static inline void *shown(hidden object)
{
    return (void *)~object;
}

/* Known only to the finder: who waits, since when, for what. */
struct candidate {
    struct thread *thread;
    uint64_t word;
    hidden object;
    bool alive;
};

static struct {
    struct lock busy; /* one search at a time */
    bool done;        /* a collection has looked */
    size_t count;     /* of candidates */
    size_t room;
    struct candidate *list;
    /* Objects that are marked, and not looked into yet; room for all that the heap can have. */
    hidden *marked;
    size_t marked_count;
    size_t marked_room;
} leaks;

/* ---- with the world stopped ---- */

void leaks_begin(void)
{
    leaks.count = 0;
}

/*
 * Frames that others may have pointers into, and so reach what they refer to without any root: on stacks that are
 * dedicated, as those of continuations are.
 */
static bool may_be_shared(const struct thread *t)
{
    return t->flags & (THREAD_DEDICATED | THREAD_NESTED);
}

/* Tasks of executors and subtasks are interrupted by the library, too: by a cancellation, a failure, a deadline. */
static bool may_be_cancelled(const struct thread *t, uint64_t w)
{
    return thread_work(t) != NULL && !(w & WORD_DEAF);
}

/* Where a parked thread waits: only in the queue of a sync object is a slot the object. */
static bool waits_for_object(struct thread *t, uint64_t w)
{
    struct thread_waiter *waiter = &thread_waiters[thread_index(t)];

    return word_state(w) == WORD_PARKED && (w & WORD_INTERNAL) && !(t->flags & (THREAD_PLATFORM | THREAD_IN_PLACE)) &&
           !may_be_shared(t) && !may_be_cancelled(t, w) && atomic_load_relaxed(&t->phase) == VTHREAD_PARKING &&
           waiter->number == word_sequence(w) && atomic_load_relaxed(&waiter->state) == WAIT_QUEUED;
}

bool leaks_consider(struct thread *t)
{
    uint64_t w = atomic_load_relaxed(&t->word);
    void *object;

    if (!waits_for_object(t, w) || leaks.count == leaks.room)
        return false;
    object = GC_base(atomic_load_relaxed(&t->slot));
    if (object == NULL)
        return false;
    leaks.list[leaks.count++] = (struct candidate){.thread = t, .word = w, .object = hide(object)};
    return true;
}

static void mark(void *word)
{
    void *object;

    if (word < GC_least_plausible_heap_addr || word > GC_greatest_plausible_heap_addr)
        return;
    object = GC_base(word);
    if (object == NULL || GC_is_marked(object))
        return;
    GC_set_mark_bit(object);
    leaks.marked[leaks.marked_count++] = hide(object);
}

NO_SANITIZE static void mark_range(const void *from, const void *to)
{
    for (void *const *at = from; (const void *)(at + 1) <= to; at++)
        mark(*at);
}

static void mark_range_of_continuation(const void *from, const void *to, void *unused)
{
    (void)unused;
    mark_range(from, to);
}

static void mark_all_from(struct thread *t)
{
    roots_each_range(t, mark_range);
    while (leaks.marked_count > 0) {
        void *object = shown(leaks.marked[--leaks.marked_count]);
        size_t bytes;
        int kind = GC_get_kind_and_size(object, &bytes);

        if (continuations_are((unsigned)kind))
            continuations_each_range(object, mark_range_of_continuation, NULL);
        else if (kind != KIND_WITHOUT_POINTERS)
            mark_range(object, (char *)object + bytes);
    }
}

/* Overwrite what the functions above have left on this stack, which the next search will look into. */
NOINLINE static void wipe(void)
{
    char frame[WIPED_BYTES];

    memset(frame, 0, sizeof frame);
    __asm__ volatile("" : : "r"(frame) : "memory");
}

NOINLINE static void find_with_world_stopped(void)
{
    bool found = true;

    while (found) {
        found = false;
        for (size_t i = 0; i < leaks.count; i++) {
            struct candidate *c = &leaks.list[i];

            if (!c->alive && GC_is_marked(shown(c->object))) {
                c->alive = found = true;
                mark_all_from(c->thread);
            }
        }
    }
    for (size_t i = 0; i < leaks.count; i++)
        if (!leaks.list[i].alive)
            mark_all_from(leaks.list[i].thread);
}

void leaks_find(void)
{
    if (!leaks_wanted())
        return;
    find_with_world_stopped();
    wipe();
    leaks.done = true;
}

/* ---- searching ---- */

static void *reserve(size_t bytes)
{
    if (fault_point(FAULT_RESERVE))
        return NULL;

    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p != MAP_FAILED ? p : NULL;
}

static void release(void *p, size_t bytes)
{
    if (p != NULL)
        munmap(p, bytes);
}

/* One collection that looks for leaks.  Those found come first in the list, by thread.  0 or an error. */
static int search(void)
{
    size_t n = 0;

    leaks.done = false;
    atomic_store_seq_cst(&leaks_are_wanted, true);
    GC_gcollect();
    atomic_store_seq_cst(&leaks_are_wanted, false);
    if (!leaks.done)
        return ENOTSUP;
    for (size_t i = 0; i < leaks.count; i++)
        if (!leaks.list[i].alive)
            leaks.list[n++] = leaks.list[i];
    leaks.count = n;
    return 0;
}

/* What both searches have found, in the same wait; both lists are in the order of the records. */
static size_t keep_those_of(const struct candidate *before, size_t count)
{
    size_t kept = 0;
    size_t j = 0;

    for (size_t i = 0; i < leaks.count; i++) {
        while (j < count && before[j].thread < leaks.list[i].thread)
            j++;
        if (j < count && before[j].thread == leaks.list[i].thread && before[j].word == leaks.list[i].word)
            leaks.list[kept++] = leaks.list[i];
    }
    return kept;
}

static int search_twice(void)
{
    struct candidate *before;
    size_t bytes, count;
    int error = search();

    if (error != 0 || leaks.count == 0)
        return error;
    count = leaks.count;
    bytes = count * sizeof *before;
    before = reserve(bytes);
    if (before == NULL)
        return ENOMEM;
    memcpy(before, leaks.list, bytes);
    error = search();
    if (error == 0)
        leaks.count = keep_those_of(before, count);
    release(before, bytes);
    return error;
}

static int find(vthread_leak_t *ret_leaks, size_t n)
{
    size_t records = record_count();
    int error;

    /* Those that come later are roots, as ever. */
    leaks.room = records + SPARE;
    leaks.marked_room = GC_get_heap_size() / 16 + (1 << 20);
    leaks.list = reserve(leaks.room * sizeof *leaks.list);
    leaks.marked = reserve(leaks.marked_room * sizeof *leaks.marked);
    error = leaks.list != NULL && leaks.marked != NULL ? search_twice() : ENOMEM;
    for (size_t i = 0; error == 0 && i < leaks.count && i < n; i++) {
        struct candidate *c = &leaks.list[i];

        ret_leaks[i] = (vthread_leak_t){.thread = thread_handle_of(c->thread, c->word)};
    }
    release(leaks.list, leaks.room * sizeof *leaks.list);
    release(leaks.marked, leaks.marked_room * sizeof *leaks.marked);
    return error == 0 ? (int)leaks.count : -error;
}

int vthread_find_leaks(vthread_leak_t *ret_leaks, size_t n)
{
    int found = collector_start();

    if (ret_leaks == NULL && n > 0)
        return -EINVAL;
    if (found != 0)
        return -found;
    if (!lock_try(&leaks.busy))
        return -EBUSY;
    found = find(ret_leaks, n);
    lock_release(&leaks.busy);
    return found;
}

static void print_one(int fd, const vthread_leak_t *leak)
{
    char line[LINE_BYTES];
    char name[256];
    void *pcs[FRAMES_MAX];
    int depth = vthread_backtrace(leak->thread, pcs, FRAMES_MAX);
    ssize_t ignored;

    if (vthread_name(leak->thread, name, sizeof name) != 0)
        strcpy(name, "?");
    snprintf(line, sizeof line, "thread %s, %s, waits for ever: nobody can reach what it waits for\n", name,
             vthread_state_name(vthread_state(leak->thread)));
    ignored = write(fd, line, strlen(line));
    (void)ignored;
    if (depth > 0)
        backtrace_symbols_fd(pcs, depth, fd);
}

int vthread_print_leaks(int fd)
{
    enum { AT_ONCE = 1000 };
    vthread_leak_t *found = memory_alloc(AT_ONCE * sizeof *found);
    int n = found != NULL ? vthread_find_leaks(found, AT_ONCE) : -ENOMEM;

    for (int i = 0; i < n && i < AT_ONCE; i++)
        print_one(fd, &found[i]);
    memory_free(found);
    return n;
}
