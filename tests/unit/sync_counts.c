/* SPDX-License-Identifier: MIT */
/* Semaphore, latch, barrier, once. */
#include "sync_help.h"

TestSuite(counts, .fini = help_fini, .timeout = 60);

static struct help_messages messages;
static struct order order;
static vthread_sem_t sem = VTHREAD_SEM_INITIALIZER(3);
static vthread_latch_t latch = VTHREAD_LATCH_INITIALIZER(3);
static vthread_barrier_t barrier = VTHREAD_BARRIER_INITIALIZER(4);

/* ---- semaphore ---- */

Test(counts, sem_init)
{
    vthread_sem_params_t params = {.fair = true};
    vthread_sem_t s;

    cr_assert_eq(vthread_sem_init(NULL, 1, NULL), EINVAL);
    cr_assert_eq(vthread_sem_init(&s, -1, NULL), EINVAL);
    cr_assert_eq(vthread_sem_init(&s, INT_MAX, &params), 0);
    cr_assert_eq(vthread_sem_available(&s), INT_MAX);
    params.reserved[2] = 1;
    cr_assert_eq(vthread_sem_init(&s, 1, &params), EINVAL);
    cr_assert_eq(vthread_sem_init(&s, 0, NULL), 0);
    cr_assert_eq(vthread_sem_available(&s), 0);
    cr_assert_eq(vthread_sem_destroy(&s), 0);
}

static void *sem_alone(void *arg)
{
    vthread_sem_t *s = arg;

    CHECK(vthread_sem_available(s) == 3);
    CHECK(vthread_sem_acquire(s, 2) == 0);
    CHECK(vthread_sem_tryacquire(s, 2) == EAGAIN);
    CHECK(vthread_sem_tryacquire(s, 1) == 0);
    CHECK(vthread_sem_tryacquire(s, 0) == 0);
    CHECK(vthread_sem_acquire(s, 0) == 0);
    CHECK(vthread_sem_acquire_until(s, 1, VTHREAD_NOW) == ETIMEDOUT);
    CHECK(vthread_sem_acquire(s, -1) == EINVAL);
    CHECK(vthread_sem_acquire_until(s, -1, VTHREAD_NOW) == EINVAL);
    CHECK(vthread_sem_acquire_uninterruptible(s, -1) == EINVAL);
    CHECK(vthread_sem_tryacquire(s, -1) == EINVAL);
    CHECK(vthread_sem_release(s, -1) == EINVAL);
    CHECK(vthread_sem_release(s, INT_MAX) == 0);
    CHECK(vthread_sem_release(s, 1) == EOVERFLOW);
    CHECK(vthread_sem_release(s, INT_MAX) == EOVERFLOW);
    CHECK(vthread_sem_release(s, 0) == 0);
    CHECK(vthread_sem_drain(s) == INT_MAX);
    CHECK(vthread_sem_drain(s) == 0);
    CHECK(vthread_sem_release(s, 3) == 0);
    return NULL;
}

Test(counts, sem_alone)
{
    static vthread_sem_t fair;

    vthread_sem_init(&fair, 3, &(vthread_sem_params_t){.fair = true});
    for (int i = 0; i < KINDS; i++) {
        help_run_with(&kinds[i], sem_alone, &sem);
        help_run_with(&kinds[i], sem_alone, &fair);
    }
    cr_assert_eq(vthread_sem_destroy(&sem), 0);
}

struct wish {
    vthread_sem_t *sem;
    int n;
    int number;
    int result;
};

static void *acquire(void *arg)
{
    struct wish *w = arg;

    CHECK(vthread_sem_acquire_until(w->sem, w->n, vthread_after_ms(60000)) == w->result);
    order_note(&order, w->number);
    return NULL;
}

/* 5, 1 and 2 are asked for in this order; who comes then takes what is there, or not. */
static void ask(bool fair)
{
    static vthread_sem_t s;
    static struct wish wishes[4];
    vthread_t threads[4];
    int n[4] = {5, 1, 2, 1};

    vthread_sem_init(&s, 0, &(vthread_sem_params_t){.fair = fair});
    for (int i = 0; i < 3; i++) {
        wishes[i] = (struct wish){&s, n[i], i, 0};
        threads[i] = help_start_with(&kinds[i], acquire, &wishes[i]);
        cr_assert(WAITS(threads[i]));
    }
    cr_assert_eq(vthread_sem_release(&s, 4), 0);
    cr_assert_eq(vthread_sem_available(&s), 4, "not enough for the first, who holds up the others");
    cr_assert_eq(vthread_sem_tryacquire(&s, 1), 0, "which does not care who waits");
    wishes[3] = (struct wish){&s, n[3], 3, 0};
    threads[3] = help_start(acquire, &wishes[3]);
    if (fair) {
        cr_assert(WAITS(threads[3]));
        cr_assert_eq(vthread_sem_available(&s), 3);
    } else {
        help_join(threads[3]);
        cr_assert_eq(vthread_sem_available(&s), 2);
    }
    cr_assert_eq(vthread_sem_release(&s, 6), 0);
    for (int i = 0; i < (fair ? 4 : 3); i++)
        help_join(threads[i]);
    cr_assert_eq(vthread_sem_available(&s), 0);
    cr_assert_eq(vthread_sem_destroy(&s), 0);
}

Test(counts, sem_newcomers)
{
    ask(false);
    cr_assert_eq(order.who[0], 3);
}

Test(counts, sem_fair)
{
    ask(true);
}

/* One who wants much and gives up has kept those behind from what there was. */
Test(counts, sem_one_that_gives_up_lets_others_on)
{
    static vthread_sem_t s;
    static struct wish greedy, modest;
    vthread_t threads[2];

    for (int fair = 0; fair < 2; fair++) {
        vthread_sem_init(&s, 0, &(vthread_sem_params_t){.fair = fair});
        greedy = (struct wish){&s, 3, 0, EINTR};
        modest = (struct wish){&s, 1, 1, 0};
        threads[0] = help_start_with(&kinds[fair], acquire, &greedy);
        cr_assert(WAITS(threads[0]));
        threads[1] = help_start_with(&kinds[!fair], acquire, &modest);
        cr_assert(WAITS(threads[1]));
        cr_assert_eq(vthread_sem_release(&s, 2), 0);
        cr_assert(is_waiting(threads[1]));
        cr_assert_eq(vthread_sem_available(&s), 2);
        vthread_interrupt(threads[0]);
        help_join(threads[0]);
        help_join(threads[1]);
        cr_assert_eq(vthread_sem_available(&s), 1);
        cr_assert_eq(vthread_sem_destroy(&s), 0);
    }
}

/* Too many, with somebody waiting: none is added. */
Test(counts, sem_overflow_with_waiters)
{
    static vthread_sem_t s;
    static struct wish wish;
    vthread_t t;

    vthread_sem_init(&s, INT_MAX - 1, NULL);
    wish = (struct wish){&s, INT_MAX, 0, 0};
    t = help_start(acquire, &wish);
    cr_assert(WAITS(t));
    cr_assert_eq(vthread_sem_release(&s, 2), EOVERFLOW);
    cr_assert(is_waiting(t));
    cr_assert_eq(vthread_sem_release(&s, 1), 0);
    help_join(t);
    cr_assert_eq(vthread_sem_available(&s), 0);
}

/* One release lets many on. */
Test(counts, sem_release_of_many)
{
    enum { N = 50 };
    static struct wish wishes[N];
    vthread_t threads[N];

    vthread_sem_drain(&sem);
    for (int i = 0; i < N; i++) {
        wishes[i] = (struct wish){&sem, 2, i, 0};
        threads[i] = help_start_with(&kinds[i % KINDS], acquire, &wishes[i]);
        cr_assert(WAITS(threads[i]));
    }
    cr_assert_eq(vthread_sem_destroy(&sem), EBUSY);
    cr_assert_eq(vthread_sem_release(&sem, 2 * N + 1), 0);
    for (int i = 0; i < N; i++)
        help_join(threads[i]);
    cr_assert_eq(vthread_sem_available(&sem), 1);
}

enum { ROUNDS = 2000, THREADS = 12 };
static _Atomic int inside;

static void *take_and_give(void *arg)
{
    vthread_sem_t *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        int n = i % 3 == 0 ? 2 : 1;
        int now;

        CHECK(vthread_sem_acquire(s, n) == 0);
        now = atomic_fetch_add(&inside, n) + n;
        CHECK(now <= 3);
        if (i % 16 == 0)
            vthread_yield();
        atomic_fetch_sub(&inside, n);
        CHECK(vthread_sem_release(s, n) == 0);
    }
    return NULL;
}

Test(counts, sem_limits)
{
    for (int fair = 0; fair < 2; fair++) {
        vthread_t threads[THREADS];

        vthread_sem_init(&sem, 3, &(vthread_sem_params_t){.fair = fair});
        for (int i = 0; i < THREADS; i++)
            threads[i] = help_start_with(&kinds[i % KINDS], take_and_give, &sem);
        for (int i = 0; i < THREADS; i++)
            help_join(threads[i]);
        cr_assert_eq(vthread_sem_available(&sem), 3);
    }
}

/* ---- latch ---- */

Test(counts, latch_alone)
{
    vthread_latch_t l;

    cr_assert_eq(vthread_latch_init(NULL, 1), EINVAL);
    cr_assert_eq(vthread_latch_init(&l, -1), EINVAL);
    cr_assert_eq(vthread_latch_init(&l, 2), 0);
    cr_assert_eq(vthread_latch_count(&l), 2);
    cr_assert_eq(vthread_latch_wait_until(&l, VTHREAD_NOW), ETIMEDOUT);
    cr_assert_eq(vthread_latch_count_down(&l), 0);
    cr_assert_eq(vthread_latch_count(&l), 1);
    cr_assert_eq(vthread_latch_count_down(&l), 0);
    cr_assert_eq(vthread_latch_count(&l), 0);
    cr_assert_eq(vthread_latch_count_down(&l), 0);
    cr_assert_eq(vthread_latch_count(&l), 0);
    cr_assert_eq(vthread_latch_wait(&l), 0);
    cr_assert_eq(vthread_latch_wait_until(&l, VTHREAD_NOW), 0);
    cr_assert_eq(vthread_latch_destroy(&l), 0);
    cr_assert_eq(vthread_latch_init(&l, 0), 0);
    cr_assert_eq(vthread_latch_wait(&l), 0);
}

static int prepared[3];

static void *wait_for_latch(void *arg)
{
    (void)arg;
    CHECK(vthread_latch_wait(&latch) == 0);
    CHECK(prepared[0] == 1 && prepared[1] == 2 && prepared[2] == 3);
    return NULL;
}

static void *count_down(void *arg)
{
    int i = (int)(intptr_t)arg;

    prepared[i] = i + 1;
    CHECK(vthread_latch_count_down(&latch) == 0);
    return NULL;
}

Test(counts, latch_opens_for_all)
{
    enum { N = 100 };
    vthread_t threads[N];

    for (int i = 0; i < N; i++)
        threads[i] = help_start_with(&kinds[i % KINDS], wait_for_latch, NULL);
    for (int i = 0; i < N; i++)
        cr_assert(WAITS(threads[i]));
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(vthread_latch_destroy(&latch), EBUSY);
        help_run_with(&kinds[i], count_down, (void *)(intptr_t)i);
    }
    for (int i = 0; i < N; i++)
        help_join(threads[i]);
    cr_assert_eq(vthread_latch_destroy(&latch), 0);
}

static void *count_down_its_argument(void *arg)
{
    CHECK(vthread_latch_count_down(arg) == 0);
    return NULL;
}

/* In a frame of the test's own thread, which is another's as soon as the wait is over. */
static NOINLINE void wait_for_a_local(vthread_t *ret_thread, bool late)
{
    vthread_latch_t local = VTHREAD_LATCH_INITIALIZER(1);

    *ret_thread = help_start(count_down_its_argument, &local);
    while (late && vthread_latch_count(&local) != 0)
        ;
    cr_assert_eq(vthread_latch_wait(&local), 0);
    memset(&local, 0xff, sizeof local);
    __asm__ volatile("" ::"r"(&local) : "memory");
}

Test(counts, latch_may_be_freed_by_its_only_waiter)
{
    for (int i = 0; i < 1000; i++) {
        vthread_t t;

        wait_for_a_local(&t, i % 2 == 0);
        help_join(t);
    }
}

static void *release_its_argument(void *arg)
{
    CHECK(vthread_sem_release(arg, 1) == 0);
    return NULL;
}

Test(counts, sem_may_be_freed_by_its_only_waiter)
{
    for (int i = 0; i < 1000; i++) {
        vthread_sem_t *s = calloc(1, sizeof *s);
        vthread_t t = help_start(release_its_argument, s);

        while (i % 2 == 0 && vthread_sem_tryacquire(s, 1) != 0)
            ;
        if (i % 2 != 0)
            cr_assert_eq(vthread_sem_acquire(s, 1), 0);
        memset(s, 0xff, sizeof *s);
        free(s);
        help_join(t);
    }
}

/* ---- barrier ---- */

Test(counts, barrier_init)
{
    vthread_barrier_t b = {{0}};

    cr_assert_eq(vthread_barrier_wait(&b), -EINVAL);
    cr_assert_eq(vthread_barrier_init(NULL, 1), EINVAL);
    cr_assert_eq(vthread_barrier_init(&b, 0), EINVAL);
    cr_assert_eq(vthread_barrier_init(&b, -1), EINVAL);
    cr_assert_eq(vthread_barrier_init(&b, 1), 0);
    cr_assert_eq(vthread_barrier_wait(&b), 0);
    cr_assert_eq(vthread_barrier_wait_until(&b, VTHREAD_NOW), 0, "the last does not wait");
    cr_assert_not(vthread_barrier_is_broken(&b));
    vthread_interrupt(vthread_self());
    cr_assert_eq(vthread_barrier_wait(&b), -EINTR);
    cr_assert_not(vthread_interrupted());
    cr_assert(vthread_barrier_is_broken(&b));
    cr_assert_eq(vthread_barrier_wait(&b), -ECANCELED);
    vthread_interrupt(vthread_self());
    cr_assert_eq(vthread_barrier_wait(&b), -ECANCELED, "as in the JDK, that comes first");
    cr_assert(vthread_interrupted());
    cr_assert_eq(vthread_barrier_reset(&b), 0);
    cr_assert_not(vthread_barrier_is_broken(&b));
    cr_assert_eq(vthread_barrier_wait(&b), 0);
    cr_assert_eq(vthread_barrier_destroy(&b), 0);
}

static _Atomic int rounds[100];

static void *go_round(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        int index;

        atomic_fetch_add(&rounds[i], 1);
        index = vthread_barrier_wait(&barrier);
        CHECK(index >= 0 && index < 4);
        CHECK(atomic_load(&rounds[i]) >= 4);
        atomic_fetch_add(&rounds[i], 10 << (4 * index)); /* each index once */
    }
    return NULL;
}

Test(counts, barrier_again_and_again)
{
    vthread_t threads[4];

    for (int i = 0; i < 4; i++)
        threads[i] = help_start_with(&kinds[i], go_round, NULL);
    for (int i = 0; i < 4; i++)
        help_join(threads[i]);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(atomic_load(&rounds[i]), 4 + 10 * 0x1111);
    cr_assert_eq(vthread_barrier_destroy(&barrier), 0);
}

static void *wait_at_barrier(void *arg)
{
    int index = vthread_barrier_wait(&barrier);

    CHECK(index == (int)(intptr_t)arg);
    return NULL;
}

static void *wait_at_barrier_until(void *arg)
{
    CHECK(vthread_barrier_wait_until(&barrier, vthread_after_ms(5)) == (int)(intptr_t)arg);
    return NULL;
}

static vthread_t at_barrier[3];

static void start_at_barrier(const int results[3], void *(*third)(void *arg))
{
    for (int i = 0; i < 3; i++) {
        void *(*fn)(void *arg) = i == 2 ? third : wait_at_barrier;

        at_barrier[i] = help_start_with(&kinds[i], fn, (void *)(intptr_t)results[i]);
        cr_assert(fn == wait_at_barrier_until || WAITS(at_barrier[i]));
    }
}

static void join_at_barrier(void)
{
    for (int i = 0; i < 3; i++)
        help_join(at_barrier[i]);
}

Test(counts, barrier_arrival_index)
{
    static const int indices[3] = {3, 2, 1};

    start_at_barrier(indices, wait_at_barrier);
    cr_assert_eq(vthread_barrier_destroy(&barrier), EBUSY);
    cr_assert_eq(vthread_barrier_wait(&barrier), 0);
    join_at_barrier();
}

Test(counts, barrier_broken)
{
    static const int interrupted[3] = {-ECANCELED, -ECANCELED, -EINTR};
    static const int expired[3] = {-ECANCELED, -ECANCELED, -ETIMEDOUT};
    static const int reset[3] = {-ECANCELED, -ECANCELED, -ECANCELED};

    start_at_barrier(interrupted, wait_at_barrier);
    vthread_interrupt(at_barrier[2]);
    join_at_barrier();
    cr_assert(vthread_barrier_is_broken(&barrier));
    cr_assert_eq(vthread_barrier_wait(&barrier), -ECANCELED);
    vthread_barrier_reset(&barrier);

    start_at_barrier(expired, wait_at_barrier_until);
    join_at_barrier();
    cr_assert(vthread_barrier_is_broken(&barrier));
    vthread_barrier_reset(&barrier);

    start_at_barrier(reset, wait_at_barrier);
    vthread_barrier_reset(&barrier);
    join_at_barrier();
    cr_assert_not(vthread_barrier_is_broken(&barrier));

    start_at_barrier(reset, wait_at_barrier);
    vthread_interrupt(vthread_self());
    cr_assert_eq(vthread_barrier_wait(&barrier), -EINTR, "interrupted before it");
    join_at_barrier();
}

/* ---- once ---- */

static vthread_once_t once = VTHREAD_ONCE_INITIALIZER;
static _Atomic int runs;
static int made;
static atomic_bool go;

static void make(void)
{
    while (!atomic_load(&go))
        vthread_sleep_ns(100000);
    atomic_fetch_add(&runs, 1);
    made = 7;
}

static void *need_it(void *arg)
{
    (void)arg;
    CHECK(vthread_once(&once, make) == 0);
    CHECK(made == 7);
    CHECK(vthread_once(&once, make) == 0);
    return NULL;
}

Test(counts, once)
{
    enum { N = 16 };
    vthread_t threads[N];

    cr_assert_eq(vthread_once(&once, NULL), EINVAL);
    for (int i = 0; i < N; i++)
        threads[i] = help_start_with(&kinds[i % KINDS], need_it, NULL);
    for (int i = 0; i < N; i++)
        vthread_interrupt(threads[i]); /* does not matter */
    usleep(2000);
    atomic_store(&go, true);
    for (int i = 0; i < N; i++)
        help_join(threads[i]);
    cr_assert_eq(atomic_load(&runs), 1);
}

static vthread_once_t recursive;
static int recursion;

static void recurse(void)
{
    recursion = vthread_once(&recursive, recurse);
}

Test(counts, once_inside_itself)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    cr_assert_eq(vthread_once(&recursive, recurse), 0);
    cr_assert_eq(recursion, EDEADLK);
    cr_assert_not_null(strstr(messages.last, "vthread_once"), "%s", messages.last);
    cr_assert_eq(vthread_once(&recursive, recurse), 0);
}
