/* SPDX-License-Identifier: MIT */
/* Deadlocks found and told, and locks that their owners leave behind. */
#include "sync_help.h"

#include <vthread/queue.h>

TestSuite(deadlock, .fini = help_fini, .timeout = 60);

enum { RING = 5 };

static vthread_mutex_t mutexes[RING];
static vthread_rwlock_t rwlock = VTHREAD_RWLOCK_INITIALIZER;
static vthread_monitor_t monitor = VTHREAD_MONITOR_INITIALIZER;
static vthread_lock_t lock = VTHREAD_LOCK_INITIALIZER;
static atomic_int held, ring, deadline_ms;

/* Take the own one, wait for all the others to have theirs, and want the next. */
static void *want_two(void *arg)
{
    int i = (int)(uintptr_t)arg;
    vthread_mutex_t *next = &mutexes[(i + 1) % atomic_load(&ring)];
    int error;

    CHECK(vthread_mutex_lock(&mutexes[i]) == 0);
    atomic_fetch_add(&held, 1);
    CHECK(EVENTUALLY_HERE(atomic_load(&held) == atomic_load(&ring)));
    error = i == 0 && atomic_load(&deadline_ms) != 0
                ? vthread_mutex_lock_until(next, vthread_after_ms(atomic_load(&deadline_ms)))
                : vthread_mutex_lock_interruptible(next);
    if (error == 0)
        CHECK(vthread_mutex_unlock(next) == 0);
    else
        CHECK(error == EINTR || error == ETIMEDOUT);
    CHECK(vthread_mutex_unlock(&mutexes[i]) == 0);
    return NULL;
}

static void start_ring(vthread_t *threads, int n)
{
    atomic_store(&ring, n);
    atomic_store(&held, 0);
    for (int i = 0; i < n; i++)
        threads[i] = help_start_with(&kinds[i % KINDS], want_two, (void *)(uintptr_t)i);
}

static void break_ring(vthread_t *threads, int n)
{
    cr_assert_eq(vthread_interrupt(threads[0]), 0);
    for (int i = 0; i < n; i++)
        help_join(threads[i]);
    cr_assert_eq(vthread_find_deadlocks(NULL, 0), 0);
}

Test(deadlock, none)
{
    vthread_deadlock_t found;

    cr_assert_eq(vthread_find_deadlocks(NULL, 0), 0);
    cr_assert_eq(vthread_find_deadlocks(&found, 1), 0);
    cr_assert_eq(vthread_find_deadlocks(NULL, 1), -EINVAL);
    cr_assert_eq(vthread_print_deadlocks(2), 0);
}

Test(deadlock, a_ring_of_every_length)
{
    for (int n = 2; n <= RING; n++) {
        vthread_deadlock_t found[RING];
        vthread_t threads[RING];

        start_ring(threads, n);
        cr_assert(EVENTUALLY(vthread_find_deadlocks(found, RING) == n));
        for (int i = 0; i < n; i++) {
            int which = 0;

            while (which < n && threads[which] != found[i].thread)
                which++;
            cr_assert_lt(which, n);
            cr_assert_eq(found[i].object, &mutexes[(which + 1) % n]);
            cr_assert_eq(found[i].owner, threads[(which + 1) % n]);
            cr_assert_eq(found[i].owner, found[(i + 1) % n].thread, "one after another");
            cr_assert_eq(found[i].cycle, 0);
        }
        cr_assert_eq(vthread_find_deadlocks(found, 1), n, "the count is that of all");
        break_ring(threads, n);
    }
}

Test(deadlock, told_in_words)
{
    vthread_t threads[2];
    char text[1024] = "";
    int ends[2];

    start_ring(threads, 2);
    cr_assert(EVENTUALLY(vthread_find_deadlocks(NULL, 0) == 2));
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(vthread_print_deadlocks(ends[1]), 2);
    cr_assert_gt(read(ends[0], text, sizeof text - 1), 0);
    close(ends[0]);
    close(ends[1]);
    cr_assert_not_null(strstr(text, "deadlock 1: thread virtual waits for the lock "), "%s", text);
    cr_assert_not_null(strstr(text, "which thread platform owns\n"), "%s", text);
    break_ring(threads, 2);
}

static void *want_mutex(void *arg)
{
    int error = vthread_mutex_lock_interruptible(arg);

    CHECK(error == EINTR || error == 0);
    if (error == 0)
        CHECK(vthread_mutex_unlock(arg) == 0);
    return NULL;
}

/* Who waits for one of a cycle is no part of it; nor is who waits for somebody who runs. */
Test(deadlock, others_are_not_in_it)
{
    vthread_t threads[2];
    vthread_t third, fourth;

    start_ring(threads, 2);
    cr_assert(EVENTUALLY(vthread_find_deadlocks(NULL, 0) == 2));
    cr_assert_eq(vthread_mutex_lock(&mutexes[4]), 0);
    third = help_start(want_mutex, &mutexes[0]);
    fourth = help_start(want_mutex, &mutexes[4]);
    cr_assert(EVENTUALLY(vthread_public_state(third) == VTHREAD_PUBLIC_BLOCKED));
    cr_assert(EVENTUALLY(vthread_public_state(fourth) == VTHREAD_PUBLIC_BLOCKED));
    cr_assert_eq(vthread_find_deadlocks(NULL, 0), 2);
    break_ring(threads, 2);
    help_join(third);
    cr_assert_eq(vthread_find_deadlocks(NULL, 0), 0);
    cr_assert_eq(vthread_mutex_unlock(&mutexes[4]), 0);
    help_join(fourth);
}

Test(deadlock, deadlines_end_it)
{
    vthread_t threads[2];

    atomic_store(&deadline_ms, 40000);
    start_ring(threads, 2);
    for (int i = 0; i < 2; i++)
        cr_assert(EVENTUALLY(vthread_public_state(threads[i]) == VTHREAD_PUBLIC_BLOCKED));
    cr_assert_eq(vthread_state(threads[0]), VTHREAD_TIMED_PARKED);
    cr_assert_eq(vthread_find_deadlocks(NULL, 0), 0);
    break_ring(threads, 2);
}

/* ---- of all kinds of locks ---- */

static void *want_rwlock(void *arg)
{
    int error;

    CHECK(vthread_monitor_enter(&monitor) == 0);
    atomic_fetch_add(&held, 1);
    CHECK(EVENTUALLY_HERE(atomic_load(&held) == 3));
    error = vthread_rwlock_rdlock_interruptible(&rwlock);
    CHECK(error == EINTR);
    CHECK(vthread_monitor_exit(&monitor) == 0);
    return arg;
}

static void *want_lock(void *arg)
{
    CHECK(vthread_rwlock_wrlock(&rwlock) == 0);
    atomic_fetch_add(&held, 1);
    CHECK(EVENTUALLY_HERE(atomic_load(&held) == 3));
    CHECK(vthread_lock_lock(&lock) == 0);
    CHECK(vthread_lock_unlock(&lock) == 0);
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    return arg;
}

static void *want_monitor(void *arg)
{
    CHECK(vthread_lock_lock(&lock) == 0);
    CHECK(vthread_lock_lock(&lock) == 0);
    atomic_fetch_add(&held, 1);
    CHECK(EVENTUALLY_HERE(atomic_load(&held) == 3));
    CHECK(vthread_monitor_enter(&monitor) == 0);
    CHECK(vthread_monitor_exit(&monitor) == 0);
    CHECK(vthread_lock_unlock(&lock) == 0);
    CHECK(vthread_lock_unlock(&lock) == 0);
    return arg;
}

Test(deadlock, rwlock_lock_and_monitor)
{
    void *(*bodies[])(void *) = {want_rwlock, want_lock, want_monitor};
    vthread_deadlock_t found[3];
    vthread_t threads[3];

    atomic_store(&held, 0);
    for (int i = 0; i < 3; i++)
        threads[i] = help_start(bodies[i], NULL);
    cr_assert(EVENTUALLY(vthread_find_deadlocks(found, 3) == 3));
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(found[i].owner, found[(i + 1) % 3].thread);
        cr_assert_eq(vthread_public_state(found[i].thread), VTHREAD_PUBLIC_BLOCKED);
    }
    cr_assert_eq(vthread_interrupt(threads[0]), 0);
    for (int i = 0; i < 3; i++)
        help_join(threads[i]);
}

/* ---- the order of locks ---- */

#if VTHREAD_CHECKS >= 2
static struct help_messages messages;

static void take_both(vthread_mutex_t *first, vthread_mutex_t *second)
{
    cr_assert_eq(vthread_mutex_lock(first), 0);
    cr_assert_eq(vthread_mutex_lock(second), 0);
    cr_assert_eq(vthread_mutex_unlock(first), 0);
    cr_assert_eq(vthread_mutex_unlock(second), 0);
}

Test(deadlock, order_against_an_earlier_one)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    take_both(&mutexes[0], &mutexes[1]);
    take_both(&mutexes[1], &mutexes[2]);
    take_both(&mutexes[0], &mutexes[1]);
    cr_assert_eq(atomic_load(&messages.count), 0);
    take_both(&mutexes[2], &mutexes[0]); /* by way of another */
    cr_assert_eq(atomic_load(&messages.count), 1);
    take_both(&mutexes[2], &mutexes[0]);
    cr_assert_eq(atomic_load(&messages.count), 1, "once is enough");
    take_both(&mutexes[1], &mutexes[0]);
    cr_assert_eq(atomic_load(&messages.count), 2);
}

Test(deadlock, order_with_other_locks)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    cr_assert_eq(vthread_rwlock_wrlock(&rwlock), 0);
    cr_assert_eq(vthread_lock_lock(&lock), 0);
    cr_assert_eq(vthread_monitor_enter(&monitor), 0);
    cr_assert_eq(vthread_lock_lock(&lock), 0, "has it already");
    cr_assert_eq(vthread_monitor_wait_until(&monitor, VTHREAD_NOW), ETIMEDOUT);
    cr_assert_eq(vthread_lock_unlock(&lock), 0);
    cr_assert_eq(vthread_monitor_exit(&monitor), 0);
    cr_assert_eq(vthread_lock_unlock(&lock), 0);
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
    cr_assert_eq(atomic_load(&messages.count), 0);
    cr_assert_eq(vthread_monitor_enter(&monitor), 0);
    cr_assert_eq(vthread_rwlock_tryrdlock(&rwlock), 0, "who only tries waits for nobody");
    cr_assert_eq(atomic_load(&messages.count), 0);
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
    cr_assert_eq(vthread_rwlock_wrlock(&rwlock), 0);
    cr_assert_eq(atomic_load(&messages.count), 1);
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
    cr_assert_eq(vthread_monitor_exit(&monitor), 0);
}

Test(deadlock, order_of_destroyed_locks)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    take_both(&mutexes[0], &mutexes[1]);
    cr_assert_eq(vthread_mutex_destroy(&mutexes[1]), 0);
    take_both(&mutexes[1], &mutexes[0]);
    cr_assert_eq(vthread_mutex_init(&mutexes[0], NULL), 0);
    take_both(&mutexes[0], &mutexes[1]);
    cr_assert_eq(vthread_monitor_enter(&monitor), 0);
    cr_assert_eq(vthread_mutex_lock(&mutexes[2]), 0);
    cr_assert_eq(vthread_monitor_exit(&monitor), 0);
    cr_assert_eq(vthread_monitor_init(&monitor, NULL), 0);
    cr_assert_eq(vthread_monitor_enter(&monitor), 0);
    cr_assert_eq(vthread_mutex_unlock(&mutexes[2]), 0);
    cr_assert_eq(vthread_monitor_exit(&monitor), 0);
    cr_assert_eq(atomic_load(&messages.count), 0);
}
#endif

/* ---- owners that end ---- */

static vthread_failure_t failure;
static atomic_int failures;

static void keep_failure(const vthread_failure_t *f, void *user)
{
    (void)user;
    failure = *f;
    atomic_fetch_add(&failures, 1);
}

static void *keep_it(void *arg)
{
    CHECK(vthread_mutex_lock(arg) == 0);
    return NULL;
}

static void *keep_it_as_writer(void *arg)
{
    CHECK(vthread_rwlock_wrlock(arg) == 0);
    vthread_exit(NULL);
}

static void *keep_it_unnoticed(void *arg)
{
    vthread_mutex_lock(arg);
    return NULL;
}

static void *hold_and_let_go(void *arg)
{
    CHECK(vthread_mutex_lock(&mutexes[4]) == 0 && vthread_mutex_unlock(&mutexes[4]) == 0);
    CHECK(vthread_rwlock_rdlock(arg) == 0 && vthread_rwlock_unlock(arg) == 0);
    CHECK(vthread_rwlock_wrlock(arg) == 0 && vthread_rwlock_unlock(arg) == 0);
    CHECK(vthread_monitor_enter(&monitor) == 0);
    CHECK(vthread_monitor_wait_until(&monitor, vthread_after_ns(1000)) == ETIMEDOUT);
    CHECK(vthread_monitor_exit(&monitor) == 0);
    return NULL;
}

Test(deadlock, owner_has_ended)
{
    static vthread_rwlock_t other = VTHREAD_RWLOCK_INITIALIZER;
    vthread_deadlock_t found[2];
    vthread_t waiter;

    vthread_set_failure_handler(keep_failure, NULL);
    help_run(hold_and_let_go, &rwlock);
    cr_assert_eq(atomic_load(&failures), 0);
    for (int i = 0; i < 2; i++) {
        help_run_with(&kinds[i], keep_it, &mutexes[i]);
        cr_assert_eq(atomic_load(&failures), i + 1);
        cr_assert_eq(failure.kind, VTHREAD_FAILURE_LOCKS_HELD);
    }
    help_run(keep_it_as_writer, &rwlock);
    cr_assert_eq(atomic_load(&failures), 3);

    /* Nobody gets them any more, however many threads are made. */
    for (int i = 0; i < 1000; i++)
        help_run(hold_and_let_go, &other);
    cr_assert_eq(vthread_mutex_trylock(&mutexes[0]), EBUSY);
    cr_assert_eq(vthread_rwlock_tryrdlock(&rwlock), EBUSY);
    waiter = help_start(want_mutex, &mutexes[0]);
    cr_assert(EVENTUALLY(vthread_find_deadlocks(found, 2) == 1));
    cr_assert_eq(found[0].thread, waiter);
    cr_assert_eq(found[0].object, &mutexes[0]);
    cr_assert_null(found[0].owner);
    cr_assert_eq(vthread_interrupt(waiter), 0);
    help_join(waiter);
}

Test(deadlock, foreign_owner_ends)
{
    pthread_t foreign;

    vthread_set_failure_handler(keep_failure, NULL);
    cr_assert_eq(pthread_create(&foreign, NULL, keep_it_unnoticed, &mutexes[0]), 0);
    cr_assert_eq(pthread_join(foreign, NULL), 0);
    cr_assert_eq(atomic_load(&failures), 1);
    cr_assert_eq(failure.kind, VTHREAD_FAILURE_LOCKS_HELD);
    cr_assert_eq(vthread_mutex_trylock(&mutexes[0]), EBUSY);
}

/* More than are counted are not taken amiss, nor those of a select. */
static void *hold_many(void *arg)
{
    static vthread_mutex_t many[100];
    vthread_queue_t *queues[100];
    vthread_queue_case_t cases[100];
    char elem;

    for (int i = 0; i < 100; i++)
        CHECK(vthread_mutex_lock(&many[i]) == 0);
    for (int i = 0; i < 100; i++)
        CHECK(vthread_mutex_unlock(&many[i]) == 0);
    for (int i = 0; i < 100; i++) {
        CHECK(vthread_queue_new(&queues[i], 1, 1) == 0);
        cases[i] = (vthread_queue_case_t){.queue = queues[i], .elem = &elem};
    }
    CHECK(vthread_queue_select_until(cases, 100, VTHREAD_NOW) == -ETIMEDOUT);
    for (int i = 0; i < 100; i++)
        CHECK(vthread_queue_free(queues[i]) == 0);
    return arg;
}

Test(deadlock, many_locks)
{
    vthread_set_failure_handler(keep_failure, NULL);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], hold_many, NULL);
    cr_assert_eq(atomic_load(&failures), 0);
}

static void *exit_with_it(void *arg)
{
    vthread_mutex_lock(arg);
    pthread_exit(NULL);
}

/* Records of threads that have left locks behind are used again in the next life, by threads that have none. */
Test(deadlock, owners_of_a_former_life)
{
    vthread_set_failure_handler(keep_failure, NULL);
    for (int i = 0; i < 3; i++) {
        vthread_mutex_t left[100] = {VTHREAD_MUTEX_INITIALIZER};

        for (int k = 0; k < 100; k++)
            help_run(keep_it, &left[k]);
        help_join(help_start_with(&kinds[1], exit_with_it, &mutexes[i]));
        cr_assert_eq(atomic_load(&failures), 101);
        help_shutdown();
        for (int k = 0; k < 300; k++)
            help_run(help_return, NULL);
        cr_assert_eq(atomic_exchange(&failures, 0), 101);
    }
}
