/* SPDX-License-Identifier: MIT */
/* Mutex and reentrant lock: ownership, order, misuse, exclusion. */
#include "sync_help.h"

#include <vthread/all.h> /* which has it too */

TestSuite(locks, .fini = help_fini, .timeout = 60);

static struct help_messages messages;
static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static vthread_lock_t lock = VTHREAD_LOCK_INITIALIZER;

Test(locks, init)
{
    vthread_mutexattr_t attr = {0};
    vthread_lock_params_t params = {.fair = true};
    vthread_mutex_t m;
    vthread_lock_t l;

    cr_assert_eq(vthread_mutex_init(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_lock_init(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_mutex_init(&m, &attr), 0);
    cr_assert_eq(memcmp(&m, &(vthread_mutex_t)VTHREAD_MUTEX_INITIALIZER, sizeof m), 0);
    cr_assert_eq(vthread_lock_init(&l, &params), 0);
    attr.reserved[2] = 1;
    params.reserved[0] = 1;
    cr_assert_eq(vthread_mutex_init(&m, &attr), EINVAL);
    cr_assert_eq(vthread_lock_init(&l, &params), EINVAL);
    cr_assert_eq(vthread_lock_init(&l, NULL), 0);
    cr_assert_eq(vthread_lock_destroy(&l), 0);
    vthread_set_misuse_handler(help_keep_message, &messages);
    attr = (vthread_mutexattr_t){.type = VTHREAD_MUTEX_ERRORCHECK};
    cr_assert_eq(vthread_mutex_init(&m, &attr), 0);
    attr.type = VTHREAD_MUTEX_RECURSIVE;
    cr_assert_eq(vthread_mutex_init(&m, &attr), EINVAL);
    cr_assert_not_null(strstr(messages.last, "vthread_lock_t"), "%s", messages.last);
    attr.type = 3;
    cr_assert_eq(vthread_mutex_init(&m, &attr), EINVAL);
    cr_assert_eq(atomic_load(&messages.count), 1);
}

static void *mutex_alone(void *arg)
{
    vthread_mutex_t *m = arg;

    CHECK(vthread_mutex_trylock(m) == 0);
    CHECK(vthread_mutex_trylock(m) == EBUSY);
    CHECK(vthread_mutex_destroy(m) == EBUSY);
    CHECK(vthread_mutex_unlock(m) == 0);
    CHECK(vthread_mutex_lock(m) == 0);
    CHECK(vthread_mutex_lock(m) == EDEADLK);
    CHECK(vthread_mutex_lock_interruptible(m) == EDEADLK);
    CHECK(vthread_mutex_lock_until(m, VTHREAD_NOW) == EDEADLK);
    CHECK(vthread_mutex_unlock(m) == 0);
    CHECK(vthread_mutex_unlock(m) == EPERM);
    CHECK(vthread_mutex_lock_until(m, VTHREAD_NOW) == 0);
    CHECK(vthread_mutex_unlock(m) == 0);
    CHECK(vthread_mutex_lock_interruptible(m) == 0);
    CHECK(vthread_mutex_unlock(m) == 0);
    CHECK(vthread_mutex_destroy(m) == 0);
    return NULL;
}

Test(locks, mutex_alone)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], mutex_alone, &mutex);
    cr_assert_eq(atomic_load(&messages.count), 4 * KINDS);
    cr_assert_null(mutex_alone(&mutex));
    cr_assert_not_null(strstr(messages.last, "vthread_mutex_unlock"), "%s", messages.last);
}

static void *lock_alone(void *arg)
{
    vthread_lock_t *l = arg;

    CHECK(!vthread_lock_is_held(l) && vthread_lock_hold_count(l) == 0 && vthread_lock_owner(l) == NULL);
    CHECK(vthread_lock_lock(l) == 0);
    CHECK(vthread_lock_trylock(l) == 0);
    CHECK(vthread_lock_lock_interruptible(l) == 0);
    CHECK(vthread_lock_lock_until(l, VTHREAD_NOW) == 0);
    CHECK(vthread_lock_is_held(l) && vthread_lock_hold_count(l) == 4);
    CHECK(vthread_equal(vthread_lock_owner(l), vthread_self()));
    vthread_interrupt(vthread_self());
    CHECK(vthread_lock_lock_interruptible(l) == EINTR); /* as in the JDK, even if it is ours */
    CHECK(!vthread_interrupted() && vthread_lock_hold_count(l) == 4);
    for (int i = 0; i < 4; i++) {
        CHECK(vthread_lock_destroy(l) == EBUSY);
        CHECK(vthread_lock_unlock(l) == 0);
    }
    CHECK(vthread_lock_unlock(l) == EPERM);
    CHECK(!vthread_lock_is_held(l) && vthread_lock_hold_count(l) == 0 && vthread_lock_owner(l) == NULL);
    CHECK(vthread_lock_destroy(l) == 0);
    return NULL;
}

Test(locks, lock_alone)
{
    static vthread_lock_t fair;

    vthread_lock_init(&fair, &(vthread_lock_params_t){.fair = true});
    vthread_set_misuse_handler(help_keep_message, &messages);
    for (int i = 0; i < KINDS; i++) {
        help_run_with(&kinds[i], lock_alone, &lock);
        help_run_with(&kinds[i], lock_alone, &fair);
    }
    cr_assert_null(lock_alone(&lock));
    cr_assert_not_null(strstr(messages.last, "vthread_lock_unlock"), "%s", messages.last);
}

/* ---- others ---- */

static void *others_hold_them(void *arg)
{
    vthread_t owner = arg;

    CHECK(vthread_mutex_trylock(&mutex) == EBUSY);
    CHECK(vthread_mutex_unlock(&mutex) == EPERM);
    CHECK(vthread_lock_trylock(&lock) == EBUSY);
    CHECK(vthread_lock_unlock(&lock) == EPERM);
    CHECK(!vthread_lock_is_held(&lock) && vthread_lock_hold_count(&lock) == 0);
    CHECK(vthread_equal(vthread_lock_owner(&lock), owner));
    CHECK(vthread_mutex_lock_until(&mutex, VTHREAD_NOW) == ETIMEDOUT);
    CHECK(vthread_lock_lock_until(&lock, VTHREAD_NOW) == ETIMEDOUT);
    return NULL;
}

Test(locks, belong_to_their_owner)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    cr_assert_eq(vthread_mutex_lock(&mutex), 0);
    cr_assert_eq(vthread_lock_lock(&lock), 0);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], others_hold_them, vthread_self());
    cr_assert_eq(atomic_load(&messages.count), 2 * KINDS);
    cr_assert_eq(vthread_mutex_unlock(&mutex), 0);
    cr_assert_eq(vthread_lock_unlock(&lock), 0);
}

static struct order order;

struct numbered {
    int number;
    vthread_lock_t *lock;
};

static void *lock_in_turn(void *arg)
{
    struct numbered *me = arg;

    CHECK(vthread_lock_lock(me->lock) == 0);
    order_note(&order, me->number);
    CHECK(vthread_lock_unlock(me->lock) == 0);
    return NULL;
}

/* First come, first served, platform threads and virtual ones. */
Test(locks, a_fair_lock_keeps_the_order)
{
    enum { N = 12 };
    static vthread_lock_t fair;
    static struct numbered numbered[N];
    vthread_t threads[N];

    vthread_lock_init(&fair, &(vthread_lock_params_t){.fair = true});
    vthread_lock_lock(&fair);
    for (int i = 0; i < N; i++) {
        numbered[i] = (struct numbered){i, &fair};
        threads[i] = help_start_with(&kinds[i % KINDS], lock_in_turn, &numbered[i]);
        cr_assert(WAITS(threads[i]));
    }
    vthread_lock_unlock(&fair);
    cr_assert_eq(vthread_lock_trylock(&fair), EBUSY, "handed over: nobody comes in between");
    for (int i = 0; i < N; i++)
        help_join(threads[i]);
    for (int i = 0; i < N; i++)
        cr_assert_eq(order.who[i], i);
}

static atomic_bool quit;

/* Has it again as soon as it is free. */
static void *greedy(void *arg)
{
    (void)arg;
    while (!atomic_load(&quit)) {
        int64_t end_ns = vthread_now_ns() + 50000;

        CHECK(vthread_mutex_lock(&mutex) == 0);
        while (vthread_now_ns() < end_ns)
            vthread_spin_hint();
        CHECK(vthread_mutex_unlock(&mutex) == 0);
    }
    return NULL;
}

static void *modest(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        CHECK(vthread_mutex_lock(&mutex) == 0);
        CHECK(vthread_mutex_unlock(&mutex) == 0);
    }
    return NULL;
}

/* One that never lets the others have a chance hands it over all the same. */
Test(locks, nobody_starves)
{
    vthread_t t;

    help_configure(2);
    t = help_start(greedy, NULL);
    help_run(modest, NULL);
    help_run_with(&kinds[1], modest, NULL);
    atomic_store(&quit, true);
    help_join(t);
}

/* ---- exclusion ---- */

enum { ROUNDS = 2000, THREADS = 12 };
static int counter; /* plain: the lock's */

static void *count_with_mutex(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(vthread_mutex_lock(&mutex) == 0);
        counter++;
        if (i % 16 == 0)
            vthread_yield();
        CHECK(vthread_mutex_unlock(&mutex) == 0);
    }
    return NULL;
}

static void *count_with_lock(void *arg)
{
    vthread_lock_t *l = arg;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK(vthread_lock_lock(l) == 0);
        CHECK(vthread_lock_lock(l) == 0);
        counter++;
        if (i % 16 == 0)
            vthread_yield();
        CHECK(vthread_lock_unlock(l) == 0);
        CHECK(vthread_lock_unlock(l) == 0);
    }
    return NULL;
}

static void count_with(void *(*fn)(void *arg), void *arg)
{
    vthread_t threads[THREADS];

    counter = 0;
    for (int i = 0; i < THREADS; i++)
        threads[i] = help_start_with(&kinds[i % KINDS], fn, arg);
    for (int i = 0; i < THREADS; i++)
        help_join(threads[i]);
    cr_assert_eq(counter, THREADS * ROUNDS);
}

Test(locks, exclude)
{
    static vthread_lock_t fair;

    vthread_lock_init(&fair, &(vthread_lock_params_t){.fair = true});
    count_with(count_with_mutex, NULL);
    count_with(count_with_lock, &lock);
    count_with(count_with_lock, &fair);
}

/* ---- freed by whoever has it last ---- */

struct shared {
    vthread_mutex_t mutex;
    int references;
};

static void *drop_reference(void *arg)
{
    struct shared *s = arg;
    bool last;

    CHECK(vthread_mutex_lock(&s->mutex) == 0);
    last = --s->references == 0;
    CHECK(vthread_mutex_unlock(&s->mutex) == 0);
    if (last) {
        memset(s, 0xff, sizeof *s); /* looks locked and queued for to anybody who still looks */
        free(s);
    }
    return NULL;
}

Test(locks, the_last_to_unlock_may_free_it)
{
    for (int i = 0; i < 500; i++) {
        struct shared *s = calloc(1, sizeof *s);
        vthread_t threads[4];

        s->references = 4;
        for (int j = 0; j < 4; j++)
            threads[j] = help_start(drop_reference, s);
        for (int j = 0; j < 4; j++)
            help_join(threads[j]);
    }
}

static void fork_and_lock(void)
{
    vthread_mutex_lock(&mutex);
}

/* Before the runtime runs, and after it has gone. */
Test(locks, need_no_runtime_beforehand)
{
    struct help_end end = help_child(fork_and_lock);

    cr_assert_eq(end.status, 0, "%s", end.text);
    cr_assert_eq(vthread_mutex_lock(&mutex), 0);
    cr_assert_eq(vthread_lock_lock(&lock), 0);
    help_shutdown();
    cr_assert_eq(vthread_mutex_trylock(&mutex), EBUSY);
    cr_assert_eq(vthread_mutex_unlock(&mutex), 0);
    cr_assert(vthread_lock_is_held(&lock));
    cr_assert_eq(vthread_lock_unlock(&lock), 0);
}
