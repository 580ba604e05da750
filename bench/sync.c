/* SPDX-License-Identifier: MIT */
/*
 * sync: what do locks, semaphores and queues cost where many want them?
 *
 *     monitor           one thread that enters and leaves a monitor, which nobody else wants
 *     mutex             100 threads that lock and unlock one mutex again and again
 *     semaphore         10 permits; each task holds one over a yield
 *     queue_pingpong/N  an element there and one back, over two queues of capacity N
 *     queue_4_4/N       4 producers, 4 consumers, one queue with room for 128; each computes for
 *                       N microseconds an element: do two carriers help each other then?
 */
#include <stdlib.h>

#include <vthread/queue.h>
#include <vthread/sync.h>
#include <vthread/vthread.h>

#include "base/atomic.h"
#include "bench/bench.h"

enum { CONTENDERS = 100, PERMITS = 10, SIDE = 4, ROOM = 128 };

static const struct bench_run *running;

static void run_threads(const struct bench_run *run, uint64_t n, void *(*fn)(void *arg))
{
    vthread_t *threads = bench_alloc(run, n, sizeof *threads);

    for (uintptr_t i = 0; i < n; i++)
        bench_check(run, vthread_create(&threads[i], NULL, fn, (void *)i) == 0);
    for (uint64_t i = 0; i < n; i++)
        bench_check(run, vthread_join(threads[i], NULL) == 0);
    free(threads);
}

/* ---- mutex ---- */

static CACHE_ALIGNED vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static uint64_t guarded;

static void *locks(void *arg)
{
    for (uint64_t n = running->count / CONTENDERS; n > 0; n--) {
        vthread_mutex_lock(&mutex);
        guarded++;
        vthread_mutex_unlock(&mutex);
    }
    return arg;
}

static void mutex_once(const struct bench_run *run)
{
    guarded = 0;
    run_threads(run, CONTENDERS, locks);
    bench_check(run, guarded == run->count / CONTENDERS * CONTENDERS);
}

static void bench_mutex(const struct bench_run *run)
{
    running = run;
    bench_repeat_per_op(run, run->count / CONTENDERS * CONTENDERS, mutex_once);
}

/* ---- monitor ---- */

static CACHE_ALIGNED vthread_monitor_t alone = VTHREAD_MONITOR_INITIALIZER;

static void *enters(void *arg)
{
    uint64_t n = 0;

    while (n < running->count && vthread_monitor_enter(&alone) == 0) {
        n++;
        vthread_monitor_exit(&alone);
    }
    guarded = n;
    return arg;
}

static void monitor_once(const struct bench_run *run)
{
    run_threads(run, 1, enters);
    bench_check(run, guarded == run->count);
}

static void bench_monitor(const struct bench_run *run)
{
    running = run;
    bench_repeat_per_op(run, run->count, monitor_once);
}

/* ---- semaphore ---- */

static CACHE_ALIGNED vthread_sem_t sem = VTHREAD_SEM_INITIALIZER(PERMITS);
static ATOMIC(uint64_t) passed;

static void *passes(void *arg)
{
    if (vthread_sem_acquire(&sem, 1) == 0) {
        vthread_yield();
        atomic_fetch_add_relaxed(&passed, 1);
        vthread_sem_release(&sem, 1);
    }
    return arg;
}

static void semaphore_once(const struct bench_run *run)
{
    atomic_store_relaxed(&passed, 0);
    run_threads(run, run->count, passes);
    bench_check(run, atomic_load_relaxed(&passed) == run->count && vthread_sem_available(&sem) == PERMITS);
}

static void semaphore(const struct bench_run *run)
{
    bench_repeat_per_op(run, run->count, semaphore_once);
}

/* ---- queues ---- */

static vthread_queue_t *there;
static vthread_queue_t *back;
static ATOMIC(uint64_t) taken;

static void *answers(void *arg)
{
    uint64_t value;

    while (vthread_queue_take(there, &value) == 0)
        vthread_queue_put(back, &value);
    return arg;
}

static void pingpong_once(const struct bench_run *run)
{
    vthread_t thread;
    uint64_t value;
    uint64_t right = 0;

    bench_check(run, vthread_queue_new(&there, sizeof value, run->bench->parameter) == 0);
    bench_check(run, vthread_queue_new(&back, sizeof value, run->bench->parameter) == 0);
    bench_check(run, vthread_create(&thread, NULL, answers, NULL) == 0);
    for (uint64_t i = 0; i < run->count; i++) {
        vthread_queue_put(there, &i);
        right += vthread_queue_take(back, &value) == 0 && value == i;
    }
    vthread_queue_close(there);
    bench_check(run, vthread_join(thread, NULL) == 0 && right == run->count);
    bench_check(run, vthread_queue_free(there) == 0 && vthread_queue_free(back) == 0);
}

static void queue_pingpong(const struct bench_run *run)
{
    bench_repeat_per_op(run, run->count, pingpong_once);
}

static void compute(void)
{
    if (running->bench->parameter > 0) {
        int64_t until_ns = vthread_after_ns(running->bench->parameter * INT64_C(1000));

        while (vthread_now_ns() < until_ns)
            ;
    }
}

static void *produces_or_consumes(void *arg)
{
    bool consumes = (uintptr_t)arg % 2 != 0;
    uint64_t value;
    uint64_t n = 0;

    for (uint64_t i = 0; i < running->count / SIDE; i++) {
        compute();
        if (consumes)
            n += vthread_queue_take(there, &value) == 0;
        else
            vthread_queue_put(there, &i);
    }
    atomic_fetch_add_relaxed(&taken, n);
    return arg;
}

static void four_once(const struct bench_run *run)
{
    atomic_store_relaxed(&taken, 0);
    bench_check(run, vthread_queue_new(&there, sizeof(uint64_t), ROOM) == 0);
    run_threads(run, 2 * SIDE, produces_or_consumes);
    bench_check(run, atomic_load_relaxed(&taken) == run->count / SIDE * SIDE);
    bench_check(run, vthread_queue_len(there) == 0 && vthread_queue_free(there) == 0);
}

static void queue_4_4(const struct bench_run *run)
{
    running = run;
    bench_repeat_per_op(run, run->count / SIDE * SIDE, four_once);
}

#define ROW(NAME, QUESTION, FN, COUNT, ...)                                                                            \
    {                                                                                                                  \
        .name = NAME, .question = QUESTION, .run = FN, .count = COUNT, .quick = 2000, .reps = 5, .carriers = {2, 1},   \
        __VA_ARGS__                                                                                                    \
    }

const struct bench bench_sync[] = {
    ROW("monitor", "one thread enters and leaves, uncontended; by pairs", bench_monitor, 10000000, .parameter = 0),
    ROW("mutex", "100 threads that lock and unlock a mutex; by lockings", bench_mutex, 10000000, .parameter = 0),
    ROW("semaphore", "10 permits, each held over a yield; by tasks", semaphore, 10000, .parameter = 0),
    ROW("queue_pingpong/0", "over two synchronous queues; by round trips", queue_pingpong, 300000, .parameter = 0),
    ROW("queue_pingpong/1", "over two queues of capacity 1; by round trips", queue_pingpong, 300000, .parameter = 1),
    ROW("queue_4_4/0", "4 producers, 4 consumers, capacity 128; by elements", queue_4_4, 1000000, .parameter = 0),
    ROW("queue_4_4/1", "that compute for 1 us an element", queue_4_4, 300000, .parameter = 1),
    ROW("queue_4_4/10", "that compute for 10 us an element", queue_4_4, 50000, .parameter = 10),
    {0},
};
