/* SPDX-License-Identifier: MIT */
/* The set of idle carriers: who is counted, who is chosen, and that no wake-up is lost. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>

#include "carrier/idle.h"

TestSuite(idle, .timeout = 60);

static uint32_t searching(struct idle_set *set)
{
    return (uint32_t)(atomic_load_relaxed(&set->counts) >> 32);
}

static bool is_alone(void)
{
    return true;
}

Test(idle, an_empty_set_wants_no_work)
{
    struct idle_set set = {0};

    cr_assert_eq(idle_count(&set), 0);
    cr_assert_not(idle_wants_work(&set));
    cr_assert_null(idle_choose(&set, NULL, false));
    cr_assert_null(idle_choose(&set, NULL, true));
}

Test(idle, the_newest_is_chosen_first)
{
    struct idle_set set = {0};
    struct idler idler[3] = {{0}};

    for (int i = 0; i < 3; i++)
        idle_enter(&set, &idler[i], NULL);
    cr_assert_eq(idle_count(&set), 3);
    cr_assert(idle_wants_work(&set));
    for (int i = 2; i >= 0; i--) {
        cr_assert_eq(idle_choose(&set, NULL, true), &idler[i]);
        cr_assert_not(idler[i].listed);
    }
    cr_assert_eq(idle_count(&set), 0);
    cr_assert_eq(searching(&set), 3);
}

Test(idle, while_one_searches_no_other_is_chosen)
{
    struct idle_set set = {0};
    struct idler idler[2] = {{0}};

    idle_enter(&set, &idler[0], NULL);
    idle_enter(&set, &idler[1], is_alone);
    cr_assert_eq(idle_choose(&set, NULL, false), &idler[1]);
    cr_assert_not(idle_wants_work(&set));
    cr_assert_null(idle_choose(&set, NULL, false));
    /* It wakes, and finds that it was chosen. */
    idle_cancel(&set, &idler[1], false);
    cr_assert(idler[1].searching);
    cr_assert_eq(searching(&set), 1);
    /* It has found something: the next may be chosen. */
    idle_found(&set, &idler[1]);
    cr_assert_not(idler[1].searching);
    cr_assert_eq(searching(&set), 0);
    cr_assert(idle_wants_work(&set));
    cr_assert_eq(idle_choose(&set, NULL, false), &idler[0]);
}

Test(idle, a_searcher_that_finds_nothing_gives_the_role_up)
{
    struct idle_set set = {0};
    struct idler idler = {0};

    idle_enter(&set, &idler, NULL);
    cr_assert_eq(idle_choose(&set, NULL, false), &idler);
    idle_cancel(&set, &idler, false);
    idle_enter(&set, &idler, NULL);
    cr_assert_eq(searching(&set), 0);
    cr_assert_eq(idle_count(&set), 1);
    cr_assert_not(idler.searching);
    cr_assert(idle_wants_work(&set));
}

Test(idle, who_leaves_by_itself)
{
    struct idle_set set = {0};
    struct idler idler[3] = {{0}};

    for (int i = 0; i < 3; i++)
        idle_enter(&set, &idler[i], NULL);
    idle_cancel(&set, &idler[1], false); /* a timer, say: from the middle of the list */
    cr_assert_not(idler[1].searching);
    cr_assert_eq(idle_count(&set), 2);
    cr_assert_eq(searching(&set), 0);
    idle_cancel(&set, &idler[2], true); /* it has seen work: it searches */
    cr_assert(idler[2].searching);
    cr_assert_eq(idle_count(&set), 1);
    cr_assert_eq(searching(&set), 1);
    idle_found(&set, &idler[2]);
    cr_assert_eq(idle_choose(&set, NULL, false), &idler[0]);
    cr_assert_eq(idle_count(&set), 0);
}

Test(idle, the_one_in_the_poller_is_chosen_last)
{
    struct idle_set set = {0};
    struct idler idler[3] = {{0}};

    for (int i = 0; i < 3; i++)
        idle_enter(&set, &idler[i], NULL);
    cr_assert_eq(idle_choose(&set, &idler[2], true), &idler[1]);
    cr_assert_eq(idle_choose(&set, &idler[2], true), &idler[0]);
    cr_assert_eq(idle_choose(&set, &idler[2], true), &idler[2]);
    cr_assert_null(idle_choose(&set, &idler[2], true));
}

/* ---- both sides at once ---- */

enum { SLEEPERS = 3, MAKERS = 2, TASKS = 20000 };

static struct idle_set shared;
static ATOMIC(uint32_t) queued;
static ATOMIC(uint32_t) done;

static struct sleeper {
    struct idler idler;
    ATOMIC(uint32_t) token;
} sleepers[SLEEPERS];

static void wake_one(void)
{
    struct idler *chosen = idle_choose(&shared, NULL, false);

    if (chosen != NULL) {
        struct sleeper *s = container_of(chosen, struct sleeper, idler);

        atomic_exchange_acq_rel(&s->token, 1);
        futex_wake(&s->token, 1);
    }
}

static bool take(void)
{
    uint32_t n = atomic_load_acquire(&queued);

    while (n > 0)
        if (atomic_cas_acq_rel(&queued, &n, n - 1))
            return true;
    return false;
}

static bool is_over(void)
{
    return atomic_load_acquire(&done) == MAKERS * TASKS;
}

static void *sleep_and_take(void *arg)
{
    struct sleeper *self = arg;
    bool found;

    while (!is_over()) {
        if (take()) {
            if (self->idler.searching) {
                idle_found(&shared, &self->idler);
                if (atomic_load_relaxed(&queued) > 0 && idle_wants_work(&shared))
                    wake_one();
            }
            atomic_fetch_add_acq_rel(&done, 1);
            continue;
        }
        idle_enter(&shared, &self->idler, NULL);
        found = atomic_load_relaxed(&queued) > 0 || is_over();
        if (!found)
            futex_wait(&self->token, 0, INT64_MAX);
        idle_cancel(&shared, &self->idler, found);
        atomic_store_relaxed(&self->token, 0);
    }
    return NULL;
}

static void *make(void *arg)
{
    for (int i = 0; i < TASKS; i++) {
        atomic_fetch_add_acq_rel(&queued, 1);
        barrier_light();
        if (idle_wants_work(&shared))
            wake_one();
        if (i % 64 == 0)
            sched_yield();
    }
    return arg;
}

/* If a wake-up is lost, the work of the last makers is never done. */
Test(idle, no_wake_up_is_lost)
{
    pthread_t makers[MAKERS];
    pthread_t threads[SLEEPERS];

    barrier_init();
    for (int i = 0; i < SLEEPERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, sleep_and_take, &sleepers[i]), 0);
    for (int i = 0; i < MAKERS; i++)
        cr_assert_eq(pthread_create(&makers[i], NULL, make, NULL), 0);
    for (int i = 0; i < MAKERS; i++)
        pthread_join(makers[i], NULL);
    while (!is_over())
        sched_yield();
    for (int i = 0; i < SLEEPERS; i++) {
        atomic_exchange_acq_rel(&sleepers[i].token, 1);
        futex_wake(&sleepers[i].token, 1);
    }
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(atomic_load_relaxed(&queued), 0);
}
