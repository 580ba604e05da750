/* SPDX-License-Identifier: MIT */
/* What two or three threads may see of semaphores, permits to run, and futures. */
#include "outcome.h"

/* ---- semaphore; the last result is what is left in it ---- */

static void begin_none(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_sem_init(&w->sem, 0, NULL));
}

static void begin_none_fair(struct world *w, int *r)
{
    vthread_sem_params_t params = {.fair = true};

    (void)r;
    MUST(vthread_sem_init(&w->sem, 0, &params));
}

static void begin_two(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_sem_init(&w->sem, 2, NULL));
}

static void tries(struct world *w, int *r)
{
    *r = vthread_sem_tryacquire(&w->sem, 1) == 0;
}

static void acquires(struct world *w, int *r)
{
    *r = vthread_sem_acquire(&w->sem, 1);
}

static void acquires_in_time(struct world *w, int *r)
{
    *r = vthread_sem_acquire_until(&w->sem, 1, vthread_after_ns(w->soon_ns));
}

static void acquires_two_in_time(struct world *w, int *r)
{
    *r = vthread_sem_acquire_until(&w->sem, 2, vthread_after_ns(w->soon_ns));
}

static void acquires_until_through(struct world *w, int *r)
{
    *r = vthread_sem_acquire(&w->sem, 1);
    outcome_await(&w->done);
    w->x = vthread_interrupted();
}

static void interrupts_first(struct world *w, int *r)
{
    (void)r;
    outcome_interrupt(w, 0);
    atomic_store(&w->done, true);
}

static void releases(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_sem_release(&w->sem, 1));
}

static void releases_two(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_sem_release(&w->sem, 2));
}

static void drains(struct world *w, int *r)
{
    *r = vthread_sem_drain(&w->sem);
}

static void left(struct world *w, int *r)
{
    *r = vthread_sem_available(&w->sem);
    MUST(vthread_sem_destroy(&w->sem));
}

/* ---- the permit of park ---- */

static void parks(struct world *w, int *r)
{
    vthread_unpark(NULL); /* nothing */
    while (!atomic_load(&w->done))
        vthread_park();
    *r = w->x;
    vthread_park_until(VTHREAD_NOW); /* a permit that was not needed is not the next round's */
}

static void unparks(struct world *w, int *r)
{
    vthread_t t;

    (void)r;
    w->x = 1;
    while ((t = atomic_load(&w->threads[0])) == NULL)
        vthread_yield();
    atomic_store(&w->done, true);
    vthread_unpark(t);
}

/* ---- futures ---- */

static void *computes(void *arg)
{
    struct world *w = arg;

    if (w->x++ == 0) /* once */
        vthread_yield();
    return NULL;
}

static void *fails(void *arg)
{
    (void)arg;
    vthread_yield();
    return vthread_fail(EBUSY);
}

static vthread_executor_t *executor;

static void submit(struct world *w, void *(*fn)(void *arg))
{
    if (executor == NULL)
        MUST(vthread_executor_new_per_task(&executor, NULL));
    MUST(vthread_executor_submit(executor, fn, w, &w->future));
}

static void begin_task(struct world *w, int *r)
{
    (void)r;
    submit(w, computes);
}

static void begin_failing_task(struct world *w, int *r)
{
    (void)r;
    submit(w, fails);
}

/* A failure by its code. */
static int get(struct world *w, int64_t deadline_ns)
{
    int error = vthread_future_get_until(w->future, NULL, deadline_ns);

    return error == ECHILD ? vthread_future_error(w->future) : error;
}

static void gets(struct world *w, int *r)
{
    *r = get(w, VTHREAD_FOREVER);
}

static void gets_in_time(struct world *w, int *r)
{
    *r = get(w, vthread_after_ns(w->soon_ns));
}

static void cancels(struct world *w, int *r)
{
    *r = vthread_future_cancel(w->future, true) == 0; /* 1: it is */
}

static void frees(struct world *w, int *r)
{
    *r = get(w, VTHREAD_FOREVER);
    MUST(vthread_future_free(w->future));
}

static const struct outcome_test tests[] = {
    {.name = "semaphore: three try for two",
     .begin = begin_two,
     .actors = {tries, tries, tries},
     .end = left,
     .permitted = {"1 1 0 0", "1 0 1 0", "0 1 1 0"}},
    {.name = "semaphore: a deadline",
     .begin = begin_none,
     .actors = {releases, acquires_in_time},
     .end = left,
     .permitted = {"0 0 0", "0 late 1"}},
    {.name = "semaphore: two for one",
     .begin = begin_none,
     .actors = {releases, acquires_in_time, acquires_in_time},
     .end = left,
     .permitted = {"0 0 late 0", "0 late 0 0", "0 late late 1"}},
    {.name = "semaphore: many and few",
     .begin = begin_none,
     .actors = {releases_two, acquires_two_in_time, acquires_in_time},
     .end = left,
     .permitted = {"0 0 late 0", "0 late 0 1", "0 late late 2"}},
    {.name = "fair semaphore: many and few", /* the few behind the many, who gives up, are not forgotten */
     .begin = begin_none_fair,
     .actors = {releases, acquires_two_in_time, acquires},
     .end = left,
     .permitted = {"0 late 0 0"}},
    {.name = "semaphore: an interrupt",
     .begin = begin_none,
     .actors = {acquires_until_through, interrupts_first, releases},
     .end = left,
     .permitted = {"0 0 0 0", "interrupted 0 0 1"}},
    {.name = "semaphore: a drain",
     .begin = begin_none,
     .actors = {releases_two, drains, tries},
     .end = left,
     .permitted = {"0 2 0 0", "0 1 1 0", "0 0 0 2", "0 0 1 1"}},
    {.name = "park and unpark", .actors = {parks, unparks}, .permitted = {"1 0 0"}},
    {.name = "future: two get", .begin = begin_task, .actors = {gets, gets}, .end = frees, .permitted = {"0 0 0"}},
    {.name = "future: a failure",
     .begin = begin_failing_task,
     .actors = {gets, gets_in_time},
     .end = frees,
     .permitted = {"busy busy busy", "busy late busy"}},
    {.name = "future: cancelled or not",
     .begin = begin_task,
     .actors = {gets, cancels},
     .end = frees,
     .permitted = {"0 0 0", "cancelled 1 cancelled"}},
    {.name = "future: cancelled by two",
     .begin = begin_task,
     .actors = {cancels, cancels, gets},
     .end = frees,
     .permitted = {"0 0 0 0", "1 0 cancelled cancelled", "0 1 cancelled cancelled", "1 1 cancelled cancelled"}},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return outcome_main(argc, argv, tests);
}
