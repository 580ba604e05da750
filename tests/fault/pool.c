/* SPDX-License-Identifier: MIT */
/* Pools without memory: none is made, or the idle ones grow old without a thread that notices; acquirers do. */
#include <vthread/pool.h>

#include "fault.h"

enum { IDLE_MS = 5 };

static vthread_pool_t *pool;
static atomic_int alive;

static int create(void *user, void **ret_obj)
{
    (void)user;
    *ret_obj = malloc(1); /* not the library's */
    atomic_fetch_add(&alive, *ret_obj != NULL);
    return *ret_obj != NULL ? 0 : ENOMEM;
}

static void destroy(void *user, void *obj)
{
    (void)user;
    free(obj);
    atomic_fetch_sub(&alive, 1);
}

static int make(void)
{
    vthread_pool_params_t params = {
        .max_objects = 100, .max_idle_ns = IDLE_MS * 1000000, .create = create, .destroy = destroy};
    int error;

    pool = NULL;
    error = vthread_pool_new(&pool, &params);
    EXPECT(error == 0 || pool == NULL);
    return error;
}

static void check_made(int error)
{
    EXPECT(vthread_pool_free(pool) == 0);
    if (error == 0)
        fault_check_works();
}

/* All of the pool's calls, the first in a foreign thread. */
static int use(void)
{
    void *obj[2] = {NULL, NULL};

    EXPECT(vthread_pool_acquire(pool, &obj[0]) == 0);
    EXPECT(vthread_pool_acquire(pool, &obj[1]) == 0);
    EXPECT(obj[0] != obj[1]);
    EXPECT(vthread_pool_release(pool, obj[0]) == 0);
    EXPECT(vthread_pool_release(pool, obj[1]) == 0);
    return 0;
}

static void check_used(int error)
{
    vthread_pool_stats_t stats;
    void *obj = NULL;

    (void)error;
    usleep(3 * IDLE_MS * 1000);
    EXPECT(vthread_pool_acquire(pool, &obj) == 0);
    EXPECT(vthread_pool_stats(pool, &stats) == 0);
    EXPECT(stats.expired == 2); /* whoever has noticed */
    EXPECT(stats.created == 3);
    EXPECT(vthread_pool_release(pool, obj) == 0); /* this one has a reaper again */
    do
        EXPECT(vthread_pool_stats(pool, &stats) == 0);
    while (stats.idle > 0 && usleep(1000) == 0);
    EXPECT(vthread_pool_free(pool) == 0);
    EXPECT(atomic_load(&alive) == 0);
    fault_check_shutdown(); /* nothing is in stock for the next */
    EXPECT(vthread_self() != NULL);
    fault_set_hook(NULL);
    EXPECT(make() == 0);
}

int main(void)
{
    fault_each("a new pool", SITES_MEMORY, 1, true, make, check_made);
    EXPECT(make() == 0);
    fault_each("an idle object", SITES_ALL, 1, true, use, check_used);
    fault_each("an idle object, eight in a row", SITES_ALL, 8, true, use, check_used);
    EXPECT(vthread_pool_free(pool) == 0);
    fault_check_shutdown();
    return 0;
}
