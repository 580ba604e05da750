/* SPDX-License-Identifier: MIT */
/* No memory for a queue, for its growing, or for waiting in it: the call says so, and nothing is lost. */
#include <vthread/queue.h>

#include "fault.h"

enum { ELEMENTS = 100 };

static vthread_queue_t *queue;
static vthread_queue_t *other;
static int put;

static int fill(void)
{
    int error = vthread_queue_new(&queue, sizeof(int), VTHREAD_UNBOUNDED);

    put = 0;
    if (error != 0) {
        queue = NULL;
        return error;
    }
    while (put < ELEMENTS && (error = vthread_queue_put(queue, &put)) == 0)
        put++;
    return error;
}

static void check_filled(int error)
{
    int taken = 0;
    int elem;

    EXPECT(error == 0 || put < ELEMENTS);
    if (queue == NULL)
        return;
    while (vthread_queue_take_until(queue, &elem, VTHREAD_NOW) == 0)
        EXPECT(elem == taken++);
    EXPECT(taken == put);
    EXPECT(vthread_queue_free(queue) == 0);
}

/* A wait, in one queue or in both, that nobody ends. */
static bool selects;

static int wait_in_vain(void)
{
    int elem;
    int error;

    if (selects) {
        vthread_queue_case_t cases[] = {{.queue = queue, .elem = &elem}, {.queue = other, .elem = &elem}};

        error = -vthread_queue_select_until(cases, 2, vthread_after_ns(1000));
    } else {
        error = vthread_queue_take_until(queue, &elem, vthread_after_ns(1000));
    }
    return error == ETIMEDOUT ? 0 : error;
}

/* Nobody is left in the lists: what is put stays, and is taken. */
static void check_waited(int error)
{
    int elem = 7;

    (void)error;
    EXPECT(vthread_queue_put_until(queue, &elem, VTHREAD_NOW) == 0);
    elem = 0;
    EXPECT(vthread_queue_take_until(queue, &elem, VTHREAD_NOW) == 0);
    EXPECT(elem == 7);
    EXPECT(vthread_queue_len(other) == 0);
}

int main(void)
{
    fault_check_works();
    fault_each("unbounded", SITES_MEMORY, 1, true, fill, check_filled);
    EXPECT(vthread_queue_new(&queue, sizeof(int), 1) == 0);
    EXPECT(vthread_queue_new(&other, sizeof(int), 1) == 0);
    fault_each("take", SITES_MEMORY, 1, true, wait_in_vain, check_waited);
    selects = true;
    fault_each("select", SITES_MEMORY, 1, true, wait_in_vain, check_waited);
    selects = false;
    EXPECT(vthread_queue_free(queue) == 0 && vthread_queue_free(other) == 0);
    fault_check_shutdown();
    return 0;
}
