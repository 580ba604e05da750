/* SPDX-License-Identifier: MIT */
/* Staying on a carrier over waits, and blocking calls apart from the stack. */
#include "vthread_help.h"

TestSuite(stay, .fini = help_fini, .timeout = 60);

enum { WAITS = 50 };

static void configure_to_migrate(void)
{
    setenv("VTHREAD_FORCE_MIGRATE", "1", 1);
    help_configure(2);
}

static void wait_somehow(int i)
{
    if (i % 2 == 0)
        vthread_yield();
    else
        vthread_sleep_ns(1000);
}

static void *stay(void *arg)
{
    pid_t here;
    bool moved = false;

    (void)arg;
    for (int round = 0; round < 3; round++) {
        CHECK(vthread_stay_begin() == 0);
        CHECK(vthread_stay_begin() == 0);
        here = help_os_thread();
        for (int i = 0; i < WAITS; i++) {
            wait_somehow(i);
            CHECK(help_os_thread() == here);
        }
        CHECK(vthread_stay_end() == 0);
        wait_somehow(0);
        CHECK(help_os_thread() == here); /* one is still open */
        CHECK(vthread_stay_end() == 0);
        CHECK(vthread_stay_end() == EINVAL);
        for (int i = 0; i < WAITS; i++) {
            wait_somehow(i);
            moved = moved || help_os_thread() != here;
        }
    }
    CHECK(moved);
    return NULL;
}

Test(stay, on_one_carrier_where_everything_moves, .init = configure_to_migrate)
{
    vthread_t threads[8];

    for (int i = 0; i < 8; i++)
        threads[i] = help_start(stay, NULL);
    for (int i = 0; i < 8; i++)
        help_join(threads[i]);
}

static void *block(void *arg)
{
    (void)arg;
    vthread_blocking_begin("test");
    usleep(20000);
    vthread_blocking_end();
    return NULL;
}

static void *stay_while_carriers_retire(void *arg)
{
    pid_t here;

    (void)arg;
    CHECK(vthread_stay_begin() == 0);
    here = help_os_thread();
    for (int i = 0; i < 20; i++) {
        vthread_sleep_ms(2);
        CHECK(help_os_thread() == here);
    }
    CHECK(vthread_stay_end() == 0);
    return NULL;
}

Test(stay, while_spares_come_and_go)
{
    vthread_t staying[8];
    vthread_t blocking[8];

    help_configure(2);
    for (int i = 0; i < 8; i++) {
        blocking[i] = help_start(block, NULL);
        staying[i] = help_start(stay_while_carriers_retire, NULL);
    }
    for (int i = 0; i < 8; i++) {
        help_join(blocking[i]);
        help_join(staying[i]);
    }
}

static void *end_staying(void *arg)
{
    (void)arg;
    CHECK(vthread_stay_begin() == 0);
    vthread_yield();
    return NULL;
}

static void *no_longer(void *arg)
{
    (void)arg;
    CHECK(vthread_stay_end() == EINVAL);
    return NULL;
}

Test(stay, ends_with_the_thread)
{
    help_configure(1);
    for (int i = 0; i < 100; i++)
        help_run(end_staying, NULL);
    help_run(no_longer, NULL);             /* a record that was used before */
    cr_assert_eq(vthread_stay_begin(), 0); /* nothing, on a platform thread */
    cr_assert_eq(vthread_stay_end(), 0);
}

static void *too_deep(void *arg)
{
    (void)arg;
    for (int i = 0; i < 7; i++)
        CHECK(vthread_stay_begin() == 0);
    CHECK(vthread_stay_begin() == EAGAIN);
    return NULL;
}

Test(stay, nests)
{
    help_run(too_deep, NULL);
}

/* ---- apart ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int told;

static void *wait_to_be_told(void *arg)
{
    pthread_mutex_lock(&mutex);
    while (told < *(int *)arg)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    return arg;
}

static void *tell(void *arg)
{
    pthread_mutex_lock(&mutex);
    told++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    return arg;
}

static int wanted;

static void *wait_apart(void *arg)
{
    char mine[64];
    pid_t here = help_os_thread();

    (void)arg;
    HELP_KEEP_WHOLE(mine);
    memset(mine, 'm', sizeof mine);
    errno = EXDEV;
    CHECK(vthread_blocking_call_apart(wait_to_be_told, &wanted) == &wanted);
    CHECK(errno == EXDEV);
    CHECK(help_os_thread() == here);
    HELP_KEEP_WHOLE(mine);
    for (size_t i = 0; i < sizeof mine; i++)
        CHECK(mine[i] == 'm');
    return NULL;
}

static void *tell_them(void *arg)
{
    vthread_blocking_call_apart(tell, arg);
    return NULL;
}

/* With two stacks all tellers have a waiter for a stack-mate: a call that kept the stack would last for ever. */
Test(apart, stack_mates_go_on, .fini = help_fini, .timeout = 60)
{
    vthread_runtime_params_t params = {.parallelism = 2, .stacks = 2, .sole_stacks = UINT_MAX};
    vthread_t threads[24];

    wanted = 12;
    cr_assert_eq(vthread_runtime_configure(&params), 0);
    for (int i = 0; i < 24; i++)
        threads[i] = help_start(i < 12 ? wait_apart : tell_them, NULL);
    for (int i = 0; i < 24; i++)
        help_join(threads[i]);
}

static void *self_is_none(void *arg)
{
    (void)arg;
    return vthread_self_virtual();
}

static void *is_local(void *arg)
{
    return *(vthread_t *)arg == vthread_self_virtual() ? NULL : arg;
}

static void *inside(void *arg)
{
    vthread_t self = vthread_self();

    (void)arg;
    CHECK(vthread_self_virtual() == self);
    CHECK(vthread_blocking_call_apart(self_is_none, &told) == NULL);
    CHECK(vthread_blocking_call_apart(is_local, &self) == NULL); /* which is only right where the stack is kept */
    return NULL;
}

Test(apart, has_no_thread_unless_the_argument_is_a_local, .fini = help_fini, .timeout = 60)
{
    vthread_runtime_params_t params = {.stacks = 2, .sole_stacks = UINT_MAX};

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    help_run(inside, NULL);
    cr_assert_null(vthread_self_virtual());
    cr_assert_eq(vthread_blocking_call_apart(help_return, &told), &told);
}
