/* SPDX-License-Identifier: MIT */
/*
 * Death: the end of a thread, join, detach, references.
 *
 * Who frees the record?  The word decides: the one who makes both TERMINATED and
 * CONSUMED true.  Exceptions go through the join lock (one of a few, by record):
 *   JOINERS  somebody waits: the ending thread hands out the value, consumes on the
 *            waiters' behalf, and frees.
 *   COUNTED  references were taken: whoever makes ended && CONSUMED && no
 *            references true, under the lock, frees.
 * JOINERS is set, under the lock, only on a thread that is not TERMINATED; so a
 * record that is TERMINATED without it has no waiters and never will.
 */
#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/panic.h"
#include "vthread/mount.h"
#include "vthread/thread.h"

enum { LOCKS = 64 };

static struct {
    CACHE_ALIGNED struct lock lock;
} locks[LOCKS];

static struct lock *lock_of(const struct thread *t)
{
    return &locks[thread_index(t) % LOCKS].lock;
}

static void free_record(struct thread *t, struct record_cache *cache)
{
    thread_extra_free(t);
    if (cache == NULL)
        cache = record_cache_self();
    if (cache != NULL) /* else it is lost to reuse, and to nothing else */
        record_free(cache, t);
}

/* Under the lock, of a COUNTED thread: is this the event that frees it? */
static bool last_event_locked(struct thread *t)
{
    struct thread_cold *cold = thread_cold(t);
    uint64_t w = atomic_load_acquire(&t->word);

    return cold->ended && (w & WORD_CONSUMED) && cold->references == 0;
}

/* Hand the value to everybody who waits.  Under the lock. */
static void grant_joiners_locked(struct thread *t)
{
    struct thread_cold *cold = thread_cold(t);
    struct thread *joiner = cold->joiners;

    if (joiner != NULL)
        atomic_fetch_or_acq_rel(&t->word, WORD_CONSUMED);
    cold->joiners = NULL;
    while (joiner != NULL) {
        struct thread *next = joiner->link.thread;

        atomic_store_relaxed(&joiner->slot, cold->value);
        thread_cold(joiner)->join_state = JOIN_GRANTED;
        /* The joiner takes the lock before it goes on, so it is still there. */
        thread_wake(joiner, thread_cold(joiner)->join_sequence, 0, NULL);
        joiner = next;
    }
}

void thread_ended(struct thread *t, struct record_cache *cache)
{
    uint64_t w;
    bool frees;

    atomic_store_relaxed(&t->phase, VTHREAD_TERMINATED);
    w = word_terminate(&t->word);
    if (LIKELY(!(w & (WORD_JOINERS | WORD_COUNTED)))) {
        if (w & WORD_CONSUMED)
            free_record(t, cache);
        return;
    }
    lock_acquire(lock_of(t));
    grant_joiners_locked(t);
    thread_cold(t)->ended = 1;
    /* COUNTED may have been set since; the word is read again. */
    w = atomic_load_acquire(&t->word);
    frees = w & WORD_COUNTED ? last_event_locked(t) : (w & WORD_CONSUMED) != 0;
    lock_release(lock_of(t));
    if (frees)
        free_record(t, cache);
}

/* Runs on the thread's own stack, as its outermost code. */
void thread_finish(void *value)
{
    struct thread *self = thread_self(NULL);
    struct thread_cold *cold = thread_cold(self);

    if (UNLIKELY(cold->extra != NULL && cold->extra->failed)) {
        value = NULL;
        thread_failed(self, VTHREAD_FAILURE_FAILED, cold->extra->failure);
    } else if (UNLIKELY(stack_is_private(value))) {
        stack_refuse_private("return", "the value returned by the thread", value);
        value = NULL;
    }
    if (UNLIKELY(cold->pins > 0)) {
        thread_failed(self, VTHREAD_FAILURE_PINNED_AT_END, 0);
        while (vthread_unpin() == 0)
            ;
    }
    cold->value = value;
    if (self->flags & THREAD_PLATFORM)
        pthread_exit(NULL); /* the key's destructor does the rest */
    leave(processor_self(), LEAVE_END);
    panic("a thread that had ended was resumed");
}

void vthread_exit(void *value)
{
    struct thread *self = thread_self(NULL);

    if (self == NULL || ((self->flags & THREAD_PLATFORM) && thread_cold(self)->fn == NULL)) {
        misuse("vthread_exit", "this thread was not created by the library; return from it, or use pthread_exit");
        pthread_exit(value);
    }
    thread_finish(value);
    panic("a thread that had ended went on");
}

void *vthread_fail(int error)
{
    struct thread *self = thread_self(NULL);
    struct thread_extra *extra;

    if (self == NULL || (extra = thread_extra_get(self)) == NULL)
        return NULL;
    extra->failed = true;
    extra->failure = error;
    return NULL;
}

/* ---- join ---- */

/* The thread is TERMINATED, without JOINERS, and we have just set CONSUMED. */
static void consumed(struct thread *t, uint64_t before, void **ret_value)
{
    bool frees = true;

    if (ret_value != NULL)
        *ret_value = thread_cold(t)->value;
    if (UNLIKELY(before & WORD_COUNTED)) {
        lock_acquire(lock_of(t));
        thread_cold(t)->ended = 1;
        frees = last_event_locked(t);
        lock_release(lock_of(t));
    }
    if (frees)
        free_record(t, NULL);
}

/*
 * With the lock: join without waiting, if that is possible, or queue up.
 * Returns the result, or -1: queued.
 */
static int join_or_queue_locked(struct thread *t, uint32_t generation, struct thread *self, void **ret_value)
{
    struct thread_cold *cold = thread_cold(t);
    uint64_t w = atomic_load_acquire(&t->word);

    for (;;) {
        if (word_generation(w) != generation)
            return ESRCH;
        if (word_state(w) == WORD_TERMINATED) {
            if (!(w & WORD_JOINERS) || cold->joiners == NULL)
                return w & WORD_CONSUMED ? ESRCH : EAGAIN; /* EAGAIN: the fast way is open again */
            /* It is ending right now, and others wait: share in what they get. */
            if (ret_value != NULL)
                *ret_value = cold->value;
            return 0;
        }
        if ((w & WORD_CONSUMED) || word_state(w) == WORD_NEW)
            return EINVAL;
        if ((w & WORD_JOINERS) || atomic_cas_acq_rel(&t->word, &w, w | WORD_JOINERS))
            break;
    }
    thread_cold(self)->join_state = JOIN_QUEUED;
    thread_cold(self)->join_sequence = thread_wait_number(self);
    self->link.thread = cold->joiners;
    cold->joiners = self;
    return -1;
}

/* With the lock: leave the queue, unless the value has been handed to us. */
static bool unqueue_locked(struct thread *t, struct thread *self)
{
    struct thread **at = &thread_cold(t)->joiners;

    if (thread_cold(self)->join_state == JOIN_GRANTED)
        return false;
    while (*at != self)
        at = &(*at)->link.thread;
    *at = self->link.thread;
    return true;
}

static int join_slow(struct thread *t, uint32_t generation, struct thread *self, void **ret_value, int64_t deadline_ns)
{
    int result;
    bool granted;

    lock_acquire(lock_of(t));
    result = join_or_queue_locked(t, generation, self, ret_value);
    lock_release(lock_of(t));
    if (result >= 0)
        return result;
    do {
        result = deadline_ns != INT64_MAX && deadline_ns <= clock_now_ns()
                     ? (thread_wait_cancel(self), ETIMEDOUT)
                     : thread_wait(self, WORD_INTERNAL, deadline_ns);
        lock_acquire(lock_of(t));
        granted = thread_cold(self)->join_state == JOIN_GRANTED;
        if (!granted && result != 0)
            unqueue_locked(t, self);
        if (!granted && result == 0) /* woken for nothing: wait once more, under a new number */
            thread_cold(self)->join_sequence = thread_wait_number(self);
        lock_release(lock_of(t));
    } while (!granted && result == 0);
    thread_cold(self)->join_state = JOIN_NONE;
    if (granted) {
        if (ret_value != NULL)
            *ret_value = atomic_load_relaxed(&self->slot);
        result = 0;
    } else if (result == EINTR) {
        word_clear(&self->word, WORD_INTERRUPTED);
    }
    atomic_store_relaxed(&self->slot, NULL);
    return result;
}

int vthread_join_until(vthread_t thread, void **ret_value, int64_t deadline_ns)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    struct thread *self;
    uint64_t before;
    int error;

    if (UNLIKELY(t == NULL))
        return EINVAL;
    for (;;) {
        before = atomic_load_acquire(&t->word);
        if (word_generation(before) != generation)
            return ESRCH;
        if (word_state(before) == WORD_TERMINATED && !(before & WORD_JOINERS)) {
            if (!word_set(&t->word, generation, WORD_CONSUMED, WORD_CONSUMED | WORD_JOINERS, &before))
                return word_generation(before) == generation && !(before & WORD_CONSUMED) ? EAGAIN : ESRCH;
            consumed(t, before, ret_value);
            return 0;
        }
        self = thread_self(&error);
        if (self == NULL)
            return error;
        if (self == t)
            return EDEADLK;
        error = join_slow(t, generation, self, ret_value, deadline_ns);
        if (error != EAGAIN)
            return error;
    }
}

int vthread_join(vthread_t thread, void **ret_value)
{
    return vthread_join_until(thread, ret_value, VTHREAD_FOREVER);
}

int vthread_detach(vthread_t thread)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    uint64_t before;

    if (t == NULL)
        return EINVAL;
    if (word_leave_new(&t->word, generation, WORD_TERMINATED, WORD_CONSUMED)) {
        thread_cold(t)->value = NULL;
        thread_discard(t);
        return 0;
    }
    if (!word_set(&t->word, generation, WORD_CONSUMED, WORD_CONSUMED, &before))
        return word_generation(before) == generation && word_state(before) != WORD_TERMINATED ? EINVAL : ESRCH;
    if (word_state(before) == WORD_TERMINATED && !(before & WORD_JOINERS))
        consumed(t, before, NULL);
    return 0;
}

/* ---- counted references ---- */

int vthread_ref(vthread_t thread)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    uint64_t w;
    int error = 0;

    if (t == NULL)
        return ESRCH;
    lock_acquire(lock_of(t));
    w = atomic_load_acquire(&t->word);
    do {
        if (word_generation(w) != generation ||
            (word_state(w) == WORD_TERMINATED && (w & WORD_CONSUMED) && !(w & WORD_COUNTED)))
            error = ESRCH;
        else if (thread_cold(t)->references == UINT16_MAX)
            error = EAGAIN;
    } while (error == 0 && !atomic_cas_acq_rel(&t->word, &w, w | WORD_COUNTED));
    if (error == 0) {
        thread_cold(t)->references++;
        if (word_state(w) == WORD_TERMINATED && !(w & WORD_JOINERS))
            thread_cold(t)->ended = 1;
    }
    lock_release(lock_of(t));
    return error;
}

int vthread_unref(vthread_t thread)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    bool frees = false;
    int error = 0;

    if (thread == NULL)
        return 0;
    if (t == NULL)
        return EINVAL;
    lock_acquire(lock_of(t));
    if (word_generation(atomic_load_acquire(&t->word)) != generation || thread_cold(t)->references == 0) {
        error = EINVAL;
    } else {
        thread_cold(t)->references--;
        frees = last_event_locked(t);
    }
    lock_release(lock_of(t));
    if (frees)
        free_record(t, NULL);
    return error;
}
