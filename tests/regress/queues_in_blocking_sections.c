/* SPDX-License-Identifier: MIT */
/*
 * A queue that is used inside and outside of blocking sections, by threads that share their stacks: whoever
 * was woken to try for the queue's mutex could not run before one who waited for it, in a section, gave up
 * their stack.
 */
#include "regress.h"

#include <vthread/queue.h>

enum { THREADS = 16, ROUNDS = 2000 };

static vthread_queue_t *queues[2];
static _Atomic long sum;

static void use_queues(int i)
{
    vthread_queue_case_t cases[2];
    int elems[2] = {1, 1};

    if (vthread_queue_put_until(queues[i % 2], &elems[0], VTHREAD_NOW) == 0)
        atomic_fetch_add(&sum, 1);
    for (int k = 0; k < 2; k++)
        cases[k] = (vthread_queue_case_t){.queue = queues[k], .op = VTHREAD_QUEUE_TAKE, .elem = &elems[k]};
    if (vthread_queue_select_until(cases, 2, VTHREAD_NOW) >= 0)
        atomic_fetch_sub(&sum, 1);
}

static void *outside(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        use_queues(i);
        vthread_yield();
    }
    return arg;
}

static void *inside(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        EXPECT(vthread_blocking_begin("a queue") == 0);
        use_queues(i);
        vthread_blocking_end();
        vthread_yield();
    }
    return arg;
}

int main(void)
{
    static const vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};
    vthread_t threads[THREADS + 2];
    int left;

    regress_configure(2, 2);
    for (int q = 0; q < 2; q++)
        EXPECT(vthread_queue_new(&queues[q], sizeof(int), 1000) == 0);
    for (int i = 0; i < THREADS + 2; i++)
        EXPECT(vthread_create(&threads[i], i < THREADS ? NULL : &platform, i % 2 ? inside : outside, NULL) == 0);
    for (int i = 0; i < THREADS + 2; i++)
        EXPECT(vthread_join(threads[i], NULL) == 0);
    left = (int)(vthread_queue_len(queues[0]) + vthread_queue_len(queues[1]));
    EXPECT(left == atomic_load(&sum));
    for (int q = 0; q < 2; q++)
        EXPECT(vthread_queue_free(queues[q]) == 0);
    EXPECT(vthread_runtime_shutdown(vthread_after_ms(30000)) == 0);
    return 0;
}
