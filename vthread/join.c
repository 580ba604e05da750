/* SPDX-License-Identifier: MIT */
/*
 * Death: the end of a thread, join, detach, references.
 *
 * Who frees the record?  The word decides: the one who makes both TERMINATED and
 * CONSUMED true.  Exceptions go through the join lock (one of a few, by record):
 *   JOINERS  somebody waits, or has waited: the ending thread hands out the value,
 *            consumes on the waiters' behalf if there are any, and clears JOINERS;
 *            if it finds CONSUMED then, it frees.
 *   COUNTED  references were taken: whoever makes ended && CONSUMED && no
 *            references true, under the lock, frees.  Of a thread that is
 *            TERMINATED and COUNTED, CONSUMED is set under the lock only.
 * JOINERS is set, under the lock, only on a thread that is not TERMINATED; so a
 * record that is TERMINATED without it has no waiters and never will.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/panic.h"
#include "vthread/local_internal.h"
#include "vthread/mount.h"
#include "vthread/thread.h"
#include "vthread/work.h"

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
    if (UNLIKELY(thread_extra(t) != NULL))
        thread_extra_free(t);
    /* Nothing is held by a record that is free. */
    atomic_store_relaxed(&thread_cold(t)->value, NULL);
    atomic_store_relaxed(&t->slot, NULL);
    if (cache == NULL)
        cache = record_cache_self(); /* there is one: a platform thread is in a call */
    record_free(cache, t);
}

/*
 * Under the lock, of a COUNTED thread: has the last of the events happened that
 * free it?  Then COUNTED goes, so that vthread_ref sees by the word alone that
 * there is nothing left to hold.
 */
static bool is_over_locked(struct thread *t)
{
    struct thread_cold *cold = thread_cold(t);
    uint64_t w = atomic_load_acquire(&t->word);
    bool over = cold->ended && (w & WORD_CONSUMED) && cold->references == 0;

    if (over)
        word_clear(&t->word, WORD_COUNTED);
    return over;
}

/* Hand the value to everybody who waits.  Under the lock. */
static void grant_joiners_locked(struct thread *t)
{
    struct thread_cold *cold = thread_cold(t);
    uint32_t index = cold->joiners;

    if (index != 0)
        atomic_fetch_or_acq_rel(&t->word, WORD_CONSUMED);
    cold->joiners = 0;
    while (index != 0) {
        struct thread *joiner = &thread_table[index];

        index = thread_cold(joiner)->next_joiner;
        atomic_store_relaxed(&joiner->slot, atomic_load_relaxed(&cold->value));
        thread_cold(joiner)->join_state = JOIN_GRANTED;
        /* The joiner takes the lock before it goes on, so it is still there. */
        thread_wake(joiner, thread_cold(joiner)->join_sequence, 0, NULL);
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
    struct lock *lock = lock_of(t);

    lock_acquire(lock);
    grant_joiners_locked(t);
    thread_cold(t)->ended = 1;
    /* Without CONSUMED the next joiner may free it from here on (if it is not COUNTED): no further look. */
    w = word_clear(&t->word, WORD_JOINERS);
    frees = w & WORD_COUNTED ? is_over_locked(t) : (w & WORD_CONSUMED) != 0;
    lock_release(lock);
    if (frees)
        free_record(t, cache);
}

void (*thread_abandon_scopes)(struct thread *self);

void thread_wind_up(struct thread *self)
{
    struct thread_extra *extra = thread_extra(self);

    if (LIKELY(extra == NULL))
        return;
    while (extra->scopes != NULL || extra->locals != NULL) { /* what is called may leave some again */
        if (extra->scopes != NULL)
            thread_abandon_scopes(self);
        if (extra->locals != NULL)
            locals_run_destructors(extra);
    }
    bindings_release(extra->bindings); /* of functions that were left by vthread_exit */
    extra->bindings = NULL;
}

/* What was fn, and is to be the value: for_each_alive looks at the place. */
static void set_place(struct thread *self, void *p)
{
    atomic_store_relaxed(&thread_cold(self)->value, p);
}

/* Runs on the thread's own stack, as its outermost code. */
void thread_finish(void *value)
{
    struct processor *p = processor_self();
    struct thread *self = LIKELY(p != NULL) ? p->current : thread_self(NULL);
    struct thread_extra *extra;
    struct thread_work *work;

    if (UNLIKELY(self == NULL)) { /* the child of a fork, made inside the thread */
        misuse("fork", "the child of a fork has returned from the thread that made it; it may only exec or exit");
        _exit(127);
    }
    thread_wind_up(self);
    extra = thread_extra(self);
    if (UNLIKELY(extra != NULL && extra->failed)) {
        value = NULL;
        thread_failed(self, VTHREAD_FAILURE_FAILED, extra->failure);
    } else if (UNLIKELY(stack_is_private(value))) {
        stack_refuse_private("return", "the value returned by the thread", value);
        value = NULL;
    }
    if (UNLIKELY(self->flags & THREAD_PINNED)) {
        thread_failed(self, VTHREAD_FAILURE_PINNED_AT_END, 0);
        unpin_all(self);
    }
    if (UNLIKELY(self->stays > 0))
        stay_no_longer(self);
    if (thread_left_locks(self) && !(self->flags & THREAD_PLATFORM)) /* those say so when the OS thread ends */
        thread_failed(self, VTHREAD_FAILURE_LOCKS_HELD, 0);
    thread_wind_up(self); /* of what handlers have left */
    work = thread_work(self);
    if (UNLIKELY(work != NULL)) {
        set_place(self, (void *)(uintptr_t)work->hooks->run); /* it has none any more */
        work->hooks->end(work, value);
        value = NULL;
    }
    if (self->flags & THREAD_PLATFORM)
        platform_exit(value);
    set_place(self, value);
    nested_exit(self);
    leave(processor_self(), LEAVE_END);
    panic("a thread that had ended was resumed");
}

/* The sanitizers are told of a jump from c's stack to the thread's own. */
static void announce_jump(struct vthread_cont *c)
{
    struct vthread_cont *outermost = c;

    while (outermost->parent != NULL)
        outermost = outermost->parent;
    sanitizer_last_out(&outermost->frame, c->stack);
    sanitizer_clean(outermost->frame.runner_sp, __builtin_frame_address(0)); /* frames that are jumped over */
}

struct vthread_cont *thread_goes_on(struct thread *self, struct thread_work *work)
{
    struct vthread_cont *c = nested_around(__builtin_frame_address(0));

    set_place(self, (void *)(uintptr_t)work_marked(work));
    if (LIKELY(c == NULL))
        return NULL;
    nested_leave();
    if (BUILT_WITH_TSAN) /* whose longjmp wants to be on the stack that it jumps to; AddressSanitizer's, on the other */
        announce_jump(c);
    return c;
}

void thread_has_jumped(struct vthread_cont *c)
{
    if (LIKELY(c == NULL))
        return;
    if (!BUILT_WITH_TSAN)
        announce_jump(c);
    nested_abandon(c);
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
    struct thread_work *work;

    if (self == NULL)
        return NULL;
    work = thread_work(self);
    if (work != NULL) {
        work->error = error > 0 ? error : EINVAL;
        return NULL;
    }
    extra = thread_extra_get(self);
    if (extra == NULL) { /* no memory to keep it for the end, and so no handler of its own either */
        thread_failed(self, VTHREAD_FAILURE_FAILED, error);
        return NULL;
    }
    extra->failed = true;
    extra->failure = error;
    return NULL;
}

struct failure thread_take_failure(struct thread *self)
{
    struct thread_work *work = thread_work(self);
    struct thread_extra *extra = thread_extra(self);
    struct failure failure = {false, 0};

    if (work != NULL) {
        failure = (struct failure){work->error != 0, work->error};
        work->error = 0;
    } else if (extra != NULL) {
        failure = (struct failure){extra->failed, extra->failure};
        extra->failed = false;
    }
    return failure;
}

void thread_put_failure(struct thread *self, struct failure failure)
{
    struct thread_work *work = thread_work(self);

    if (work != NULL) {
        work->error = failure.error;
    } else {
        thread_extra(self)->failed = true;
        thread_extra(self)->failure = failure.error;
    }
}

/* ---- join ---- */

static int consume_here(struct thread *t, uint32_t generation, void **ret_value, struct record_cache *cache)
{
    uint64_t before;
    bool frees = true;
    int error = 0;

    if (UNLIKELY(!word_set(&t->word, generation, WORD_CONSUMED, WORD_CONSUMED | WORD_COUNTED, &before))) {
        lock_acquire(lock_of(t));
        if (word_set(&t->word, generation, WORD_CONSUMED, WORD_CONSUMED, &before))
            frees = is_over_locked(t);
        else
            error = ESRCH;
        if (error == 0 && ret_value != NULL)
            *ret_value = atomic_load_relaxed(&thread_cold(t)->value);
        lock_release(lock_of(t));
    } else if (ret_value != NULL) {
        *ret_value = atomic_load_relaxed(&thread_cold(t)->value);
    }
    if (error == 0 && frees)
        free_record(t, cache);
    return error;
}

static COLD int consume_outside(struct thread *t, uint32_t generation, void **ret_value)
{
    int error = runtime_begin_look();

    if (error != 0)
        return error;
    /* A shutdown may have come before that; of records beyond the count the words mean nothing. */
    error = thread_index(t) < record_count() ? consume_here(t, generation, ret_value, NULL) : ESRCH;
    platform_end_call();
    return error;
}

/* The thread is TERMINATED, without JOINERS: take what it has left.  0, ESRCH or ENOMEM. */
static int consume(struct thread *t, uint32_t generation, void **ret_value)
{
    struct processor *p = processor_self();

    return LIKELY(p != NULL) ? consume_here(t, generation, ret_value, &p->records)
                             : consume_outside(t, generation, ret_value);
}

/* With the lock: queue up (-1), or say why that cannot be.  EAGAIN: it has ended, and the fast way is open. */
static int queue_locked(struct thread *t, uint32_t generation, struct thread *self)
{
    struct thread_cold *cold = thread_cold(t);
    uint64_t w = atomic_load_acquire(&t->word);

    for (;;) {
        bool terminated = word_state(w) == WORD_TERMINATED;

        if (word_generation(w) != generation)
            return ESRCH;
        if (w & WORD_CONSUMED)
            return terminated ? ESRCH : EINVAL;
        if (word_state(w) == WORD_NEW)
            return EINVAL;
        if (terminated && !(w & WORD_JOINERS))
            return EAGAIN;
        /* TERMINATED with JOINERS: thread_ended is on its way to the lock, and will find us. */
        if ((w & WORD_JOINERS) || atomic_cas_acq_rel(&t->word, &w, w | WORD_JOINERS))
            break;
    }
    thread_cold(self)->join_state = JOIN_QUEUED;
    thread_cold(self)->join_sequence = thread_wait_number(self);
    thread_cold(self)->next_joiner = cold->joiners;
    cold->joiners = thread_index(self);
    return -1;
}

/* With the lock: leave the queue. */
static void unqueue_locked(struct thread *t, struct thread *self)
{
    uint32_t *at = &thread_cold(t)->joiners;

    while (*at != thread_index(self))
        at = &thread_cold_table[*at].next_joiner;
    *at = thread_cold(self)->next_joiner;
}

static int join_slow(struct thread *t, uint32_t generation, struct thread *self, void **ret_value, int64_t deadline_ns)
{
    int result;
    bool granted;

    atomic_store_relaxed(&self->slot,
                         thread_handle_of(t, (uint64_t)generation << WORD_GENERATION_SHIFT)); /* to be seen */
    lock_acquire(lock_of(t));
    result = queue_locked(t, generation, self);
    lock_release(lock_of(t));
    if (result >= 0) {
        atomic_store_relaxed(&self->slot, NULL);
        return result;
    }
    do {
        result = thread_wait_until(self, WORD_INTERNAL, deadline_ns);
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
    uint64_t w;
    int error;

    if (UNLIKELY(t == NULL))
        return EINVAL;
    for (;;) {
        w = atomic_load_acquire(&t->word);
        if (word_generation(w) != generation)
            return ESRCH;
        if (word_state(w) == WORD_TERMINATED && !(w & WORD_JOINERS))
            return consume(t, generation, ret_value);
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

/* A NEW thread, TERMINATED just now, will never run.  True: its record is to be freed. */
static bool discard(struct thread *t)
{
    bool frees;

    lock_acquire(lock_of(t));
    atomic_store_relaxed(&thread_cold(t)->value, NULL);
    grant_joiners_locked(t); /* there may be some if a start failed */
    thread_cold(t)->ended = 1;
    frees = !(word_clear(&t->word, WORD_JOINERS) & WORD_COUNTED) || is_over_locked(t);
    lock_release(lock_of(t));
    return frees;
}

/* ret_locals: of one that was NEW; the caller is to destroy them. */
static int detach(vthread_t thread, struct locals **ret_locals)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    uint64_t w;

    if (t == NULL)
        return EINVAL;
    if (word_leave_new(&t->word, generation, WORD_TERMINATED, WORD_CONSUMED)) {
        atomic_store_relaxed(&t->phase, VTHREAD_TERMINATED);
        *ret_locals = locals_take(t);
        if (discard(t))
            free_record(t, NULL);
        return 0;
    }
    w = atomic_load_acquire(&t->word);
    do {
        if (word_generation(w) != generation)
            return ESRCH;
        if (word_state(w) == WORD_TERMINATED && !(w & WORD_JOINERS))
            return consume(t, generation, NULL);
        if (w & WORD_CONSUMED)
            return word_state(w) == WORD_TERMINATED ? ESRCH : EINVAL;
    } while (!atomic_cas_acq_rel(&t->word, &w, w | WORD_CONSUMED)); /* its end, yet to come, frees it */
    return 0;
}

int vthread_detach(vthread_t thread)
{
    struct locals *locals = NULL;
    int error = runtime_begin_look_anywhere();

    if (error != 0)
        return error;
    error = detach(thread, &locals);
    runtime_end_look_anywhere();
    locals_destroy(locals);
    return error;
}

void thread_discard_unstarted(void)
{
    uint32_t count = record_count();

    for (uint32_t i = 1; i < count; i++) {
        uint64_t w = atomic_load_acquire(&thread_table[i].word);

        if (word_state(w) == WORD_NEW)
            vthread_detach(thread_handle_of(&thread_table[i], w));
    }
}

/* ---- counted references ---- */

/*
 * Under the lock: has the thread ended, with nobody left who would ask for it?  One that
 * is COUNTED stays while the lock is held, so its count may be looked at; thread_ended may be yet to come by.
 */
static bool is_forgotten_locked(struct thread *t, uint64_t w)
{
    return word_state(w) == WORD_TERMINATED && (w & WORD_CONSUMED) &&
           (!(w & WORD_COUNTED) || thread_cold(t)->references == 0);
}

static int ref(vthread_t thread)
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
        if (word_generation(w) != generation) /* somebody else's: not ours to look at */
            error = ESRCH;
        else if (is_forgotten_locked(t, w))
            error = ESRCH;
    } while (error == 0 && !atomic_cas_acq_rel(&t->word, &w, w | WORD_COUNTED));
    /* Only now is the record held: its count might have been that of a later life before. */
    if (error == 0 && thread_cold(t)->references == UINT16_MAX) {
        error = EAGAIN; /* COUNTED was set before, then */
    } else if (error == 0) {
        thread_cold(t)->references++;
        /* The first reference, and no thread_ended will come by. */
        if (word_state(w) == WORD_TERMINATED && !(w & (WORD_JOINERS | WORD_COUNTED)))
            thread_cold(t)->ended = 1;
    }
    lock_release(lock_of(t));
    return error;
}

int vthread_ref(vthread_t thread)
{
    int error = runtime_begin_look_anywhere();

    if (error != 0)
        return error;
    error = ref(thread);
    runtime_end_look_anywhere();
    return error;
}

static int unref(vthread_t thread)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    bool frees = false;
    int error = 0;

    if (t == NULL)
        return EINVAL;
    lock_acquire(lock_of(t));
    if (word_generation(atomic_load_acquire(&t->word)) != generation || thread_cold(t)->references == 0) {
        error = EINVAL;
    } else {
        thread_cold(t)->references--;
        frees = is_over_locked(t);
    }
    lock_release(lock_of(t));
    if (frees)
        free_record(t, NULL);
    return error;
}

int vthread_unref(vthread_t thread)
{
    int error;

    if (thread == NULL)
        return 0;
    error = runtime_begin_look_anywhere();
    if (error != 0)
        return error;
    error = unref(thread);
    runtime_end_look_anywhere();
    return error;
}
