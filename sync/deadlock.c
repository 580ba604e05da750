/* SPDX-License-Identifier: MIT */
/*
 * Threads that wait for each other's locks: a cycle of edges from a thread to the owner of
 * what it waits for.
 *
 * Nobody is stopped: owner.h says how a thread is looked at that may go on at any moment.
 *
 * A cycle is looked at twice.  If both looks are the same, every one of its threads was parked, in
 * the same wait, from its first look to its second, so at one instant between the two all were; and
 * an owner who is parked lets nothing go.  Nor does one who has ended: it had, in both looks, as the same
 * thread, so that the second look at its lock came after its end.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <vthread/sync.h>

#include "base/memory.h"
#include "sync/owner.h"
#include "sync/sync_internal.h"

/* From a thread that waits to the owner of what it waits for. */
struct edge {
    uint64_t word;
    uint64_t owner_word; /* looked at after the lock */
    const void *object;
    uint32_t thread;
    uint32_t owner;
};

struct finding {
    vthread_deadlock_t *ret;
    size_t n;
    size_t found;
    uint32_t count; /* of records; later ones are in no cycle that was there before */
    uint32_t cycles;
    struct probe probe;
};

/* Waits for a lock, with nothing but that to end it? */
static bool waits_for_ever(struct thread *t, uint64_t w)
{
    uint8_t phase = atomic_load_relaxed(&t->phase);

    return word_state(w) == WORD_PARKED && (w & WORD_INTERNAL) && (phase == VTHREAD_PARKING || phase == VTHREAD_PINNED);
}

/* The same wait of the same life?  Permits and the like may have come meanwhile. */
static bool is_same_wait(uint64_t a, uint64_t b)
{
    uint64_t bits = ~(uint64_t)0 << WORD_GENERATION_SHIFT | WORD_SEQUENCE_MASK | WORD_STATE_MASK;

    return ((a ^ b) & bits) == 0;
}

bool lock_wait_look(struct probe *probe, struct thread *t, uint64_t w, struct lock_wait *ret_wait)
{
    uint32_t index = thread_index(t);
    enum wait_kind kind = atomic_load_relaxed(&thread_waiters[index].kind);
    const void *object = atomic_load_relaxed(&t->slot);
    uint32_t value, owner;

    if (kind == WAIT_FOR_ANYTHING || !probe_read(probe, object, &value, sizeof value))
        return false;
    atomic_fence_seq_cst(); /* all of that before: */
    if (!is_same_wait(atomic_load_relaxed(&t->word), w))
        return false;
    owner = kind == WAIT_FOR_MUTEX ? value & MUTEX_OWNER : rwlock_writer(value);
    if (owner == index || owner >= record_count()) /* its own: handed over, and about to be woken */
        owner = 0;
    *ret_wait = (struct lock_wait){.object = object,
                                   .kind = kind,
                                   .owner = owner,
                                   .owner_word = owner != 0 ? atomic_load_acquire(&thread_table[owner].word) : 0};
    return true;
}

static bool look(struct finding *f, uint32_t index, struct edge *ret_edge)
{
    struct thread *t = &thread_table[index];
    uint64_t w = atomic_load_acquire(&t->word); /* what it waits for was stored before it parked */
    struct lock_wait wait;

    if (!waits_for_ever(t, w) || !lock_wait_look(&f->probe, t, w, &wait) || wait.owner == 0 || wait.owner >= f->count)
        return false;
    *ret_edge = (struct edge){
        .word = w, .owner_word = wait.owner_word, .object = wait.object, .thread = index, .owner = wait.owner};
    return true;
}

static bool owner_has_ended(const struct edge *edge)
{
    return word_state(edge->owner_word) == WORD_TERMINATED;
}

static bool is_same(const struct edge *a, const struct edge *b)
{
    return a->word == b->word && a->object == b->object && a->owner == b->owner && a->owner_word == b->owner_word;
}

static void report(struct finding *f, const struct edge *edges, size_t length)
{
    for (size_t i = 0; i < length; i++, f->found++)
        if (f->found < f->n)
            f->ret[f->found] = (vthread_deadlock_t){
                .thread = thread_handle_of(&thread_table[edges[i].thread], edges[i].word),
                .object = edges[i].object,
                .owner = owner_has_ended(&edges[i])
                             ? NULL
                             : thread_handle_of(&thread_table[edges[i].owner], edges[i].owner_word),
                .cycle = f->cycles,
            };
    f->cycles++;
}

/* Look along the cycle from a thread: its length; 0: it is none.  edges: with room for so many. */
static size_t follow(struct finding *f, uint32_t start, struct edge *edges, size_t room)
{
    uint32_t at = start;
    size_t length = 0;

    do {
        struct edge edge;

        if (length == room || !look(f, at, &edge))
            return 0;
        edges[length++] = edge;
        at = owner_has_ended(&edge) ? start : edge.owner; /* the last edge of all */
    } while (at != start);
    return length;
}

/* 0 or ENOMEM. */
static int check(struct finding *f, uint32_t start, size_t length)
{
    struct edge *edges = memory_alloc(2 * length * sizeof *edges);
    struct edge *again = edges + length;
    bool same;

    if (edges == NULL)
        return ENOMEM;
    same = follow(f, start, edges, length) == length && follow(f, start, again, length) == length;
    for (size_t i = 0; same && i < length; i++)
        same = is_same(&edges[i], &again[i]);
    if (same)
        report(f, edges, length);
    memory_free(edges);
    return 0;
}

/* Walk from owner to owner: everybody has one at most.  seen: in whose walk a thread has come up, and where. */
struct seen {
    uint32_t walk;
    uint32_t at;
};

static int walk(struct finding *f, uint32_t start, struct seen *seen)
{
    uint32_t index = start;
    uint32_t steps = 0;
    struct edge edge;

    while (seen[index].walk == 0 && look(f, index, &edge)) {
        seen[index] = (struct seen){start, steps++};
        if (owner_has_ended(&edge))
            return check(f, index, 1);
        index = edge.owner;
    }
    return seen[index].walk == start ? check(f, index, steps - seen[index].at) : 0;
}

static int find(struct finding *f)
{
    struct seen *seen;
    int error;

    f->count = record_count();
    seen = memory_alloc((f->count + 1) * sizeof *seen);
    error = seen != NULL ? 0 : ENOMEM;
    for (uint32_t i = 1; error == 0 && i < f->count; i++)
        error = walk(f, i, seen);
    memory_free(seen);
    return error;
}

int vthread_find_deadlocks(vthread_deadlock_t *ret_deadlocks, size_t n)
{
    struct finding f = {.ret = ret_deadlocks, .n = n};
    int error;

    if (ret_deadlocks == NULL && n > 0)
        return -EINVAL;
    error = probe_open(&f.probe);
    if (error != 0)
        return -error;
    error = runtime_begin_look_anywhere();
    if (error == 0) {
        error = find(&f);
        runtime_end_look_anywhere();
    }
    probe_close(&f.probe);
    return error == 0 ? (int)f.found : -error;
}

static void print(int fd, const vthread_deadlock_t *d)
{
    char waiter[64] = "?";
    char owner[64] = "?";
    char line[256];
    int saved = errno;
    int n;
    ssize_t ignored;

    (void)vthread_name(d->thread, waiter, sizeof waiter);
    (void)vthread_name(d->owner, owner, sizeof owner);
    if (d->owner != NULL)
        n = snprintf(line, sizeof line, "deadlock %u: thread %s waits for the lock %p, which thread %s owns\n",
                     d->cycle + 1, waiter, d->object, owner);
    else
        n = snprintf(line, sizeof line, "deadlock %u: thread %s waits for the lock %p, whose owner has ended\n",
                     d->cycle + 1, waiter, d->object);
    ignored = write(fd, line, (size_t)n);
    (void)ignored;
    errno = saved;
}

int vthread_print_deadlocks(int fd)
{
    vthread_deadlock_t *found;
    int room = vthread_find_deadlocks(NULL, 0);
    int n;

    if (room <= 0)
        return room;
    found = memory_alloc((size_t)room * sizeof *found);
    if (found == NULL)
        return -ENOMEM;
    n = vthread_find_deadlocks(found, (size_t)room);
    for (int i = 0; i < n && i < room; i++)
        print(fd, &found[i]);
    memory_free(found);
    return n;
}
