/* SPDX-License-Identifier: MIT */
/*
 * The carrier's loop: take, find, sleep.
 */
#include "carrier/carrier.h"

#include <errno.h>
#include <sched.h>

#include "base/clock.h"
#include "base/panic.h"
#include "carrier/carrier_internal.h"

enum {
    LOOK_AROUND_EVERY = 61,        /* tasks between looks at injection, timers and sockets (Go's figure) */
    POLL_EVERY_NS = 250 * 1000,    /* a busy carrier looks at the sockets no more often */
    LEFT_TO_OWNER_NS = 100 * 1000, /* so late a busy carrier fires other carriers' timers, too */
    STEAL_MAX = 256,
    TIMERS_MAX = 128,
    RETIRE_WITH_MAX = 4096,
};

/* Read by assembly only (carrier_self), which link-time optimisation does not see. */
_Thread_local struct carrier *carrier_current __attribute__((tls_model("initial-exec"), used));

static uint32_t next_random(struct carrier *c)
{
    uint32_t x = c->random;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return c->random = x;
}

/* ---- making tasks runnable ---- */

void carrier_push_wake(struct carrier *c)
{
    uint64_t waiting = ring_count(&c->ring);

    /*
     * A wake across threads costs more than a short task.  So there is none for a
     * single task when the present one is known to park right after such a push (a
     * pair that hand work to and fro is best left on one carrier), nor for so few
     * short tasks that they will be done before anybody else could help.  The monitor
     * looks after the cases where that was wrong, within a tick or two.
     */
    if (((atomic_load_relaxed(&c->may_skip_wake) && c->pushes == 1 && waiting <= 1) ||
         waiting < atomic_load_relaxed(&c->few_tasks)) &&
        atomic_load_relaxed(&c->state) == CARRIER_RUNNING) {
        atomic_store_relaxed(&c->wake_skipped, true);
        return;
    }
    pool_wake_one(false);
}

void carrier_deliver(struct carrier *to, struct task *task, bool bound)
{
    lock_acquire(&to->inbox_lock);
    task_list_append(&to->inbox, task);
    atomic_store_relaxed(&to->inbox_count, to->inbox.count);
    lock_release(&to->inbox_lock);
    atomic_fence_seq_cst(); /* M2 of idle.h, for this one carrier */
    /* Not bound to it: a carrier that has just blocked shall not keep the task. */
    if (!bound && atomic_load_relaxed(&to->state) != CARRIER_RUNNING)
        carrier_forward_inbox(to);
    else
        carrier_notify(to);
}

void carrier_keep(struct carrier *c, struct task_list *list)
{
    uint64_t turn = atomic_load_relaxed(&c->begun) + ring_count(&c->ring) + 1;
    struct task *task;

    if (list->first == NULL)
        return;
    lock_acquire(&c->inbox_lock);
    while ((task = task_list_take(list)) != NULL) {
        task_list_append(&c->inbox, task);
        c->pushes++;
    }
    atomic_store_relaxed(&c->inbox_count, c->inbox.count);
    lock_release(&c->inbox_lock);
    if (turn < atomic_load_relaxed(&c->look_at)) /* behind those in the ring, no later */
        atomic_store_relaxed(&c->look_at, turn);
    atomic_store_relaxed(&c->wake_skipped, true);
    barrier_light(); /* the tasks before the look; carrier_hogged has the other half */
    if (UNLIKELY(atomic_load_relaxed(&c->state) != CARRIER_RUNNING))
        carrier_forward_inbox(c);
}

void pool_inject(struct task *task)
{
    struct task_list one;

    task_list_init(&one);
    task_list_append(&one, task);
    pool_inject_all(&one);
}

void pool_inject_all(struct task_list *list)
{
    if (list->first == NULL)
        return;
    lock_acquire(&pool.inject_lock);
    *pool.injected.end = list->first;
    pool.injected.end = list->end;
    pool.injected.count += list->count;
    atomic_store_relaxed(&pool.injected_count, pool.injected.count);
    lock_release(&pool.inject_lock);
    atomic_fence_seq_cst(); /* M2 of idle.h */
    if (idle_wants_work(&pool.idle))
        pool_wake_one(false);
}

void carrier_notify(struct carrier *c)
{
    atomic_exchange_acq_rel(&c->token, 1);
    atomic_fence_seq_cst(); /* token before in_poller; sleep_as_leader has the other half */
    struct poller *poller = atomic_load_acquire(&pool.poller);

    if (poller != NULL && atomic_load_relaxed(&c->in_poller))
        poller->wake(poller);
    else
        futex_wake(&c->token, 1);
}

bool pool_wake_one(bool anyway)
{
    struct carrier *leader = atomic_load_relaxed(&pool.leader);
    struct idler *chosen = idle_choose(&pool.idle, leader != NULL ? &leader->idler : NULL, anyway);

    if (chosen == NULL)
        return false;
    atomic_fetch_add_relaxed(&pool.wakes, 1);
    carrier_notify(container_of(chosen, struct carrier, idler));
    return true;
}

/* ---- finding work ---- */

static void push_all(struct carrier *c, struct task_list *list)
{
    struct task *task;

    while ((task = task_list_take(list)) != NULL)
        carrier_push(c, task);
}

static struct task *take_inbox(struct carrier *c)
{
    struct task *task;

    if (LIKELY(atomic_load_relaxed(&c->inbox_count) == 0))
        return NULL;
    lock_acquire(&c->inbox_lock);
    task = task_list_take(&c->inbox);
    atomic_store_relaxed(&c->inbox_count, c->inbox.count);
    lock_release(&c->inbox_lock);
    return task;
}

/* A fair share of the injected tasks: one to run, the others to the own ring. */
static struct task *take_injected(struct carrier *c)
{
    struct task_list taken;
    uint32_t count = atomic_load_relaxed(&pool.injected_count);
    uint32_t share;

    if (LIKELY(count == 0))
        return NULL;
    share = count / atomic_load_relaxed(&pool.parallelism) + 1;
    if (share > STEAL_MAX)
        share = STEAL_MAX;
    task_list_init(&taken);
    lock_acquire(&pool.inject_lock);
    for (struct task *task; share > 0 && (task = task_list_take(&pool.injected)) != NULL; share--)
        task_list_append(&taken, task);
    atomic_store_relaxed(&pool.injected_count, pool.injected.count);
    lock_release(&pool.inject_lock);
    struct task *first = task_list_take(&taken);

    push_all(c, &taken);
    return first;
}

static void fire_due(struct carrier *c, struct timer_heap *heap, int64_t now_ns)
{
    struct timer_entry due[TIMERS_MAX];
    uint32_t n;

    while ((n = timer_take_due(heap, now_ns, due, TIMERS_MAX)) > 0) {
        for (uint32_t i = 0; i < n; i++)
            pool.hooks.timer_ahead(due[i].id);
        for (uint32_t i = 0; i < n; i++) {
            struct task *task = pool.hooks.timer(due[i].id, due[i].sequence);

            if (task != NULL)
                carrier_push(c, task);
        }
    }
}

/* Is the timer, on somebody's heap, left to that one for the time being? */
static bool is_left_to(struct carrier *owner, int64_t earliest_ns, int64_t now_ns, int64_t late_ns)
{
    return earliest_ns > now_ns - late_ns && atomic_load_relaxed(&owner->state) == CARRIER_RUNNING; /* a hint */
}

/*
 * Fire what is due on the own heap and on those of carriers that do not run, and on the others' what has been so for
 * late_ns: while their owners are busy, too, heaps that everybody empties only change hands.
 */
static void fire_timers(struct carrier *c, int64_t late_ns)
{
    uint32_t count = atomic_load_acquire(&pool.count);
    int64_t now_ns = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct carrier *other = pool_carrier(i);
        int64_t earliest = atomic_load_relaxed(&other->timers.earliest_ns);

        if (earliest == INT64_MAX)
            continue;
        if (now_ns == 0)
            now_ns = clock_now_ns();
        if (earliest <= now_ns && (other == c || !is_left_to(other, earliest, now_ns, late_ns)))
            fire_due(c, &other->timers, now_ns);
    }
}

/* Look at the sockets without waiting, unless somebody is inside. */
static void poll_now(struct carrier *c)
{
    struct poller *poller = atomic_load_acquire(&pool.poller);
    struct task_list ready;

    if (poller == NULL || atomic_load_relaxed(&pool.leading) != 0 || atomic_exchange_acquire(&pool.leading, 1) != 0)
        return;
    task_list_init(&ready);
    poller->poll(poller, 0, &ready);
    atomic_store_release(&pool.leading, 0);
    push_all(c, &ready);
}

static void push_stolen(struct carrier *c, struct task **taken, int n)
{
    for (int i = 0; i < n; i++)
        carrier_push(c, taken[i]);
}

/* Steal half of somebody's ring.  *ret_contended: a ring was busy, so "nothing" may be wrong. */
static struct task *steal(struct carrier *c, bool *ret_contended)
{
    struct task *taken[STEAL_MAX];
    uint32_t count = atomic_load_acquire(&pool.count);
    uint32_t start = count > 1 ? next_random(c) % count : 0;

    for (uint32_t i = 0; i < count; i++) {
        struct carrier *victim = pool_carrier((start + i) % count);
        int n;

        if (victim == c)
            continue;
        n = ring_steal(&victim->ring, taken, STEAL_MAX);
        if (n == RING_BUSY)
            *ret_contended = true;
        if (n <= 0)
            continue;
        atomic_fetch_add_relaxed(&pool.steals, (uint64_t)n);
        push_stolen(c, taken + 1, n - 1);
        return taken[0];
    }
    return NULL;
}

/*
 * The monitor has found another ring longer than this busy carrier's: threads that only
 * yield would have fewer turns there for ever.  Take over half of the difference.
 */
static COLD void even_out(struct carrier *c)
{
    struct task *taken[STEAL_MAX];
    struct carrier *other = pool_carrier(atomic_load_relaxed(&c->longer) - 1);
    uint64_t theirs = ring_count(&other->ring);
    uint64_t ours = ring_count(&c->ring);
    int n = 0;

    atomic_store_relaxed(&c->longer, 0);
    if (theirs > ours + 1)
        n = ring_steal(&other->ring, taken, theirs - ours < 2 * STEAL_MAX ? (uint32_t)(theirs - ours) / 2 : STEAL_MAX);
    if (n <= 0)
        return;
    atomic_fetch_add_relaxed(&pool.steals, (uint64_t)n);
    push_stolen(c, taken, n);
}

uint64_t pool_queued(void)
{
    uint32_t count = atomic_load_acquire(&pool.count);
    uint64_t n = atomic_load_relaxed(&pool.injected_count);

    for (uint32_t i = 0; i < count; i++) {
        struct carrier *c = pool_carrier(i);

        n += ring_count(&c->ring) + atomic_load_relaxed(&c->inbox_count);
    }
    return n;
}

/* ---- sleeping ---- */

/* C3 of idle.h. */
static bool look_again(struct carrier *c)
{
    uint32_t count = atomic_load_acquire(&pool.count);

    if (atomic_load_relaxed(&pool.stopping) || atomic_load_relaxed(&pool.injected_count) > 0 ||
        atomic_load_relaxed(&c->inbox_count) > 0)
        return true;
    for (uint32_t i = 0; i < count; i++)
        if (ring_count(&pool_carrier(i)->ring) > 0)
            return true;
    return false;
}

int64_t pool_earliest_ns(void)
{
    uint32_t count = atomic_load_acquire(&pool.count);
    int64_t earliest = INT64_MAX;

    for (uint32_t i = 0; i < count; i++) {
        int64_t e = atomic_load_relaxed(&pool_carrier(i)->timers.earliest_ns);

        if (e < earliest)
            earliest = e;
    }
    return earliest;
}

/*
 * The leader sleeps until the earliest timer of all.  A carrier that leaves its
 * timers alone (carrier_leave_timers) looks at the leader's deadline after a
 * fence; the leader publishes it, and looks at the timers again after one.
 */
static void sleep_as_leader(struct carrier *c, struct poller *poller, struct task_list *ready)
{
    int64_t deadline = pool_earliest_ns();

    atomic_store_relaxed(&pool.leader_deadline_ns, deadline);
    atomic_store_relaxed(&pool.leader, c);
    atomic_store_relaxed(&c->in_poller, poller != NULL);
    atomic_fence_seq_cst();
    if (atomic_load_relaxed(&c->token) == 0 && pool_earliest_ns() >= deadline) {
        if (poller != NULL)
            poller->poll(poller, clock_sleep_until_ns(deadline), ready);
        else
            futex_wait(&c->token, 0, clock_sleep_until_ns(deadline));
    }
    atomic_store_relaxed(&c->in_poller, false);
    atomic_store_relaxed(&pool.leader, NULL);
    atomic_store_relaxed(&pool.leader_deadline_ns, INT64_MIN);
}

void carrier_leave_timers(struct carrier *c)
{
    int64_t earliest = atomic_load_relaxed(&c->timers.earliest_ns);
    struct carrier *leader;

    if (earliest == INT64_MAX)
        return;
    atomic_fence_seq_cst();
    leader = atomic_load_relaxed(&pool.leader);
    if (leader == NULL)
        pool_wake_one(true); /* whoever sleeps next as the leader sees them */
    else if (atomic_load_relaxed(&pool.leader_deadline_ns) > earliest)
        carrier_notify(leader);
}

static bool is_alone(void)
{
    return atomic_load_seq_cst(&pool.count) == 1;
}

/* Nothing to do: sleep until there may be.  Returns at any time. */
static void sleep_idle(struct carrier *c)
{
    struct task_list ready;
    bool found;

    task_list_init(&ready);
    idle_enter(&pool.idle, &c->idler, is_alone);
    found = look_again(c);
    if (!found) {
        ring_trim(&c->ring);
        if (atomic_exchange_acquire(&pool.leading, 1) == 0) {
            /* Read only now: pool_set_poller notifies after it has stored. */
            sleep_as_leader(c, atomic_load_acquire(&pool.poller), &ready);
            atomic_store_release(&pool.leading, 0);
        } else {
            futex_wait(&c->token, 0, clock_sleep_until_ns(atomic_load_relaxed(&c->timers.earliest_ns)));
        }
    }
    idle_cancel(&pool.idle, &c->idler, found);
    atomic_store_relaxed(&c->token, 0);
    push_all(c, &ready);
    monitor_rouse();
}

/* A searcher has found something: is there more, for another one to be woken? */
static void found(struct carrier *c)
{
    uint32_t count = atomic_load_acquire(&pool.count);

    idle_found(&pool.idle, &c->idler);
    if (!idle_wants_work(&pool.idle))
        return;
    for (uint32_t i = 0; i < count; i++)
        if (ring_count(&pool_carrier(i)->ring) > 0) {
            pool_wake_one(false);
            return;
        }
    if (atomic_load_relaxed(&pool.injected_count) > 0)
        pool_wake_one(false);
}

/* More carriers than are entitled?  This one becomes a spare until it is needed. */
static bool retire_if_surplus(struct carrier *c)
{
    struct task_list left;
    struct task *task;

    /* Not with a long ring: it would have to be walked.  Thieves will shorten it. */
    if (LIKELY(atomic_load_relaxed(&pool.running) <= atomic_load_relaxed(&pool.parallelism)) ||
        c->awaited > 0 || ring_count(&c->ring) > RETIRE_WITH_MAX || !carrier_retire(c))
        return false;
    task_list_init(&left);
    while ((task = ring_take(&c->ring)) != NULL)
        task_list_append(&left, task);
    pool_inject_all(&left);
    if (c->idler.searching)
        found(c); /* the role goes to somebody else, if there is work */
    carrier_leave_timers(c);
    carrier_sleep_dormant(c);
    return true;
}

static struct task *find(struct carrier *c)
{
    for (;;) {
        bool contended = false;
        struct task *task;

        if (UNLIKELY(atomic_load_acquire(&pool.stopping)))
            return NULL;
        if (UNLIKELY(atomic_load_relaxed(&c->state) != CARRIER_RUNNING))
            carrier_unblock(c);
        if (UNLIKELY(retire_if_surplus(c)))
            continue;
        if ((task = take_inbox(c)) != NULL || (task = take_injected(c)) != NULL)
            return task;
        fire_timers(c, LEFT_TO_OWNER_NS);
        if ((task = ring_take(&c->ring)) != NULL)
            return task;
        fire_timers(c, 0);
        if ((task = ring_take(&c->ring)) != NULL || (task = steal(c, &contended)) != NULL)
            return task;
        if (contended)
            sched_yield();
        else
            sleep_idle(c);
    }
}

/* Every so often, however full the own ring is. */
static struct task *look_around(struct carrier *c)
{
    int64_t now_ns;
    struct task *task;

    if (UNLIKELY(retire_if_surplus(c)))
        return NULL;
    if (UNLIKELY(atomic_load_relaxed(&c->longer) != 0))
        even_out(c);
    fire_timers(c, LEFT_TO_OWNER_NS);
    if (atomic_load_relaxed(&pool.poller) != NULL) {
        now_ns = clock_monotonic_ns();
        if (now_ns - c->last_poll_ns > POLL_EVERY_NS) {
            c->last_poll_ns = now_ns;
            poll_now(c);
        }
    }
    /* Neither shall wait for ever behind the other, or behind the ring, nor that behind them. */
    task = take_injected(c);
    if (LIKELY(atomic_load_relaxed(&c->inbox_count) == 0))
        return task;
    if (task != NULL)
        carrier_push(c, task);
    task = take_inbox(c);
    if (atomic_load_relaxed(&c->inbox_count) > 0)
        atomic_store_relaxed(&c->look_at, atomic_load_relaxed(&c->begun) + 2);
    return task;
}

/* The signal mask is the thread's own to change. */
static COLD void admit(struct carrier *c)
{
    bool wanted = atomic_load_relaxed(&pool.hog_reports);

    atomic_store_relaxed(&c->admits, wanted);
    if (pool.hooks.admit != NULL)
        pool.hooks.admit(c, wanted);
}

/* The own ring has nothing, or it is time to look around. */
struct task *carrier_next_slow(struct carrier *c, bool look)
{
    struct task *task = NULL;

    atomic_store_relaxed(&c->may_skip_wake, false); /* said of the task before */
    if (UNLIKELY(atomic_load_relaxed(&c->state) != CARRIER_RUNNING))
        carrier_unblock(c);
    if (UNLIKELY(atomic_load_relaxed(&pool.hog_reports) != atomic_load_relaxed(&c->admits)))
        admit(c);
    if (look) {
        atomic_store_relaxed(&c->look_at, atomic_load_relaxed(&c->begun) + LOOK_AROUND_EVERY);
        if (atomic_load_acquire(&pool.stopping))
            return NULL;
        task = look_around(c);
        if (task == NULL)
            task = ring_take(&c->ring);
    }
    if (task == NULL) {
        atomic_store_relaxed(&c->in_task, false);
        task = find(c);
    }
    atomic_store_relaxed(&c->in_task, true);
    if (c->idler.searching) {
        if (task != NULL)
            found(c);
        else
            idle_found(&pool.idle, &c->idler);
    }
    errno = 0; /* whatever the looks left there is not the next thread's */
    return task;
}
