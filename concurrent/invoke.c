/* SPDX-License-Identifier: MIT */
/*
 * Several tasks at once: all of them, or the first that succeeds.
 */
#include <errno.h>

#include "base/memory.h"
#include "concurrent/executor.h"
#include "sync/sync_internal.h"

/* Nobody wants these any more.  Those that have ended keep their results until they are freed. */
static void cancel_all(vthread_future_t **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        vthread_future_cancel(futures[i], true);
}

static void free_all(vthread_future_t **futures, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        vthread_future_free(futures[i]);
        futures[i] = NULL;
    }
}

/* 0, or why not all can be submitted: said before any is. */
static int check_tasks(vthread_executor_t *ex, const char *call, const vthread_task_t *tasks, size_t n)
{
    int error = ex == NULL || (tasks == NULL && n > 0) ? EINVAL : 0;

    for (size_t i = 0; i < n && error == 0; i++)
        error = tasks[i].fn == NULL ? EINVAL : executor_refuse_private(call, tasks[i].arg);
    return error;
}

/* ---- all ---- */

static int wait_for_all(vthread_future_t **futures, size_t n, int64_t deadline_ns)
{
    for (size_t i = 0; i < n; i++) {
        int error = vthread_future_get_until(futures[i], NULL, deadline_ns);

        if (error != 0 && error != ECHILD && error != ECANCELED)
            return error;
    }
    return 0;
}

static int invoke_all(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n, vthread_future_t **futures,
                      int64_t deadline_ns)
{
    size_t begun = 0;
    int error = 0;

    while (begun < n && error == 0) {
        error = executor_submit(ex, tasks[begun].fn, tasks[begun].arg, FUTURE_HELD, &futures[begun]);
        begun += error == 0;
    }
    if (error == 0)
        error = wait_for_all(futures, n, deadline_ns);
    if (error != 0)
        cancel_all(futures, begun);
    if (error != 0 && error != ETIMEDOUT)
        free_all(futures, begun);
    return error;
}

int vthread_executor_invoke_all_until(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n,
                                      vthread_future_t **futures, int64_t deadline_ns)
{
    vthread_future_t **own = NULL;
    int error = check_tasks(ex, "vthread_executor_invoke_all", tasks, n);

    if (error != 0 || n == 0)
        return error;
    if (futures == NULL)
        futures = own = n <= SIZE_MAX / sizeof *own ? memory_alloc(n * sizeof *own) : NULL;
    if (futures == NULL)
        return ENOMEM;
    error = invoke_all(ex, tasks, n, futures, deadline_ns);
    if (own != NULL)
        free_all(own, n);
    memory_free(own);
    return error;
}

int vthread_executor_invoke_all(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n,
                                vthread_future_t **futures)
{
    return vthread_executor_invoke_all_until(ex, tasks, n, futures, VTHREAD_FOREVER);
}

/* ---- any ---- */

struct member {
    struct group *group;
    vthread_task_t task;
    vthread_future_t *future; /* the caller's */
};

/* What the tasks and their caller share; on the heap, for tasks may go on when the caller has left. */
struct group {
    struct wait_queue queue; /* the caller; its lock guards the numbers */
    size_t left;             /* tasks that have not ended */
    size_t references;       /* those, and the caller */
    struct member *winner;
    struct member members[];
};

static void *run_member(void *arg)
{
    struct member *member = arg;

    return member->task.fn(member->task.arg);
}

/* With the lock, which is released. */
static void drop_reference(struct group *group)
{
    bool last = --group->references == 0;

    lock_release(&group->queue.lock);
    if (last)
        memory_let_go(group);
}

void group_member_ended(void *arg, bool succeeded)
{
    struct member *member = arg;
    struct group *group = member->group;
    struct granted granted = {0, 0};

    lock_acquire(&group->queue.lock);
    group->left--;
    if (succeeded && group->winner == NULL)
        group->winner = member;
    if (group->winner != NULL || group->left == 0)
        wait_queue_grant_all(&group->queue, 0, &granted);
    drop_reference(group);
    wait_queue_wake(granted);
}

static int submit_members(vthread_executor_t *ex, struct group *group, const vthread_task_t *tasks, size_t n,
                          size_t *ret_begun)
{
    int error = 0;
    size_t i;

    group->left = n;
    group->references = n + 1;
    for (i = 0; i < n && error == 0; i += error == 0) {
        group->members[i] = (struct member){.group = group, .task = tasks[i]};
        error =
            executor_submit(ex, run_member, &group->members[i], FUTURE_HELD | FUTURE_MEMBER, &group->members[i].future);
    }
    lock_acquire(&group->queue.lock);
    group->left -= n - i;
    group->references -= n - i;
    lock_release(&group->queue.lock);
    *ret_begun = i;
    return error;
}

/* Wait for the winner: 0, ECHILD: there is none; or what ended the wait. */
static int wait_for_one(struct group *group, int64_t deadline_ns)
{
    int error;
    struct thread *self = waiting_self(0, &error);

    if (self == NULL)
        return error;
    lock_acquire(&group->queue.lock);
    if (group->winner == NULL && group->left > 0) {
        wait_queue_append(&group->queue, self, 0);
        lock_release(&group->queue.lock);
        error = wait_queue_wait(&group->queue, self, group, 0, deadline_ns);
        if (error == 0)
            lock_acquire(&group->queue.lock);
    }
    if (error == 0 && group->winner == NULL)
        error = ECHILD;
    lock_release(&group->queue.lock);
    return error;
}

static int invoke_any(vthread_executor_t *ex, struct group *group, const vthread_task_t *tasks, size_t n,
                      void **ret_value, int64_t deadline_ns)
{
    size_t begun;
    int error = submit_members(ex, group, tasks, n, &begun);

    if (error == 0)
        error = wait_for_one(group, deadline_ns);
    if (error == 0)
        error = vthread_future_get(group->winner->future, ret_value);
    for (size_t i = 0; i < begun; i++) {
        vthread_future_cancel(group->members[i].future, true);
        vthread_future_free(group->members[i].future);
    }
    lock_acquire(&group->queue.lock);
    drop_reference(group);
    return error;
}

int vthread_executor_invoke_any_until(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n, void **ret_value,
                                      int64_t deadline_ns)
{
    int error = n > 0 ? check_tasks(ex, "vthread_executor_invoke_any", tasks, n) : EINVAL;
    struct group *group;

    if (error != 0)
        return error;
    group = n <= SIZE_MAX / 2 / sizeof(struct member) ? memory_hold(sizeof *group + n * sizeof(struct member)) : NULL;
    return group != NULL ? invoke_any(ex, group, tasks, n, ret_value, deadline_ns) : ENOMEM;
}

int vthread_executor_invoke_any(vthread_executor_t *ex, const vthread_task_t *tasks, size_t n, void **ret_value)
{
    return vthread_executor_invoke_any_until(ex, tasks, n, ret_value, VTHREAD_FOREVER);
}
