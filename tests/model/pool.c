/* SPDX-License-Identifier: MIT */
/*
 * The real carrier loop: push × idle × steal × suppressed wake, injection,
 * delivery, leader and poller, surplus carriers.
 *
 * Actors are carriers that take tasks for ever, and threads outside.
 * An execution ends when everybody sleeps; by then every task must have run
 * once.  A lost wake-up leaves one behind.
 */
#define RING_INITIAL_CAPACITY 2u
#include "tests/model/model.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/futex.h"

static int model_sched_yield(void)
{
    model_pause();
    return 0;
}
#define sched_yield model_sched_yield

/* pool.lock: a mutex of pthread's would block all actors. */
static MODEL_SHARED struct lock pool_lock;
#define pthread_mutex_lock(m) lock_acquire(&pool_lock)
#define pthread_mutex_unlock(m) lock_release(&pool_lock)

#include "carrier/carrier.c"
#include "carrier/pool.c"
#include "carrier/ring.c"
#include "carrier/timer.c"

enum { CARRIERS_HERE_MAX = 3, TASKS = 4, TIMER = 1 };

struct work {
    struct task task;
    void (*run)(struct carrier *c, struct work *work);
    int runs;
};

static MODEL_SHARED struct carrier carriers[CARRIERS_HERE_MAX + 1]; /* the last one is always out */
static MODEL_SHARED struct work works[TASKS];
static MODEL_SHARED ATOMIC(uint32_t) arrived; /* tasks that wait for each other */
static MODEL_SHARED timer_position positions[2];
static MODEL_BOOK int expected;
static MODEL_BOOK uint32_t carrier_count;

/* ---- what the pool's other files would do ---- */

void monitor_rouse_slow(void)
{
}

/* ---- tasks ---- */

/* Goes on when `n` tasks are here: they need a carrier each. */
static void meet(uint32_t n)
{
    atomic_fetch_add_acq_rel(&arrived, 1);
    while (atomic_load_acquire(&arrived) < n)
        model_pause();
}

static void meets_one_more(struct carrier *c, struct work *work)
{
    (void)c, (void)work;
    meet(2);
}

static void pushes_and_meets(struct carrier *c, struct work *work)
{
    works[1].run = meets_one_more;
    carrier_push(c, &works[1].task);
    meets_one_more(c, work);
}

/* The predictor says that this task parks after one push; it does not. */
static void skips_the_wake(struct carrier *c, struct work *work)
{
    atomic_store_relaxed(&c->may_skip_wake, true);
    pushes_and_meets(c, work);
    atomic_store_relaxed(&c->may_skip_wake, false);
}

/* Blocks until the other task has run: another carrier must take this one's place. */
static void blocks_and_meets(struct carrier *c, struct work *work)
{
    carrier_block(c);
    meets_one_more(c, work);
    carrier_unblock(c);
}

static void pushes_blocks_and_meets(struct carrier *c, struct work *work)
{
    works[1].run = meets_one_more;
    carrier_push(c, &works[1].task);
    blocks_and_meets(c, work);
}

/* Three carriers are needed at once. */
static void meets_two_more(struct carrier *c, struct work *work)
{
    (void)c, (void)work;
    meet(3);
}

static void pushes_two_and_meets_them(struct carrier *c, struct work *work)
{
    works[1].run = works[2].run = meets_two_more;
    carrier_push(c, &works[1].task);
    carrier_push(c, &works[2].task);
    meets_two_more(c, work);
}

/* Blocks until its own timer has fired, which the other carrier must see to. */
static void timer_nears(uint32_t id)
{
    (void)id; /* a prefetch */
}

static struct task *timer_fires(uint32_t id, uint32_t sequence)
{
    MODEL_ASSERT(id == TIMER && sequence == 1);
    atomic_fetch_add_acq_rel(&arrived, 1);
    model_reached("timer fired");
    return NULL;
}

static void sets_timer_and_blocks(struct carrier *c, struct work *work)
{
    MODEL_ASSERT(timer_insert(&c->timers, 5, TIMER, 1));
    carrier_block(c);
    meets_one_more(c, work);
    carrier_unblock(c);
}

/* Two are pushed: the second one is worth a wake. */
static void pushes_two_and_meets(struct carrier *c, struct work *work)
{
    atomic_store_relaxed(&c->may_skip_wake, true);
    carrier_push(c, &works[2].task);
    pushes_and_meets(c, work);
    atomic_store_relaxed(&c->may_skip_wake, false);
}

/*
 * As vthread_yield's direct hand-over: the present task takes the place of the
 * oldest one, which runs instead and computes; the present one shall not have to
 * wait for it while somebody is idle.
 */
static void hands_over(struct carrier *c, struct work *work)
{
    struct task *next;

    if (work->runs > 1) {
        meet(2);
        return;
    }
    if (idle_wants_work(&pool.idle) || !ring_enter(&c->ring)) {
        carrier_push(c, &work->task);
        return;
    }
    next = ring_oldest(&c->ring);
    if (next == NULL) {
        ring_leave(&c->ring);
        carrier_push(c, &work->task);
        return;
    }
    ring_replace_oldest(&c->ring, &work->task);
    ring_leave(&c->ring);
    model_reached("handed over");
    container_of(next, struct work, task)->runs++;
    meet(2);
}

/* ---- actors ---- */

static void run_tasks(struct carrier *c)
{
    struct task *task;

    while ((task = carrier_next(c)) != NULL) {
        struct work *work = container_of(task, struct work, task);

        work->runs++; /* a race if two carriers run it */
        if (work->run != NULL)
            work->run(c, work);
    }
}

static void carrier_actor(void)
{
    run_tasks(&carriers[model_self()]);
}

/* A carrier that has begun with the first task already. */
static void busy_carrier_actor(void)
{
    works[0].runs++;
    pushes_two_and_meets_them(&carriers[0], &works[0]);
    run_tasks(&carriers[0]);
}

static void blocking_carrier_actor(void)
{
    works[0].runs++;
    sets_timer_and_blocks(&carriers[0], &works[0]);
    run_tasks(&carriers[0]);
}

static void spare_actor(void)
{
    struct carrier *c = &carriers[model_self()];

    carrier_sleep_dormant(c);
    model_reached("activated");
    run_tasks(c);
}

static void injects(void)
{
    pool_inject(&works[0].task);
}

static void injects_two(void)
{
    works[0].run = works[1].run = meets_one_more;
    pool_inject(&works[0].task);
    pool_inject(&works[1].task);
}

static void delivers(void)
{
    carrier_deliver(&carriers[0], &works[0].task, true);
}

static void delivers_and_injects(void)
{
    carrier_deliver(&carriers[0], &works[0].task, true);
    pool_inject(&works[1].task);
}

/* What the monitor does about skipped wakes. */
static void monitor(void)
{
    for (;;) {
        for (uint32_t i = 0; i < carrier_count; i++)
            if (atomic_load_relaxed(&carriers[i].in_task) && atomic_load_relaxed(&carriers[i].wake_skipped)) {
                atomic_store_relaxed(&carriers[i].wake_skipped, false);
                model_reached("rescued");
                pool_wake_one(true);
            }
        model_pause();
    }
}

/* As pool_set_parallelism does. */
static void lowers_parallelism_and_injects(void)
{
    atomic_store_relaxed(&pool.parallelism, 1);
    for (uint32_t i = 0; i < carrier_count; i++)
        carrier_notify(pool_carrier(i));
    pool_inject(&works[0].task);
}

/* As the monitor does when it is in doubt: nothing is there to be found. */
static void wakes_somebody(void)
{
    pool_wake_one(true);
}

/*
 * A third carrier comes back from a blocking section, so one is too many, makes
 * work and then computes for long: one of the two that sleep must do the work.
 */
static void returns_and_injects(void)
{
    carrier_unblock(&carriers[CARRIERS_HERE_MAX]);
    pool_inject(&works[0].task);
}

/* ---- a poller: events come as tasks through a word that it sleeps on ---- */

static MODEL_SHARED struct {
    struct poller poller;
    ATOMIC(uint32_t) word;
    ATOMIC(uint32_t) events;
    bool inside; /* one at a time: a race if not */
} socket;

static void socket_poll(struct poller *poller, int64_t deadline_ns, struct task_list *ready)
{
    (void)poller;
    socket.inside = true;
    if (deadline_ns != 0)
        while (atomic_exchange_acquire(&socket.word, 0) == 0)
            futex_wait(&socket.word, 0, deadline_ns);
    if (atomic_exchange_acquire(&socket.events, 0) != 0) {
        model_reached("event");
        task_list_append(ready, &works[3].task);
    }
    socket.inside = false;
}

static void socket_wake(struct poller *poller)
{
    (void)poller;
    model_reached("poller woken");
    atomic_exchange_acq_rel(&socket.word, 1);
    futex_wake(&socket.word, 1);
}

static void event(void)
{
    atomic_exchange_acq_rel(&socket.events, 1);
    atomic_exchange_acq_rel(&socket.word, 1);
    futex_wake(&socket.word, 1);
}

/* ---- models ---- */

static void setup_carriers(uint32_t count)
{
    memset(&pool, 0, sizeof pool);
    carrier_count = count;
    atomic_init(&pool.parallelism, count);
    atomic_init(&pool.running, count);
    atomic_init(&pool.count, count);
    atomic_init(&pool.leader_deadline_ns, INT64_MIN);
    task_list_init(&pool.injected);
    timer_positions = positions;
    pool.hooks.timer = timer_fires;
    pool.hooks.timer_ahead = timer_nears;
    pool.hooks.timer_ahead = timer_nears;
    for (uint32_t i = 0; i < carrier_count; i++) {
        struct carrier *c = &carriers[i];

        c->index = i;
        c->random = i + 1;
        task_list_init(&c->inbox);
        timer_heap_init(&c->timers, i);
        MODEL_ASSERT(ring_init(&c->ring));
        atomic_init(&pool.carriers[i], c);
        c->has_thread = true;
    }
    atomic_init(&carriers[CARRIERS_HERE_MAX].state, CARRIER_BLOCKED);
    expected = 1;
}

static void setup(void)
{
    setup_carriers(2);
}

/* Alone: only the outside makes work. */
static void setup_one(void)
{
    setup_carriers(1);
}

static void setup_two(void)
{
    setup();
    expected = 2;
}

static void setup_pusher(void)
{
    setup_two();
    works[0].run = pushes_and_meets;
    MODEL_ASSERT(ring_push(&carriers[0].ring, &works[0].task));
}

/* One carrier works, one is a spare. */
static void setup_blocker(void)
{
    setup_two();
    atomic_init(&pool.parallelism, 1);
    atomic_init(&pool.running, 1);
    atomic_init(&carriers[1].state, CARRIER_DORMANT);
    pool.dormant = &carriers[1];
    works[0].run = pushes_blocks_and_meets;
    MODEL_ASSERT(ring_push(&carriers[0].ring, &works[0].task));
}

/* Both work; what one leaves behind when it blocks the other must do, idle or not. */
static void setup_blocker_beside_idle(void)
{
    setup_pusher();
    works[0].run = pushes_blocks_and_meets;
}

static void setup_three_carriers(void)
{
    setup_carriers(3);
    expected = 3;
}

static void setup_skipper(void)
{
    setup_pusher();
    works[0].run = skips_the_wake;
    atomic_init(&carriers[0].in_task, true);
}

static void setup_three(void)
{
    setup_pusher();
    works[0].run = pushes_two_and_meets;
    expected = 3;
}

static void setup_hand_over(void)
{
    setup();
    works[0].run = hands_over;
    works[1].run = meets_one_more;
    for (int i = 0; i < 2; i++)
        MODEL_ASSERT(ring_push(&carriers[0].ring, &works[i].task));
}

static void check_hand_over(void)
{
    MODEL_ASSERT(works[0].runs == 2 && works[1].runs == 1);
}

static void setup_poller(void)
{
    setup();
    socket.poller.poll = socket_poll;
    socket.poller.wake = socket_wake;
    atomic_init(&pool.poller, &socket.poller);
}

static void setup_event(void)
{
    setup_poller();
    expected = 0;
}

static void check(void)
{
    for (int i = 0; i < 3; i++)
        MODEL_ASSERT(works[i].runs == (i < expected));
    MODEL_ASSERT(atomic_load_relaxed(&pool.idle.counts) < IDLE_SEARCHING_ONE);
}

static void check_timer(void)
{
    check();
    MODEL_ASSERT(atomic_load_relaxed(&arrived) == 2);
}

/* Places are given back: as many run as may. */
static void check_places(void)
{
    uint32_t running = 0;

    check();
    for (uint32_t i = 0; i < carrier_count; i++)
        running += atomic_load_relaxed(&carriers[i].state) == CARRIER_RUNNING;
    MODEL_ASSERT(running == atomic_load_relaxed(&pool.running));
    MODEL_ASSERT(running == atomic_load_relaxed(&pool.parallelism));
}

static void check_event(void)
{
    check();
    MODEL_ASSERT(works[3].runs == 1);
}

static const char *const timer_fired[] = {"timer fired", NULL};
static const char *const activated[] = {"activated", NULL};
static const char *const handed_over[] = {"handed over", NULL};
static const char *const rescued[] = {"rescued", NULL};
static const char *const poller_woken[] = {"poller woken", NULL};
static const char *const poller_woken_and_event[] = {"poller woken", "event", NULL};

static const struct model models[] = {
    {.name = "inject",
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"injector", injects}},
     .mutants = MUTANTS({MODEL_DROP, "futex_wake", "wake", NULL})},
    {.name = "inject-alone",
     .setup = setup_one,
     .check = check,
     .ends_asleep = true,
     .quick = {3, 2, 0},
     .actors = {{"carrier", carrier_actor}, {"injector", injects}}},
    {.name = "inject-two-carriers",
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}, {"injector", injects}}},
    {.name = "inject-two",
     .setup = setup_two,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}, {"injector", injects_two}}},
    {.name = "push-steal",
     .setup = setup_pusher,
     .check = check,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}},
     .mutants = MUTANTS({MODEL_WEAKEN, "idle_enter", "heavy", NULL})},
    {.name = "push-two-steal",
     .setup = setup_three,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}}},
    {.name = "three-carriers",
     .setup = setup_three_carriers,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 0, 0},
     .actors = {{"carrier", busy_carrier_actor},
                {"carrier2", carrier_actor},
                {"carrier3", carrier_actor},
                {"monitor", wakes_somebody}}},
    {.name = "suppressed-wake",
     .setup = setup_skipper,
     .check = check,
     .ends_asleep = true,
     .reaches = rescued,
     .quick = {1, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}, {"monitor", monitor}}},
    {.name = "hand-over",
     .setup = setup_hand_over,
     .check = check_hand_over,
     .ends_asleep = true,
     .reaches = handed_over,
     .quick = {2, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}}},
    {.name = "deliver",
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"deliverer", delivers}}},
    {.name = "deliver-and-inject",
     .setup = setup_two,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}, {"deliverer", delivers_and_injects}}},
    {.name = "surplus",
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 0, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}, {"outside", lowers_parallelism_and_injects}}},
    {.name = "returned-from-blocking",
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 0, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}, {"returner", returns_and_injects}}},
    {.name = "block",
     .setup = setup_blocker,
     .check = check_places,
     .ends_asleep = true,
     .reaches = activated,
     .quick = {2, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"spare", spare_actor}}},
    {.name = "block-beside-idle",
     .setup = setup_blocker_beside_idle,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"carrier2", carrier_actor}}},
    {.name = "timer-of-blocked",
     .setup = setup,
     .check = check_timer,
     .ends_asleep = true,
     .reaches = timer_fired,
     .quick = {2, 1, 0},
     .actors = {{"carrier", blocking_carrier_actor}, {"carrier2", carrier_actor}},
     .mutants = MUTANTS({MODEL_WEAKEN, "carrier_leave_timers", "fence", NULL})},
    {.name = "leader",
     .setup = setup_poller,
     .check = check,
     .ends_asleep = true,
     .reaches = poller_woken,
     .quick = {2, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"injector", injects}}},
    {.name = "event",
     .setup = setup_event,
     .check = check_event,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"socket", event}}},
    {.name = "leader-event",
     .setup = setup_poller,
     .check = check_event,
     .ends_asleep = true,
     .reaches = poller_woken_and_event,
     .quick = {1, 1, 0},
     .actors = {{"carrier", carrier_actor}, {"injector", injects}, {"socket", event}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
