/* SPDX-License-Identifier: MIT */
/* The runtime cannot start: the call that wanted it says so, nothing is left behind, and the next attempt works. */
#include <pthread.h>

#include "fault.h"

static int start_by_create(void)
{
    vthread_t t = NULL;
    int error = vthread_create(&t, NULL, fault_return, NULL);

    EXPECT(error == 0 || t == NULL);
    return error == 0 ? vthread_join(t, NULL) : error;
}

static int start_by_statistics(void)
{
    return vthread_runtime_stats(NULL);
}

static int start_by_sleep(void)
{
    return vthread_sleep_ns(1);
}

static int start_by_park(void)
{
    int error = vthread_park_until(VTHREAD_NOW);

    return error == ETIMEDOUT ? 0 : error;
}

static int start_by_self(void)
{
    return vthread_self() != NULL ? 0 : ENOMEM;
}

/* Of a platform thread that has no record yet; one that has needs nothing of the runtime to wait. */
static int (*in_new_thread)(void);
static int in_new_thread_result;

static void *call_it(void *arg)
{
    in_new_thread_result = in_new_thread();
    return arg;
}

static int start_in_new_thread(void)
{
    pthread_t thread;

    EXPECT(pthread_create(&thread, NULL, call_it, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    return in_new_thread_result;
}

static void each_in_new_thread(const char *what, int (*operation)(void), void (*check)(int error))
{
    in_new_thread = operation;
    fault_each(what, SITES_ALL, 1, false, start_in_new_thread, check);
}

static void check(int error)
{
    (void)error;
    fault_check_works();
    fault_check_shutdown();
}

int main(void)
{
    vthread_runtime_params_t params = {.parallelism = 3};

    fault_each("start by create", SITES_ALL, 1, false, start_by_create, check);
    fault_each("start by statistics", SITES_ALL, 1, false, start_by_statistics, check);
    each_in_new_thread("start by sleep", start_by_sleep, check);
    each_in_new_thread("start by park", start_by_park, check);
    each_in_new_thread("start by self", start_by_self, check);
    fault_each("start, several failures", SITES_ALL, 5, false, start_by_create, check);
    fault_each("start, all failures", SITES_ALL, 1000000, false, start_by_statistics, check);
    /* Configured ones as well: a failure does not forget the configuration. */
    for (int n = 1; n < 5; n++) {
        vthread_runtime_stats_t stats;

        EXPECT(vthread_runtime_configure(&params) == 0);
        fault_begin(SITES_ALL, n, 1, false);
        if (vthread_runtime_stats(&stats) != 0)
            EXPECT(vthread_runtime_stats(&stats) == 0);
        fault_end();
        EXPECT(stats.parallelism == 3);
        fault_check_shutdown();
    }
    return 0;
}
