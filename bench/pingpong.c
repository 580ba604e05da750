/* SPDX-License-Identifier: MIT */
/*
 * pingpong: what does it cost one thread to wake another and wait until that one
 * has woken it, by park and unpark?  pingpong_timed: the same with deadlines
 * that never pass, so that each wait also sets and cancels a timer.
 */
#include <stdlib.h>

#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

static struct {
    uint64_t count;
    bool timed;
    vthread_t threads[2];
    ATOMIC(unsigned) turn; /* whose it is: 0 or 1 */
    uint64_t value;        /* whoever has the turn adds one */
} table;

static void wait_for_turn(unsigned me)
{
    while (atomic_load_acquire(&table.turn) != me) {
        if (table.timed)
            vthread_park_until(vthread_after_ms(3600 * 1000));
        else
            vthread_park();
    }
}

static void *player(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;

    for (uint64_t i = 0; i < table.count; i++) {
        wait_for_turn(me);
        table.value++;
        atomic_store_release(&table.turn, 1 - me);
        vthread_unpark(table.threads[1 - me]);
    }
    return NULL;
}

static void once(const struct bench_run *run)
{
    table.value = 0;
    atomic_store_relaxed(&table.turn, 0);
    for (uintptr_t i = 0; i < 2; i++)
        bench_check(run, vthread_new(&table.threads[i], NULL, player, (void *)i) == 0);
    for (int i = 0; i < 2; i++)
        bench_check(run, vthread_start(table.threads[i]) == 0);
    for (int i = 0; i < 2; i++)
        bench_check(run, vthread_join(table.threads[i], NULL) == 0);
    bench_check(run, table.value == 2 * table.count);
}

static void pingpong(const struct bench_run *run)
{
    table.count = run->count;
    table.timed = run->bench->parameter != 0;
    bench_repeat_per_op(run, run->count, once);
}

const struct bench bench_pingpong[] = {
    {
        .name = "pingpong",
        .question = "park and unpark between two threads; by round trips",
        .run = pingpong,
        .count = 500000,
        .quick = 1000,
        .reps = 5,
        .carriers = {2, 1},
    },
    {
        .name = "pingpong_timed",
        .question = "the same with a deadline on each wait",
        .run = pingpong,
        .count = 500000,
        .quick = 1000,
        .reps = 5,
        .carriers = {2, 1},
        .parameter = 1,
    },
    {0},
};
