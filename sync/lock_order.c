/* SPDX-License-Identifier: MIT */
/*
 * A graph of locks: an edge from each to those that were taken while it was held.  What was
 * never reported has no cycle.
 */
#include "sync/lock_order.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/panic.h"

enum { HELD_MAX = 16 }; /* of one thread; more are not watched */

/* What a thread holds; its own.  Kept for whoever has the record next, and found from here by leak checkers. */
struct holder {
    uint32_t index; /* first, for the comparison */
    uint32_t generation;
    uint32_t count;
    const void *locks[HELD_MAX];
};

struct edge {
    struct node *to;
    struct edge *next;
    bool reported; /* against the order */
};

struct node {
    const void *lock; /* first, for the comparison */
    struct edge *after;
    struct node *next_to_visit;
    uint64_t visit;
};

static struct {
    pthread_mutex_t lock; /* walks may be long */
    void *nodes;          /* of tsearch(3), by address */
    void *holders;        /* the same, by the thread's index */
    uint64_t visits;
} graph = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int by_lock(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (const void *const *)a;
    uintptr_t y = (uintptr_t) * (const void *const *)b;

    return (x > y) - (x < y);
}

static struct node *node_find(const void *lock)
{
    struct node **found = tfind(&lock, &graph.nodes, by_lock);

    return found != NULL ? *found : NULL;
}

static struct node *node_get(const void *lock)
{
    struct node *node = node_find(lock);

    if (node != NULL || (node = memory_alloc(sizeof *node)) == NULL)
        return node;
    node->lock = lock;
    if (tsearch(node, &graph.nodes, by_lock) != NULL)
        return node;
    memory_free(node);
    return NULL;
}

static struct edge *edge_find(struct node *from, struct node *to)
{
    struct edge *edge = from->after;

    while (edge != NULL && edge->to != to)
        edge = edge->next;
    return edge;
}

/* Has `to` been taken while `from` was held, or by way of others? */
static bool leads_to(struct node *from, struct node *to)
{
    struct node *last = from;

    from->visit = ++graph.visits;
    from->next_to_visit = NULL;
    for (struct node *node = from; node != NULL; node = node->next_to_visit) {
        if (node == to)
            return true;
        for (struct edge *edge = node->after; edge != NULL; edge = edge->next) {
            if (edge->reported || edge->to->visit == graph.visits)
                continue;
            edge->to->visit = graph.visits;
            edge->to->next_to_visit = NULL;
            last->next_to_visit = edge->to;
            last = edge->to;
        }
    }
    return false;
}

/* One is taken while the other is held.  False: against the order, and not reported before. */
static bool add_locked(const void *held, const void *lock)
{
    struct node *from = node_get(held);
    struct node *to = node_get(lock);
    struct edge *edge;

    if (from == NULL || to == NULL || edge_find(from, to) != NULL || (edge = memory_alloc(sizeof *edge)) == NULL)
        return true;
    edge->reported = leads_to(to, from);
    edge->to = to;
    edge->next = from->after;
    from->after = edge;
    return !edge->reported;
}

/* ---- what threads hold ---- */

static int by_index(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static struct holder *holder_get_locked(uint32_t index)
{
    struct holder **found = tfind(&index, &graph.holders, by_index);
    struct holder *made;

    if (found != NULL)
        return *found;
    made = memory_alloc(sizeof *made);
    if (made == NULL)
        return NULL;
    made->index = index;
    if (tsearch(made, &graph.holders, by_index) != NULL)
        return made;
    memory_free(made);
    return NULL;
}

/* NULL: no memory. */
static struct holder *holder_of(struct thread *self)
{
    uint32_t generation = word_generation(atomic_load_relaxed(&self->word)); /* our own */
    struct holder *holder;

    pthread_mutex_lock(&graph.lock);
    holder = holder_get_locked(thread_index(self));
    pthread_mutex_unlock(&graph.lock);
    if (holder != NULL && holder->generation != generation) {
        holder->generation = generation;
        holder->count = 0;
    }
    return holder;
}

void lock_order_wants_slow(struct thread *self, const void *lock, const char *call)
{
    struct holder *holder = holder_of(self);

    for (uint32_t i = 0; holder != NULL && i < holder->count; i++) {
        bool right;

        if (holder->locks[i] == lock)
            continue;
        pthread_mutex_lock(&graph.lock);
        right = add_locked(holder->locks[i], lock);
        pthread_mutex_unlock(&graph.lock);
        if (!right)
            misuse(call,
                   "wants the lock %p while it holds %p; before, they were taken in the other order, and two threads "
                   "that do so can wait for each other for ever: take them in one order everywhere",
                   lock, holder->locks[i]);
    }
}

void lock_order_has_slow(struct thread *self, const void *lock)
{
    struct holder *holder = holder_of(self);

    if (holder != NULL && holder->count < HELD_MAX)
        holder->locks[holder->count++] = lock;
}

void lock_order_lets_go_slow(struct thread *self, const void *lock)
{
    struct holder *holder = holder_of(self);

    for (uint32_t i = holder != NULL ? holder->count : 0; i > 0; i--)
        if (holder->locks[i - 1] == lock) {
            holder->locks[i - 1] = holder->locks[--holder->count];
            return;
        }
}

/* ---- forgetting ---- */

static const struct node *forgotten;

static void remove_edges_to(const void *at, VISIT which, int depth)
{
    struct node *node = *(struct node *const *)at;

    (void)depth;
    if (which != postorder && which != leaf)
        return;
    for (struct edge **link = &node->after; *link != NULL;) {
        struct edge *edge = *link;

        if (edge->to == forgotten) {
            *link = edge->next;
            memory_free(edge);
        } else {
            link = &edge->next;
        }
    }
}

void lock_order_forget_slow(const void *lock)
{
    struct node *node;

    pthread_mutex_lock(&graph.lock);
    node = node_find(lock);
    if (node != NULL) {
        forgotten = node;
        twalk(graph.nodes, remove_edges_to);
        tdelete(node, &graph.nodes, by_lock);
        for (struct edge *edge = node->after, *next; edge != NULL; edge = next) {
            next = edge->next;
            memory_free(edge);
        }
        memory_free(node);
    }
    pthread_mutex_unlock(&graph.lock);
}
