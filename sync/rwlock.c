/* SPDX-License-Identifier: MIT */
/*
 * vthread_rwlock_t.
 *
 *     word   number of readers, or the writer's index, 30 bits; 0: free
 *            WRITER   it is the latter
 *            QUEUED   somebody is in the queue, or was until a moment ago
 *
 * Without QUEUED, a CAS each way.  With it newcomers queue up, and the last to leave lets
 * in as many from the head of the queue as there is room for: a writer, or the readers
 * up to the next writer.  Invariants:
 *
 * 1. The oldest waiter has no room: a writer, and it is held; or a reader, and there is a
 *    writer.  So who finds a queue finds somebody inside as well, whose leaving is yet to come;
 *    and who gives up his place as the oldest lets in those behind him for whom there is room.
 * 2. QUEUED is set and cleared with the queue's lock.
 * 3. A release with nobody queued ends with the CAS that frees the word (sync/mutex.h).
 */
#include <errno.h>

#include <vthread/sync.h>

#include "sync/sync_internal.h"

#define COUNT ((1u << 30) - 1)
#define WRITER (1u << 30)
#define QUEUED (1u << 31)

struct rwlock {
    ATOMIC(uint32_t) word;
    uint32_t unused;
    struct wait_queue queue;
};

_Static_assert(sizeof(struct rwlock) == sizeof(vthread_rwlock_t), "what users embed");
_Static_assert(_Alignof(struct rwlock) <= _Alignof(vthread_rwlock_t), "what users embed");

/* What a waiter wants. */
enum wish { READ, WRITE };

static struct rwlock *rwlock_of(vthread_rwlock_t *rwlock)
{
    return (struct rwlock *)(void *)rwlock;
}

int vthread_rwlock_init(vthread_rwlock_t *rwlock, const vthread_rwlockattr_t *attr)
{
    if (rwlock == NULL || (attr != NULL && !words_are_zero(attr->reserved, LENGTH_OF(attr->reserved))))
        return EINVAL;
    *rwlock = (vthread_rwlock_t)VTHREAD_RWLOCK_INITIALIZER;
    lock_order_forget(rwlock);
    return 0;
}

int vthread_rwlock_destroy(vthread_rwlock_t *rwlock)
{
    struct rwlock *l = rwlock_of(rwlock);

    if ((atomic_load_relaxed(&l->word) & COUNT) != 0 || !wait_queue_is_empty(&l->queue))
        return EBUSY;
    lock_order_forget(rwlock);
    return 0;
}

static bool has_room(uint32_t w, enum wish wish)
{
    return wish == READ ? !(w & WRITER) && (w & COUNT) < COUNT : (w & COUNT) == 0;
}

/* With one more inside: the thread of that index. */
static uint32_t let_in(uint32_t w, enum wish wish, uint32_t index)
{
    return wish == READ ? w + 1 : w | WRITER | index;
}

uint32_t rwlock_writer(uint32_t word)
{
    return word & WRITER ? word & COUNT : 0;
}

/* Only a writer is known as the owner. */
static inline void has_got_it(struct rwlock *l, struct thread *self, enum wish wish)
{
    if (wish == WRITE)
        lock_is_held(self, l);
}

/* If there is room, and nobody waits whom `unless` (QUEUED or 0) shall not be passed. */
static inline bool try(struct rwlock *l, struct thread *self, enum wish wish, uint32_t unless)
{
    uint32_t w = atomic_load_relaxed(&l->word);

    while (has_room(w, wish) && !(w & unless))
        if (atomic_cas_acq_rel(&l->word, &w, let_in(w, wish, thread_index(self)))) { /* pairs with those of unlock */
            has_got_it(l, self, wish);
            return true;
        }
    return false;
}

/* Go in (true), or queue up. */
static bool take_or_queue_up(struct rwlock *l, struct thread *self, enum wish wish)
{
    uint32_t w;
    bool taken;

    lock_acquire(&l->queue.lock);
    w = atomic_load_relaxed(&l->word);
    do
        taken = has_room(w, wish) && wait_queue_is_empty(&l->queue);
    while (!atomic_cas_acq_rel(&l->word, &w, taken ? let_in(w & ~QUEUED, wish, thread_index(self)) : w | QUEUED));
    if (!taken)
        wait_queue_append(&l->queue, self, wish);
    lock_release(&l->queue.lock);
    return taken;
}

/* With the lock: leave, or only look; and let in from the queue those for whom there is room. */
static void settle_locked(struct rwlock *l, bool leaves, struct granted *granted)
{
    uint32_t w = atomic_load_relaxed(&l->word);
    uint32_t next, n, index;

    do {
        next = w & ~QUEUED;
        if (leaves)
            next = next & WRITER ? 0 : next - 1;
        n = 0;
        for (index = wait_queue_first(&l->queue); index != 0 && has_room(next, wait_queue_amount(index)); n++) {
            next = let_in(next, wait_queue_amount(index), index);
            index = wait_queue_after(&l->queue, index);
        }
        if (index != 0)
            next |= QUEUED;
    } while (!atomic_cas_acq_rel(&l->word, &w, next));
    while (n-- > 0)
        wait_queue_grant(&l->queue, 0, granted);
}

static int acquire_slow(struct rwlock *l, struct thread *self, enum wish wish, uint64_t flags, int64_t deadline_ns)
{
    struct granted granted = {0, 0};
    int error;

    if (!take_or_queue_up(l, self, wish)) {
        error = wait_queue_wait_blocked(&l->queue, self, l, WAIT_FOR_RWLOCK, flags, deadline_ns);
        if (error != 0) {
            settle_locked(l, false, &granted);
            lock_release(&l->queue.lock);
            wait_queue_wake(granted);
            return error;
        }
    }
    has_got_it(l, self, wish);
    return 0;
}

static bool is_writer(struct rwlock *l, struct thread *self)
{
    return (atomic_load_relaxed(&l->word) & ~QUEUED) == (WRITER | thread_index(self)); /* our own writes */
}

static bool is_full(struct rwlock *l, enum wish wish)
{
    return wish == READ && (atomic_load_relaxed(&l->word) & ~QUEUED) == COUNT;
}

static int acquire(vthread_rwlock_t *rwlock, const char *call, enum wish wish, uint64_t flags, int64_t deadline_ns)
{
    struct rwlock *l = rwlock_of(rwlock);
    int error;
    struct thread *self = waiting_self(flags, &error);

    if (LIKELY(self != NULL)) {
        lock_order_wants(self, l, call);
        if (LIKELY(try(l, self, wish, QUEUED)))
            return 0;
        if (is_full(l, wish))
            return EAGAIN;
        if (is_writer(l, self)) {
            misuse(call,
                   "the calling thread holds the lock (%p) for writing already, and would wait for itself; unlock "
                   "it first",
                   (void *)l);
            return EDEADLK;
        }
        error = wait_refuse_private(call, l);
    }
    if (error == 0)
        error = acquire_slow(l, self, wish, flags, deadline_ns);
    return lock_result(error, flags, deadline_ns);
}

static int try_acquire(vthread_rwlock_t *rwlock, enum wish wish)
{
    struct rwlock *l = rwlock_of(rwlock);
    int error;
    struct thread *self = thread_self(&error);

    if (self == NULL)
        return error;
    if (try(l, self, wish, 0))
        return 0;
    return is_full(l, wish) ? EAGAIN : EBUSY;
}

int vthread_rwlock_rdlock(vthread_rwlock_t *rwlock)
{
    return acquire(rwlock, "vthread_rwlock_rdlock", READ, WORD_DEAF, VTHREAD_FOREVER);
}

int vthread_rwlock_rdlock_interruptible(vthread_rwlock_t *rwlock)
{
    return acquire(rwlock, "vthread_rwlock_rdlock_interruptible", READ, 0, VTHREAD_FOREVER);
}

int vthread_rwlock_rdlock_until(vthread_rwlock_t *rwlock, int64_t deadline_ns)
{
    return acquire(rwlock, "vthread_rwlock_rdlock_until", READ, 0, deadline_ns);
}

int vthread_rwlock_tryrdlock(vthread_rwlock_t *rwlock)
{
    return try_acquire(rwlock, READ);
}

int vthread_rwlock_wrlock(vthread_rwlock_t *rwlock)
{
    return acquire(rwlock, "vthread_rwlock_wrlock", WRITE, WORD_DEAF, VTHREAD_FOREVER);
}

int vthread_rwlock_wrlock_interruptible(vthread_rwlock_t *rwlock)
{
    return acquire(rwlock, "vthread_rwlock_wrlock_interruptible", WRITE, 0, VTHREAD_FOREVER);
}

int vthread_rwlock_wrlock_until(vthread_rwlock_t *rwlock, int64_t deadline_ns)
{
    return acquire(rwlock, "vthread_rwlock_wrlock_until", WRITE, 0, deadline_ns);
}

int vthread_rwlock_trywrlock(vthread_rwlock_t *rwlock)
{
    return try_acquire(rwlock, WRITE);
}

/* ---- leaving ---- */

/* The last one inside, with QUEUED.  False: nobody waits, and it is still held. */
static bool leave_to_others(struct rwlock *l)
{
    struct granted granted = {0, 0};
    bool anybody;

    lock_acquire(&l->queue.lock);
    anybody = !wait_queue_is_empty(&l->queue);
    if (anybody)
        settle_locked(l, true, &granted);
    else
        atomic_fetch_and_acq_rel(&l->word, ~QUEUED);
    lock_release(&l->queue.lock);
    wait_queue_wake(granted);
    return anybody;
}

static COLD int refuse(struct rwlock *l, uint32_t w)
{
    misuse("vthread_rwlock_unlock",
           w & WRITER ? "another thread holds the lock (%p) for writing; only that may unlock it"
                      : "nobody holds the lock (%p); every unlock needs a lock before it",
           (void *)l);
    return EPERM;
}

int vthread_rwlock_unlock(vthread_rwlock_t *rwlock)
{
    struct rwlock *l = rwlock_of(rwlock);
    uint32_t w = atomic_load_relaxed(&l->word);

    if ((w & COUNT) == 0)
        return refuse(l, w);
    if (w & WRITER) {
        struct thread *self = thread_self(NULL);

        if (self == NULL || !is_writer(l, self))
            return refuse(l, w);
        lock_is_let_go(self, l);
    }
    for (;;) {
        bool last = (w & WRITER) || (w & COUNT) == 1;

        if (last && (w & QUEUED)) {
            if (leave_to_others(l))
                return 0;
            w = atomic_load_relaxed(&l->word);
        } else if (atomic_cas_acq_rel(&l->word, &w, last ? 0 : w - 1)) { /* pairs with the next one's */
            return 0;
        }
    }
}
