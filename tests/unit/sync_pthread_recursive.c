/* SPDX-License-Identifier: MIT */
/* Mutexes as reentrant locks, which is for a whole file. */
#define VTHREAD_RECURSIVE_MUTEXES
#include <vthread/pthread.h>

#include "sync_help.h"

TestSuite(pthread_recursive, .fini = help_fini, .timeout = 60);

static vthread_mutex_t mutex;
static vthread_mutex_t other = VTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static vthread_mutex_t plain = VTHREAD_MUTEX_INITIALIZER;
static vthread_cond_t cond = VTHREAD_COND_INITIALIZER;
static bool ready;

static void *waits_twice_locked(void *arg)
{
    CHECK(vthread_mutex_lock(&mutex) == 0);
    CHECK(vthread_mutex_lock(&mutex) == 0);
    while (!ready)
        CHECK(vthread_cond_wait(&cond, &mutex) == 0);
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    CHECK(vthread_mutex_unlock(&mutex) == EPERM);
    return arg;
}

Test(pthread_recursive, may_be_locked_again)
{
    struct timespec past = {1, 0};
    vthread_mutexattr_t attr;
    vthread_t t;

    vthread_set_misuse_handler(help_keep_message, &(struct help_messages){0});
    cr_assert_eq(vthread_mutexattr_init(&attr), 0);
    cr_assert_eq(vthread_mutexattr_settype(&attr, VTHREAD_MUTEX_RECURSIVE), 0);
    cr_assert_eq(vthread_mutex_init(&mutex, &attr), 0);
    t = help_start(waits_twice_locked, NULL);
    cr_assert(WAITS(t));
    cr_assert_eq(vthread_mutex_lock(&mutex), 0, "the one who waits has let go of it wholly");
    cr_assert_eq(vthread_mutex_trylock(&mutex), 0);
    cr_assert_eq(vthread_mutex_timedlock(&mutex, &past), 0);
    cr_assert_eq(vthread_cond_timedwait(&cond, &mutex, &past), ETIMEDOUT);
    ready = true;
    cr_assert_eq(vthread_cond_signal(&cond), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(vthread_mutex_unlock(&mutex), 0);
    help_join(t);
    cr_assert_eq(vthread_mutex_destroy(&mutex), 0);
    cr_assert_eq(vthread_mutex_lock(&other), 0);
    cr_assert_eq(vthread_mutex_lock(&other), 0);
    cr_assert_eq(vthread_mutex_lock(&plain), 0);
    cr_assert_eq(vthread_mutex_lock(&plain), 0);
}
