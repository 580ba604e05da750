/* SPDX-License-Identifier: MIT */
#include <vthread/pool.h>

#include "sync_help.h"

TestSuite(pool, .fini = help_fini, .timeout = 60);

enum { HOUR_MS = 3600 * 1000 };

/* What a pool of the tests has, and what it is to do. */
static struct {
    atomic_int made;
    atomic_int alive;
    atomic_int most; /* alive at once */
    atomic_int create_error;
    atomic_bool create_waits;
    atomic_int destroy_ms;
    atomic_bool validates;
    atomic_bool gives_nothing;
    void *_Atomic gives;
    atomic_bool invalid[64]; /* by number */
} made;

static void *const user = &made;

static int number_of(void *obj)
{
    return *(int *)obj;
}

static int create(void *arg, void **ret_obj)
{
    int *obj;
    int alive, most;

    if (arg != user)
        return EPROTO;
    while (atomic_load(&made.create_waits))
        vthread_sleep_ms(1);
    if (atomic_load(&made.create_error) != 0)
        return atomic_load(&made.create_error);
    if (atomic_load(&made.gives_nothing))
        return 0;
    if (atomic_load(&made.gives) != NULL) {
        *ret_obj = atomic_load(&made.gives);
        return 0;
    }
    obj = malloc(sizeof *obj);
    if (obj == NULL)
        return ENOMEM;
    alive = atomic_fetch_add(&made.alive, 1) + 1;
    most = atomic_load(&made.most);
    while (alive > most && !atomic_compare_exchange_strong(&made.most, &most, alive))
        ;
    *obj = atomic_fetch_add(&made.made, 1);
    *ret_obj = obj;
    return 0;
}

static bool validate(void *arg, void *obj)
{
    return arg == user && !atomic_load(&made.invalid[number_of(obj)]);
}

static void destroy(void *arg, void *obj)
{
    if (atomic_load(&made.destroy_ms) > 0)
        vthread_sleep_ms(atomic_load(&made.destroy_ms));
    atomic_fetch_sub(&made.alive, 1);
    free(arg == user ? obj : NULL);
}

static vthread_pool_t *shared;
static struct order order;
static struct help_messages messages;

static void make(uint32_t max_objects, int64_t max_idle_ms)
{
    vthread_pool_params_t params = {
        .max_objects = max_objects,
        .max_idle_ns = max_idle_ms * 1000000,
        .create = create,
        .validate = validate,
        .destroy = destroy,
        .user = user,
    };

    cr_assert_eq(vthread_pool_new(&shared, &params), 0);
}

static void *get(void)
{
    void *obj = NULL;

    cr_assert_eq(vthread_pool_acquire_until(shared, &obj, VTHREAD_NOW), 0);
    return obj;
}

static void put(void *obj)
{
    cr_assert_eq(vthread_pool_release(shared, obj), 0);
}

static vthread_pool_stats_t stats(void)
{
    vthread_pool_stats_t s;

    cr_assert_eq(vthread_pool_stats(shared, &s), 0);
    return s;
}

/* It ends, and nothing is left. */
static void end(void)
{
    cr_assert_eq(vthread_pool_free(shared), 0);
    cr_assert_eq(atomic_load(&made.alive), 0);
}

Test(pool, refuses_what_makes_no_sense)
{
    vthread_pool_params_t params = {.max_objects = 1};
    vthread_pool_t *p = NULL;
    void *obj = NULL;

    cr_assert_eq(vthread_pool_new(&p, NULL), EINVAL);
    cr_assert_eq(vthread_pool_new(&p, &params), EINVAL, "no create");
    params.create = create;
    cr_assert_eq(vthread_pool_new(NULL, &params), EINVAL);
    params.max_objects = 0;
    cr_assert_eq(vthread_pool_new(&p, &params), EINVAL);
    params.max_objects = VTHREAD_POOL_OBJECTS_MAX + 1;
    cr_assert_eq(vthread_pool_new(&p, &params), EINVAL);
    params.max_objects = 1;
    params.max_idle_ns = -1;
    cr_assert_eq(vthread_pool_new(&p, &params), EINVAL);
    params.max_idle_ns = 0;
    params.reserved[3] = 1;
    cr_assert_eq(vthread_pool_new(&p, &params), EINVAL);
    cr_assert_null(p);
    cr_assert_eq(vthread_pool_acquire(NULL, &obj), EINVAL);
    cr_assert_eq(vthread_pool_release(NULL, &obj), EINVAL);
    cr_assert_eq(vthread_pool_discard(NULL, &obj), EINVAL);
    cr_assert_eq(vthread_pool_stats(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_pool_close(NULL), EINVAL);
    cr_assert_eq(vthread_pool_free(NULL), 0);
    make(1, 0);
    cr_assert_eq(vthread_pool_acquire(shared, NULL), EINVAL);
    cr_assert_eq(vthread_pool_stats(shared, NULL), 0);
    end();
}

static void *makes_one_with_a_local(void *arg)
{
    int local = 0;
    vthread_pool_params_t params = {.max_objects = 1, .create = create, .user = &local};
    vthread_pool_t *p = arg;

    CHECK(vthread_pool_new(&p, &params) == EFAULT);
    CHECK(p == arg);
    return NULL;
}

Test(pool, user_must_not_be_private)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    help_run(makes_one_with_a_local, NULL);
    cr_assert_eq(atomic_load(&messages.count), 1);
}

static int create_only(void *arg, void **ret_obj)
{
    *ret_obj = arg;
    return 0;
}

Test(pool, validate_and_destroy_may_be_left_out)
{
    vthread_pool_params_t params = {.max_objects = VTHREAD_POOL_OBJECTS_MAX, .create = create_only, .user = user};
    void *obj = NULL;

    cr_assert_eq(vthread_pool_new(&shared, &params), 0);
    cr_assert_eq(vthread_pool_acquire(shared, &obj), 0);
    cr_assert_eq(obj, user);
    put(obj);
    cr_assert_eq(get(), user);
    put(obj);
    cr_assert_eq(stats().created, 1);
    cr_assert_eq(vthread_pool_free(shared), 0);
}

Test(pool, has_no_more_than_it_may_and_uses_the_latest_first)
{
    void *obj[3], *none = user;
    vthread_pool_stats_t s;

    make(3, 0);
    for (int i = 0; i < 3; i++) {
        obj[i] = get();
        cr_assert_eq(number_of(obj[i]), i);
    }
    cr_assert_eq(vthread_pool_acquire_until(shared, &none, VTHREAD_NOW), ETIMEDOUT);
    cr_assert_eq(vthread_pool_acquire_until(shared, &none, vthread_after_ms(5)), ETIMEDOUT);
    cr_assert_eq(none, user, "outputs are written on success only");
    s = stats();
    cr_assert_eq(s.in_use, 3);
    cr_assert_eq(s.idle, 0);
    cr_assert_eq(s.waiting, 0);
    cr_assert_eq(s.acquires, 3);
    cr_assert_eq(s.waits, 2);
    cr_assert_eq(s.timeouts, 2);
    put(obj[1]);
    put(obj[0]);
    put(obj[2]);
    s = stats();
    cr_assert_eq(s.in_use, 0);
    cr_assert_eq(s.idle, 3);
    cr_assert_eq(get(), obj[2]);
    cr_assert_eq(get(), obj[0]);
    put(obj[2]);
    cr_assert_eq(get(), obj[2]);
    cr_assert_eq(get(), obj[1]);
    for (int i = 0; i < 3; i++)
        put(obj[i]);
    s = stats();
    cr_assert_eq(s.created, 3);
    cr_assert_eq(s.destroyed, 0);
    cr_assert_eq(s.acquires, 7);
    end();
}

Test(pool, giving_back_what_is_not_out_is_refused)
{
    void *obj;
    int foreign;

    vthread_set_misuse_handler(help_keep_message, &messages);
    make(2, 0);
    obj = get();
    cr_assert_eq(vthread_pool_release(shared, NULL), EINVAL);
    cr_assert_eq(vthread_pool_discard(shared, &foreign), EINVAL);
    cr_assert_eq(atomic_load(&messages.count), 2);
    cr_assert_not_null(strstr(messages.last, "not this pool's"), "%s", messages.last);
    put(obj);
    cr_assert_eq(vthread_pool_release(shared, obj), EINVAL);
    cr_assert_not_null(strstr(messages.last, "already"), "%s", messages.last);
    cr_assert_eq(vthread_pool_discard(shared, obj), EINVAL);
    cr_assert_eq(atomic_load(&messages.count), 4);
    cr_assert_eq(get(), obj);
    cr_assert_eq(vthread_pool_discard(shared, obj), 0);
    cr_assert_eq(stats().idle + stats().in_use, 0);
    cr_assert_eq(stats().discards, 1);
    get();
    get();
    cr_assert_eq(vthread_pool_acquire_until(shared, &obj, VTHREAD_NOW), ETIMEDOUT, "two places, as before");
}

Test(pool, create_must_give_something_new)
{
    void *obj, *none = NULL;

    vthread_set_misuse_handler(help_keep_message, &messages);
    make(2, 0);
    obj = get();
    atomic_store(&made.gives, obj);
    cr_assert_eq(vthread_pool_acquire(shared, &none), EINVAL);
    cr_assert_not_null(strstr(messages.last, "already"), "%s", messages.last);
    atomic_store(&made.gives, NULL);
    atomic_store(&made.gives_nothing, true);
    cr_assert_eq(vthread_pool_acquire(shared, &none), EINVAL);
    cr_assert_not_null(strstr(messages.last, "no object"), "%s", messages.last);
    cr_assert_null(none);
    atomic_store(&made.gives_nothing, false);
    none = get();
    cr_assert_eq(stats().failures, 2);
    put(obj);
    put(none);
    end();
}

/* ---- waiting ---- */

struct wish {
    int number;
    int result;
};

static void *acquires(void *arg)
{
    struct wish *w = arg;
    void *obj = NULL;
    int error = vthread_pool_acquire_until(shared, &obj, vthread_after_ms(60000));

    CHECK(error == w->result);
    CHECK(!vthread_interrupted());
    order_note(&order, w->number);
    if (error == 0)
        CHECK(vthread_pool_release(shared, obj) == 0);
    return NULL;
}

static void start_in_turn(vthread_t *threads, struct wish *wishes, int n, int result)
{
    for (int i = 0; i < n; i++) {
        wishes[i] = (struct wish){i, result};
        threads[i] = help_start_with(&kinds[i % KINDS], acquires, &wishes[i]);
        cr_assert(EVENTUALLY((int)stats().waiting == i + 1) && WAITS(threads[i]));
    }
}

Test(pool, waiters_are_served_in_the_order_of_coming)
{
    static struct wish wishes[8];
    vthread_t threads[8];
    void *obj;

    make(1, 0);
    obj = get();
    start_in_turn(threads, wishes, 8, 0);
    put(obj);
    for (int i = 0; i < 8; i++)
        help_join(threads[i]);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(atomic_load(&order.who[i]), i);
    cr_assert_eq(atomic_load(&made.made), 1);
    end();
}

Test(pool, a_newcomer_does_not_pass_those_who_wait)
{
    static struct wish wish;
    vthread_t thread;
    void *obj, *other = NULL;

    make(1, 0);
    obj = get();
    start_in_turn(&thread, &wish, 1, 0);
    put(obj); /* handed to the other thread, whether it has run or not */
    cr_assert_eq(vthread_pool_acquire(shared, &other), 0);
    cr_assert_eq(atomic_load(&order.n), 1);
    put(other);
    help_join(thread);
    end();
}

Test(pool, an_interrupt_ends_a_wait_and_loses_nothing)
{
    static struct wish wishes[KINDS];
    vthread_t threads[KINDS];
    void *obj;

    make(1, 0);
    obj = get();
    start_in_turn(threads, wishes, KINDS, EINTR);
    for (int i = 0; i < KINDS; i++) {
        vthread_interrupt(threads[i]);
        help_join(threads[i]);
    }
    cr_assert_eq(stats().waiting, 0);
    put(obj);
    cr_assert_eq(get(), obj);
    put(obj);
    end();
}

static void *is_interrupted_before(void *arg)
{
    void *obj = arg;

    vthread_interrupt(vthread_self());
    CHECK(vthread_pool_acquire(shared, &obj) == EINTR);
    CHECK(!vthread_interrupted());
    CHECK(vthread_pool_acquire(shared, &obj) == 0);
    vthread_interrupt(vthread_self());
    CHECK(vthread_pool_release(shared, obj) == 0);
    CHECK(vthread_interrupted());
    return NULL;
}

Test(pool, an_interrupt_before_is_delivered_once)
{
    make(1, 0);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], is_interrupted_before, NULL);
    cr_assert_eq(stats().created, 1);
    end();
}

/* ---- objects that cannot be made, or are no good ---- */

Test(pool, who_cannot_create_lets_the_next_one_try)
{
    static struct wish wishes[4];
    vthread_t threads[4];
    void *obj;

    make(1, 0);
    atomic_store(&made.create_error, ECONNREFUSED);
    cr_assert_eq(vthread_pool_acquire(shared, &obj), ECONNREFUSED);
    atomic_store(&made.create_error, 0);
    obj = get();
    atomic_store(&made.create_error, ECONNREFUSED);
    start_in_turn(threads, wishes, 4, ECONNREFUSED);
    cr_assert_eq(vthread_pool_discard(shared, obj), 0);
    for (int i = 0; i < 4; i++)
        help_join(threads[i]);
    cr_assert_eq(stats().failures, 5);
    atomic_store(&made.create_error, 0);
    put(get());
    end();
}

Test(pool, what_is_no_longer_good_is_replaced)
{
    void *obj[3], *got;
    vthread_pool_stats_t s;

    make(3, 0);
    for (int i = 0; i < 3; i++)
        obj[i] = get();
    for (int i = 0; i < 3; i++)
        put(obj[i]);
    atomic_store(&made.invalid[2], true);
    atomic_store(&made.invalid[1], true);
    got = get();
    cr_assert_eq(number_of(got), 0, "the first that is good");
    s = stats();
    cr_assert_eq(s.invalid, 2);
    cr_assert_eq(s.destroyed, 2);
    atomic_store(&made.invalid[0], true);
    put(got);
    got = get();
    cr_assert_eq(number_of(got), 3, "a new one");
    cr_assert_eq(atomic_load(&made.alive), 1);
    put(got);
    end();
}

Test(pool, one_that_is_discarded_makes_room)
{
    static struct wish wish;
    vthread_t thread;
    void *obj;

    make(1, 0);
    obj = get();
    start_in_turn(&thread, &wish, 1, 0);
    cr_assert_eq(vthread_pool_discard(shared, obj), 0);
    help_join(thread);
    cr_assert_eq(stats().created, 2);
    cr_assert_eq(atomic_load(&made.most), 1, "the old one had gone before");
    end();
}

static void *acquires_now(void *arg)
{
    void *obj = arg;

    CHECK(vthread_pool_acquire_until(shared, &obj, VTHREAD_NOW) == 0);
    CHECK(number_of(obj) == 1);
    CHECK(vthread_pool_release(shared, obj) == 0);
    return NULL;
}

Test(pool, creating_blocks_nobody_else_and_knows_no_deadline)
{
    vthread_t thread;
    void *obj;

    make(2, 0);
    obj = get();
    atomic_store(&made.create_waits, true);
    thread = help_start(acquires_now, NULL);
    cr_assert(WAITS(thread));
    put(obj);
    cr_assert_eq(get(), obj);
    cr_assert_eq(stats().created, 1);
    cr_assert_eq(stats().in_use, 1);
    put(obj);
    atomic_store(&made.create_waits, false);
    help_join(thread);
    end();
}

/* ---- growing old ---- */

Test(pool, idle_ones_are_destroyed_in_time)
{
    void *obj[3];
    vthread_runtime_stats_t s = {0};
    int64_t began_ns;

    make(3, 30);
    for (int i = 0; i < 3; i++)
        obj[i] = get();
    began_ns = vthread_now_ns();
    put(obj[0]);
    put(obj[1]);
    cr_assert(EVENTUALLY(stats().idle == 0));
    cr_assert_geq(vthread_now_ns() - began_ns, 30000000);
    cr_assert_eq(stats().expired, 2);
    cr_assert(EVENTUALLY(vthread_runtime_stats(&s) == 0 && s.threads_alive == 0), "the reaper has gone");
    put(obj[2]);
    cr_assert(EVENTUALLY(stats().idle == 0), "and there is another");
    cr_assert(EVENTUALLY(atomic_load(&made.alive) == 0));
    end();
}

Test(pool, one_in_use_all_the_time_does_not_keep_the_others)
{
    void *obj[2];
    bool gone = false;

    make(2, 30);
    obj[0] = get();
    obj[1] = get();
    put(obj[0]);
    put(obj[1]);
    for (int i = 0; i < 20000 && !gone; i++) {
        put(get());
        usleep(500);
        gone = stats().expired > 0;
    }
    cr_assert(gone);
    end();
}

Test(pool, what_is_destroyed_keeps_its_place_until_it_is)
{
    void *obj;

    make(1, 1);
    atomic_store(&made.destroy_ms, 30);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(vthread_pool_acquire(shared, &obj), 0);
        put(obj);
        cr_assert(EVENTUALLY(stats().idle == 0));
    }
    end();
    cr_assert_eq(atomic_load(&made.made), 5);
    cr_assert_eq(atomic_load(&made.most), 1);
}

Test(pool, closing_does_not_wait_for_old_age)
{
    vthread_runtime_stats_t s = {0};

    make(2, HOUR_MS);
    put(get());
    cr_assert(EVENTUALLY(vthread_runtime_stats(&s) == 0 && s.queued == 0 && s.carriers_idle == s.carriers));
    cr_assert_eq(s.threads_alive, 1, "the reaper, asleep");
    cr_assert_eq(stats().idle, 1);
    end();
}

Test(pool, outlives_the_runtime)
{
    make(1, 50);
    put(get());
    cr_assert_eq(vthread_runtime_shutdown(vthread_after_ms(40000)), 0, "in spite of the reaper");
    put(get());
    cr_assert(EVENTUALLY(stats().idle == 0), "and there is another");
    end();
}

/* ---- the end ---- */

static void *closes(void *arg)
{
    CHECK(vthread_pool_close(shared) == 0);
    CHECK(vthread_is_interrupted(vthread_self()) == (arg != NULL));
    vthread_interrupted();
    return NULL;
}

Test(pool, closing_destroys_what_is_idle)
{
    void *obj = NULL;

    make(2, 0);
    put(get());
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], closes, NULL);
    cr_assert_eq(atomic_load(&made.alive), 0);
    cr_assert_eq(vthread_pool_acquire(shared, &obj), ECANCELED);
    cr_assert_eq(vthread_pool_acquire_until(shared, &obj, VTHREAD_NOW), ECANCELED);
    cr_assert_eq(stats().destroyed, 1);
    end();
}

Test(pool, closing_sends_home_who_waits_and_waits_for_what_is_out)
{
    static struct wish wishes[KINDS];
    vthread_t threads[KINDS], closers[KINDS];
    void *obj[2];

    make(2, HOUR_MS);
    obj[0] = get();
    obj[1] = get();
    start_in_turn(threads, wishes, KINDS, ECANCELED);
    for (int i = 0; i < KINDS; i++) {
        closers[i] = help_start_with(&kinds[i], closes, i == 1 ? user : NULL);
        cr_assert(WAITS(closers[i]));
    }
    for (int i = 0; i < KINDS; i++)
        help_join(threads[i]);
    vthread_interrupt(closers[1]); /* does not care, and keeps it */
    put(obj[0]);
    cr_assert_eq(atomic_load(&made.alive), 1);
    for (int i = 0; i < KINDS; i++)
        cr_assert(WAITS(closers[i]));
    cr_assert_eq(vthread_pool_discard(shared, obj[1]), 0);
    for (int i = 0; i < KINDS; i++)
        help_join(closers[i]);
    cr_assert_eq(stats().in_use, 0);
    end();
}

Test(pool, closing_waits_for_one_that_is_being_created)
{
    static struct wish wish;
    vthread_t thread, closer;

    make(1, 0);
    atomic_store(&made.create_waits, true);
    thread = help_start(acquires, &wish);
    cr_assert(WAITS(thread));
    closer = help_start(closes, NULL);
    cr_assert(WAITS(closer));
    atomic_store(&made.create_waits, false);
    help_join(closer);
    cr_assert_eq(stats().acquires, 1);
    cr_assert_eq(stats().created, 1);
    cr_assert_eq(stats().destroyed, 1);
    help_join(thread);
    end();
}
