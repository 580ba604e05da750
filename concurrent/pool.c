/* SPDX-License-Identifier: MIT */
/*
 * Pools: a semaphore of places, and under a mutex the objects that there are.
 *
 * A place is a permit.  Whoever has one may pop an idle object or, if there is none, create one.
 * The semaphore queues those who wait, in order, gives them what is released (all want one, so none is left
 * for newcomers while somebody waits), and decides whether a deadline or an interrupt came before the
 * place did: so neither loses a place.
 *
 * Invariants, with the mutex held, until the pool is closed
 *   1. max_objects = places free + places held.  A place is held by a caller between having
 *      got it and having returned an error, by an object that is out, or by the reaper
 *      for the object it destroys.
 *   2. Each holder stands for one object at most, and creates one only when none is idle.
 *      So idle + held <= max_objects, but for holders that have not looked yet; and
 *      objects <= max_objects at all times, those that are being created or destroyed included.
 *   3. `busy` counts the calls under way that may touch the pool again, the objects that are out, and the
 *      reaper.  Whoever makes it 0 touches nothing after his unlock: a closer who sees that may free.
 *
 * Closing floods the semaphore, so that nobody waits any more; whoever comes with such a place
 * looks at `closed`.
 *
 * Idle objects are kept in the order of their release.  The newest is used first, so in quiet
 * times the others grow old.  Who is to notice, when nobody calls?  The reaper: a virtual thread, which
 * costs a few hundred bytes while it sleeps; started by a release, it ends when nothing is idle.
 * If there is none (no memory; the runtime was ended) an acquirer still refuses what is
 * too old, and the next release tries to start it again.
 */
#include <errno.h>
#include <string.h>

#include <vthread/pool.h>
#include <vthread/sync.h>

#include "base/clock.h"
#include "base/memory.h"
#include "sync/sync_internal.h"
#include "vthread/thread.h"

#define FLOOD (1 << 30) /* more than there can be threads, and with all places still a semaphore's count */

enum { LOOK_AGAIN_NS = 1000 * 1000 };

/* Indices of slots, 0: none. */
struct slot {
    void *obj;
    int64_t since_ns; /* idle */
    uint32_t newer;   /* idle ones, by release */
    uint32_t older;
    uint32_t next; /* in the bucket; or of the free slots */
    bool out;
};

struct vthread_pool {
    vthread_pool_params_t params;
    vthread_sem_t places;
    vthread_mutex_t mutex;
    vthread_cond_t changed; /* closed; and then: busy has become 0 */
    bool closed;
    bool has_reaper;
    uint64_t busy;
    uint32_t newest; /* idle */
    uint32_t oldest;
    uint32_t free;   /* slots */
    uint32_t unused; /* slots from here on have never been used */
    uint32_t bucket_mask;
    uint32_t *buckets;
    vthread_pool_stats_t stats;
    struct slot slots[]; /* 0 is not used */
};

/* ---- slots: which objects there are ---- */

static uint32_t *bucket_of(vthread_pool_t *p, const void *obj)
{
    uint64_t hash = (uint64_t)(uintptr_t)obj * 0x9e3779b97f4a7c15u;

    return &p->buckets[(hash >> 32) & p->bucket_mask];
}

static struct slot *slot_find(vthread_pool_t *p, const void *obj)
{
    for (uint32_t i = *bucket_of(p, obj); i != 0; i = p->slots[i].next)
        if (p->slots[i].obj == obj)
            return &p->slots[i];
    return NULL;
}

/* There is one, for the caller has a place. */
static struct slot *slot_new(vthread_pool_t *p, void *obj)
{
    uint32_t *bucket = bucket_of(p, obj);
    uint32_t i = p->free;

    if (i != 0)
        p->free = p->slots[i].next;
    else
        i = p->unused++;
    p->slots[i] = (struct slot){.obj = obj, .next = *bucket};
    *bucket = i;
    return &p->slots[i];
}

static void slot_free(vthread_pool_t *p, struct slot *slot)
{
    uint32_t i = (uint32_t)(slot - p->slots);
    uint32_t *at = bucket_of(p, slot->obj);

    while (*at != i)
        at = &p->slots[*at].next;
    *at = slot->next;
    slot->next = p->free;
    p->free = i;
}

static void idle_push(vthread_pool_t *p, struct slot *slot)
{
    uint32_t i = (uint32_t)(slot - p->slots);

    slot->newer = 0;
    slot->older = p->newest;
    *(p->newest != 0 ? &p->slots[p->newest].newer : &p->oldest) = i;
    p->newest = i;
    p->stats.idle++;
}

static struct slot *idle_take(vthread_pool_t *p, uint32_t i)
{
    struct slot *slot = &p->slots[i];

    *(slot->newer != 0 ? &p->slots[slot->newer].older : &p->newest) = slot->older;
    *(slot->older != 0 ? &p->slots[slot->older].newer : &p->oldest) = slot->newer;
    p->stats.idle--;
    return slot;
}

static int64_t expires_ns(vthread_pool_t *p, struct slot *slot)
{
    int64_t left_ns = VTHREAD_FOREVER - slot->since_ns;

    return p->params.max_idle_ns != 0 && p->params.max_idle_ns < left_ns ? slot->since_ns + p->params.max_idle_ns
                                                                         : VTHREAD_FOREVER;
}

static bool is_expired(vthread_pool_t *p, struct slot *slot)
{
    return p->params.max_idle_ns != 0 && expires_ns(p, slot) <= clock_now_ns();
}

/* ---- entering and leaving ---- */

/* 0, with the mutex held; or why the caller cannot have that. */
MAY_SWITCH
static int enter(vthread_pool_t *p)
{
    int error = EINVAL;

    if (p == NULL || thread_self(&error) == NULL)
        return error;
    vthread_mutex_lock(&p->mutex);
    p->busy++;
    return 0;
}

static void count_down(vthread_pool_t *p)
{
    if (--p->busy == 0 && p->closed)
        vthread_cond_broadcast(&p->changed);
}

/* Afterwards the pool may be gone. */
static void leave(vthread_pool_t *p)
{
    count_down(p);
    vthread_mutex_unlock(&p->mutex);
}

/* ---- the objects' life.  With the mutex, which is released for the program's functions ---- */

/* Not idle, and not out any more.  The slot goes first: what destroy sets free may be what a create finds. */
MAY_SWITCH
static void destroy(vthread_pool_t *p, struct slot *slot)
{
    void *obj = slot->obj;

    slot_free(p, slot);
    vthread_mutex_unlock(&p->mutex);
    if (p->params.destroy != NULL)
        p->params.destroy(p->params.user, obj);
    vthread_mutex_lock(&p->mutex);
    p->stats.destroyed++;
}

MAY_SWITCH
static bool is_valid(vthread_pool_t *p, struct slot *slot)
{
    void *obj = slot->obj; /* the slot is ours, but the mutex guards it */
    bool valid;

    if (p->params.validate == NULL)
        return true;
    vthread_mutex_unlock(&p->mutex);
    valid = p->params.validate(p->params.user, obj);
    vthread_mutex_lock(&p->mutex);
    return valid;
}

/* Now one of the pool's, or EINVAL: it cannot be. */
static int adopt(vthread_pool_t *p, void *obj, struct slot **ret_slot)
{
    if (obj == NULL || slot_find(p, obj) != NULL) {
        vthread_mutex_unlock(&p->mutex);
        misuse("vthread_pool_acquire", "create returned 0 and %s (%p); objects must differ, and none may be NULL",
               obj == NULL ? "no object" : "an object that the pool has already", obj);
        vthread_mutex_lock(&p->mutex);
        p->stats.failures++;
        return EINVAL;
    }
    *ret_slot = slot_new(p, obj);
    p->stats.created++;
    return 0;
}

MAY_SWITCH
static int create(vthread_pool_t *p, struct slot **ret_slot)
{
    void *obj = NULL;
    int error;

    vthread_mutex_unlock(&p->mutex);
    error = p->params.create(p->params.user, &obj);
    vthread_mutex_lock(&p->mutex);
    if (error == 0)
        return adopt(p, obj, ret_slot);
    p->stats.failures++;
    return error;
}

/* With a place: the newest object that is still good, or a new one. */
MAY_SWITCH
static int find_or_create(vthread_pool_t *p, struct slot **ret_slot)
{
    while (!p->closed && p->newest != 0) {
        struct slot *slot = idle_take(p, p->newest);

        if (is_expired(p, slot)) {
            p->stats.expired++;
        } else if (is_valid(p, slot)) {
            *ret_slot = slot;
            return 0;
        } else {
            p->stats.invalid++;
        }
        destroy(p, slot);
    }
    return p->closed ? ECANCELED : create(p, ret_slot);
}

/* ---- the reaper ---- */

/* The oldest has expired.  Destroying it takes a place (2). */
MAY_SWITCH
static void reap_oldest(vthread_pool_t *p)
{
    if (vthread_sem_tryacquire(&p->places, 1) != 0) {
        /* As many as are idle have got places, and are about to take them. */
        vthread_cond_wait_until(&p->changed, &p->mutex, vthread_after_ns(LOOK_AGAIN_NS));
        return;
    }
    p->stats.expired++;
    destroy(p, idle_take(p, p->oldest));
    vthread_sem_release(&p->places, 1);
}

static void *reap(void *arg)
{
    vthread_pool_t *p = arg;

    vthread_mutex_lock(&p->mutex);
    /* Interrupted, here or in the program's destroy, at the end of the runtime: then that is the reason to go. */
    while (p->oldest != 0 && !p->closed && !runtime_refuses_threads()) {
        struct slot *slot = &p->slots[p->oldest];

        if (is_expired(p, slot))
            reap_oldest(p);
        else
            vthread_cond_wait_until(&p->changed, &p->mutex, expires_ns(p, slot));
    }
    p->has_reaper = false;
    leave(p);
    return NULL;
}

static void start_reaper(vthread_pool_t *p)
{
    static const vthread_attr_t attr = {.name = "pool reaper", .no_inherit = true};

    if (p->has_reaper || p->params.max_idle_ns == 0 || vthread_create(NULL, &attr, reap, p) != 0)
        return;
    p->has_reaper = true; /* it waits for the mutex */
    p->busy++;
}

/* ---- acquire ---- */

/* A place, in turn: a release gives it to whoever waits, so one that is free to be taken at once has nobody waiting. */
MAY_SWITCH
static int take_place(vthread_pool_t *p, int64_t deadline_ns)
{
    int error;

    if (vthread_sem_tryacquire(&p->places, 1) == 0)
        return 0;
    p->stats.waiting++;
    p->stats.waits++;
    vthread_mutex_unlock(&p->mutex);
    error = vthread_sem_acquire_until(&p->places, 1, deadline_ns);
    vthread_mutex_lock(&p->mutex);
    p->stats.waiting--;
    if (error == ETIMEDOUT)
        p->stats.timeouts++;
    return error;
}

MAY_SWITCH
static int acquire(vthread_pool_t *p, void **ret_obj, int64_t deadline_ns)
{
    struct slot *slot;
    int error = p->closed ? ECANCELED : take_place(p, deadline_ns);

    if (error != 0)
        return error;
    error = find_or_create(p, &slot);
    if (error != 0) {
        vthread_sem_release(&p->places, 1);
        return error;
    }
    slot->out = true;
    p->busy++;
    p->stats.in_use++;
    p->stats.acquires++;
    *ret_obj = slot->obj;
    return 0;
}

int vthread_pool_acquire_until(vthread_pool_t *p, void **ret_obj, int64_t deadline_ns)
{
    int error;

    if (ret_obj == NULL)
        return EINVAL;
    error = enter(p);
    if (error != 0)
        return error;
    error = vthread_interrupted() ? EINTR : acquire(p, ret_obj, deadline_ns);
    leave(p);
    return error;
}

int vthread_pool_acquire(vthread_pool_t *p, void **ret_obj)
{
    return vthread_pool_acquire_until(p, ret_obj, VTHREAD_FOREVER);
}

/* ---- giving back ---- */

MAY_SWITCH
static int give_back(vthread_pool_t *p, void *obj, const char *call, bool broken)
{
    struct slot *slot;
    int error = enter(p);

    if (error != 0)
        return error;
    slot = slot_find(p, obj);
    if (slot == NULL || !slot->out) {
        leave(p);
        misuse(call, "the object (%p) %s; release or discard what was acquired from this pool, once", obj,
               slot == NULL ? "is not this pool's" : "has been given back already");
        return EINVAL;
    }
    slot->out = false;
    p->stats.in_use--;
    p->stats.discards += broken;
    if (broken || p->closed) {
        destroy(p, slot);
    } else {
        slot->since_ns = p->params.max_idle_ns != 0 ? clock_now_ns() : 0;
        idle_push(p, slot);
        start_reaper(p);
    }
    vthread_sem_release(&p->places, 1);
    count_down(p); /* the object */
    leave(p);
    return 0;
}

int vthread_pool_release(vthread_pool_t *p, void *obj)
{
    return give_back(p, obj, "vthread_pool_release", false);
}

int vthread_pool_discard(vthread_pool_t *p, void *obj)
{
    return give_back(p, obj, "vthread_pool_discard", true);
}

/* ---- making, closing, freeing ---- */

static bool params_are_valid(const vthread_pool_params_t *params)
{
    return params != NULL && params->create != NULL && params->max_idle_ns >= 0 && params->max_objects > 0 &&
           params->max_objects <= VTHREAD_POOL_OBJECTS_MAX &&
           words_are_zero(params->reserved, LENGTH_OF(params->reserved));
}

int vthread_pool_new(vthread_pool_t **ret_pool, const vthread_pool_params_t *params)
{
    vthread_pool_t *p;
    uint32_t buckets = 1;

    if (ret_pool == NULL || !params_are_valid(params))
        return EINVAL;
    if (stack_is_private(params->user))
        return stack_refuse_private("vthread_pool_new", "the user of its functions", params->user);
    while (buckets < params->max_objects)
        buckets *= 2;
    p = memory_hold(sizeof *p + (params->max_objects + 1) * sizeof p->slots[0]);
    if (p == NULL)
        return ENOMEM;
    p->buckets = memory_alloc(buckets * sizeof p->buckets[0]);
    if (p->buckets == NULL) {
        memory_let_go(p);
        return ENOMEM;
    }
    p->bucket_mask = buckets - 1;
    p->unused = 1;
    p->params = *params;
    vthread_sem_init(&p->places, (int)params->max_objects, NULL);
    *ret_pool = p;
    return 0;
}

int vthread_pool_stats(vthread_pool_t *p, vthread_pool_stats_t *ret_stats)
{
    vthread_pool_stats_t stats;
    int error = enter(p);

    if (error != 0)
        return error;
    stats = p->stats;
    leave(p);
    if (ret_stats != NULL)
        *ret_stats = stats;
    return 0;
}

int vthread_pool_close(vthread_pool_t *p)
{
    int error = enter(p);

    if (error != 0)
        return error;
    if (!p->closed) {
        p->closed = true;
        vthread_sem_release(&p->places, FLOOD);
        vthread_cond_broadcast(&p->changed); /* for the reaper */
    }
    while (p->newest != 0)
        destroy(p, idle_take(p, p->newest));
    count_down(p);
    while (p->busy != 0)
        vthread_cond_wait_uninterruptible(&p->changed, &p->mutex);
    vthread_mutex_unlock(&p->mutex);
    return 0;
}

int vthread_pool_free(vthread_pool_t *p)
{
    int error;

    if (p == NULL)
        return 0;
    error = vthread_pool_close(p);
    if (error != 0)
        return error;
    vthread_mutex_destroy(&p->mutex);
    memory_free(p->buckets);
    memory_let_go(p);
    return 0;
}
