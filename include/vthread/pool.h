/* SPDX-License-Identifier: MIT */
/*
 * Pools of things that are dear to make and few to have: connections to a database, say.
 *
 *     #include <stdlib.h>
 *     #include <vthread/pool.h>
 *
 *     static int connect_it(void *user, void **ret_obj)
 *     {
 *         (void)user;
 *         *ret_obj = malloc(100);
 *         return *ret_obj != NULL ? 0 : 12; // ENOMEM
 *     }
 *
 *     static void disconnect_it(void *user, void *obj)
 *     {
 *         (void)user;
 *         free(obj);
 *     }
 *
 *     int main(void)
 *     {
 *         vthread_pool_params_t params = {0};
 *         vthread_pool_t *pool;
 *         void *connection;
 *
 *         params.max_objects = 10;
 *         params.create = connect_it;
 *         params.destroy = disconnect_it;
 *         if (vthread_pool_new(&pool, &params) != 0)
 *             return 1;
 *         if (vthread_pool_acquire(pool, &connection) == 0) // may wait, if ten are in use
 *             vthread_pool_release(pool, connection);
 *         return vthread_pool_free(pool);
 *     }
 *
 * A pool has max_objects places.  An object takes one from before it is created until it has
 * been destroyed, so there are never more objects than that, not even for a moment.
 * Whoever acquires gets the one that was used last, if it is still good, or a new one if none
 * is idle.  Whoever waits is served in the order of coming.
 *
 * The functions of the params are called by the threads that acquire, release and close,
 * without a lock held: they may block, fail with what a wait in them fails with, and
 * call the library.
 *
 * Every call may be made from virtual and platform threads; an object may be released by
 * another thread than the one that acquired it.  An object that is not given back is in use
 * for ever, and close waits for it: also after an error, release or discard it.
 */
#ifndef VTHREAD_POOL_H
#define VTHREAD_POOL_H

#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Thread-safety: any number of threads may use a pool at once, but for _free. */
typedef struct vthread_pool vthread_pool_t;

/* What a pool may have at most; each place takes some 40 bytes, all taken when the pool is made. */
#define VTHREAD_POOL_OBJECTS_MAX (1u << 24)

typedef struct vthread_pool_params {
    uint32_t max_objects; /* 1 to VTHREAD_POOL_OBJECTS_MAX */
    /*
     * One that has not been used for so long is destroyed; 0: none is.  A virtual thread that
     * lives only while objects are idle (and max_idle_ns is set) sees to that.
     */
    int64_t max_idle_ns;

    /* Make one: 0, or an error, positive, for the caller of acquire.  Not NULL, not one that the pool has already. */
    int (*create)(void *user, void **ret_obj);
    /* Before an idle one is given out: is it still good?  If not, it is destroyed.  NULL: it is. */
    bool (*validate)(void *user, void *obj);
    /* It is no longer needed, or not good.  NULL: nothing to do. */
    void (*destroy)(void *user, void *obj);
    void *user; /* handed to them; not copied */

    uintptr_t reserved[4]; /* zero */
} vthread_pool_params_t;

/*
 * The params are copied.  0, EINVAL (no create, or a number is wrong), EFAULT (user points into the calling virtual
 * thread's own stack, and others are to use it) or ENOMEM.  To be given to vthread_pool_free.
 */
VTHREAD_API int vthread_pool_new(vthread_pool_t **ret_pool, const vthread_pool_params_t *params);

/*
 * Get an object, for the caller alone, until it is released or discarded.
 *
 * The deadline is that of waiting for a place; with VTHREAD_NOW there is no waiting.  What
 * create and validate take comes on top.
 *
 * Returns 0, or
 *   ETIMEDOUT  the deadline passed first
 *   EINTR      the thread was interrupted, before the call or in it; clears the flag
 *   ECANCELED  the pool is closed, or was meanwhile
 *   EINVAL     an argument is NULL; or create gave NULL, or what the pool has already
 *   EDEADLK    on a carrier's own stack (in a callback of the runtime)
 *   others     what create returned; the next one who waits has a try
 * Then the caller has no object.  May switch.
 *
 * Ordering: what was done to an object before its release is visible.
 */
VTHREAD_API int vthread_pool_acquire(vthread_pool_t *pool, void **ret_obj);
VTHREAD_API int vthread_pool_acquire_until(vthread_pool_t *pool, void **ret_obj, int64_t deadline_ns);

/*
 * Give it back; whoever has waited longest gets it.  Once the pool is closed it is destroyed.
 *
 * Discard: it is broken; destroy it, and give back its place.
 *
 * 0, or EINVAL: it is NULL, not the pool's, or has been given back already (unless it is in
 * use again: that cannot be seen).  May switch, but never waits for an object.
 */
VTHREAD_API int vthread_pool_release(vthread_pool_t *pool, void *obj);
VTHREAD_API int vthread_pool_discard(vthread_pool_t *pool, void *obj);

typedef struct vthread_pool_stats {
    /* Now. */
    uint32_t idle;
    uint32_t in_use;  /* acquired and not given back */
    uint32_t waiting; /* threads, for a place */
    /* So far.  Of those created, all but the idle, those in use and those on their way have been destroyed. */
    uint64_t created;
    uint64_t destroyed;
    uint64_t acquires; /* that returned 0 */
    uint64_t waits;    /* acquires that found no place free, whatever came of them */
    uint64_t timeouts; /* acquires that returned ETIMEDOUT */
    uint64_t failures; /* of create */
    uint64_t invalid;  /* destroyed because validate said so */
    uint64_t expired;  /* destroyed because they were idle for too long */
    uint64_t discards;
    uintptr_t reserved[4];
} vthread_pool_stats_t;

/* A snapshot, all of one moment.  0 or EINVAL. */
VTHREAD_API int vthread_pool_stats(vthread_pool_t *pool, vthread_pool_stats_t *ret_stats);

/*
 * From now on acquire fails with ECANCELED, for those who wait in it too; idle objects are
 * destroyed.  Returns when all that were out have come back and are destroyed: so whoever holds
 * one must not close.  Any number of threads may, any number of times; all wait.  Never interrupted.
 * 0 or EINVAL.  May switch.
 */
VTHREAD_API int vthread_pool_close(vthread_pool_t *pool);

/* Close it, and free it.  NULL: nothing.  0.  No other call may be under way, but acquirers that wait for an object.
 * May switch.
 */
VTHREAD_API int vthread_pool_free(vthread_pool_t *pool);

#ifdef __cplusplus
}
#endif

#endif
