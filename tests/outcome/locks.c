/* SPDX-License-Identifier: MIT */
/* What two or three threads may see of mutexes, conditions, read-write locks, latches and barriers. */
#include "outcome.h"

/* ---- mutex ---- */

static void adds(struct world *w, int *r)
{
    MUST(vthread_mutex_lock(&w->mutex));
    *r = w->x++;
    MUST(vthread_mutex_unlock(&w->mutex));
}

static void writes_both(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_mutex_lock(&w->mutex));
    w->x = 1;
    w->y = 1;
    MUST(vthread_mutex_unlock(&w->mutex));
}

static void tries_to_read(struct world *w, int *r)
{
    *r = vthread_mutex_trylock(&w->mutex);
    if (*r != 0)
        return;
    *r = w->x + w->y;
    MUST(vthread_mutex_unlock(&w->mutex));
}

static void adds_in_time(struct world *w, int *r)
{
    *r = vthread_mutex_lock_until(&w->mutex, vthread_after_ns(w->soon_ns));
    if (*r != 0)
        return;
    w->x++;
    MUST(vthread_mutex_unlock(&w->mutex));
}

/* Holds it until the other one may have given up. */
static void adds_slowly(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_mutex_lock(&w->mutex));
    vthread_sleep_ns(w->soon_ns);
    w->x++;
    MUST(vthread_mutex_unlock(&w->mutex));
}

static void adds_unless_interrupted(struct world *w, int *r)
{
    *r = vthread_mutex_lock_interruptible(&w->mutex);
    if (*r == 0) {
        w->x++;
        MUST(vthread_mutex_unlock(&w->mutex));
    }
    outcome_await(&w->done);
    w->y = vthread_interrupted();
}

static void interrupts_first(struct world *w, int *r)
{
    (void)r;
    outcome_interrupt(w, 0);
    atomic_store(&w->done, true);
}

/* The sum; and the mutex is free. */
static void sum(struct world *w, int *r)
{
    MUST(vthread_mutex_trylock(&w->mutex));
    MUST(vthread_mutex_unlock(&w->mutex));
    MUST(vthread_mutex_destroy(&w->mutex));
    *r = w->x + w->y;
}

/* ---- condition ---- */

static void waits(struct world *w, int *r)
{
    MUST(vthread_mutex_lock(&w->mutex));
    while (w->x == 0)
        MUST(vthread_cond_wait(&w->cond, &w->mutex));
    *r = w->x--;
    MUST(vthread_mutex_unlock(&w->mutex));
}

static void waits_in_time(struct world *w, int *r)
{
    int64_t deadline_ns = vthread_after_ns(w->soon_ns);
    int error = 0;

    MUST(vthread_mutex_lock(&w->mutex));
    while (w->x == 0 && error == 0)
        error = vthread_cond_wait_until(&w->cond, &w->mutex, deadline_ns);
    *r = w->x > 0 ? 1 : error;
    w->x -= w->x > 0;
    MUST(vthread_mutex_unlock(&w->mutex));
}

static void signals(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_mutex_lock(&w->mutex));
    w->x++;
    MUST(vthread_cond_signal(&w->cond));
    MUST(vthread_mutex_unlock(&w->mutex));
}

static void broadcasts_two(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_mutex_lock(&w->mutex));
    w->x += 2;
    MUST(vthread_mutex_unlock(&w->mutex));
    MUST(vthread_cond_broadcast(&w->cond));
}

/* ---- rwlock ---- */

static void reads_both(struct world *w, int *r)
{
    MUST(vthread_rwlock_rdlock(&w->rwlock));
    *r = w->x == w->y ? w->x : -1;
    MUST(vthread_rwlock_unlock(&w->rwlock));
}

static void writes_both_alone(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_rwlock_wrlock(&w->rwlock));
    w->x++;
    w->y++;
    MUST(vthread_rwlock_unlock(&w->rwlock));
}

static void is_unlocked(struct world *w, int *r)
{
    MUST(vthread_rwlock_destroy(&w->rwlock));
    *r = w->x == w->y ? w->x : -1;
}

/* ---- latch, barrier ---- */

static void begin_latch(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_latch_init(&w->latch, 2));
}

static void counts_x(struct world *w, int *r)
{
    (void)r;
    w->x = 1;
    MUST(vthread_latch_count_down(&w->latch));
}

static void counts_y(struct world *w, int *r)
{
    (void)r;
    w->y = 1;
    MUST(vthread_latch_count_down(&w->latch));
}

static void awaits_both(struct world *w, int *r)
{
    MUST(vthread_latch_wait(&w->latch));
    *r = w->x + w->y;
}

static void begin_two(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_barrier_init(&w->barrier, 2));
}

static void meets(struct world *w, int *r)
{
    *r = vthread_barrier_wait(&w->barrier);
}

static void meets_in_time(struct world *w, int *r)
{
    *r = vthread_barrier_wait_until(&w->barrier, vthread_after_ns(w->soon_ns));
}

static void is_broken(struct world *w, int *r)
{
    *r = vthread_barrier_is_broken(&w->barrier);
}

static const struct outcome_test tests[] = {
    {.name = "mutex: two add", .actors = {adds, adds}, .end = sum, .permitted = {"0 1 2", "1 0 2"}},
    {.name = "mutex: three add",
     .actors = {adds, adds, adds},
     .end = sum,
     .permitted = {"0 1 2 3", "0 2 1 3", "1 0 2 3", "1 2 0 3", "2 0 1 3", "2 1 0 3"}},
    {.name = "mutex: one tries",
     .actors = {writes_both, tries_to_read},
     .end = sum,
     .permitted = {"0 0 2", "0 2 2", "0 busy 2"}},
    {.name = "mutex: a deadline",
     .actors = {adds_slowly, adds_in_time},
     .end = sum,
     .permitted = {"0 0 2", "0 late 1"}},
    {.name = "mutex: two deadlines",
     .actors = {adds_slowly, adds_in_time, adds_in_time},
     .end = sum,
     .permitted = {"0 0 0 3", "0 0 late 2", "0 late 0 2", "0 late late 1"}},
    /* The last: additions, and 1 if the interrupt is still to be seen. */
    {.name = "mutex: an interrupt",
     .actors = {adds_unless_interrupted, interrupts_first},
     .end = sum,
     .permitted = {"0 0 2", "interrupted 0 0"}},
    {.name = "mutex: an interrupt, a holder",
     .actors = {adds_unless_interrupted, interrupts_first, adds},
     .end = sum,
     .permitted = {"0 0 0 3", "0 0 1 3", "interrupted 0 0 1"}},
    {.name = "condition: a signal", .actors = {waits, signals}, .end = sum, .permitted = {"1 0 0"}},
    {.name = "condition: two signals",
     .actors = {waits, signals, signals},
     .end = sum,
     .permitted = {"1 0 0 1", "2 0 0 1"}},
    {.name = "condition: a broadcast",
     .actors = {waits, waits, broadcasts_two},
     .end = sum,
     .permitted = {"2 1 0 0", "1 2 0 0"}},
    {.name = "condition: a deadline",
     .actors = {waits_in_time, signals},
     .end = sum,
     .permitted = {"1 0 0", "late 0 1"}},
    {.name = "condition: one has a deadline", /* a signal is not lost upon him who gives up */
     .actors = {waits, waits_in_time, broadcasts_two},
     .end = sum,
     .permitted = {"2 1 0 0", "1 1 0 0", "2 late 0 1"}},
    {.name = "rwlock: a reader",
     .actors = {reads_both, writes_both_alone},
     .end = is_unlocked,
     .permitted = {"0 0 1", "1 0 1"}},
    {.name = "rwlock: two writers",
     .actors = {writes_both_alone, writes_both_alone, reads_both},
     .end = is_unlocked,
     .permitted = {"0 0 0 2", "0 0 1 2", "0 0 2 2"}},
    {.name = "latch", .begin = begin_latch, .actors = {counts_x, counts_y, awaits_both}, .permitted = {"0 0 2 0"}},
    {.name = "barrier: two",
     .begin = begin_two,
     .actors = {meets, meets},
     .end = is_broken,
     .permitted = {"0 1 0", "1 0 0"}},
    {.name = "barrier: a deadline",
     .begin = begin_two,
     .actors = {meets, meets_in_time},
     .end = is_broken,
     .permitted = {"0 1 0", "1 0 0", "cancelled late 1"}},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return outcome_main(argc, argv, tests);
}
