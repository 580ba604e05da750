/* SPDX-License-Identifier: MIT */
/*
 * Leaks that are planted are found, and nothing else is.  Threads make what they wait for themselves, or
 * let others make it, so that no address is left on the test's own stack.
 */
#include "gc_help.h"

TestSuite(gc_leaks, .fini = help_fini);

enum { PLANTED = 32, FOUND = PLANTED * 3 / 4 };

static atomic_uint waiting;
static atomic_uint interrupted;
static uintptr_t disguised[PLANTED]; /* complements of addresses, for the test to end what it has begun */
static vthread_t planted[PLANTED];

static int leaks_now(void)
{
    help_run(churn, NULL);
    wipe();
    return vthread_find_leaks(NULL, 0);
}

struct shared {
    vthread_sem_t sem;
    vthread_mutex_t mutex;
    vthread_cond_t cond;
    vthread_latch_t latch;
    struct shared *other;
};

__attribute__((noinline)) static struct shared *shared_new(unsigned number)
{
    struct shared *s = vthread_gc_alloc(sizeof *s);

    if (s != NULL) {
        vthread_latch_init(&s->latch, 1);
        disguised[number] = ~(uintptr_t)s;
    }
    return s;
}

static void end_planted(void)
{
    for (unsigned i = 0; i < PLANTED; i++) {
        struct shared *s = (struct shared *)~disguised[i];

        vthread_sem_release(&s->sem, 1);
        vthread_mutex_lock(&s->mutex);
        vthread_cond_broadcast(&s->cond);
        vthread_mutex_unlock(&s->mutex);
        vthread_latch_count_down(&s->latch);
    }
    for (unsigned i = 0; i < PLANTED; i++)
        help_join(planted[i]);
}

static void *wait_for_own(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct shared *s = shared_new(number);

    CHECK(s != NULL);
    atomic_fetch_add(&waiting, 1);
    switch (number % 3) {
    case 0:
        CHECK(vthread_sem_acquire(&s->sem, 1) == 0);
        break;
    case 1:
        CHECK(vthread_mutex_lock(&s->mutex) == 0);
        CHECK(vthread_cond_wait(&s->cond, &s->mutex) == 0);
        CHECK(vthread_mutex_unlock(&s->mutex) == 0);
        break;
    default:
        CHECK(vthread_latch_wait(&s->latch) == 0);
    }
    return NULL;
}

static void plant(void *(*fn)(void *arg))
{
    for (unsigned i = 0; i < PLANTED; i++)
        planted[i] = help_start(fn, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < PLANTED; i++)
        cr_assert(REACHES(planted[i], VTHREAD_PARKED));
}

static bool is_planted(vthread_t t)
{
    for (unsigned i = 0; i < PLANTED; i++)
        if (vthread_equal(planted[i], t))
            return true;
    return false;
}

/*
 * They are found again and again, harmed by nothing, not even by what the search before has left on this stack and
 * in registers; and end as if nothing had been.
 */
static void leaks_are_found(void)
{
    static vthread_leak_t leaks[2 * PLANTED];

    plant(wait_for_own);
    cr_assert_geq(leaks_now(), FOUND);
    for (int round = 0; round < 20; round++) {
        int n = vthread_find_leaks(leaks, 2 * PLANTED);

        cr_assert_geq(n, FOUND);
        cr_assert_leq(n, PLANTED);
        for (int i = 0; i < n; i++)
            cr_assert(is_planted(leaks[i].thread));
    }
    end_planted();
    cr_assert_eq(leaks_now(), 0);
}

Test(gc_leaks, threads_that_wait_for_what_nobody_knows)
{
    help_configure(2);
    leaks_are_found();
}

Test(gc_leaks, frozen_threads_that_wait_for_what_nobody_knows)
{
    cr_assert_eq(vthread_runtime_configure(&(vthread_runtime_params_t){.parallelism = 2, .stacks = 2}), 0);
    leaks_are_found();
}

Test(gc_leaks, displaced_threads_that_wait_for_what_nobody_knows)
{
    setenv("VTHREAD_STRICT", "1", 1);
    leaks_are_found();
}

/* ---- who is not leaked ---- */

static atomic_bool go_on;

static void *keeper(void *arg)
{
    struct shared *s[PLANTED];

    for (unsigned i = 0; i < PLANTED; i++)
        s[i] = (struct shared *)~disguised[i];
    atomic_fetch_add(&waiting, 1);
    while (!atomic_load(&go_on))
        vthread_park();
    HELP_KEEP_WHOLE(s);
    return arg != NULL && s[0] == NULL ? arg : NULL;
}

Test(gc_leaks, objects_that_a_parked_thread_holds)
{
    vthread_t keeps;

    help_configure(2);
    plant(wait_for_own);
    keeps = help_start(keeper, NULL);
    cr_assert(REACHES(keeps, VTHREAD_PARKED));
    cr_assert_eq(leaks_now(), 0);
    atomic_store(&go_on, true);
    vthread_unpark(keeps);
    help_join(keeps);
    cr_assert_geq(leaks_now(), FOUND);
    end_planted();
}

static vthread_queue_t *queue;

static void *fill(void *arg)
{
    for (unsigned i = 0; i < PLANTED; i++)
        CHECK(vthread_queue_put_ptr(queue, (void *)~disguised[i]) == 0);
    return arg;
}

static void *empty(void *arg)
{
    void *s;

    while (vthread_queue_take_until(queue, &s, VTHREAD_NOW) == 0)
        ;
    wipe();
    return arg;
}

Test(gc_leaks, objects_in_a_queue)
{
    help_configure(2);
    cr_assert_eq(vthread_queue_new(&queue, sizeof(void *), VTHREAD_UNBOUNDED), 0);
    plant(wait_for_own);
    help_run(fill, NULL);
    cr_assert_eq(leaks_now(), 0);
    help_run(empty, NULL);
    vthread_queue_free(queue);
    cr_assert_geq(leaks_now(), FOUND);
    end_planted();
}

static void *wait_with_deadline(void *arg)
{
    struct shared *s = shared_new((unsigned)(uintptr_t)arg);

    vthread_sem_acquire_until(&s->sem, 1, vthread_after_ms(1000000));
    return NULL;
}

Test(gc_leaks, waits_that_have_a_deadline)
{
    for (unsigned i = 0; i < PLANTED; i++)
        planted[i] = help_start(wait_with_deadline, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < PLANTED; i++)
        cr_assert(REACHES(planted[i], VTHREAD_TIMED_PARKED));
    cr_assert_eq(leaks_now(), 0);
    end_planted();
}

static vthread_sem_t outside[PLANTED];

static void *wait_outside(void *arg)
{
    CHECK(vthread_sem_acquire(&outside[(uintptr_t)arg], 1) == 0);
    return NULL;
}

static void *just_park(void *arg)
{
    struct shared *s = shared_new((unsigned)(uintptr_t)arg);

    while (!atomic_load(&go_on))
        vthread_park_on(s);
    return NULL;
}

Test(gc_leaks, waits_for_anything_else)
{
    vthread_t others[PLANTED];

    help_configure(2);
    plant(just_park); /* in a user's park, which an unpark by the name may end */
    for (unsigned i = 0; i < PLANTED; i++)
        others[i] = help_start(wait_outside, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < PLANTED; i++)
        cr_assert(REACHES(others[i], VTHREAD_PARKED));
    cr_assert_eq(leaks_now(), 0);
    atomic_store(&go_on, true);
    for (unsigned i = 0; i < PLANTED; i++) {
        vthread_unpark(planted[i]);
        vthread_sem_release(&outside[i], 1);
        help_join(planted[i]);
        help_join(others[i]);
    }
}

/* ---- what may still be cancelled, or be known by way of others' frames ---- */

static void *wait_until_interrupted(void *arg)
{
    struct shared *s = shared_new((unsigned)(uintptr_t)arg);

    CHECK(s != NULL);
    CHECK(vthread_sem_acquire(&s->sem, 1) == EINTR);
    return NULL;
}

static bool all_wait_in(uint64_t parks)
{
    vthread_runtime_stats_t stats;

    return vthread_runtime_stats(&stats) == 0 && stats.threads_alive >= parks && atomic_load(&waiting) >= parks;
}

static void *task(void *arg)
{
    void *wrong;

    atomic_fetch_add(&waiting, 1);
    wrong = wait_until_interrupted(arg);
    if (wrong == NULL)
        atomic_fetch_add(&interrupted, 1);
    return wrong;
}

Test(gc_leaks, tasks_of_executors)
{
    vthread_executor_t *ex;

    cr_assert_eq(vthread_executor_new_per_task(&ex, NULL), 0);
    for (uintptr_t i = 0; i < PLANTED; i++)
        cr_assert_eq(vthread_executor_submit(ex, task, (void *)i, NULL), 0);
    cr_assert(EVENTUALLY(all_wait_in(PLANTED)));
    for (int i = 0; i < 5; i++)
        cr_assert_eq(leaks_now(), 0);
    vthread_executor_shutdown_now(ex);
    cr_assert_eq(vthread_executor_close(ex), 0);
    cr_assert_eq(atomic_load(&interrupted), PLANTED);
    vthread_executor_free(ex);
}

static void *fork_and_cancel(void *arg)
{
    vthread_scope_t *s;

    CHECK(vthread_scope_open(&s, NULL) == 0);
    for (uintptr_t i = 0; i < PLANTED; i++)
        CHECK(vthread_scope_fork(s, task, (void *)i, NULL) == 0);
    CHECK(EVENTUALLY_HERE(all_wait_in(PLANTED)));
    churn(NULL);
    for (int i = 0; i < 5; i++)
        CHECK(vthread_find_leaks(NULL, 0) == 0);
    vthread_scope_cancel(s);
    vthread_scope_join(s);
    vthread_scope_close(s);
    CHECK(atomic_load(&interrupted) == PLANTED);
    return arg;
}

Test(gc_leaks, subtasks)
{
    help_run(fork_and_cancel, NULL);
}

/* Where each thread keeps its object, in its own frame. */
static struct shared **_Atomic places[PLANTED];

static void *wait_known_by_place(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct shared *volatile s = shared_new(number);

    CHECK(s != NULL);
    atomic_store(&places[number], (struct shared **)&s);
    CHECK(vthread_sem_acquire(&s->sem, 1) == 0);
    return NULL;
}

Test(gc_leaks, frames_that_others_may_point_into)
{
    for (uintptr_t i = 0; i < PLANTED; i++)
        planted[i] =
            help_start_with(&(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED}, wait_known_by_place, (void *)i);
    for (unsigned i = 0; i < PLANTED; i++)
        cr_assert(REACHES(planted[i], VTHREAD_PARKED));
    cr_assert_eq(leaks_now(), 0);
    for (unsigned i = 0; i < PLANTED; i++)
        cr_assert_eq(vthread_sem_release(&(*places[i])->sem, 1), 0);
    for (unsigned i = 0; i < PLANTED; i++)
        help_join(planted[i]);
}

/* The copy of an argument is memory that may be passed on. */
struct known {
    struct shared *s;
};

static struct known *_Atomic copies[PLANTED];

static void *wait_for_known(void *arg)
{
    struct known *known = arg;
    struct shared *s = known->s;

    for (unsigned i = 0; i < PLANTED; i++)
        if (~(uintptr_t)s == disguised[i])
            atomic_store(&copies[i], known);
    CHECK(vthread_sem_acquire(&s->sem, 1) == 0);
    return NULL;
}

static void *plant_known(void *arg)
{
    for (unsigned i = 0; i < PLANTED; i++) {
        struct known known = {shared_new(i)};

        CHECK(known.s != NULL);
        CHECK(vthread_create_copy(&planted[i], NULL, wait_for_known, &known, sizeof known) == 0);
    }
    wipe();
    return arg;
}

Test(gc_leaks, objects_that_a_copy_of_an_argument_holds)
{
    help_run(plant_known, NULL);
    for (unsigned i = 0; i < PLANTED; i++)
        cr_assert(REACHES(planted[i], VTHREAD_PARKED));
    cr_assert_eq(leaks_now(), 0);
    for (unsigned i = 0; i < PLANTED; i++)
        cr_assert_eq(vthread_sem_release(&copies[i]->s->sem, 1), 0);
    for (unsigned i = 0; i < PLANTED; i++)
        help_join(planted[i]);
}

/* Only an interruption ends the wait of one that is named; its handle, kept anywhere, is no pointer to the object. */
Test(gc_leaks, those_that_are_interrupted)
{
    plant(wait_until_interrupted);
    cr_assert_geq(leaks_now(), FOUND);
    for (unsigned i = 0; i < PLANTED; i++)
        vthread_unpark(planted[i]);
    cr_assert_geq(leaks_now(), FOUND);
    for (unsigned i = 0; i < PLANTED; i++)
        vthread_interrupt(planted[i]);
    for (unsigned i = 0; i < PLANTED; i++)
        help_join(planted[i]);
    cr_assert_eq(leaks_now(), 0);
}

/* ---- chains ---- */

/* Each waits for its own, and holds the one of the thread before: as long as the last is reachable, all are alive. */
static void *wait_in_chain(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct shared *before = number > 0 ? (struct shared *)~disguised[number - 1] : NULL;
    struct shared *s = shared_new(number);

    s->other = before;
    CHECK(vthread_sem_acquire(&s->sem, 1) == 0);
    CHECK(s->other == before);
    return NULL;
}

static void plant_chain(void)
{
    for (unsigned i = 0; i < PLANTED; i++) {
        planted[i] = help_start(wait_in_chain, (void *)(uintptr_t)i);
        cr_assert(REACHES(planted[i], VTHREAD_PARKED));
    }
}

static struct shared *volatile last;

Test(gc_leaks, chains)
{
    help_configure(2);
    plant_chain();
    last = (struct shared *)~disguised[PLANTED - 1];
    cr_assert_eq(leaks_now(), 0);
    last = NULL;
    cr_assert_geq(leaks_now(), 1); /* one that something looks like a pointer to keeps those before it alive */
    end_planted();
}

/* ---- locks ---- */

static void *lock_both(void *arg)
{
    struct shared *s = arg;

    CHECK(vthread_mutex_lock(&s->mutex) == 0);
    atomic_fetch_add(&waiting, 1);
    while (atomic_load(&waiting) < 2)
        vthread_yield();
    vthread_mutex_lock(&s->other->mutex);
    return NULL;
}

static void *make_deadlock(void *arg)
{
    struct shared *a = shared_new(0);
    struct shared *b = shared_new(1);

    a->other = b;
    b->other = a;
    CHECK(vthread_create(&planted[0], NULL, lock_both, a) == 0);
    CHECK(vthread_create(&planted[1], NULL, lock_both, b) == 0);
    wipe();
    return arg;
}

/* No shutdown gets them out of there: a suite without one. */
Test(gc_deadlocks, locks_that_two_threads_wait_for)
{
    help_run(make_deadlock, NULL);
    cr_assert(REACHES(planted[0], VTHREAD_PARKED));
    cr_assert(REACHES(planted[1], VTHREAD_PARKED));
    cr_assert(EVENTUALLY(leaks_now() == 2));
}

/* ---- in words ---- */

static void *wait_named(void *arg)
{
    vthread_setname(vthread_self(), "forgotten");
    return wait_for_own(arg);
}

Test(gc_leaks, in_words)
{
    char text[16384];
    int pipes[2];
    ssize_t n;

    help_configure(2);
    cr_assert_eq(pipe(pipes), 0);
    cr_assert_eq(vthread_print_leaks(pipes[1]), 0);
    plant(wait_named);
    cr_assert_geq(leaks_now(), FOUND);
    cr_assert_geq(vthread_print_leaks(pipes[1]), FOUND);
    n = read(pipes[0], text, sizeof text - 1);
    cr_assert_gt(n, 0);
    text[n] = '\0';
    cr_assert_not_null(strstr(text, "thread forgotten, "));
    cr_assert_not_null(strstr(text, "waits for ever"));
    end_planted();
}

Test(gc_leaks, arguments_are_checked)
{
    vthread_leak_t one;

    cr_assert_eq(vthread_find_leaks(NULL, 1), -EINVAL);
    cr_assert_eq(vthread_find_leaks(&one, 1), 0);
}

Test(gc_leaks, without_collections_there_is_no_search)
{
    setenv("GC_DONT_GC", "1", 1);
    cr_assert_eq(vthread_find_leaks(NULL, 0), -ENOTSUP);
}
