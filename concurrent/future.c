/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a task: future_word.h has the protocol.
 *
 * Who completes a future that somebody waits for does so under its queue's lock, and
 * touches it for the last time when he releases that; who frees it waits for that.
 */
#include <errno.h>
#include <sched.h>

#include "base/memory.h"
#include "concurrent/executor.h"
#include "sync/sync_internal.h"

/* Somebody interrupts the task just now, which takes a few instructions, unless he has lost the CPU. */
static COLD void await_interrupter(void)
{
    sched_yield();
}

static void call_discard(void (*discard)(void *value), void *value)
{
    if (value != NULL && discard != NULL)
        discard(value);
}

/* ---- the task's side ---- */

bool future_begin(struct vthread_future *f, vthread_t runner)
{
    uint32_t before;

    f->runner = runner;
    if (!future_word_begin(&f->work.word, &before))
        return false;
    if (UNLIKELY(before & FUTURE_POKED))
        vthread_interrupt(runner);
    return true;
}

/* Everybody in the queue is to be woken: it is done.  With the lock, which is released. */
static void release_waiters(struct vthread_future *f)
{
    struct granted granted = {0, 0};

    wait_queue_grant_all(&f->queue, 0, &granted);
    lock_release(&f->queue.lock);
    wait_queue_wake(granted);
}

/* Returns the word afterwards. */
static uint32_t settle(struct vthread_future *f, uint32_t state)
{
    bool locked = false;
    uint32_t after;

    for (;;) {
        switch (future_word_end(&f->work.word, state, locked, &after)) {
        case FUTURE_NEEDS_LOCK:
            lock_acquire(&f->queue.lock);
            locked = true;
            break;
        case FUTURE_LATER:
            await_interrupter();
            break;
        default:
            if (locked)
                release_waiters(f);
            return after;
        }
    }
}

void future_end(struct vthread_future *f, uint32_t state, void *value)
{
    uint32_t w = atomic_load_relaxed(&f->work.word); /* for what never changes */
    void *member = UNLIKELY(w & FUTURE_MEMBER) ? f->arg : NULL;
    void (*discard)(void *) = atomic_load_relaxed(&f->executor)->discard;
    int error = f->work.error;

    if (UNLIKELY(w & FUTURE_COPY))
        memory_let_go(f->arg);
    f->discard = discard;
    f->value = state == FUTURE_SUCCEEDED ? value : NULL;
    w = settle(f, state);
    if (state != FUTURE_CANCELLED)
        vthread_interrupted(); /* was for the task, not for what the callbacks do */
    if (!(w & FUTURE_HELD))
        future_recycle(f);
    if (!(w & FUTURE_HELD) && future_state(w) == FUTURE_FAILED)
        thread_failed(thread_self(NULL), VTHREAD_FAILURE_FAILED, error);
    if (!(w & FUTURE_HELD) || future_state(w) != FUTURE_SUCCEEDED)
        call_discard(discard, value); /* nobody will take it */
    if (UNLIKELY(member != NULL))
        group_member_ended(member, future_state(w) == FUTURE_SUCCEEDED);
}

/* ---- the holders' side ---- */

static void interrupt_runner(struct vthread_future *f)
{
    vthread_interrupt(f->runner);
    future_word_interrupted(&f->work.word);
}

void future_interrupt(struct vthread_future *f)
{
    bool interrupts = false;
    enum future_try result;

    while ((result = future_word_poke(&f->work.word, &interrupts)) == FUTURE_LATER)
        await_interrupter();
    if (result == FUTURE_CHANGED && interrupts)
        interrupt_runner(f);
}

int vthread_future_cancel(vthread_future_t *f, bool interrupt)
{
    bool locked = false;
    bool interrupts = false;
    enum future_try result;

    if (f == NULL)
        return EINVAL;
    do {
        result = future_word_cancel(&f->work.word, interrupt, locked, &interrupts);
        if (result == FUTURE_NEEDS_LOCK) {
            lock_acquire(&f->queue.lock);
            locked = true;
        } else if (result == FUTURE_LATER) {
            await_interrupter();
        }
    } while (result == FUTURE_NEEDS_LOCK || result == FUTURE_LATER);
    if (locked)
        release_waiters(f);
    if (result == FUTURE_CHANGED && interrupts)
        interrupt_runner(f);
    if (result == FUTURE_CHANGED)
        return 0;
    return future_state(atomic_load_relaxed(&f->work.word)) == FUTURE_CANCELLED ? 0 : ESRCH;
}

static int result_of(struct vthread_future *f, uint32_t w, void **ret_value)
{
    if (UNLIKELY(future_state(w) != FUTURE_SUCCEEDED))
        return future_state(w) == FUTURE_FAILED ? ECHILD : ECANCELED;
    if (ret_value != NULL) {
        *ret_value = f->value;
        future_word_take(&f->work.word, w);
    }
    return 0;
}

static NOINLINE int get_slow(struct vthread_future *f, void **ret_value, int64_t deadline_ns)
{
    int error;
    struct thread *self = waiting_self(0, &error);

    if (self == NULL)
        return error;
    if (executor_task_of(self) == f) {
        misuse("vthread_future_get", "the task waits for its own result");
        return EDEADLK;
    }
    lock_acquire(&f->queue.lock);
    if (future_word_wait(&f->work.word)) {
        wait_queue_append(&f->queue, self, 0);
        lock_release(&f->queue.lock);
        error = wait_queue_wait(&f->queue, self, f, 0, deadline_ns);
        if (error == 0) /* the lock is not held */
            return result_of(f, atomic_load_acquire(&f->work.word), ret_value);
    }
    lock_release(&f->queue.lock);
    return error != 0 ? error : result_of(f, atomic_load_acquire(&f->work.word), ret_value);
}

int vthread_future_get_until(vthread_future_t *f, void **ret_value, int64_t deadline_ns)
{
    uint32_t w;

    if (UNLIKELY(f == NULL))
        return EINVAL;
    w = atomic_load_acquire(&f->work.word); /* pairs with the CAS of the end */
    if (LIKELY(future_is_done(w)))
        return result_of(f, w, ret_value);
    return get_slow(f, ret_value, deadline_ns);
}

int vthread_future_get(vthread_future_t *f, void **ret_value)
{
    return vthread_future_get_until(f, ret_value, VTHREAD_FOREVER);
}

int vthread_future_error(vthread_future_t *f)
{
    return f != NULL && vthread_future_state(f) == VTHREAD_FUTURE_FAILED ? f->work.error : 0;
}

vthread_future_state_t vthread_future_state(vthread_future_t *f)
{
    return f != NULL ? (vthread_future_state_t)future_state(atomic_load_acquire(&f->work.word))
                     : VTHREAD_FUTURE_CANCELLED;
}

bool vthread_future_is_done(vthread_future_t *f)
{
    return vthread_future_state(f) >= VTHREAD_FUTURE_SUCCEEDED;
}

int vthread_future_free(vthread_future_t *f)
{
    uint32_t w;

    if (f == NULL || !future_word_free(&f->work.word, &w))
        return 0;
    wait_queue_let_go(&f->queue); /* whoever completed it */
    if (UNLIKELY(future_state(w) == FUTURE_SUCCEEDED && !(w & FUTURE_TAKEN)))
        call_discard(f->discard, f->value);
    future_recycle(f);
    return 0;
}
