/* SPDX-License-Identifier: MIT */
/*
 * A thread for each task.  The executor only counts: its tasks are found, when they are to be
 * interrupted, by a walk over all futures.
 */
#include <errno.h>
#include <sched.h>

#include "base/memory.h"
#include "concurrent/count.h"
#include "concurrent/executor.h"

enum { SHARDS_MAX = 64 };

struct per_task {
    struct vthread_executor common;
    struct count count;
    ATOMIC(uint64_t) refused; /* of those counted, came to nothing */
    ATOMIC(bool) stopping;    /* every task is interrupted, also those whose submit is under way */
    struct count_shard shards[];
};

static struct per_task *per_task_of(struct vthread_executor *ex)
{
    return container_of(ex, struct per_task, common);
}

static struct count_shard *shard_here(struct per_task *ex)
{
    struct carrier *c = carrier_self();

    return count_shard(&ex->count, LIKELY(c != NULL) ? c->index : COUNT_NO_CARRIER);
}

/* One that was counted has ended, or has come to nothing. */
static void count_out(struct per_task *ex)
{
    struct count_shard *shard = shard_here(ex);

    if (UNLIKELY(count_end(&ex->count, shard)))
        executor_terminated(&ex->common);
    count_go(&ex->count, shard);
}

/* ---- a task ---- */

static void *run(void *work)
{
    struct vthread_future *f = container_of((struct thread_work *)work, struct vthread_future, work);
    void *(*fn)(void *) = f->fn;

    if (UNLIKELY(!future_begin(f, atomic_load_relaxed(&f->work.thread))))
        return NULL;
    barrier_light(); /* begun before the look; stop has the other half */
    if (UNLIKELY(atomic_load_relaxed(&per_task_of(atomic_load_relaxed(&f->executor))->stopping)))
        vthread_interrupt(atomic_load_relaxed(&f->work.thread));
    return fn(f->arg);
}

static void end(struct thread_work *work, void *value)
{
    struct vthread_future *f = container_of(work, struct vthread_future, work);
    struct per_task *ex = per_task_of(atomic_load_relaxed(&f->executor));

    future_end(f, UNLIKELY(work->error != 0) ? FUTURE_FAILED : FUTURE_SUCCEEDED, value);
    count_out(ex); /* on whichever carrier this is now */
}

const struct thread_work_hooks per_task_hooks = {.run = run, .end = end};

/* ---- the executor ---- */

static COLD int create_with_own_stack(struct vthread_executor *common, struct vthread_future *f)
{
    vthread_attr_t attr = common->own_attr;

    if (attr.kind == VTHREAD_KIND_VIRTUAL)
        attr.stack = VTHREAD_STACK_DEDICATED;
    return thread_create_work(&attr, &f->work);
}

static int submit(struct vthread_executor *common, struct vthread_future *f)
{
    struct per_task *ex = per_task_of(common);
    bool own_stack = (atomic_load_relaxed(&f->work.word) & FUTURE_OWN_STACK) != 0;
    int error = ECANCELED;

    f->work.hooks = &per_task_hooks;
    if (LIKELY(count_begin(&ex->count, shard_here(ex))))
        error = UNLIKELY(own_stack) ? create_with_own_stack(common, f) : thread_create_work(common->attr, &f->work);
    if (UNLIKELY(error != 0)) {
        atomic_fetch_add_relaxed(&ex->refused, 1);
        count_out(ex);
    }
    return error;
}

static void shutdown(struct vthread_executor *common)
{
    if (count_close(&per_task_of(common)->count))
        executor_terminated(common);
}

static bool is_shutdown(struct vthread_executor *common)
{
    return count_is_closed(&per_task_of(common)->count);
}

/*
 * A task that the walk does not see, since its thread is not there yet, or is and has not begun, sees that
 * it is stopped when it begins.
 */
static int stop(struct vthread_executor *common)
{
    atomic_store_relaxed(&per_task_of(common)->stopping, true);
    barrier_heavy(); /* run has the other half */
    future_for_each_thread(common, vthread_interrupt);
    return 0;
}

static void stats(struct vthread_executor *common, vthread_executor_stats_t *stats)
{
    const struct count *count = &per_task_of(common)->count;
    uint64_t refused;

    for (uint32_t i = 0; i < count->shards; i++)
        stats->completed += atomic_load_acquire(&count->shard[i].ended);
    for (uint32_t i = 0; i < count->shards; i++)
        stats->submitted += atomic_load_acquire(&count->shard[i].begun);
    stats->running = stats->submitted - stats->completed;
    refused = atomic_load_relaxed(&per_task_of(common)->refused);
    stats->submitted -= refused;
    stats->completed -= refused < stats->completed ? refused : stats->completed; /* its end may not be seen yet */
}

static void let_others_run(void)
{
    sched_yield();
}

static void free_it(struct vthread_executor *common)
{
    struct per_task *ex = per_task_of(common);

    count_await_gone(&ex->count, let_others_run);
    executor_fini(common);
    memory_free(ex);
}

static const struct executor_kind per_task_kind = {
    .submit = submit,
    .shutdown = shutdown,
    .is_shutdown = is_shutdown,
    .stop = stop,
    .stats = stats,
    .free = free_it,
};

/* Carriers with a shard to themselves: a few more than run at a time, for spares. */
static uint32_t choose_shards(void)
{
    uint32_t shards = 2 * atomic_load_relaxed(&pool.parallelism) + 1;

    return shards < SHARDS_MAX ? shards : SHARDS_MAX;
}

int vthread_executor_new_per_task(vthread_executor_t **ret_executor, const vthread_executor_params_t *params)
{
    struct per_task *ex;
    uint32_t shards;
    int error = ret_executor != NULL ? executor_enter() : EINVAL;

    if (error != 0)
        return error;
    shards = choose_shards();
    ex = memory_alloc_lines(sizeof *ex + shards * sizeof ex->shards[0]);
    if (ex == NULL)
        return ENOMEM;
    ex->common.kind = &per_task_kind;
    ex->count.shards = shards;
    ex->count.shard = ex->shards;
    error = executor_init(&ex->common, params, VTHREAD_KIND_VIRTUAL);
    if (error != 0) {
        executor_fini(&ex->common);
        memory_free(ex);
        return error;
    }
    executor_enlist(&ex->common);
    *ret_executor = &ex->common;
    return 0;
}
