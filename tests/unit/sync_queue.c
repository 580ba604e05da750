/* SPDX-License-Identifier: MIT */
#include <vthread/queue.h>

#include "sync_help.h"

TestSuite(queue, .fini = help_fini, .timeout = 60);

enum { MANY = 20000 };

static vthread_queue_t *make(size_t capacity)
{
    vthread_queue_t *q = NULL;

    cr_assert_eq(vthread_queue_new(&q, sizeof(long), capacity), 0);
    return q;
}

static void put(vthread_queue_t *q, long value)
{
    cr_assert_eq(vthread_queue_put_until(q, &value, VTHREAD_NOW), 0);
}

static long take(vthread_queue_t *q)
{
    long value = -1;

    cr_assert_eq(vthread_queue_take_until(q, &value, VTHREAD_NOW), 0);
    return value;
}

Test(queue, refuses_what_makes_no_sense)
{
    vthread_queue_t *q = NULL;
    long value = 0;

    cr_assert_eq(vthread_queue_new(NULL, 8, 1), EINVAL);
    cr_assert_eq(vthread_queue_new(&q, 0, 1), EINVAL);
    cr_assert_eq(vthread_queue_new(&q, 8, SIZE_MAX - 1), EINVAL);
    cr_assert_null(q);
    cr_assert_eq(vthread_queue_free(NULL), 0);
    cr_assert_eq(vthread_queue_close(NULL), EINVAL);
    cr_assert_eq(vthread_queue_put(NULL, &value), EINVAL);
    q = make(1);
    cr_assert_eq(vthread_queue_put(q, NULL), EINVAL);
    cr_assert_eq(vthread_queue_take(q, NULL), EINVAL);
    cr_assert_eq(vthread_queue_free(q), 0);
    cr_assert_eq(vthread_queue_new(&q, 3, 1), 0);
    cr_assert_eq(vthread_queue_put_ptr(q, &value), EINVAL);
    cr_assert_eq(vthread_queue_take_ptr(q, (void *[]){NULL}), EINVAL);
    cr_assert_eq(vthread_queue_free(q), 0);
}

Test(queue, first_in_first_out_around_the_ring)
{
    vthread_queue_t *q = make(3);
    long next = 0;

    for (long i = 0; i < 10; i++) {
        put(q, 2 * i);
        put(q, 2 * i + 1);
        cr_assert_eq(vthread_queue_len(q), 2);
        cr_assert_eq(take(q), next++);
        cr_assert_eq(take(q), next++);
    }
    cr_assert_eq(vthread_queue_free(q), 0);
}

Test(queue, bounded_queues_are_full_at_their_capacity)
{
    vthread_queue_t *q = make(2);
    long value = 3;

    put(q, 1);
    put(q, 2);
    cr_assert_eq(vthread_queue_put_until(q, &value, VTHREAD_NOW), ETIMEDOUT);
    cr_assert_eq(vthread_queue_put_until(q, &value, vthread_after_ms(5)), ETIMEDOUT);
    cr_assert_eq(vthread_queue_len(q), 2);
    cr_assert_eq(take(q), 1);
    cr_assert_eq(take(q), 2);
    cr_assert_eq(vthread_queue_take_until(q, &value, VTHREAD_NOW), ETIMEDOUT);
    cr_assert_eq(value, 3, "outputs are written on success only");
    cr_assert_eq(vthread_queue_free(q), 0);
}

Test(queue, unbounded_queues_grow_in_the_middle_of_a_round)
{
    vthread_queue_t *q = make(VTHREAD_UNBOUNDED);

    for (long i = 0; i < 10; i++)
        put(q, i);
    for (long i = 0; i < 7; i++)
        cr_assert_eq(take(q), i);
    for (long i = 10; i < MANY; i++)
        put(q, i);
    for (long i = 7; i < MANY; i++)
        cr_assert_eq(take(q), i);
    cr_assert_eq(vthread_queue_free(q), 0);
}

Test(queue, a_synchronous_one_holds_nothing)
{
    vthread_queue_t *q = make(0);
    long value = 1;

    cr_assert_eq(vthread_queue_put_until(q, &value, VTHREAD_NOW), ETIMEDOUT);
    cr_assert_eq(vthread_queue_put_until(q, &value, vthread_after_ms(5)), ETIMEDOUT);
    cr_assert_eq(vthread_queue_take_until(q, &value, vthread_after_ms(5)), ETIMEDOUT);
    cr_assert_eq(vthread_queue_len(q), 0);
    cr_assert_eq(vthread_queue_free(q), 0);
}

/* ---- waiting ---- */

static vthread_queue_t *shared;
static struct order order;

static void *takes_one(void *arg)
{
    long value = -1;

    CHECK(vthread_queue_take(shared, &value) == 0);
    order_note(&order, (int)(intptr_t)arg * 100 + (int)value);
    return NULL;
}

static void *puts_one(void *arg)
{
    long value = (intptr_t)arg;

    CHECK(vthread_queue_put(shared, &value) == 0);
    order_note(&order, (int)value);
    return NULL;
}

Test(queue, takers_are_served_in_the_order_of_coming)
{
    vthread_t t[KINDS];

    shared = make(4);
    for (int i = 0; i < KINDS; i++) {
        t[i] = help_start_with(&kinds[i], takes_one, (void *)(intptr_t)i);
        cr_assert(WAITS(t[i]));
    }
    cr_assert_eq(vthread_queue_free(shared), EBUSY);
    for (long i = 0; i < KINDS; i++) {
        put(shared, i);
        help_join(t[i]);
        cr_assert_eq(atomic_load(&order.who[i]), i * 100 + i);
    }
    cr_assert_eq(vthread_queue_free(shared), 0);
}

Test(queue, putters_move_up_in_the_order_of_coming)
{
    vthread_t t[KINDS];

    shared = make(1);
    put(shared, 100);
    for (int i = 0; i < KINDS; i++) {
        t[i] = help_start_with(&kinds[i], puts_one, (void *)(intptr_t)i);
        cr_assert(WAITS(t[i]));
    }
    cr_assert_eq(take(shared), 100);
    for (int i = 0; i < KINDS; i++) {
        help_join(t[i]);
        cr_assert_eq(vthread_queue_len(shared), 1);
        cr_assert_eq(take(shared), i);
    }
    cr_assert_eq(vthread_queue_free(shared), 0);
}

Test(queue, synchronous_hand_over_both_ways)
{
    vthread_t t;

    shared = make(0);
    t = help_start(puts_one, (void *)7);
    cr_assert(WAITS(t));
    cr_assert_eq(take(shared), 7);
    help_join(t);
    t = help_start(takes_one, (void *)0);
    cr_assert(WAITS(t));
    put(shared, 8);
    help_join(t);
    cr_assert_eq(atomic_load(&order.who[1]), 8);
    cr_assert_eq(vthread_queue_free(shared), 0);
}

/* What a wait returned, in a thread that expects something in particular. */
static void *take_returns(void *arg)
{
    long value = -1;

    CHECK(vthread_queue_take(shared, &value) == (int)(intptr_t)arg);
    CHECK(value == -1);
    CHECK(!vthread_interrupted());
    return NULL;
}

static void *put_returns(void *arg)
{
    long value = 5;

    CHECK(vthread_queue_put(shared, &value) == (int)(intptr_t)arg);
    return NULL;
}

Test(queue, an_interrupt_ends_a_wait_and_loses_nothing)
{
    vthread_t t;

    shared = make(1);
    for (int i = 0; i < KINDS; i++) {
        t = help_start_with(&kinds[i], take_returns, (void *)EINTR);
        cr_assert(WAITS(t));
        cr_assert_eq(vthread_interrupt(t), 0);
        help_join(t);
    }
    put(shared, 1);
    t = help_start(put_returns, (void *)EINTR);
    cr_assert(WAITS(t));
    cr_assert_eq(vthread_interrupt(t), 0);
    help_join(t);
    cr_assert_eq(take(shared), 1);
    cr_assert_eq(vthread_queue_len(shared), 0);
    cr_assert_eq(vthread_queue_free(shared), 0);
}

Test(queue, closing_wakes_everybody_and_lets_the_rest_out)
{
    vthread_t t[2];
    long value = 1;

    shared = make(2);
    for (int i = 0; i < 2; i++)
        t[i] = help_start_with(&kinds[i], take_returns, (void *)ECANCELED);
    cr_assert(WAITS(t[0]) && WAITS(t[1]));
    cr_assert_eq(vthread_queue_close(shared), 0);
    help_join(t[0]);
    help_join(t[1]);
    cr_assert_eq(vthread_queue_put(shared, &value), ECANCELED);
    cr_assert_eq(vthread_queue_take(shared, &value), ECANCELED);
    cr_assert_eq(vthread_queue_close(shared), 0, "twice is fine");
    cr_assert_eq(vthread_queue_free(shared), 0);

    shared = make(1);
    put(shared, 17);
    t[0] = help_start(put_returns, (void *)ECANCELED);
    cr_assert(WAITS(t[0]));
    cr_assert_eq(vthread_queue_close(shared), 0);
    help_join(t[0]);
    cr_assert_eq(take(shared), 17);
    cr_assert_eq(vthread_queue_take(shared, &value), ECANCELED);
    cr_assert_eq(vthread_queue_free(shared), 0);
}

static char anywhere_else[] = "static";

static void *puts_pointers(void *arg)
{
    long local = 3;

    (void)arg;
    CHECK(vthread_queue_put_ptr(shared, &local) == EFAULT);
    CHECK(vthread_queue_len(shared) == 0);
    CHECK(vthread_queue_put_ptr(shared, anywhere_else) == 0);
    return NULL;
}

static void ignore(const char *message, void *user)
{
    (void)message;
    ++*(int *)user;
}

Test(queue, pointers_into_a_private_stack_are_refused)
{
    int complaints = 0;
    void *ptr = NULL;

    vthread_set_misuse_handler(ignore, &complaints);
    cr_assert_eq(vthread_queue_new(&shared, sizeof(void *), 1), 0);
    help_join(help_start(puts_pointers, NULL));
    cr_assert_eq(complaints, 1);
    cr_assert_eq(vthread_queue_take_ptr(shared, &ptr), 0);
    cr_assert_str_eq(ptr, "static");
    cr_assert_eq(vthread_queue_free(shared), 0);
}

/* ---- many ---- */

static _Atomic long sum;

static void *puts_many(void *arg)
{
    (void)arg;
    for (long i = 1; i <= MANY / HELP_SLOW; i++)
        CHECK(vthread_queue_put(shared, &i) == 0);
    return NULL;
}

static void *takes_until_closed(void *arg)
{
    long value;

    (void)arg;
    while (vthread_queue_take(shared, &value) == 0)
        atomic_fetch_add(&sum, value);
    return NULL;
}

static void every_element_arrives_once(size_t capacity)
{
    enum { EACH = 6 };
    const long n = MANY / HELP_SLOW;
    vthread_t putters[EACH];
    vthread_t takers[EACH];

    atomic_store(&sum, 0);
    shared = make(capacity);
    for (int i = 0; i < EACH; i++) {
        putters[i] = help_start_with(&kinds[i % KINDS], puts_many, NULL);
        takers[i] = help_start_with(&kinds[(i + 1) % KINDS], takes_until_closed, NULL);
    }
    for (int i = 0; i < EACH; i++)
        help_join(putters[i]);
    cr_assert_eq(vthread_queue_close(shared), 0);
    for (int i = 0; i < EACH; i++)
        help_join(takers[i]);
    cr_assert_eq(atomic_load(&sum), EACH * n * (n + 1) / 2);
    cr_assert_eq(vthread_queue_free(shared), 0);
}

Test(queue, every_element_arrives_once_synchronous)
{
    every_element_arrives_once(0);
}

Test(queue, every_element_arrives_once_bounded)
{
    every_element_arrives_once(7);
}

Test(queue, every_element_arrives_once_unbounded)
{
    every_element_arrives_once(VTHREAD_UNBOUNDED);
}

/* ---- select ---- */

enum { QUEUES = 3 };
static vthread_queue_t *several[QUEUES];

static void make_several(size_t capacity)
{
    for (int i = 0; i < QUEUES; i++)
        several[i] = make(capacity);
}

static void free_several(void)
{
    for (int i = 0; i < QUEUES; i++)
        cr_assert_eq(vthread_queue_free(several[i]), 0);
}

static void takes_from_all(vthread_queue_case_t *cases, long *values)
{
    for (int i = 0; i < QUEUES; i++)
        cases[i] = (vthread_queue_case_t){.queue = several[i], .elem = &values[i]};
}

Test(select, refuses_what_makes_no_sense)
{
    vthread_queue_case_t wrong = {.op = (vthread_queue_op_t)7, .elem = &wrong};
    vthread_queue_case_t none = {.elem = NULL};
    vthread_queue_case_t never = {.elem = &never};

    cr_assert_eq(vthread_queue_select(NULL, 1), -EINVAL);
    cr_assert_eq(vthread_queue_select(&never, 0), -EINVAL);
    cr_assert_eq(vthread_queue_select(&wrong, 1), -EINVAL);
    cr_assert_eq(vthread_queue_select(&none, 1), -EINVAL);
    cr_assert_eq(vthread_queue_select_until(&never, 1, VTHREAD_NOW), -ETIMEDOUT);
    cr_assert_eq(vthread_queue_select_until(&never, 1, vthread_after_ms(2)), -ETIMEDOUT);
}

Test(select, does_the_one_that_is_ready_and_no_other)
{
    vthread_queue_case_t cases[QUEUES + 1];
    long values[QUEUES] = {-1, -1, -1};
    long extra = 9;

    make_several(1);
    takes_from_all(cases, values);
    cr_assert_eq(vthread_queue_select_until(cases, QUEUES, VTHREAD_NOW), -ETIMEDOUT);
    put(several[1], 5);
    cr_assert_eq(vthread_queue_select(cases, QUEUES), 1);
    cr_assert_eq(cases[1].result, 0);
    cr_assert(values[0] == -1 && values[1] == 5 && values[2] == -1);

    put(several[0], 1);
    cases[0] = (vthread_queue_case_t){.queue = several[0], .op = VTHREAD_QUEUE_PUT, .elem = &extra}; /* full */
    cases[QUEUES] = (vthread_queue_case_t){.queue = several[2], .op = VTHREAD_QUEUE_PUT, .elem = &extra};
    cr_assert_eq(vthread_queue_select(cases, QUEUES + 1), QUEUES);
    cr_assert_eq(take(several[2]), 9);
    cr_assert_eq(take(several[0]), 1);
    free_several();
}

Test(select, each_of_those_that_are_ready_has_the_same_chance)
{
    enum { ROUNDS = 9000 };
    vthread_queue_case_t cases[QUEUES];
    long values[QUEUES];
    int count[QUEUES] = {0};

    make_several(1);
    takes_from_all(cases, values);
    for (int i = 0; i < QUEUES; i++)
        put(several[i], i);
    for (int round = 0; round < ROUNDS; round++) {
        int i = vthread_queue_select(cases, QUEUES);

        cr_assert(i >= 0 && i < QUEUES);
        count[i]++;
        put(several[i], i);
    }
    for (int i = 0; i < QUEUES; i++) /* eight standard deviations */
        cr_assert(count[i] > ROUNDS / QUEUES - 360 && count[i] < ROUNDS / QUEUES + 360, "%d", count[i]);
    free_several();
}

/* Not every program selects from the same queues again and again. */
Test(select, the_chances_are_the_same_among_new_queues)
{
    int times[2] = {0, 0};
    long value = 1;

    for (int i = 0; i < 400; i++) {
        vthread_queue_t *two[2] = {make(1), make(1)};
        vthread_queue_case_t c[2] = {
            {.queue = two[0], .op = VTHREAD_QUEUE_PUT, .elem = &value},
            {.queue = two[1], .op = VTHREAD_QUEUE_PUT, .elem = &value},
        };

        times[vthread_queue_select(c, 2)]++;
        cr_assert_eq(vthread_queue_free(two[0]), 0);
        cr_assert_eq(vthread_queue_free(two[1]), 0);
    }
    /* By chance about once in 10^23. */
    cr_assert(times[0] > 100 && times[1] > 100, "%d and %d times", times[0], times[1]);
}

Test(select, a_closed_queue_is_ready)
{
    vthread_queue_case_t cases[QUEUES];
    long values[QUEUES];

    make_several(1);
    takes_from_all(cases, values);
    cr_assert_eq(vthread_queue_close(several[2]), 0);
    cr_assert_eq(vthread_queue_select(cases, QUEUES), 2);
    cr_assert_eq(cases[2].result, ECANCELED);
    cases[2].queue = NULL;
    cr_assert_eq(vthread_queue_select_until(cases, QUEUES, VTHREAD_NOW), -ETIMEDOUT);
    free_several();
}

static void *selects(void *arg)
{
    vthread_queue_case_t cases[QUEUES];
    long values[QUEUES] = {-1, -1, -1};
    int wanted = (int)(intptr_t)arg;
    int i;

    takes_from_all(cases, values);
    i = vthread_queue_select(cases, QUEUES);
    CHECK(i == wanted);
    CHECK(i < 0 || cases[i].result == ECANCELED || values[i] == 40 + i);
    for (int k = 0; k < QUEUES; k++)
        CHECK(k == i || values[k] == -1);
    return NULL;
}

Test(select, waits_for_whichever_comes_first)
{
    make_several(0);
    for (int i = 0; i < QUEUES; i++) {
        vthread_t t = help_start_with(&kinds[i], selects, (void *)(intptr_t)i);

        cr_assert(WAITS(t));
        put(several[i], 40 + i);
        help_join(t);
    }
    free_several(); /* and nobody waits in the others */
}

Test(select, is_ended_by_an_interrupt_or_a_close)
{
    vthread_t t;

    make_several(0);
    t = help_start(selects, (void *)-EINTR);
    cr_assert(WAITS(t));
    cr_assert_eq(vthread_interrupt(t), 0);
    help_join(t);
    t = help_start(selects, (void *)1);
    cr_assert(WAITS(t));
    cr_assert_eq(vthread_queue_close(several[1]), 0);
    help_join(t);
    free_several();
}

/* Both sides select, give up at random, and nothing is lost or doubled. */
static void *selects_many(void *arg)
{
    bool puts = (intptr_t)arg % 2 == 0;
    long n = MANY / 4 / HELP_SLOW;

    for (long i = 1; i <= n;) {
        vthread_queue_case_t cases[QUEUES];
        long values[QUEUES];
        int k;

        takes_from_all(cases, values);
        for (int c = 0; puts && c < QUEUES; c++)
            cases[c].op = VTHREAD_QUEUE_PUT, values[c] = i;
        /* Two that only try would never meet in a synchronous queue. */
        k = vthread_queue_select_until(cases, QUEUES, vthread_after_ns((i % 3 + !puts) * 100000));
        if (k == -ETIMEDOUT) {
            vthread_yield(); /* so that others come at all */
            continue;
        }
        CHECK(k >= 0 && cases[k].result == 0);
        atomic_fetch_add(&sum, puts ? values[k] : -values[k]);
        i++;
    }
    return NULL;
}

static void nothing_is_lost_among_selects(size_t capacity)
{
    enum { THREADS = 8 };
    vthread_t t[THREADS];

    atomic_store(&sum, 0);
    make_several(capacity);
    for (int i = 0; i < THREADS; i++)
        t[i] = help_start_with(&kinds[i / 2 % KINDS], selects_many, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        help_join(t[i]);
    cr_assert_eq(atomic_load(&sum), 0);
    for (int i = 0; i < QUEUES; i++)
        cr_assert_eq(vthread_queue_len(several[i]), 0);
    free_several();
}

Test(select, nothing_is_lost_among_synchronous_queues)
{
    nothing_is_lost_among_selects(0);
}

Test(select, nothing_is_lost_among_bounded_queues)
{
    nothing_is_lost_among_selects(2);
}
