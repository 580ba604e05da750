/* SPDX-License-Identifier: MIT */
/*
 * What two or three threads may see of queues and selects.  Elements are 1 and 2; a taker's result is
 * the element, or the error; a putter's the error.  The last one is what is left.
 */
#include "outcome.h"

static void begin(struct world *w, size_t capacity)
{
    MUST(vthread_queue_new(&w->queue, sizeof(int), capacity));
    MUST(vthread_queue_new(&w->other, sizeof(int), capacity));
}

static void begin_synchronous(struct world *w, int *r)
{
    (void)r;
    begin(w, 0);
}

static void begin_one(struct world *w, int *r)
{
    (void)r;
    begin(w, 1);
}

static int put(vthread_queue_t *q, int elem, int64_t deadline_ns)
{
    return vthread_queue_put_until(q, &elem, deadline_ns);
}

static int take(vthread_queue_t *q, int64_t deadline_ns)
{
    int elem = 0;
    int error = vthread_queue_take_until(q, &elem, deadline_ns);

    return error != 0 ? error : elem;
}

static void puts_1(struct world *w, int *r)
{
    *r = put(w->queue, 1, VTHREAD_FOREVER);
}

static void puts_2(struct world *w, int *r)
{
    *r = put(w->queue, 2, VTHREAD_FOREVER);
}

static void puts_1_in_time(struct world *w, int *r)
{
    *r = put(w->queue, 1, vthread_after_ns(w->soon_ns));
}

static void puts_2_in_time_there(struct world *w, int *r)
{
    *r = put(w->other, 2, vthread_after_ns(w->soon_ns));
}

static void tries_1(struct world *w, int *r)
{
    *r = put(w->queue, 1, VTHREAD_NOW);
}

static void tries_2(struct world *w, int *r)
{
    *r = put(w->queue, 2, VTHREAD_NOW);
}

static void takes(struct world *w, int *r)
{
    *r = take(w->queue, VTHREAD_FOREVER);
}

static void takes_two(struct world *w, int *r)
{
    int first = take(w->queue, VTHREAD_FOREVER);
    int second = take(w->queue, VTHREAD_FOREVER);

    *r = 2 * first + second; /* 4: 1 then 2.  5: 2 then 1 */
    if (*r == 4)
        *r = 1;
    else if (*r == 5)
        *r = 2;
}

static void takes_in_time(struct world *w, int *r)
{
    *r = take(w->queue, vthread_after_ns(w->soon_ns));
}

static void tries_to_take(struct world *w, int *r)
{
    *r = take(w->queue, VTHREAD_NOW);
}

static void takes_until_through(struct world *w, int *r)
{
    *r = take(w->queue, VTHREAD_FOREVER);
    outcome_await(&w->done);
    vthread_interrupted();
}

static void interrupts_first(struct world *w, int *r)
{
    (void)r;
    outcome_interrupt(w, 0);
    atomic_store(&w->done, true);
}

static void closes(struct world *w, int *r)
{
    (void)r;
    MUST(vthread_queue_close(w->queue));
}

/* Take from one of the two. */
static void selects(struct world *w, int *r)
{
    int elems[2] = {0, 0};
    vthread_queue_case_t cases[2] = {
        {.queue = w->queue, .op = VTHREAD_QUEUE_TAKE, .elem = &elems[0]},
        {.queue = w->other, .op = VTHREAD_QUEUE_TAKE, .elem = &elems[1]},
    };
    int which = vthread_queue_select_until(cases, 2, vthread_after_ns(w->soon_ns));

    *r = which < 0 ? -which : elems[which];
}

/* Put into the one or take from the other, at the other end of `selects`. */
static void selects_to_put(struct world *w, int *r)
{
    int one = 1;
    int two = 2;
    vthread_queue_case_t cases[2] = {
        {.queue = w->queue, .op = VTHREAD_QUEUE_PUT, .elem = &one},
        {.queue = w->other, .op = VTHREAD_QUEUE_PUT, .elem = &two},
    };
    int which = vthread_queue_select_until(cases, 2, vthread_after_ns(w->soon_ns));

    *r = which < 0 ? -which : which + 1;
}

static void left(struct world *w, int *r)
{
    *r = (int)(vthread_queue_len(w->queue) + vthread_queue_len(w->other));
    MUST(vthread_queue_close(w->queue));
    MUST(vthread_queue_free(w->queue));
    MUST(vthread_queue_free(w->other));
}

static const struct outcome_test tests[] = {
    {.name = "synchronous: meet",
     .begin = begin_synchronous,
     .actors = {puts_1, takes},
     .end = left,
     .permitted = {"0 1 0"}},
    {.name = "synchronous: a late putter", /* both or neither */
     .begin = begin_synchronous,
     .actors = {puts_1_in_time, takes_in_time},
     .end = left,
     .permitted = {"0 1 0", "late late 0"}},
    {.name = "synchronous: one tries",
     .begin = begin_synchronous,
     .actors = {puts_1_in_time, tries_to_take},
     .end = left,
     .permitted = {"0 1 0", "late late 0"}},
    {.name = "synchronous: two put",
     .begin = begin_synchronous,
     .actors = {puts_1, puts_2, takes_two},
     .end = left,
     .permitted = {"0 0 1 0", "0 0 2 0"}},
    {.name = "capacity 1: two try",
     .begin = begin_one,
     .actors = {tries_1, tries_2},
     .end = left,
     .permitted = {"0 late 1", "late 0 1"}},
    {.name = "capacity 1: two try, one takes",
     .begin = begin_one,
     .actors = {tries_1, tries_2, tries_to_take},
     .end = left,
     .permitted = {"0 late late 1", "late 0 late 1", "0 late 1 0", "late 0 2 0", "0 0 1 1", "0 0 2 1"}},
    {.name = "capacity 1: a waiting putter moves up",
     .begin = begin_one,
     .actors = {puts_1, puts_2, takes},
     .end = left,
     .permitted = {"0 0 1 1", "0 0 2 1"}},
    {.name = "an interrupt", /* the element is taken or left */
     .begin = begin_one,
     .actors = {takes_until_through, interrupts_first, puts_1},
     .end = left,
     .permitted = {"1 0 0 0", "interrupted 0 0 1"}},
    {.name = "close: a putter and a taker", /* what was put is taken */
     .begin = begin_one,
     .actors = {puts_1, takes, closes},
     .end = left,
     .permitted = {"0 1 0 0", "cancelled cancelled 0 0"}},
    {.name = "close: synchronous",
     .begin = begin_synchronous,
     .actors = {puts_1, takes, closes},
     .end = left,
     .permitted = {"0 1 0 0", "cancelled cancelled 0 0"}},
    {.name = "select: of two puts", /* what it has not taken is there still, or was given up */
     .begin = begin_one,
     .actors = {selects, tries_1, puts_2_in_time_there},
     .end = left,
     .permitted = {"1 0 0 1", "2 0 0 1", "late 0 0 2"}},
    {.name = "select: synchronous",
     .begin = begin_synchronous,
     .actors = {selects, puts_1_in_time, puts_2_in_time_there},
     .end = left,
     .permitted = {"1 0 late 0", "2 late 0 0", "late late late 0"}},
    {.name = "select: meets select", /* by one and the same queue */
     .begin = begin_synchronous,
     .actors = {selects, selects_to_put},
     .end = left,
     .permitted = {"1 1 0", "2 2 0", "late late 0"}},
    {.name = "select: three meet",
     .begin = begin_synchronous,
     .actors = {selects, selects_to_put, takes_in_time},
     .end = left,
     .permitted = {"1 1 late 0", "2 2 late 0", "late 1 1 0", "late late late 0"}},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return outcome_main(argc, argv, tests);
}
