/* SPDX-License-Identifier: MIT */
/*
 * What both kinds of executor have: parameters, submitting, and the way to the end.
 */
#include "concurrent/executor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "concurrent/group.h"
#include "sync/sync_internal.h"

int executor_enter(void)
{
    int error = processor_self() != NULL ? runtime_enter() : runtime_begin_call();

    if (error == 0)
        runtime_end_look_anywhere();
    return error;
}

/* ---- parameters ---- */

static size_t length_of(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

/* The names, copied, and the counter that they end with. */
static int keep_names(struct vthread_executor *ex, const char *name)
{
    vthread_attr_t *attr = &ex->own_attr;
    bool named = attr->name == NULL && attr->name_prefix == NULL && name != NULL;
    size_t first = length_of(attr->name);
    size_t second = named ? length_of(name) + 1 : length_of(attr->name_prefix);

    if (first + second == 0)
        return 0;
    ex->strings = memory_alloc(first + second);
    if (ex->strings == NULL)
        return ENOMEM;
    if (first > 0)
        attr->name = memcpy(ex->strings, attr->name, first);
    if (second > 0) {
        snprintf(ex->strings + first, second, named ? "%s-" : "%s", named ? name : attr->name_prefix);
        attr->name_prefix = ex->strings + first;
        if (attr->name_counter == NULL)
            attr->name_counter = &ex->counter;
    }
    return 0;
}

int executor_init(struct vthread_executor *ex, const vthread_executor_params_t *params, vthread_kind_t kind)
{
    static const vthread_executor_params_t defaults;
    int error;

    if (params == NULL)
        params = &defaults;
    ex->discard = params->discard;
    ex->own_attr = params->attr;
    if (kind == VTHREAD_KIND_PLATFORM)
        ex->own_attr.kind = kind;
    if (!words_are_zero(params->reserved, LENGTH_OF(params->reserved)))
        return EINVAL;
    error = thread_attr_is_valid(&ex->own_attr) ? keep_names(ex, params->name) : EINVAL;
    if (error == 0 && !thread_attr_is_valid(&ex->own_attr)) /* the name is too long */
        error = EINVAL;
    if (memcmp(&ex->own_attr, &defaults.attr, sizeof ex->own_attr) != 0)
        ex->attr = &ex->own_attr;
    return error;
}

/* ---- all of them, in the order of their making ---- */

static struct {
    struct lock lock;
    uint64_t serial;
    struct vthread_executor *first;
    struct vthread_executor *last;
} all;

void executor_enlist(struct vthread_executor *ex)
{
    lock_acquire(&all.lock);
    ex->serial = ++all.serial;
    ex->previous = all.last;
    if (all.last != NULL)
        all.last->next = ex;
    else
        all.first = ex;
    all.last = ex;
    lock_release(&all.lock);
}

static void leave_list(struct vthread_executor *ex)
{
    if (ex->serial == 0)
        return;
    lock_acquire(&all.lock);
    if (ex->previous != NULL)
        ex->previous->next = ex->next;
    else
        all.first = ex->next;
    if (ex->next != NULL)
        ex->next->previous = ex->previous;
    else
        all.last = ex->previous;
    lock_release(&all.lock);
}

static void copy_name(const struct vthread_executor *ex, char *to, size_t size)
{
    const vthread_attr_t *attr = &ex->own_attr;
    const char *name = attr->name != NULL ? attr->name : attr->name_prefix;
    size_t length;

    snprintf(to, size, "%s", name != NULL ? name : "");
    length = strlen(to);
    if (length > 0 && name != attr->name && to[length - 1] == '-')
        to[length - 1] = '\0'; /* what stands before the number */
}

int executor_list(uint64_t after, struct executor_view *views, int n)
{
    int count = 0;

    lock_acquire(&all.lock);
    for (struct vthread_executor *ex = all.first; ex != NULL && count < n; ex = ex->next) {
        struct executor_view *view = &views[count];

        if (ex->serial <= after)
            continue;
        *view = (struct executor_view){.executor = ex, .serial = ex->serial, .has_workers = ex->kind->has_workers};
        copy_name(ex, view->name, sizeof view->name);
        view->is_shutdown = ex->kind->is_shutdown(ex);
        ex->kind->stats(ex, &view->stats);
        count++;
    }
    lock_release(&all.lock);
    return count;
}

void executor_fini(struct vthread_executor *ex)
{
    leave_list(ex);
    wait_queue_let_go(&ex->ends);
    memory_free(ex->strings);
}

/* ---- submitting ---- */

int executor_refuse_private(const char *call, const void *arg)
{
    return UNLIKELY(stack_is_private(arg)) ? stack_refuse_private(call, "the argument", arg) : 0;
}

int executor_submit(struct vthread_executor *ex, void *(*fn)(void *arg), void *arg, uint32_t flags,
                    struct vthread_future **ret_future)
{
    struct vthread_future *f;
    int error;

    if (UNLIKELY(ex == NULL || fn == NULL))
        return EINVAL;
    f = future_alloc();
    if (UNLIKELY(f == NULL))
        return ENOMEM;
    f->work.error = 0;
    f->fn = fn;
    f->arg = arg;
    f->queue = (struct wait_queue){0};
    atomic_store_relaxed(&f->work.word, FUTURE_PENDING | FUTURE_TASK | flags);
    atomic_store_release(&f->executor, ex); /* after its last handle was taken away: future_for_each_thread */
    error = ex->kind->submit(ex, f);
    if (UNLIKELY(error != 0))
        future_recycle(f);
    else if (flags & FUTURE_HELD)
        *ret_future = f;
    return error;
}

int vthread_executor_submit(vthread_executor_t *ex, void *(*fn)(void *arg), void *arg, vthread_future_t **ret_future)
{
    int error = executor_refuse_private("vthread_executor_submit", arg);

    return LIKELY(error == 0) ? executor_submit(ex, fn, arg, ret_future != NULL ? FUTURE_HELD : 0, ret_future) : error;
}

int vthread_executor_submit_copy(vthread_executor_t *ex, void *(*fn)(void *arg), const void *ptr, size_t size,
                                 vthread_future_t **ret_future)
{
    void *copy;
    int error;

    if (ptr == NULL && size > 0)
        return EINVAL;
    copy = memory_copy(ptr, size);
    if (copy == NULL)
        return ENOMEM;
    error = executor_submit(ex, fn, copy, FUTURE_COPY | (ret_future != NULL ? FUTURE_HELD : 0), ret_future);
    if (error != 0)
        memory_let_go(copy);
    return error;
}

/* ---- calling ---- */

struct vthread_future *executor_task_of(struct thread *self)
{
    struct thread_work *work = thread_work(self);

    if (work == NULL)
        return NULL;
    if (work->hooks == &worker_hooks)
        return worker_task(work);
    return work->hooks == &per_task_hooks ? container_of(work, struct vthread_future, work) : NULL;
}

static bool is_own_task(struct vthread_executor *ex, struct thread *self)
{
    struct thread_work *work = thread_work(self);
    struct vthread_future *task = executor_task_of(self);

    if (work != NULL && work->hooks == &worker_hooks)
        return worker_executor(work) == ex; /* between two tasks, too: in a callback */
    return task != NULL && atomic_load_relaxed(&task->executor) == ex;
}

/* Submit it, and see it through.  An interrupt is for the task. */
static int run_there(struct vthread_executor *ex, void *(*fn)(void *arg), void *arg, uint32_t flags, void **ret_value)
{
    struct vthread_future *f;
    int error = executor_submit(ex, fn, arg, FUTURE_HELD | flags, &f);

    if (error != 0)
        return error;
    while ((error = vthread_future_get(f, ret_value)) == EINTR)
        future_interrupt(f);
    if (error == ECHILD)
        error = vthread_future_error(f);
    vthread_future_free(f);
    return error;
}

int vthread_executor_call(vthread_executor_t *ex, void *(*fn)(void *arg), void *arg, void **ret_value)
{
    int error;
    struct thread *self = thread_self(&error);

    if (self == NULL)
        return error;
    if (ex == NULL || fn == NULL)
        return EINVAL;
    if (ex->kind->has_workers && is_own_task(ex, self)) {
        misuse("vthread_executor_call", "a task of the same executor: with all its threads waiting like this, none "
                                        "is left to run what they wait for; call the function itself");
        return EDEADLK;
    }
    if (!stack_is_private(arg))
        return run_there(ex, fn, arg, 0, ret_value);
    error = vthread_blocking_begin("vthread_executor_call"); /* keeps the stack where it is */
    if (error != 0)
        return error;
    /* The task gets a stack of its own: all that are shared may be kept by callers like this one. */
    error = run_there(ex, fn, arg, FUTURE_OWN_STACK, ret_value);
    vthread_blocking_end();
    return error;
}

/* ---- the end ---- */

void executor_terminated(struct vthread_executor *ex)
{
    struct granted granted = {0, 0};

    lock_acquire(&ex->ends.lock);
    atomic_store_release(&ex->terminated, true); /* pairs with await, is_terminated */
    wait_queue_grant_all(&ex->ends, 0, &granted);
    lock_release(&ex->ends.lock);
    wait_queue_wake(granted);
}

/* Does one of its own tasks ask? */
static bool is_own(struct vthread_executor *ex)
{
    struct thread *known = thread_self_if_known(); /* whoever runs a task is */

    return known != NULL && is_own_task(ex, known);
}

/* 0, or why the calling thread may not wait for the end; *ret_self is NULL if there is nothing to wait for. */
static int may_await(struct vthread_executor *ex, const char *call, struct thread **ret_self)
{
    int error = 0;

    *ret_self = NULL;
    if (atomic_load_acquire(&ex->terminated))
        return 0;
    if (!is_own(ex)) {
        *ret_self = thread_self(&error);
        return error;
    }
    misuse(call, "one of the executor's own tasks would wait for its own end; let somebody else wait");
    return EDEADLK;
}

static int await(struct vthread_executor *ex, struct thread *self, uint64_t flags, int64_t deadline_ns)
{
    int error = 0;

    if (!(flags & WORD_DEAF) && wait_is_interrupted(self))
        return EINTR;
    lock_acquire(&ex->ends.lock);
    if (!atomic_load_relaxed(&ex->terminated)) {
        wait_queue_append(&ex->ends, self, 0);
        lock_release(&ex->ends.lock);
        error = wait_queue_wait(&ex->ends, self, ex, flags, deadline_ns);
        if (error == 0) /* the lock is not held */
            return 0;
    }
    lock_release(&ex->ends.lock);
    return error;
}

int vthread_executor_await_until(vthread_executor_t *ex, int64_t deadline_ns)
{
    struct thread *self;
    int error = ex != NULL ? may_await(ex, "vthread_executor_await_until", &self) : EINVAL;

    return error == 0 && self != NULL ? await(ex, self, 0, deadline_ns) : error;
}

static int refuse_shared(struct vthread_executor *ex, const char *call)
{
    if (!ex->is_shared)
        return 0;
    misuse(call, "this executor is shared by all (vthread_executor_cpu); the runtime's shutdown ends it");
    return EPERM;
}

static int shut_down(vthread_executor_t *ex, const char *call)
{
    int error = ex != NULL ? refuse_shared(ex, call) : EINVAL;

    if (error == 0)
        ex->kind->shutdown(ex);
    return error;
}

int vthread_executor_shutdown(vthread_executor_t *ex)
{
    return shut_down(ex, "vthread_executor_shutdown");
}

int vthread_executor_shutdown_now(vthread_executor_t *ex)
{
    int error = shut_down(ex, "vthread_executor_shutdown_now");

    return error == 0 ? ex->kind->stop(ex) : -error;
}

static int close(vthread_executor_t *ex, const char *call)
{
    struct thread *self;
    int error = refuse_shared(ex, call);

    if (error != 0)
        return error;
    if (!is_own(ex))
        ex->kind->shutdown(ex);
    error = may_await(ex, call, &self);
    if (error != 0)
        return error;
    if (self != NULL && await(ex, self, 0, VTHREAD_FOREVER) == EINTR) {
        ex->kind->stop(ex);
        await(ex, self, WORD_DEAF, VTHREAD_FOREVER);
        vthread_interrupt(thread_handle(self));
    }
    return 0;
}

int vthread_executor_close(vthread_executor_t *ex)
{
    return ex != NULL ? close(ex, "vthread_executor_close") : 0;
}

int vthread_executor_free(vthread_executor_t *ex)
{
    int error;

    if (ex == NULL)
        return 0;
    error = close(ex, "vthread_executor_free");
    if (error == 0)
        ex->kind->free(ex);
    return error;
}

bool vthread_executor_is_shutdown(vthread_executor_t *ex)
{
    return ex != NULL && ex->kind->is_shutdown(ex);
}

bool vthread_executor_is_terminated(vthread_executor_t *ex)
{
    return ex != NULL && atomic_load_acquire(&ex->terminated);
}

int vthread_executor_stats(vthread_executor_t *ex, vthread_executor_stats_t *ret_stats)
{
    vthread_executor_stats_t stats = {0};

    if (ex == NULL)
        return EINVAL;
    ex->kind->stats(ex, &stats);
    if (ret_stats != NULL)
        *ret_stats = stats;
    return 0;
}
