/* SPDX-License-Identifier: MIT */
/*
 * So many platform threads, the workers, that take tasks from one queue.  All of it is under
 * the lock of `idle`: what a task computes is long compared to that.
 *
 * A worker lives until the executor has been shut down and the queue is empty, or until the
 * runtime wants it gone: then it cancels what is queued, for nobody would be left to do it.
 */
#undef _FORTIFY_SOURCE /* its longjmp refuses to leave a continuation, whose stack lies anywhere */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>

#include "base/memory.h"
#include "concurrent/executor.h"

enum { WORKERS_MAX = 65536 };

struct worker {
    struct thread_work work;
    struct fixed *executor;
    struct vthread_future *task; /* the one it runs */
    void *value;
    jmp_buf ended;               /* vthread_exit goes there ... */
    struct vthread_cont *inside; /* ... from inside this continuation, or NULL */
};

_Static_assert(offsetof(struct worker, executor) == sizeof(struct thread_work), "where thread_group finds it");

struct fixed {
    struct vthread_executor common;
    struct wait_queue idle; /* workers without a task; its lock guards all of what follows */
    ATOMIC(bool) closed;
    bool orphan;                  /* of a start that failed: the last worker frees it */
    struct vthread_future *first; /* tasks, linked by next */
    struct vthread_future *last;
    uint64_t queued;
    uint64_t submitted;
    uint64_t completed;
    uint64_t running;
    unsigned alive; /* workers */
    unsigned count;
    struct worker *workers;
};

static struct fixed *fixed_of(struct vthread_executor *ex)
{
    return container_of(ex, struct fixed, common);
}

/* ---- the queue; with the lock ---- */

static void append_locked(struct fixed *ex, struct vthread_future *f)
{
    f->next = NULL;
    if (ex->first == NULL)
        ex->first = f;
    else
        ex->last->next = f;
    ex->last = f;
    ex->queued++;
}

static struct vthread_future *take_locked(struct fixed *ex)
{
    struct vthread_future *f = ex->first;

    if (f != NULL) {
        ex->first = f->next;
        ex->queued--;
        ex->running++;
    }
    return f;
}

/* No more are to come: idle workers are to see that. */
static void close_locked(struct fixed *ex, struct granted *granted)
{
    atomic_store_relaxed(&ex->closed, true);
    wait_queue_grant_all(&ex->idle, 0, granted);
}

/* ---- shutting down ---- */

static void shutdown(struct vthread_executor *common)
{
    struct fixed *ex = fixed_of(common);
    struct granted granted = {0, 0};

    lock_acquire(&ex->idle.lock);
    close_locked(ex, &granted);
    lock_release(&ex->idle.lock);
    wait_queue_wake(granted);
}

/* Tasks in the queue never run.  Returns how many; the executor may be gone then, unless the caller holds it. */
static int cancel_queued(struct fixed *ex)
{
    struct vthread_future *f;
    int n = 0;

    lock_acquire(&ex->idle.lock);
    f = ex->first;
    ex->first = NULL;
    ex->completed += ex->queued;
    ex->queued = 0;
    lock_release(&ex->idle.lock);
    while (f != NULL) {
        struct vthread_future *next = f->next;

        future_end(f, FUTURE_CANCELLED, NULL);
        f = next;
        n++;
    }
    return n;
}

static int stop(struct vthread_executor *common)
{
    struct fixed *ex = fixed_of(common);
    int n = cancel_queued(ex);

    /* No worker gets another task: an interrupt hits the one that it runs, or one that ends. */
    for (unsigned i = 0; i < ex->count; i++)
        vthread_interrupt(atomic_load_acquire(&ex->workers[i].work.thread));
    return n;
}

/* ---- workers ---- */

/* The runtime shuts down, and has interrupted this worker: all is over. */
static void give_up(struct fixed *ex)
{
    shutdown(&ex->common);
    cancel_queued(ex);
}

/* The next task; NULL: there are no more.  had: one that has ended before. */
static struct vthread_future *next_task(struct fixed *ex, struct thread *self, bool had)
{
    struct vthread_future *f;

    lock_acquire(&ex->idle.lock);
    ex->running -= had;
    ex->completed += had;
    while ((f = take_locked(ex)) == NULL && !atomic_load_relaxed(&ex->closed)) {
        wait_queue_append(&ex->idle, self, 0);
        lock_release(&ex->idle.lock);
        if (wait_queue_wait(&ex->idle, self, ex, 0, VTHREAD_FOREVER) == 0)
            lock_acquire(&ex->idle.lock);
        else if (runtime_refuses_threads()) /* interrupted; else it was for nothing */
            atomic_store_relaxed(&ex->closed, true);
    }
    lock_release(&ex->idle.lock);
    return f;
}

static void run_task(struct worker *worker, struct vthread_future *f)
{
    void *(*fn)(void *) = f->fn;

    worker->value = NULL;
    worker->work.error = 0;
    worker->task = f;
    if (future_begin(f, atomic_load_relaxed(&worker->work.thread))) {
        if (_setjmp(worker->ended) == 0)
            worker->value = fn(f->arg);
        else
            thread_has_jumped(worker->inside);
        thread_wind_up(thread_self(NULL)); /* as the end of a thread: scopes left open, values of keys */
    }
    worker->task = NULL;
    f->work.error = worker->work.error;
    future_end(f, f->work.error != 0 ? FUTURE_FAILED : FUTURE_SUCCEEDED, worker->value);
}

static void *run(void *work)
{
    struct worker *worker = container_of((struct thread_work *)work, struct worker, work);
    struct thread *self = thread_self(NULL);
    struct vthread_future *f;
    bool had = false;

    while ((f = next_task(worker->executor, self, had)) != NULL) {
        run_task(worker, f);
        had = true;
        vthread_interrupted(); /* was for the task */
        if (UNLIKELY(runtime_refuses_threads()))
            give_up(worker->executor);
    }
    return NULL;
}

static void free_it(struct vthread_executor *common)
{
    struct fixed *ex = fixed_of(common);

    wait_queue_let_go(&ex->idle);
    executor_fini(common);
    memory_free(ex->workers);
    memory_free(ex);
}

/* Of the worker, or of a task that calls vthread_exit: that goes back to where the task began. */
static void end(struct thread_work *work, void *value)
{
    struct worker *worker = container_of(work, struct worker, work);
    struct fixed *ex = worker->executor;
    bool last;
    bool orphan;

    if (worker->task != NULL) {
        worker->value = value;
        worker->inside = thread_goes_on(thread_self(NULL), work);
        longjmp(worker->ended, 1);
    }
    lock_acquire(&ex->idle.lock);
    last = --ex->alive == 0;
    orphan = ex->orphan;
    lock_release(&ex->idle.lock);
    if (last && orphan)
        free_it(&ex->common);
    else if (last)
        executor_terminated(&ex->common);
}

const struct thread_work_hooks worker_hooks = {.run = run, .end = end};

struct vthread_future *worker_task(struct thread_work *work)
{
    return container_of(work, struct worker, work)->task;
}

struct vthread_executor *worker_executor(struct thread_work *work)
{
    return &container_of(work, struct worker, work)->executor->common;
}

/* ---- the executor ---- */

static int submit(struct vthread_executor *common, struct vthread_future *f)
{
    struct fixed *ex = fixed_of(common);
    struct granted granted = {0, 0};
    int error = 0;

    if (UNLIKELY(runtime_forked()))
        return ENOTSUP;
    lock_acquire(&ex->idle.lock);
    if (UNLIKELY(atomic_load_relaxed(&ex->closed))) {
        error = ECANCELED;
    } else {
        append_locked(ex, f);
        ex->submitted++;
        if (!wait_queue_is_empty(&ex->idle))
            wait_queue_grant(&ex->idle, 0, &granted);
    }
    lock_release(&ex->idle.lock);
    wait_queue_wake(granted);
    return error;
}

static bool is_shutdown(struct vthread_executor *common)
{
    return atomic_load_relaxed(&fixed_of(common)->closed);
}

static void stats(struct vthread_executor *common, vthread_executor_stats_t *stats)
{
    struct fixed *ex = fixed_of(common);

    lock_acquire(&ex->idle.lock);
    stats->submitted = ex->submitted;
    stats->completed = ex->completed;
    stats->running = ex->running;
    stats->queued = ex->queued;
    stats->threads = ex->alive;
    lock_release(&ex->idle.lock);
}

static const struct executor_kind fixed_kind = {
    .submit = submit,
    .shutdown = shutdown,
    .is_shutdown = is_shutdown,
    .stop = stop,
    .stats = stats,
    .free = free_it,
    .has_workers = true,
};

/* Start the workers.  If that fails it is closed, and those that run end. */
static int start(struct fixed *ex, bool orphan)
{
    struct granted granted = {0, 0};
    unsigned n = 0;
    bool none;
    int error = 0;

    lock_acquire(&ex->idle.lock);
    ex->alive = ex->count;
    lock_release(&ex->idle.lock);
    for (; n < ex->count && error == 0; n++) {
        ex->workers[n] = (struct worker){.work.hooks = &worker_hooks, .executor = ex};
        error = thread_create_work(ex->common.attr, &ex->workers[n].work);
    }
    if (error == 0)
        return 0;
    lock_acquire(&ex->idle.lock);
    ex->alive -= ex->count - (n - 1);
    ex->orphan = orphan;
    none = ex->alive == 0;
    close_locked(ex, &granted);
    lock_release(&ex->idle.lock);
    wait_queue_wake(granted);
    if (!none)
        return error;
    cancel_queued(ex); /* somebody may have found the shared one open */
    if (orphan)
        free_it(&ex->common);
    else
        executor_terminated(&ex->common);
    return error;
}

static int make(struct fixed **ret_ex, const vthread_executor_params_t *params)
{
    unsigned threads = params != NULL ? params->threads : 0;
    struct fixed *ex;
    int error;

    if (threads > WORKERS_MAX)
        return EINVAL;
    ex = memory_alloc_lines(sizeof *ex);
    if (ex == NULL)
        return ENOMEM;
    ex->common.kind = &fixed_kind;
    ex->count = threads != 0 ? threads : parallelism_available();
    error = executor_init(&ex->common, params, VTHREAD_KIND_PLATFORM);
    ex->common.own_attr.no_inherit = true; /* no task has what whoever made the workers had */
    ex->common.attr = &ex->common.own_attr;
    if (error == 0 && (ex->workers = memory_alloc(ex->count * sizeof *ex->workers)) == NULL)
        error = ENOMEM;
    if (error != 0)
        free_it(&ex->common);
    else
        *ret_ex = ex;
    return error;
}

int vthread_executor_new_fixed(vthread_executor_t **ret_executor, const vthread_executor_params_t *params)
{
    struct fixed *ex;
    int error = ret_executor != NULL ? make(&ex, params) : EINVAL;

    if (error != 0)
        return error;
    executor_enlist(&ex->common);
    error = start(ex, true);
    if (error == 0)
        *ret_executor = &ex->common;
    return error;
}

/* ---- the shared one ---- */

static struct {
    pthread_mutex_t lock; /* one start at a time */
    ATOMIC(struct fixed *) executor;
} cpu = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_open(struct fixed *ex)
{
    return ex != NULL && !atomic_load_relaxed(&ex->closed);
}

static struct fixed *make_cpu(void)
{
    struct fixed *ex;

    if (make(&ex, &(vthread_executor_params_t){.name = "cpu"}) != 0)
        return NULL;
    ex->common.is_shared = true;
    executor_enlist(&ex->common);
    atomic_store_relaxed(&ex->closed, true);
    atomic_store_relaxed(&ex->common.terminated, true);
    atomic_store_release(&cpu.executor, ex); /* pairs with the acquire below */
    return ex;
}

/* Its workers have gone, or there never were any. */
static bool start_cpu_locked(void)
{
    struct fixed *ex = atomic_load_relaxed(&cpu.executor);

    if (is_open(ex))
        return true;
    if (ex == NULL && (ex = make_cpu()) == NULL)
        return false;
    if (!atomic_load_acquire(&ex->common.terminated))
        return false;
    wait_queue_let_go(&ex->common.ends);
    atomic_store_relaxed(&ex->common.terminated, false);
    atomic_store_relaxed(&ex->closed, false);
    return start(ex, false) == 0;
}

vthread_executor_t *vthread_executor_cpu(void)
{
    struct fixed *ex = atomic_load_acquire(&cpu.executor);
    bool started = is_open(ex);

    if (LIKELY(started))
        return &ex->common;
    if (executor_enter() != 0) /* not under the lock: handlers of the program may be called */
        return NULL;
    pthread_mutex_lock(&cpu.lock);
    started = start_cpu_locked();
    pthread_mutex_unlock(&cpu.lock);
    return started ? &atomic_load_relaxed(&cpu.executor)->common : NULL;
}
