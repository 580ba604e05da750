/* SPDX-License-Identifier: MIT */
/*
 * The real sync/queue.c over mutex.c and wait_queue.c: put × take × timeout × close × select;
 * freed by whoever took the last element.
 *
 * No element is lost, made or taken twice, they come in order, and what was written before a put
 * is seen after the take.
 */
#include <sched.h>

#include "base/clock.h"
#include "base/memory.h"
#include "tests/model/model.h"

static int model_sched_yield(void)
{
    model_pause();
    return 0;
}
#define sched_yield model_sched_yield

#include "sync/mutex.c"
#include "sync/wait_queue.c"
#define outcome queue_outcome
#include "sync/queue.c"

#include "tests/model/waiting.h"

enum { CAPACITY_1 = 2 }; /* variant, beside LINKED; otherwise the queues are synchronous */

static MODEL_SHARED struct {
    vthread_queue_t *queue;
    vthread_queue_t *other;
    int data;
} x;
static MODEL_BOOK int put, taken, refused;

/* ---- one queue ---- */

/* Whoever puts writes into what only the taker of that element may look at then. */
static int puts_until(vthread_queue_t *q, int64_t deadline_ns)
{
    int *elem = memory_alloc(sizeof *elem);
    int error;

    *elem = 7;
    error = vthread_queue_put_until(q, &elem, deadline_ns);
    if (error == 0) {
        put++;
        return 0;
    }
    MODEL_ASSERT(error == ETIMEDOUT || error == ECANCELED || error == EINTR);
    memory_free(elem);
    refused++;
    return error;
}

static void has_taken(int *elem)
{
    MODEL_ASSERT(*elem == 7);
    memory_free(elem);
    taken++;
}

static int takes_until(vthread_queue_t *q, int64_t deadline_ns)
{
    int *elem;
    int error = vthread_queue_take_until(q, &elem, deadline_ns);

    if (error == 0)
        has_taken(elem);
    else
        MODEL_ASSERT(error == ETIMEDOUT || error == ECANCELED || error == EINTR);
    return error;
}

static void puts_one(void)
{
    puts_until(x.queue, VTHREAD_FOREVER);
}

static void puts_twice(void)
{
    puts_one();
    puts_one();
}

static void takes_one(void)
{
    takes_until(x.queue, VTHREAD_FOREVER);
}

static void takes_twice(void)
{
    takes_one();
    takes_one();
}

static void puts_or_times_out(void)
{
    if (puts_until(x.queue, DEADLINE) == ETIMEDOUT)
        model_reached("given up");
}

static void takes_or_times_out(void)
{
    if (takes_until(x.queue, DEADLINE) == ETIMEDOUT)
        model_reached("given up");
}

static void takes_or_is_interrupted(void)
{
    if (takes_until(x.queue, VTHREAD_FOREVER) == EINTR)
        model_reached("given up");
}

static void interrupts_second(void)
{
    interrupt_record(record_of(1));
}

static void closes(void)
{
    MODEL_ASSERT(vthread_queue_close(x.queue) == 0);
}

/* The result of a child, in a queue that its parent throws away then. */
static void takes_and_frees(void)
{
    vthread_queue_t *q = x.queue;

    takes_one();
    MODEL_ASSERT(vthread_queue_free(q) == 0);
}

/* ---- several ---- */

static int selects(vthread_queue_op_t first, vthread_queue_op_t second, int64_t deadline_ns)
{
    int *elems[2] = {NULL, NULL};
    vthread_queue_case_t cases[2] = {{.queue = x.queue, .op = first, .elem = &elems[0]},
                                     {.queue = x.other, .op = second, .elem = &elems[1]}};
    int chosen;

    for (int i = 0; i < 2; i++)
        if (cases[i].op == VTHREAD_QUEUE_PUT) {
            elems[i] = memory_alloc(sizeof *elems[i]);
            *elems[i] = 7;
        }
    chosen = vthread_queue_select_until(cases, 2, deadline_ns);
    for (int i = 0; i < 2; i++) {
        if (i == chosen && cases[i].result == 0) {
            if (cases[i].op == VTHREAD_QUEUE_PUT)
                put++;
            else
                has_taken(elems[i]);
        } else if (cases[i].op == VTHREAD_QUEUE_PUT) {
            memory_free(elems[i]);
        }
    }
    return chosen;
}

static void selects_to_take(void)
{
    selects(VTHREAD_QUEUE_TAKE, VTHREAD_QUEUE_TAKE, VTHREAD_FOREVER);
}

static void selects_or_times_out(void)
{
    if (selects(VTHREAD_QUEUE_TAKE, VTHREAD_QUEUE_TAKE, DEADLINE) == -ETIMEDOUT)
        model_reached("given up");
}

static void selects_to_put(void)
{
    selects(VTHREAD_QUEUE_PUT, VTHREAD_QUEUE_PUT, VTHREAD_FOREVER);
}

/* One to put here or take there, one the other way round: two selects meet, exactly once. */
static void selects_this_way(void)
{
    selects(VTHREAD_QUEUE_PUT, VTHREAD_QUEUE_TAKE, VTHREAD_FOREVER);
}

static void selects_that_way(void)
{
    selects(VTHREAD_QUEUE_TAKE, VTHREAD_QUEUE_PUT, VTHREAD_FOREVER);
}

static void puts_into_other(void)
{
    puts_until(x.other, VTHREAD_FOREVER);
}

static void puts_into_other_or_times_out(void)
{
    puts_until(x.other, DEADLINE);
}

/* ---- models ---- */

static void setup(void)
{
    size_t capacity = model_variant() & CAPACITY_1 ? 1 : 0;

    make_threads();
    MODEL_ASSERT(vthread_queue_new(&x.queue, sizeof(int *), capacity) == 0);
    MODEL_ASSERT(vthread_queue_new(&x.other, sizeof(int *), capacity) == 0);
}

static void check_idle(vthread_queue_t *q)
{
    MODEL_ASSERT(q->putters.first == NULL && q->takers.first == NULL);
    MODEL_ASSERT(atomic_load_relaxed(&q->mutex.word) == 0 && !q->mutex.woken);
}

/* Nobody waits any more, and what was put and not taken is there. */
static void check(void)
{
    check_idle(x.queue);
    check_idle(x.other);
    MODEL_ASSERT(put == taken + (int)(queue_count(x.queue) + queue_count(x.other)));
}

static void check_one_taken(void)
{
    check();
    MODEL_ASSERT(taken == 1);
}

static void check_all_taken(void)
{
    check();
    MODEL_ASSERT(put == taken && refused == 0);
}

static void check_freed(void)
{
    MODEL_ASSERT(put == 1 && taken == 1);
}

static const char *const waited[] = {"waited", NULL};
static const char *const given_up[] = {"waited", "given up", NULL};

static const struct model models[] = {
    {.name = "synchronous",
     .setup = setup,
     .check = check_all_taken,
     .reaches = waited,
     .quick = {3, 1, 0},
     .actors = {{"putter", puts_one}, {"taker", takes_one}},
     .mutants = MUTANTS({MODEL_DROP, "wake", "store", NULL}, {MODEL_SPLIT, "mutex_try", "cas", NULL})},
    {.name = "synchronous-two",
     .setup = setup,
     .check = check_all_taken,
     .reaches = waited,
     .quick = {2, 0, 0},
     .actors = {{"putter", puts_one}, {"another", puts_one}, {"taker", takes_twice}}},
    {.name = "bounded",
     .variant = CAPACITY_1,
     .setup = setup,
     .check = check_all_taken,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"putter", puts_twice}, {"taker", takes_twice}}},
    {.name = "bounded-two",
     .variant = CAPACITY_1,
     .setup = setup,
     .check = check_all_taken,
     .reaches = waited,
     .quick = {2, 0, 0},
     .actors = {{"putter", puts_one}, {"another", puts_one}, {"taker", takes_twice}}},
    {.name = "taker-times-out",
     .variant = LINKED,
     .setup = setup,
     .check = check,
     .reaches = given_up,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"putter", puts_or_times_out}, {"taker", takes_or_times_out}, {"timer", fire_timers}},
     .mutants = MUTANTS({MODEL_WEAKEN, "wake", "store", NULL})},
    {.name = "putter-times-out",
     .variant = LINKED | CAPACITY_1,
     .setup = setup,
     .check = check,
     .reaches = given_up,
     .ends_asleep = true,
     .quick = {2, 0, 0},
     .actors = {{"putter", puts_or_times_out}, {"another", puts_one}, {"taker", takes_one}, {"timer", fire_timers}}},
    {.name = "interrupt",
     .variant = CAPACITY_1,
     .setup = setup,
     .check = check,
     .reaches = given_up,
     .quick = {2, 1, 0},
     .actors = {{"putter", puts_one}, {"taker", takes_or_is_interrupted}, {"interrupter", interrupts_second}}},
    {.name = "close",
     .setup = setup,
     .check = check,
     .reaches = waited,
     .quick = {2, 0, 0},
     .actors = {{"putter", puts_one}, {"taker", takes_one}, {"closer", closes}}},
    {.name = "freed",
     .variant = CAPACITY_1,
     .setup = setup,
     .check = check_freed,
     .reaches = waited,
     .quick = {4, 2, 0},
     .actors = {{"child", puts_one}, {"parent", takes_and_frees}}},
    {.name = "freed-synchronous",
     .setup = setup,
     .check = check_freed,
     .reaches = waited,
     .quick = {3, 2, 0},
     .actors = {{"child", puts_one}, {"parent", takes_and_frees}}},
    {.name = "select",
     .variant = CAPACITY_1,
     .setup = setup,
     .check = check_one_taken,
     .reaches = waited,
     .quick = {2, 0, 0},
     .actors = {{"putter", puts_one}, {"another", puts_into_other}, {"selector", selects_to_take}},
     .mutants = MUTANTS({MODEL_SPLIT, "claim", "cas", NULL})},
    {.name = "select-times-out",
     .variant = LINKED,
     .setup = setup,
     .check = check,
     .reaches = given_up,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"putter", puts_into_other_or_times_out}, {"selector", selects_or_times_out}, {"timer", fire_timers}}},
    {.name = "select-to-put",
     .setup = setup,
     .check = check_one_taken,
     .reaches = waited,
     .quick = {3, 1, 0},
     .actors = {{"selector", selects_to_put}, {"taker", takes_one}}},
    {.name = "two-selects",
     .setup = setup,
     .check = check_one_taken,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"this way", selects_this_way}, {"that way", selects_that_way}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
