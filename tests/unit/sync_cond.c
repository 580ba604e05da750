/* SPDX-License-Identifier: MIT */
/* Conditions and monitors: who is woken, what is not lost, misuse. */
#include "sync_help.h"

TestSuite(cond, .fini = help_fini, .timeout = 60);

static struct help_messages messages;
static vthread_mutex_t mutex;
static vthread_lock_t lock;
static vthread_cond_t cond = VTHREAD_COND_INITIALIZER;
static vthread_monitor_t monitor = VTHREAD_MONITOR_INITIALIZER;
static struct order order;

Test(cond, init)
{
    vthread_condattr_t attr = {0};
    vthread_monitorattr_t monitorattr = {{0}};
    vthread_cond_t c;
    vthread_monitor_t m;

    cr_assert_eq(vthread_cond_init(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_cond_init(&c, &attr), 0);
    attr.clock = CLOCK_MONOTONIC;
    cr_assert_eq(vthread_cond_init(&c, &attr), 0);
    attr.clock = CLOCK_BOOTTIME;
    cr_assert_eq(vthread_cond_init(&c, &attr), EINVAL);
    attr.clock = CLOCK_REALTIME;
    cr_assert_eq(vthread_cond_init(&c, NULL), 0);
    cr_assert_eq(vthread_cond_destroy(&c), 0);
    attr.reserved[1] = 1;
    cr_assert_eq(vthread_cond_init(&c, &attr), EINVAL);
    cr_assert_eq(vthread_monitor_init(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_monitor_init(&m, &monitorattr), 0);
    cr_assert_eq(vthread_monitor_init(&m, NULL), 0);
    cr_assert_eq(vthread_monitor_destroy(&m), 0);
    monitorattr.reserved[1] = 1;
    cr_assert_eq(vthread_monitor_init(&m, &monitorattr), EINVAL);
}

static void *without_the_lock(void *arg)
{
    (void)arg;
    CHECK(vthread_cond_wait(&cond, &mutex) == EPERM);
    CHECK(vthread_cond_wait_until(&cond, &mutex, VTHREAD_NOW) == EPERM);
    CHECK(vthread_cond_wait_uninterruptible(&cond, &mutex) == EPERM);
    CHECK(vthread_cond_wait_lock(&cond, &lock) == EPERM);
    CHECK(vthread_cond_wait_lock_until(&cond, &lock, VTHREAD_NOW) == EPERM);
    CHECK(vthread_monitor_wait(&monitor) == EPERM);
    CHECK(vthread_monitor_wait_until(&monitor, VTHREAD_NOW) == EPERM);
    CHECK(vthread_monitor_notify(&monitor) == EPERM);
    CHECK(vthread_monitor_notify_all(&monitor) == EPERM);
    CHECK(vthread_monitor_exit(&monitor) == EPERM);
    CHECK(vthread_cond_signal(&cond) == 0); /* nobody waits */
    CHECK(vthread_cond_broadcast(&cond) == 0);
    return NULL;
}

Test(cond, only_the_owner_waits)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    vthread_monitor_enter(&monitor); /* the test's thread */
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], without_the_lock, NULL);
    cr_assert_eq(atomic_load(&messages.count), 10 * KINDS);
    cr_assert_not_null(strstr(messages.last, "vthread_monitor_exit"), "%s", messages.last);
    cr_assert_eq(vthread_monitor_exit(&monitor), 0);
}

/* ---- who is woken ---- */

static void *wait_in_turn(void *arg)
{
    CHECK(vthread_mutex_lock(&mutex) == 0);
    CHECK(vthread_cond_wait(&cond, &mutex) == 0);
    order_note(&order, (int)(intptr_t)arg);
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    return NULL;
}

enum { WAITERS = 100 };
static vthread_t waiters[WAITERS];

static void start_waiters(int n, void *(*fn)(void *arg))
{
    for (int i = 0; i < n; i++) {
        waiters[i] = help_start_with(&kinds[i % KINDS], fn, (void *)(intptr_t)i);
        cr_assert(WAITS(waiters[i]));
    }
}

Test(cond, signal_wakes_the_one_that_has_waited_longest)
{
    enum { N = 12 };

    start_waiters(N, wait_in_turn);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(vthread_cond_destroy(&cond), EBUSY);
        vthread_cond_signal(&cond);
        help_join(waiters[i]);
        cr_assert_eq(atomic_load(&order.n), i + 1);
        cr_assert_eq(order.who[i], i);
    }
    cr_assert_eq(vthread_cond_destroy(&cond), 0);
}

static _Atomic int awake;

static void *wait_for_all(void *arg)
{
    (void)arg;
    CHECK(vthread_mutex_lock(&mutex) == 0);
    CHECK(vthread_cond_wait(&cond, &mutex) == 0);
    atomic_fetch_add(&awake, 1);
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    return NULL;
}

Test(cond, broadcast_wakes_all_that_are_there)
{
    start_waiters(WAITERS, wait_for_all);
    vthread_mutex_lock(&mutex);
    vthread_cond_broadcast(&cond);
    cr_assert_eq(vthread_cond_destroy(&cond), 0, "nobody is left in it, though nobody goes on yet");
    usleep(1000);
    cr_assert_eq(atomic_load(&awake), 0);
    vthread_mutex_unlock(&mutex);
    for (int i = 0; i < WAITERS; i++)
        help_join(waiters[i]);
    cr_assert_eq(atomic_load(&awake), WAITERS);
}

static void *signal_from_a_thread(void *arg)
{
    for (int i = 0; i < (int)(intptr_t)arg; i++)
        CHECK(vthread_cond_signal(&cond) == 0);
    return NULL;
}

Test(cond, signals_from_everywhere)
{
    start_waiters(12, wait_for_all);
    help_run(signal_from_a_thread, (void *)4);
    help_run_with(&kinds[1], signal_from_a_thread, (void *)4);
    signal_from_a_thread((void *)4);
    for (int i = 0; i < 12; i++)
        help_join(waiters[i]);
}

/* ---- a signal is lost to nobody who gives up ---- */

static _Atomic int got, given_up;
static int patient_waits; /* under the mutex */

static void *wait_patiently(void *arg)
{
    (void)arg;
    CHECK(vthread_mutex_lock(&mutex) == 0);
    patient_waits = 1;
    CHECK(vthread_cond_wait(&cond, &mutex) == 0);
    patient_waits = 0;
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    return NULL;
}

static bool patient_is_there(void)
{
    bool there;

    vthread_mutex_lock(&mutex);
    there = patient_waits;
    vthread_mutex_unlock(&mutex);
    return there;
}

/* Waits with a deadline that comes about when the signal does. */
static void *wait_briefly(void *arg)
{
    int error;

    CHECK(vthread_mutex_lock(&mutex) == 0);
    error = vthread_cond_wait_until(&cond, &mutex, vthread_now_ns() + (int64_t)(intptr_t)arg);
    CHECK(error == 0 || error == ETIMEDOUT || error == EINTR);
    atomic_fetch_add(error == 0 ? &got : &given_up, 1);
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    return NULL;
}

/*
 * One waits for ever, behind one that gives up when the signal comes: either takes it, but if
 * it is the one that gives up, he says so.
 */
Test(cond, signal_and_deadline_at_once)
{
    for (int i = 0; i < 300; i++) {
        vthread_t brief, patient;

        atomic_store(&got, 0);
        atomic_store(&given_up, 0);
        brief = help_start_with(&kinds[i % 2], wait_briefly, (void *)(intptr_t)(100000 + i % 7 * 10000));
        patient = help_start(wait_patiently, NULL);
        while (!patient_is_there())
            ;
        if (i % 3 == 0)
            vthread_interrupt(brief);
        vthread_cond_signal(&cond);
        help_join(brief);
        if (atomic_load(&got) == 0) {
            cr_assert_eq(atomic_load(&given_up), 1);
        } else {
            cr_assert(patient_is_there(), "one signal wakes one");
            vthread_cond_signal(&cond);
        }
        help_join(patient);
    }
}

/* ---- with a reentrant lock ---- */

static void *hold_thrice_and_wait(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++)
        CHECK(vthread_lock_lock(&lock) == 0);
    CHECK(vthread_cond_wait_lock(&cond, &lock) == 0);
    CHECK(vthread_lock_hold_count(&lock) == 3);
    for (int i = 0; i < 3; i++)
        CHECK(vthread_lock_unlock(&lock) == 0);
    return NULL;
}

Test(cond, the_lock_is_released_wholly_and_held_as_often_again)
{
    start_waiters(KINDS, hold_thrice_and_wait);
    cr_assert_eq(vthread_lock_trylock(&lock), 0);
    vthread_cond_broadcast(&cond);
    cr_assert_eq(vthread_lock_unlock(&lock), 0);
    for (int i = 0; i < KINDS; i++)
        help_join(waiters[i]);
}

/* ---- monitors ---- */

static vthread_monitor_t others[255];

static void *enter_and_exit(void *arg)
{
    const char *why = NULL;

    (void)arg;
    CHECK(vthread_monitor_enter(&monitor) == 0);
    CHECK(vthread_is_pinned(&why) && strstr(why, "monitor") != NULL);
    CHECK(vthread_monitor_enter(&monitor) == 0);
    CHECK(vthread_monitor_destroy(&monitor) == EBUSY);
    CHECK(vthread_monitor_exit(&monitor) == 0);
    CHECK(vthread_is_pinned(NULL));
    CHECK(vthread_monitor_exit(&monitor) == 0);
    CHECK(!vthread_is_pinned(NULL));
    for (int i = 0; i < 255; i++)
        CHECK(vthread_monitor_enter(&others[i]) == 0);
    CHECK(vthread_monitor_enter(&monitor) == EAGAIN);
    CHECK(vthread_monitor_destroy(&monitor) == 0);
    for (int i = 0; i < 255; i++)
        CHECK(vthread_monitor_exit(&others[i]) == 0);
    CHECK(!vthread_is_pinned(NULL));
    return NULL;
}

Test(cond, a_monitor_pins)
{
    help_run(enter_and_exit, NULL);
}

static void *pinned_wait(void *arg)
{
    pid_t os;

    (void)arg;
    CHECK(vthread_monitor_enter(&monitor) == 0);
    CHECK(vthread_monitor_enter(&monitor) == 0);
    CHECK(vthread_monitor_wait(&monitor) == 0);
    os = help_os_thread();
    CHECK(vthread_is_pinned(NULL) || !vthread_is_virtual(vthread_self()));
    vthread_sleep_ns(100000);
    vthread_yield();
    CHECK(os == help_os_thread());
    order_note(&order, 0);
    CHECK(vthread_monitor_exit(&monitor) == 0);
    CHECK(vthread_monitor_exit(&monitor) == 0);
    return NULL;
}

static void *use_a_carrier(void *arg)
{
    (void)arg;
    vthread_yield();
    return NULL;
}

/* Many wait, with one carrier: they do not keep it. */
Test(cond, a_monitor_does_not_pin_while_it_waits)
{
    enum { N = 8 };

    help_configure(1);
    for (int i = 0; i < N; i++) {
        waiters[i] = help_start(pinned_wait, NULL);
        cr_assert(REACHES(waiters[i], VTHREAD_PARKED));
    }
    help_run(use_a_carrier, NULL);
    cr_assert_eq(vthread_monitor_enter(&monitor), 0);
    cr_assert_eq(vthread_monitor_notify(&monitor), 0);
    cr_assert_eq(vthread_monitor_exit(&monitor), 0);
    cr_assert(EVENTUALLY(atomic_load(&order.n) == 1));
    cr_assert_eq(vthread_monitor_enter(&monitor), 0);
    cr_assert_eq(vthread_monitor_notify_all(&monitor), 0);
    cr_assert_eq(vthread_monitor_exit(&monitor), 0);
    for (int i = 0; i < N; i++)
        help_join(waiters[i]);
    cr_assert_eq(atomic_load(&order.n), N);
}
