/* SPDX-License-Identifier: MIT */
/* Pinned parks inside monitors: counted and reported with the line that entered, and no stack kept. */
#include "event_help.h"

#include <vthread/queue.h>
#include <vthread/sync.h>

TestSuite(pinned, .fini = help_fini, .timeout = 60);

enum { THRESHOLD_MS = 20, LONG_MS = 200 };

static vthread_monitor_t outer = VTHREAD_MONITOR_INITIALIZER;
static vthread_monitor_t inner = VTHREAD_MONITOR_INITIALIZER;
static int line;

/* The deadline is counted from before the wait was begun; most of it is left for the wait. */
static NOINLINE void sleep_inside(void)
{
    vthread_sleep_ms(LONG_MS);
    KEEP_FRAME();
}

static void *enter_and_sleep(void *arg)
{
    (void)arg;
    line = __LINE__ + 1;
    CHECK(vthread_monitor_enter(&outer) == 0);
    CHECK(vthread_monitor_enter(&inner) == 0); /* the first one is to blame */
    CHECK(vthread_monitor_enter(&outer) == 0);
    sleep_inside();
    CHECK(vthread_monitor_exit(&outer) == 0);
    CHECK(vthread_monitor_exit(&inner) == 0);
    CHECK(vthread_unpin() == EINVAL); /* its pin is not for others to take */
    CHECK(vthread_is_pinned(NULL));
    CHECK(vthread_monitor_exit(&outer) == 0);
    CHECK(!vthread_is_pinned(NULL));
    return NULL;
}

static struct help_messages messages;

Test(pinned, inside_a_monitor)
{
    vthread_pin_stats_t stats[VTHREAD_PIN_KINDS];
    struct caught *c;

    vthread_set_misuse_handler(help_keep_message, &messages);
    catch_begin(VTHREAD_EVENT_PINNED);
    help_run_with(&(vthread_attr_t){.name = "insider"}, enter_and_sleep, NULL);
    catch_end();
    c = caught(VTHREAD_EVENT_PINNED, 0);
    cr_assert_not_null(c);
    cr_assert_eq(c->e.pin, VTHREAD_PIN_MONITOR);
    cr_assert_str_eq(c->name, "insider");
    cr_assert_geq(c->e.duration_ns, THRESHOLD_MS * 1000000);
    cr_assert(names_place(c->brief, "enter_and_sleep", "sync_pinned.c", line), "%s", c->brief);
    cr_assert(names_function(c->full, "sleep_inside"), "%s", c->full);
    cr_assert_null(caught(VTHREAD_EVENT_PINNED, 1));
    cr_assert_eq(vthread_runtime_pin_stats(stats), 0);
    cr_assert_eq(stats[VTHREAD_PIN_MONITOR].parks, 1);
    cr_assert_eq(stats[VTHREAD_PIN_MONITOR].max_ns, c->e.duration_ns);
    cr_assert_eq(stats[VTHREAD_PIN_EXPLICIT].parks, 0);
    cr_assert_eq(atomic_load(&messages.count), 1);
}

static atomic_bool waits;

static void *wait_and_sleep(void *arg)
{
    (void)arg;
    line = __LINE__ + 1;
    CHECK(vthread_monitor_enter(&outer) == 0);
    atomic_store(&waits, true);
    CHECK(vthread_monitor_wait(&outer) == 0);
    sleep_inside();
    CHECK(vthread_monitor_exit(&outer) == 0);
    return NULL;
}

static void *notify(void *arg)
{
    (void)arg;
    CHECK(EVENTUALLY_HERE(atomic_load(&waits)));
    CHECK(vthread_monitor_enter(&outer) == 0);
    CHECK(vthread_monitor_notify(&outer) == 0);
    CHECK(vthread_monitor_exit(&outer) == 0);
    return NULL;
}

/* Perhaps on another carrier than before: the pin is a new one, but the place to look at has stayed. */
Test(pinned, after_the_wait_in_a_monitor)
{
    struct caught *c;
    vthread_t t;

    catch_begin(VTHREAD_EVENT_PINNED);
    t = help_start(wait_and_sleep, NULL);
    help_run(notify, NULL);
    help_join(t);
    catch_end();
    c = caught(VTHREAD_EVENT_PINNED, 0);
    cr_assert_not_null(c);
    cr_assert_null(caught(VTHREAD_EVENT_PINNED, 1), "the wait itself does not pin");
    cr_assert_eq(c->e.pin, VTHREAD_PIN_MONITOR);
    cr_assert(names_place(c->brief, "wait_and_sleep", "sync_pinned.c", line), "%s", c->brief);
}

/* ---- one stack for all, inside a monitor, waiting in each way there is ---- */

static vthread_sem_t sem;
static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static vthread_queue_t *queue;
static vthread_latch_t latch;
/* Has the insider begun to wait for the n-th time? */
static bool waits_again(uint64_t n)
{
    vthread_pin_stats_t stats[VTHREAD_PIN_KINDS];

    return vthread_runtime_pin_stats(stats) == 0 && stats[VTHREAD_PIN_MONITOR].parks >= n;
}

static void *insider(void *arg)
{
    uint64_t value = 0;

    (void)arg;
    CHECK(vthread_monitor_enter(&outer) == 0);
    CHECK(vthread_sem_acquire(&sem, 1) == 0);
    CHECK(vthread_queue_take(queue, &value) == 0 && value == 42);
    CHECK(vthread_latch_wait(&latch) == 0);
    CHECK(vthread_mutex_lock(&mutex) == 0);
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    CHECK(vthread_monitor_exit(&outer) == 0);
    return NULL;
}

static void *waker(void *arg)
{
    uint64_t value = 42;

    (void)arg;
    CHECK(vthread_mutex_lock(&mutex) == 0);
    CHECK(EVENTUALLY_HERE(waits_again(1)));
    CHECK(vthread_sem_release(&sem, 1) == 0);
    CHECK(EVENTUALLY_HERE(waits_again(2)));
    CHECK(vthread_queue_put(queue, &value) == 0);
    CHECK(EVENTUALLY_HERE(waits_again(3)));
    CHECK(vthread_latch_count_down(&latch) == 0);
    CHECK(EVENTUALLY_HERE(waits_again(4)));
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    return NULL;
}

static void run_insider(bool strict)
{
    vthread_runtime_params_t params = {
        .parallelism = 1, .stacks = 1, .sole_stacks = UINT_MAX, .strict = strict, .pinned_threshold_ns = 1};
    vthread_t threads[2];
    int n = 0;

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    cr_assert_eq(vthread_sem_init(&sem, 0, NULL), 0);
    cr_assert_eq(vthread_latch_init(&latch, 1), 0);
    cr_assert_eq(vthread_queue_new(&queue, sizeof(uint64_t), 1), 0);
    catch_begin(VTHREAD_EVENT_PINNED);
    threads[0] = help_start(waker, NULL);
    threads[1] = help_start(insider, NULL);
    for (int i = 0; i < 2; i++)
        help_join(threads[i]);
    catch_end();
    for (struct caught *c; (c = caught(VTHREAD_EVENT_PINNED, n)) != NULL; n++) {
        cr_assert_eq(c->e.pin, VTHREAD_PIN_MONITOR, "%s", c->brief);
        cr_assert(names_function(c->full, "insider"), "%s", c->full);
    }
    cr_assert_eq(n, 4);
    cr_assert_eq(vthread_queue_free(queue), 0);
}

Test(pinned, mates_on_the_only_stack_wake_an_insider)
{
    run_insider(false);
}

Test(pinned, mates_on_the_only_stack_wake_an_insider_in_strict_mode)
{
    run_insider(true);
}
