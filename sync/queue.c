/* SPDX-License-Identifier: MIT */
/*
 * Queues of elements: a ring, and those who wait to put or to take.
 *
 * After Go's channels (runtime/chan.go and select.go).  Everything of a queue is
 * under its mutex; whoever finds a counterpart waiting hands the element over by
 * way of that one's node, and wakes it once the mutex has been released.  (A mutex, for
 * where two carriers want the queue all the time, it is best that one of them has it for a
 * while and the other one does something else; a spinning lock would go to and fro.)
 *
 * Where even so they meet there all the time, the threads do less between two operations than
 * a line of memory takes from one CPU to the other.  Then whoever is woken is kept by the
 * waker's carrier (carrier_keep), so that all of them gather on one; every so often the
 * others may have a try.
 *
 * Nodes have room for the element, for frames of who waits may be elsewhere.  They are in the thread's room
 * (vthread/thread.h), or on the heap: those of a select, and for large elements.
 *
 * States of a node that waits for one queue
 *   WAITING   -> COMPLETED  counterpart, with the mutex: off the list, result and element are there
 *   COMPLETED -> OVER       counterpart, without it, as his last touch: the node is the waiter's again
 *   WAITING   -> (gone)     waiter that gives up, with the mutex
 * So the waiter needs no lock to learn that it is over, and whoever made it so is through
 * with the queue: the taker of the last element may free it.
 *
 * A select has one node in each of its queues.  Which of them is done first is decided by
 * one word of the select, for its nodes are under different mutexes: whoever
 * wants to complete a node must first have moved `winner` from NOBODY to that node's
 * case.  The one who waits gives up in the same way.
 *
 * Invariants, with the mutex held
 *   1. a taker waits only while count == 0, a putter only while count == capacity
 *      (nodes of selects that have been decided elsewhere do not count);
 *   2. putters' elements are younger than all in the ring.
 */
#include <vthread/queue.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/panic.h"
#include "sync/sync_internal.h"

enum {
    RING_FIRST = 16,   /* elements that an unbounded queue begins with */
    CROWDED_NS = 5000, /* between two times that a carrier had to wait for another one: soon */
    CROWDED_TIMES = 8, /* if that comes so often in a row, ... */
    KEEP = 1000,       /* ... so many threads are to stay with whoever wakes them */
};

enum node_state { WAITING, COMPLETED, OVER };

enum { NOBODY = UINT32_MAX, GIVEN_UP = UINT32_MAX - 1 };

struct select {
    ATOMIC(uint32_t) winner; /* NOBODY, GIVEN_UP, or the index of the case that was done */
    ATOMIC(uint32_t) number; /* of the wait */
};

struct node {
    struct node *next; /* of a ring of nodes that wait */
    struct node *previous;
    struct thread *thread;
    struct select *select; /* NULL: waits for this alone */
    uint32_t number;       /* of the wait, if it has no select */
    uint32_t index;        /* of the case */
    bool listed;
    ATOMIC(uint8_t) state; /* enum node_state, if it has no select */
    int result;            /* once completed: 0 or ECANCELED */
    _Alignas(max_align_t) char elem[];
};

/* Of elements so small, a thread that waits for one queue has the node in its room. */
enum { SMALL_ELEM_BYTES = sizeof(struct thread_room) - sizeof(struct node) };

_Static_assert(SMALL_ELEM_BYTES == 32, "what vthread/queue.h says");

struct waiters {
    struct node *first;
};

struct vthread_queue {
    struct mutex mutex;
    bool closed;
    uint8_t crowded;      /* so many times in a row a carrier had to wait for the mutex soon after the last time */
    uint16_t keep;        /* so many of those woken next are kept by the waker's carrier, ... */
    uint32_t keep_epoch;  /* ... in this second */
    int64_t contended_ns; /* when a carrier had to wait for the mutex last */
    uint64_t random;      /* of selects in which this is the first queue */
    size_t elem_bytes;
    size_t capacity;      /* SIZE_MAX: grows */
    size_t room;          /* elements that the ring has memory for */
    size_t head;          /* index of the oldest */
    ATOMIC(size_t) count; /* read by anybody */
    char *ring;
    struct waiters putters;
    struct waiters takers;
};

/* Two carriers at a time want it.  Do they again and again? */
static NOINLINE void queue_lock_slow(vthread_queue_t *q, struct thread *self)
{
    int64_t now_ns;

    mutex_acquire_ours_slow(&q->mutex, self);
    now_ns = clock_monotonic_ns();
    q->crowded = now_ns - q->contended_ns < CROWDED_NS ? q->crowded + 1 : 0;
    q->contended_ns = now_ns;
    if (q->crowded == CROWDED_TIMES) {
        q->crowded = 0;
        q->keep = KEEP;
        q->keep_epoch = atomic_load_relaxed(&pool.epoch);
    }
}

static void queue_lock(vthread_queue_t *q, struct thread *self)
{
    if (UNLIKELY(!mutex_try(&q->mutex, self)))
        queue_lock_slow(q, self);
}

static void queue_unlock(vthread_queue_t *q, struct thread *self)
{
    mutex_release(&q->mutex, self);
}

static inline size_t queue_count(vthread_queue_t *q)
{
    return atomic_load_relaxed(&q->count);
}

static inline void copy(vthread_queue_t *q, void *to, const void *from)
{
    if (LIKELY(q->elem_bytes == sizeof(void *)))
        memcpy(to, from, sizeof(void *)); /* inline */
    else
        memcpy(to, from, q->elem_bytes);
}

/* ---- lists of nodes; all with the mutex ---- */

static void append(struct waiters *list, struct node *node)
{
    struct node *first = list->first;

    node->listed = true;
    if (first == NULL) {
        list->first = node->next = node->previous = node;
        return;
    }
    node->next = first;
    node->previous = first->previous;
    first->previous->next = node;
    first->previous = node;
}

static void take_off(struct waiters *list, struct node *node)
{
    node->listed = false;
    if (node->next == node) {
        list->first = NULL;
        return;
    }
    node->previous->next = node->next;
    node->next->previous = node->previous;
    if (list->first == node)
        list->first = node->next;
}

static bool claim(struct select *select, uint32_t index)
{
    uint32_t nobody = NOBODY;

    return atomic_cas_seq_cst(&select->winner, &nobody, index);
}

/* The oldest that is still to be had: off the list, and ours to complete. */
static struct node *take_first(struct waiters *list)
{
    struct node *node;

    while ((node = list->first) != NULL) {
        take_off(list, node);
        if (node->select == NULL || claim(node->select, node->index))
            return node;
    }
    return NULL;
}

/* ---- the ring; all with the mutex ---- */

static char *slot(vthread_queue_t *q, size_t i)
{
    size_t at = q->head + i;

    return q->ring + (at < q->room ? at : at - q->room) * q->elem_bytes;
}

static bool grow(vthread_queue_t *q)
{
    size_t room = q->room * 2;
    char *ring;

    if (room > SIZE_MAX / 2 / q->elem_bytes || (ring = memory_hold(room * q->elem_bytes)) == NULL)
        return false;
    for (size_t i = 0; i < queue_count(q); i++)
        memcpy(ring + i * q->elem_bytes, slot(q, i), q->elem_bytes);
    memory_let_go(q->ring);
    q->ring = ring;
    q->room = room;
    q->head = 0;
    return true;
}

static void push(vthread_queue_t *q, const void *elem)
{
    size_t count = queue_count(q);

    copy(q, slot(q, count), elem);
    atomic_store_relaxed(&q->count, count + 1);
}

static void pop(vthread_queue_t *q, void *ret_elem)
{
    copy(q, ret_elem, slot(q, 0));
    q->head = q->head + 1 < q->room ? q->head + 1 : 0;
    atomic_store_relaxed(&q->count, queue_count(q) - 1);
}

/* ---- what can be done at once; with the mutex ---- */

/* Whom to wake once the mutexes have been released: nobody, or by the number of the wait, for it may be gone by then.
 */
struct woken {
    struct thread *thread;
    struct node *node; /* NULL: of a select, and no longer ours to touch */
    uint32_t number;
    bool keep; /* on our carrier */
};

static void wake(struct woken woken)
{
    struct task_list kept;
    struct carrier *c;

    if (woken.thread == NULL)
        return;
    if (woken.node != NULL)
        atomic_store_release(&woken.node->state, OVER); /* pairs with the acquire in await_counterpart */
    if (woken.keep && (c = carrier_self()) != NULL) {
        task_list_init(&kept);
        thread_wake(woken.thread, woken.number, 0, &kept);
        carrier_keep(c, &kept);
    } else {
        thread_wake(woken.thread, woken.number, 0, NULL);
    }
}

/* The thread that waits with the node is to be woken once the mutex is released. */
static struct woken complete(vthread_queue_t *q, struct node *node, int result)
{
    struct woken woken = {node->thread, node, node->number, false};

    if (UNLIKELY(q->keep > 0)) {
        q->keep--;
        woken.keep = q->keep_epoch == atomic_load_relaxed(&pool.epoch);
    }

    node->result = result;
    if (node->select == NULL) {
        atomic_store_relaxed(&node->state, COMPLETED); /* all else comes with OVER */
        return woken;
    }
    atomic_fence_seq_cst(); /* winner before number; await_winner has the other half */
    woken.number = atomic_load_relaxed(&node->select->number);
    woken.node = NULL;
    return woken;
}

/* 0, ECANCELED, ENOMEM, or EAGAIN: it would have to wait. */
static int put_locked(vthread_queue_t *q, const void *elem, struct woken *ret_woken)
{
    struct node *taker;

    if (q->closed)
        return ECANCELED;
    if ((taker = take_first(&q->takers)) != NULL) {
        copy(q, taker->elem, elem);
        *ret_woken = complete(q, taker, 0);
        return 0;
    }
    if (queue_count(q) == q->capacity)
        return EAGAIN;
    if (queue_count(q) == q->room && !grow(q))
        return ENOMEM;
    push(q, elem);
    return 0;
}

/* The same; and a putter that waits moves up. */
static int take_locked(vthread_queue_t *q, void *ret_elem, struct woken *ret_woken)
{
    struct node *putter;

    if (queue_count(q) > 0) {
        pop(q, ret_elem);
        if ((putter = take_first(&q->putters)) != NULL) {
            push(q, putter->elem);
            *ret_woken = complete(q, putter, 0);
        }
        return 0;
    }
    if ((putter = take_first(&q->putters)) != NULL) {
        copy(q, ret_elem, putter->elem);
        *ret_woken = complete(q, putter, 0);
        return 0;
    }
    return q->closed ? ECANCELED : EAGAIN;
}

static int try_locked(vthread_queue_t *q, vthread_queue_op_t op, void *elem, struct woken *ret_woken)
{
    return op == VTHREAD_QUEUE_PUT ? put_locked(q, elem, ret_woken) : take_locked(q, elem, ret_woken);
}

static struct waiters *waiters_of(vthread_queue_t *q, vthread_queue_op_t op)
{
    return op == VTHREAD_QUEUE_PUT ? &q->putters : &q->takers;
}

static struct node *room_of(struct thread *t)
{
    return (struct node *)(void *)thread_rooms[thread_index(t)].bytes;
}

static void node_free(struct node *node)
{
    if (node == room_of(node->thread))
        node->thread->in_room = 0;
    else
        memory_let_go(node);
}

static struct node *enlist_locked(vthread_queue_t *q, vthread_queue_op_t op, const void *elem, struct thread *self,
                                  struct select *select, uint32_t index)
{
    bool in_room = select == NULL && q->elem_bytes <= SMALL_ELEM_BYTES;
    struct node *node = in_room ? room_of(self) : memory_hold(sizeof *node + q->elem_bytes);

    if (node == NULL)
        return NULL;
    self->in_room = in_room;
    node->thread = self;
    node->select = select;
    node->index = index;
    node->number = thread_wait_number(self);
    atomic_store_relaxed(&node->state, WAITING);
    if (op == VTHREAD_QUEUE_PUT)
        copy(q, node->elem, elem);
    append(waiters_of(q, op), node);
    return node;
}

/* ---- one queue ---- */

static void await_counterpart(struct node *node)
{
    for (int i = 1; atomic_load_acquire(&node->state) != OVER; i++)
        before_next_look(i);
}

/* Woken, or not: is it over?  EAGAIN: woken for nothing. */
static int outcome(vthread_queue_t *q, vthread_queue_op_t op, void *elem, struct node *node, int reason)
{
    struct thread *self = node->thread;
    int result = reason;

    if (atomic_load_acquire(&node->state) == WAITING) {
        bool waiting;

        queue_lock(q, self);
        waiting = atomic_load_relaxed(&node->state) == WAITING;
        if (waiting && reason == 0) {
            node->number = thread_wait_number(self); /* wait once more, under a new number */
            result = EAGAIN;
        } else if (waiting) {
            take_off(waiters_of(q, op), node);
            node_free(node);
        }
        queue_unlock(q, self);
        if (waiting)
            return result;
    }
    await_counterpart(node);
    result = node->result;
    if (result == 0 && op == VTHREAD_QUEUE_TAKE)
        copy(q, elem, node->elem);
    node_free(node);
    return result;
}

static int wait(vthread_queue_t *q, vthread_queue_op_t op, void *elem, struct thread *self, struct node *node,
                int64_t deadline_ns)
{
    int result;

    do {
        int reason;

        atomic_store_relaxed(&self->slot, q);
        reason = thread_wait_until(self, WORD_INTERNAL, deadline_ns);
        atomic_store_relaxed(&self->slot, NULL);
        result = outcome(q, op, elem, node, reason);
    } while (result == EAGAIN);
    if (result == EINTR)
        word_clear(&self->word, WORD_INTERRUPTED);
    return result;
}

static int operate(vthread_queue_t *q, vthread_queue_op_t op, void *elem, int64_t deadline_ns)
{
    struct woken woken = {NULL, NULL, 0, false};
    struct node *node = NULL;
    struct thread *self;
    int error;

    if (q == NULL || elem == NULL)
        return EINVAL;
    self = waiting_self(0, &error);
    if (self == NULL)
        return error;
    queue_lock(q, self);
    error = try_locked(q, op, elem, &woken);
    if (error == EAGAIN && deadline_ns == VTHREAD_NOW)
        error = ETIMEDOUT;
    else if (error == EAGAIN && (node = enlist_locked(q, op, elem, self, NULL, 0)) == NULL)
        error = ENOMEM;
    queue_unlock(q, self);
    wake(woken);
    return node != NULL ? wait(q, op, elem, self, node, deadline_ns) : error;
}

int vthread_queue_put(vthread_queue_t *queue, const void *elem)
{
    return vthread_queue_put_until(queue, elem, VTHREAD_FOREVER);
}

int vthread_queue_put_until(vthread_queue_t *queue, const void *elem, int64_t deadline_ns)
{
    return operate(queue, VTHREAD_QUEUE_PUT, (void *)(uintptr_t)elem, deadline_ns);
}

int vthread_queue_take(vthread_queue_t *queue, void *ret_elem)
{
    return operate(queue, VTHREAD_QUEUE_TAKE, ret_elem, VTHREAD_FOREVER);
}

int vthread_queue_take_until(vthread_queue_t *queue, void *ret_elem, int64_t deadline_ns)
{
    return operate(queue, VTHREAD_QUEUE_TAKE, ret_elem, deadline_ns);
}

int vthread_queue_put_ptr(vthread_queue_t *queue, void *ptr)
{
    return vthread_queue_put_ptr_until(queue, ptr, VTHREAD_FOREVER);
}

int vthread_queue_put_ptr_until(vthread_queue_t *queue, void *ptr, int64_t deadline_ns)
{
    if (queue == NULL || queue->elem_bytes != sizeof ptr)
        return EINVAL;
    if (UNLIKELY(stack_is_private(ptr)))
        return stack_refuse_private("vthread_queue_put_ptr", "the element", ptr);
    return operate(queue, VTHREAD_QUEUE_PUT, &ptr, deadline_ns);
}

int vthread_queue_take_ptr(vthread_queue_t *queue, void **ret_ptr)
{
    return vthread_queue_take_ptr_until(queue, ret_ptr, VTHREAD_FOREVER);
}

int vthread_queue_take_ptr_until(vthread_queue_t *queue, void **ret_ptr, int64_t deadline_ns)
{
    if (queue == NULL || queue->elem_bytes != sizeof *ret_ptr)
        return EINVAL;
    return operate(queue, VTHREAD_QUEUE_TAKE, ret_ptr, deadline_ns);
}

/* ---- several queues ---- */

/*
 * All queues are locked, in the order of their addresses, while the cases are tried and
 * enlisted: nothing becomes ready in between.
 */
struct selecting {
    vthread_queue_case_t *cases;
    uint32_t n;
    struct thread *self;
    struct selection *made;  /* on the heap: what others look at */
    uint32_t *order;         /* of trying; then: */
    vthread_queue_t **locks; /* each queue once, by address */
    uint32_t lock_count;
};

struct selection {
    struct select select;
    struct node *nodes[]; /* of each case; NULL: none */
};

enum { SMALL = 16 };

/* splitmix64 (Steele, Lea, Flood). */
static uint32_t random_below(uint64_t *state, uint32_t n)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(((z >> 32) * n) >> 32);
}

static void shuffle(uint32_t *order, uint32_t n, uint64_t *state)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = random_below(state, i + 1);

        order[i] = order[j];
        order[j] = i;
    }
}

static bool cases_are_valid(const vthread_queue_case_t *cases, size_t n)
{
    if (cases == NULL || n == 0 || n > INT32_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned)cases[i].op > VTHREAD_QUEUE_PUT || cases[i].elem == NULL)
            return false;
    return true;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (vthread_queue_t *const *)a;
    uintptr_t y = (uintptr_t) * (vthread_queue_t *const *)b;

    return (x > y) - (x < y);
}

static void sort_locks(struct selecting *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n; i++)
        if (s->cases[i].queue != NULL)
            s->locks[n++] = s->cases[i].queue;
    qsort(s->locks, n, sizeof s->locks[0], by_address);
    s->lock_count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || s->locks[i] != s->locks[i - 1])
            s->locks[s->lock_count++] = s->locks[i];
}

/*
 * All of them, but never wait for one while holding another: its owner could be waiting for our stack, in
 * a blocking section.
 */
static void lock_all(struct selecting *s)
{
    uint32_t first = 0; /* the one to wait for */
    uint32_t i = 0;

    while (i < s->lock_count) {
        queue_lock(s->locks[first], s->self);
        for (i = 0; i < s->lock_count; i++)
            if (i != first && !mutex_try_slow(&s->locks[i]->mutex, s->self))
                break;
        if (i == s->lock_count)
            return;
        for (uint32_t k = 0; k < i; k++)
            if (k != first)
                queue_unlock(s->locks[k], s->self);
        queue_unlock(s->locks[first], s->self);
        first = i;
        i = 0;
    }
}

static void unlock_all(struct selecting *s)
{
    for (uint32_t i = 0; i < s->lock_count; i++)
        queue_unlock(s->locks[i], s->self);
}

/* The first, in random order, that can be done at once: its index, -EAGAIN or -ENOMEM. */
static int try_all_locked(struct selecting *s, struct woken *ret_woken)
{
    if (s->lock_count == 0) /* no queue at all */
        return -EAGAIN;
    shuffle(s->order, s->n, &s->locks[0]->random);
    for (uint32_t i = 0; i < s->n; i++) {
        vthread_queue_case_t *c = &s->cases[s->order[i]];
        int error = c->queue != NULL ? try_locked(c->queue, c->op, c->elem, ret_woken) : EAGAIN;

        if (error == ENOMEM)
            return -ENOMEM;
        if (error != EAGAIN) {
            c->result = error;
            return (int)s->order[i];
        }
    }
    return -EAGAIN;
}

/* Take every node off its queue; of the winner, if there is one, what it brought. */
static void withdraw_locked(struct selecting *s, uint32_t winner)
{
    for (uint32_t i = 0; i < s->n; i++) {
        vthread_queue_case_t *c = &s->cases[i];
        struct node *node = s->made->nodes[i];

        if (node == NULL)
            continue;
        if (node->listed)
            take_off(waiters_of(c->queue, c->op), node);
        if (i == winner) {
            c->result = node->result;
            if (node->result == 0 && c->op == VTHREAD_QUEUE_TAKE)
                copy(c->queue, c->elem, node->elem);
        }
        node_free(node);
    }
}

static bool enlist_all_locked(struct selecting *s)
{
    s->made = memory_alloc(sizeof *s->made + s->n * sizeof s->made->nodes[0]);
    if (s->made == NULL)
        return false;
    atomic_init(&s->made->select.winner, NOBODY);
    atomic_init(&s->made->select.number, thread_wait_number(s->self));
    for (uint32_t i = 0; i < s->n; i++) {
        vthread_queue_case_t *c = &s->cases[i];

        if (c->queue == NULL)
            continue;
        s->made->nodes[i] = enlist_locked(c->queue, c->op, c->elem, s->self, &s->made->select, i);
        if (s->made->nodes[i] == NULL) {
            withdraw_locked(s, NOBODY);
            memory_free(s->made);
            return false;
        }
    }
    return true;
}

/* Wait until somebody has won; or give up.  Returns the winner, or the negative reason. */
static int64_t await_winner(struct selecting *s, int64_t deadline_ns)
{
    struct select *select = &s->made->select;

    for (;;) {
        int reason = thread_wait_until(s->self, WORD_INTERNAL, deadline_ns);
        uint32_t winner = atomic_load_acquire(&select->winner);

        if (winner == NOBODY && reason != 0 && claim(select, GIVEN_UP))
            return -reason;
        winner = atomic_load_acquire(&select->winner);
        if (winner != NOBODY)
            return winner;
        atomic_store_relaxed(&select->number, thread_wait_number(s->self)); /* woken for nothing */
        atomic_fence_seq_cst(); /* number before winner; complete has the other half */
        winner = atomic_load_acquire(&select->winner);
        if (winner != NOBODY) {
            thread_wait_cancel(s->self);
            return winner;
        }
    }
}

static int wait_for_one(struct selecting *s, int64_t deadline_ns)
{
    int64_t result;

    atomic_store_relaxed(&s->self->slot, s->cases);
    result = await_winner(s, deadline_ns);
    atomic_store_relaxed(&s->self->slot, NULL);
    lock_all(s);
    withdraw_locked(s, result >= 0 ? (uint32_t)result : NOBODY);
    unlock_all(s);
    memory_free(s->made);
    if (result == -EINTR)
        word_clear(&s->self->word, WORD_INTERRUPTED);
    return (int)result;
}

static int select_one(struct selecting *s, int64_t deadline_ns)
{
    struct woken woken = {NULL, NULL, 0, false};
    bool waits = false;
    int result;

    sort_locks(s);
    lock_all(s);
    result = try_all_locked(s, &woken);
    if (result == -EAGAIN && deadline_ns == VTHREAD_NOW)
        result = -ETIMEDOUT;
    else if (result == -EAGAIN && !(waits = enlist_all_locked(s)))
        result = -ENOMEM;
    unlock_all(s);
    wake(woken);
    return waits ? wait_for_one(s, deadline_ns) : result;
}

int vthread_queue_select(vthread_queue_case_t *cases, size_t n)
{
    return vthread_queue_select_until(cases, n, VTHREAD_FOREVER);
}

int vthread_queue_select_until(vthread_queue_case_t *cases, size_t n, int64_t deadline_ns)
{
    uint32_t order[SMALL];
    vthread_queue_t *locks[SMALL];
    struct selecting s = {.cases = cases, .n = (uint32_t)n, .order = order, .locks = locks};
    void *memory = NULL;
    int error;

    if (!cases_are_valid(cases, n))
        return -EINVAL;
    s.self = thread_self(&error);
    if (s.self == NULL)
        return -error;
    if (wait_is_interrupted(s.self))
        return -EINTR;
    if (n > SMALL) {
        memory = memory_alloc(n * (sizeof locks[0] + sizeof order[0]));
        if (memory == NULL)
            return -ENOMEM;
        s.locks = memory;
        s.order = (uint32_t *)(void *)(s.locks + n);
    }
    error = select_one(&s, deadline_ns);
    memory_free(memory);
    return error;
}

/* ---- making, closing, freeing ---- */

int vthread_queue_new(vthread_queue_t **ret_queue, size_t elem_bytes, size_t capacity)
{
    size_t room = capacity == VTHREAD_UNBOUNDED ? RING_FIRST : capacity;
    vthread_queue_t *q;

    if (ret_queue == NULL || elem_bytes == 0 || elem_bytes > UINT32_MAX || room > SIZE_MAX / 2 / elem_bytes)
        return EINVAL;
    q = memory_alloc(sizeof *q);
    if (q == NULL)
        return ENOMEM;
    q->elem_bytes = elem_bytes;
    q->capacity = capacity;
    q->room = room;
    q->random = (uint64_t)clock_monotonic_ns() ^ (uintptr_t)q; /* fresh queues are not all alike */
    if (room > 0 && (q->ring = memory_hold(room * elem_bytes)) == NULL) {
        memory_free(q);
        return ENOMEM;
    }
    *ret_queue = q;
    return 0;
}

int vthread_queue_free(vthread_queue_t *q)
{
    if (q == NULL)
        return 0;
    if (q->putters.first != NULL || q->takers.first != NULL || mutex_is_used(&q->mutex))
        return EBUSY;
    memory_let_go(q->ring);
    memory_free(q);
    return 0;
}

int vthread_queue_close(vthread_queue_t *q)
{
    int error;
    struct thread *self = thread_self(&error);
    struct node *node;

    if (q == NULL)
        return EINVAL;
    if (self == NULL)
        return error;
    do {
        struct woken woken = {NULL, NULL, 0, false};

        queue_lock(q, self);
        q->closed = true; /* nobody joins those who wait */
        node = take_first(&q->putters);
        if (node == NULL)
            node = take_first(&q->takers); /* they wait only while there is nothing to take */
        if (node != NULL)
            woken = complete(q, node, ECANCELED);
        queue_unlock(q, self);
        wake(woken);
    } while (node != NULL);
    return 0;
}

size_t vthread_queue_len(vthread_queue_t *q)
{
    return q != NULL ? queue_count(q) : 0;
}
