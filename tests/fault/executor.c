/* SPDX-License-Identifier: MIT */
/* An executor, or a task of one, comes to nothing: the call says so, nothing is kept, and the executor ends. */
#include <vthread/executor.h>

#include "fault.h"

enum { MANY = 300 };

static vthread_executor_params_t params;
static bool fixed;
static atomic_int ran;
static atomic_int discards;

static void discard(void *value)
{
    EXPECT(value == &ran);
    atomic_fetch_add(&discards, 1);
}

static void *run(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ran, 1);
    return &ran;
}

static void check(int error)
{
    (void)error;
    for (int i = 0; i < 1000 && fault_alive() > 0; i++)
        usleep(1000);
    EXPECT(fault_alive() == 0);
    fault_check_works();
}

static int make(vthread_executor_t **ret_ex)
{
    *ret_ex = (vthread_executor_t *)1;
    return (fixed ? vthread_executor_new_fixed : vthread_executor_new_per_task)(ret_ex, &params);
}

/* Whatever fails, what was submitted runs, and is discarded. */
static int use_one(void)
{
    vthread_executor_t *ex;
    vthread_executor_stats_t stats;
    vthread_task_t tasks[3] = {{run, NULL}, {run, NULL}, {run, NULL}};
    vthread_future_t *futures[3] = {NULL, NULL, NULL};
    int error = make(&ex);
    int submitted = 0;
    int first;

    if (error != 0) {
        EXPECT(ex == (vthread_executor_t *)1);
        return error;
    }
    atomic_store(&ran, 0);
    atomic_store(&discards, 0);
    for (int i = 0; i < MANY; i++) {
        int e = i % 2 ? vthread_executor_submit(ex, run, NULL, NULL)
                      : vthread_executor_submit_copy(ex, run, "copy", 5, NULL);

        submitted += e == 0;
        error = e != 0 ? e : error;
    }
    first = vthread_executor_invoke_all(ex, tasks, 3, futures);
    EXPECT((first == 0) == (futures[0] != NULL));
    for (int i = 0; i < 3; i++)
        vthread_future_free(futures[i]);
    error = first != 0 ? first : error;
    first = vthread_executor_invoke_any(ex, tasks, 3, NULL);
    error = first != 0 ? first : error;
    first = vthread_executor_call(ex, run, NULL, NULL);
    error = first != 0 ? first : error;
    EXPECT(vthread_executor_close(ex) == 0);
    EXPECT(vthread_executor_stats(ex, &stats) == 0);
    EXPECT(atomic_load(&ran) >= submitted);
    EXPECT(atomic_load(&discards) == atomic_load(&ran));
    EXPECT(stats.submitted == stats.completed && stats.running == 0 && stats.queued == 0);
    EXPECT(vthread_executor_free(ex) == 0);
    return error;
}

static int start_shared(void)
{
    vthread_executor_t *ex = vthread_executor_cpu();

    if (ex == NULL)
        return ENOMEM;
    EXPECT(vthread_executor_call(ex, run, NULL, NULL) == 0);
    return 0;
}

/* After a failure it can be started all the same; shut down, so that each time it is. */
static void check_shared(int error)
{
    vthread_executor_t *ex = NULL;

    if (error != 0)
        for (int i = 0; i < 1000 && (ex = vthread_executor_cpu()) == NULL; i++)
            usleep(1000); /* those workers that were started are ending */
    EXPECT(error == 0 || ex != NULL);
    fault_check_works();
    fault_check_shutdown();
}

int main(void)
{
    params.discard = discard;
    params.threads = 3;
    for (int i = 0; i < 4; i++) {
        fixed = i >= 2;
        params.name = i % 2 ? "named" : NULL;
        fault_each(fixed ? "fixed" : "per task", SITES_ALL, 1, true, use_one, check);
    }
    fixed = false;
    params.attr.kind = VTHREAD_KIND_PLATFORM;
    fault_each("per task, on platform threads", 1 << FAULT_THREAD, 1, true, use_one, check);
    fault_check_shutdown();
    fault_each("the shared one", SITES_MEMORY | 1 << FAULT_THREAD, 1, true, start_shared, check_shared);
    fault_check_shutdown();
    return 0;
}
