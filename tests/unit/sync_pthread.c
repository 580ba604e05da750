/* SPDX-License-Identifier: MIT */
#include <vthread/pthread.h>

#include "sync_help.h"

TestSuite(pthread, .fini = help_fini, .timeout = 60);

static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static vthread_rwlock_t rwlock = VTHREAD_RWLOCK_INITIALIZER;
static vthread_once_t once = VTHREAD_ONCE_INIT;
static atomic_int runs;

static struct timespec from_now(int clock, int64_t ms)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    ts.tv_sec += ms / 1000;
    ts.tv_nsec += ms % 1000 * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    return ts;
}

static const struct timespec past = {1, 0};
static const struct timespec wrong = {1, 1000000000};

Test(pthread, deadlines_of_timespecs)
{
    struct timespec far = {(time_t)INT64_MAX, 999999999}, before = {(time_t)INT64_MIN, 0};

    cr_assert_eq(vthread_until_timespec(CLOCK_MONOTONIC, &(struct timespec){3, 5}), 3000000005);
    cr_assert_eq(vthread_until_timespec(CLOCK_MONOTONIC, &far), VTHREAD_FOREVER);
    cr_assert_eq(vthread_until_timespec(CLOCK_MONOTONIC, &before), VTHREAD_NOW);
    cr_assert_eq(vthread_until_timespec(CLOCK_REALTIME, &far), VTHREAD_FOREVER);
    cr_assert_eq(vthread_until_timespec(CLOCK_REALTIME, &before), VTHREAD_NOW);
    cr_assert_lt(vthread_until_timespec(CLOCK_REALTIME, &past), vthread_now_ns());
    cr_assert_eq(vthread_until_timespec(CLOCK_BOOTTIME, &far), VTHREAD_NOW);
    cr_assert_eq(vthread_until_timespec(CLOCK_MONOTONIC, &wrong), VTHREAD_NOW);
    cr_assert_eq(vthread_until_timespec(CLOCK_MONOTONIC, NULL), VTHREAD_NOW);
    for (int clock = CLOCK_REALTIME; clock <= CLOCK_MONOTONIC; clock++) {
        struct timespec ts = from_now(clock, 100000);
        int64_t left_ns = vthread_until_timespec(clock, &ts) - vthread_now_ns();

        cr_assert(left_ns > 50000000000 && left_ns <= 100001000000, "%lld", (long long)left_ns);
    }
}

static void *try_the_mutex(void *arg)
{
    struct timespec soon = from_now(CLOCK_REALTIME, 5);
    int64_t until_ns = vthread_now_ns() + 4000000; /* the clocks need not agree to the nanosecond */

    (void)arg;
    CHECK(vthread_mutex_timedlock(&mutex, &past) == ETIMEDOUT);
    CHECK(vthread_mutex_timedlock(&mutex, &wrong) == EINVAL);
    CHECK(vthread_mutex_clocklock(&mutex, CLOCK_BOOTTIME, &past) == EINVAL);
    CHECK(vthread_mutex_timedlock(&mutex, &soon) == ETIMEDOUT);
    CHECK(vthread_now_ns() >= until_ns);
    CHECK(vthread_rwlock_timedrdlock(&rwlock, &past) == ETIMEDOUT);
    CHECK(vthread_rwlock_timedwrlock(&rwlock, &soon) == ETIMEDOUT);
    CHECK(vthread_rwlock_timedwrlock(&rwlock, &wrong) == EINVAL);
    CHECK(vthread_rwlock_clockrdlock(&rwlock, CLOCK_MONOTONIC, &past) == ETIMEDOUT);
    return NULL;
}

Test(pthread, locks_with_a_time)
{
    struct timespec soon = from_now(CLOCK_REALTIME, 20000);

    cr_assert_eq(vthread_mutex_timedlock(&mutex, &soon), 0);
    cr_assert_eq(vthread_rwlock_timedwrlock(&rwlock, &soon), 0);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], try_the_mutex, NULL);
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
    cr_assert_eq(vthread_rwlock_timedrdlock(&rwlock, &past), 0, "free, the time does not matter");
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
    cr_assert_eq(vthread_mutex_unlock(&mutex), 0);
}

Test(pthread, conditions_go_by_the_clock_they_were_given)
{
    struct timespec in_an_hour_of_uptime = from_now(CLOCK_MONOTONIC, 3600 * 1000); /* 1970 on the other */
    vthread_condattr_t attr;
    vthread_cond_t cond = VTHREAD_COND_INITIALIZER;
    struct timespec soon;

    cr_assert_eq(vthread_mutex_lock(&mutex), 0);
    cr_assert_eq(vthread_cond_timedwait(&cond, &mutex, &in_an_hour_of_uptime), ETIMEDOUT);
    soon = from_now(CLOCK_REALTIME, 5);
    cr_assert_eq(vthread_cond_timedwait(&cond, &mutex, &soon), ETIMEDOUT);
    cr_assert_eq(vthread_cond_timedwait(&cond, &mutex, &wrong), EINVAL);
    cr_assert_eq(vthread_condattr_init(&attr), 0);
    cr_assert_eq(vthread_condattr_setclock(&attr, CLOCK_BOOTTIME), EINVAL);
    cr_assert_eq(vthread_condattr_setclock(&attr, CLOCK_MONOTONIC), 0);
    cr_assert_eq(vthread_condattr_setpshared(&attr, VTHREAD_PROCESS_SHARED), ENOTSUP);
    cr_assert_eq(vthread_cond_init(&cond, &attr), 0);
    cr_assert_eq(vthread_condattr_destroy(&attr), 0);
    soon = from_now(CLOCK_MONOTONIC, 5); /* on the other clock it would have passed long ago */
    int64_t until_ns = vthread_until_timespec(CLOCK_MONOTONIC, &soon);
    cr_assert_eq(vthread_cond_timedwait(&cond, &mutex, &soon), ETIMEDOUT);
    cr_assert_geq(vthread_now_ns(), until_ns);
    cr_assert_eq(vthread_mutex_unlock(&mutex), 0);
    cr_assert_eq(vthread_cond_destroy(&cond), 0);
}

static void run_once(void)
{
    atomic_fetch_add(&runs, 1);
}

static void *detached(void *arg)
{
    (void)arg;
    vthread_once(&once, run_once);
    return NULL;
}

static void *use_its_stack(void *arg)
{
    volatile char large[3 << 20];

    for (size_t i = 0; i < sizeof large; i += 4096)
        large[i] = 1;
    return arg == NULL || large[4096] != 1 ? NULL : (void *)"no argument expected";
}

Test(pthread, attributes)
{
    vthread_attr_t attr;
    vthread_t t = NULL;
    size_t bytes = 0;
    int state = -1;

    memset(&attr, 0xff, sizeof attr);
    cr_assert_eq(vthread_attr_init(&attr), 0);
    cr_assert_eq(vthread_attr_getdetachstate(&attr, &state), 0);
    cr_assert_eq(state, VTHREAD_CREATE_JOINABLE);
    cr_assert_eq(vthread_attr_setdetachstate(&attr, 7), EINVAL);
    cr_assert_eq(vthread_attr_setstacksize(&attr, 100), EINVAL);
    cr_assert_eq(vthread_attr_setstacksize(&attr, 65536), 0);
    cr_assert_eq(vthread_attr_setguardsize(&attr, 0), 0);
    cr_assert_eq(vthread_attr_setscope(&attr, VTHREAD_SCOPE_SYSTEM), 0);
    cr_assert_eq(vthread_attr_setinheritsched(&attr, VTHREAD_EXPLICIT_SCHED), ENOTSUP);
    cr_assert_eq(vthread_attr_setschedpolicy(&attr, 1), ENOTSUP);
    cr_assert_eq(vthread_attr_setstack(&attr, &attr, sizeof attr), ENOTSUP);
    help_run_with(&attr, help_nothing, NULL);
    cr_assert_eq(vthread_attr_setstacksize(&attr, 4 << 20), 0);
    cr_assert_eq(vthread_attr_getstacksize(&attr, &bytes), 0);
    cr_assert_eq(bytes, 4 << 20);
    help_run_with(&attr, use_its_stack, NULL);
    cr_assert_eq(vthread_attr_setdetachstate(&attr, VTHREAD_CREATE_DETACHED), 0);
    cr_assert_eq(vthread_create(&t, &attr, detached, NULL), 0);
    cr_assert(EVENTUALLY(!vthread_is_alive(t)));
    cr_assert_eq(atomic_load(&runs), 1);
    cr_assert_eq(vthread_join(t, NULL), ESRCH);
    cr_assert_eq(vthread_attr_destroy(&attr), 0);
}

Test(pthread, what_has_an_np)
{
    vthread_t t = help_start(help_park_for_ever, NULL);
    char name[16];

    cr_assert_eq(vthread_setname_np(t, "me"), 0);
    cr_assert_eq(vthread_getname_np(t, name, sizeof name), 0);
    cr_assert_str_eq(name, "me");
    cr_assert_eq(vthread_tryjoin_np(t, NULL), EBUSY);
    cr_assert_eq(vthread_timedjoin_np(t, NULL, &past), ETIMEDOUT);
    cr_assert_eq(vthread_timedjoin_np(t, NULL, &wrong), EINVAL);
    vthread_interrupt(t);
    help_join(t);
}

Test(pthread, mutex_attributes_and_spin_locks)
{
    vthread_mutexattr_t attr;
    vthread_spinlock_t spin;
    int type = -1;

    cr_assert_eq(vthread_mutexattr_init(&attr), 0);
    cr_assert_eq(vthread_mutexattr_settype(&attr, 3), EINVAL);
    cr_assert_eq(vthread_mutexattr_settype(&attr, VTHREAD_MUTEX_RECURSIVE), 0);
    cr_assert_eq(vthread_mutexattr_gettype(&attr, &type), 0);
    cr_assert_eq(type, VTHREAD_MUTEX_RECURSIVE);
    cr_assert_eq(vthread_mutexattr_setpshared(&attr, VTHREAD_PROCESS_PRIVATE), 0);
    cr_assert_eq(vthread_mutexattr_setpshared(&attr, VTHREAD_PROCESS_SHARED), ENOTSUP);
    cr_assert_eq(vthread_mutexattr_setprotocol(&attr, 1), ENOTSUP);
    cr_assert_eq(vthread_mutexattr_setrobust(&attr, 1), ENOTSUP);
    cr_assert_eq(vthread_mutexattr_destroy(&attr), 0);
    cr_assert_eq(vthread_spin_init(&spin, VTHREAD_PROCESS_SHARED), ENOTSUP);
    cr_assert_eq(vthread_spin_init(&spin, VTHREAD_PROCESS_PRIVATE), 0);
    cr_assert_eq(vthread_spin_lock(&spin), 0);
    cr_assert_eq(vthread_spin_trylock(&spin), EBUSY);
    cr_assert_eq(vthread_spin_unlock(&spin), 0);
    cr_assert_eq(vthread_spin_destroy(&spin), 0);
}

static vthread_barrier_t barrier = VTHREAD_BARRIER_INITIALIZER(KINDS);
static atomic_int serial, others;

static void *meet(void *arg)
{
    int result = vthread_barrier_wait_serial(&barrier);

    (void)arg;
    atomic_fetch_add(result == VTHREAD_BARRIER_SERIAL_THREAD ? &serial : &others, 1);
    CHECK(result == 0 || result == VTHREAD_BARRIER_SERIAL_THREAD);
    return NULL;
}

static void *breaks_it(void *arg)
{
    (void)arg;
    vthread_interrupt(vthread_self());
    CHECK(vthread_barrier_wait_serial(&barrier) == EINTR);
    CHECK(vthread_barrier_wait_serial(&barrier) == ECANCELED);
    return NULL;
}

Test(pthread, one_of_those_at_a_barrier_is_told)
{
    vthread_t t[KINDS];

    for (int i = 0; i < KINDS; i++)
        t[i] = help_start_with(&kinds[i], meet, NULL);
    for (int i = 0; i < KINDS; i++)
        help_join(t[i]);
    cr_assert_eq(atomic_load(&serial), 1);
    cr_assert_eq(atomic_load(&others), KINDS - 1);
    help_run(breaks_it, NULL);
}

Test(pthread, semaphores)
{
    vthread_sem_t sem;
    int value = -1;

    cr_assert_eq(vthread_sem_init(&sem, 1, NULL), 0);
    cr_assert_eq(vthread_sem_wait(&sem), 0);
    cr_assert_eq(vthread_sem_trywait(&sem), EAGAIN);
    cr_assert_eq(vthread_sem_timedwait(&sem, &past), ETIMEDOUT);
    cr_assert_eq(vthread_sem_timedwait(&sem, &wrong), EINVAL);
    cr_assert_eq(vthread_sem_post(&sem), 0);
    cr_assert_eq(vthread_sem_getvalue(&sem, &value), 0);
    cr_assert_eq(value, 1);
    cr_assert_eq(vthread_sem_destroy(&sem), 0);
}
