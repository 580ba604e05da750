/* SPDX-License-Identifier: MIT */
/*
 * The queue that models may rely on: one step for each operation.
 */
#include <string.h>

#include "tests/model/explorer/internal.h"

enum { QUEUES_MAX = 8, PUSHES_MAX = 256 };

static struct model_queue *queues[QUEUES_MAX];
static int queue_count;
/* What travels with each item. */
static struct {
    struct view view;
    uint64_t hash;
} pushes[PUSHES_MAX];
static uint32_t push_count;

void queues_reset(void)
{
    queue_count = 0;
    push_count = 0;
}

uint64_t queues_hash(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < queue_count; i++) {
        uint64_t h = (uintptr_t)queues[i];

        for (uint32_t k = queues[i]->head; k != queues[i]->tail; k++)
            h = mix(h, pushes[queues[i]->pushers[k % MODEL_QUEUE_MAX]].hash);
        if (queues[i]->head != queues[i]->tail)
            sum += h;
    }
    return sum;
}

static void remember(struct model_queue *queue)
{
    for (int i = 0; i < queue_count; i++)
        if (queues[i] == queue)
            return;
    if (queue_count == QUEUES_MAX)
        model_fail("more than %d queues", QUEUES_MAX);
    queues[queue_count++] = queue;
}

void model_queue_push(struct model_queue *queue, void *item)
{
    struct site site = {"push", "queue", "model_queue_push", "model_queue_push"};
    uint32_t i = push_count++;

    if (queue->tail - queue->head == MODEL_QUEUE_MAX || i == PUSHES_MAX)
        model_fail("a queue is full");
    memset(&pushes[i].view, 0, sizeof pushes[i].view);
    pushes[i].hash = i;
    if (self != NOBODY) {
        actor_point(NULL, false);
        remember(queue);
        trace(&site, NULL, "%p", item);
        actors[self].hash = mix(actors[self].hash, (uintptr_t)item);
        view_join(&pushes[i].view, &actors[self].now);
        pushes[i].hash = actors[self].hash;
        actors[self].now.clock[self]++;
        actors[self].acquired.clock[self]++;
    }
    queue->items[queue->tail % MODEL_QUEUE_MAX] = item;
    queue->pushers[queue->tail % MODEL_QUEUE_MAX] = i;
    queue->tail++;
    store_count++;
    if (self != NOBODY)
        actor_wake(queue, ACTORS, &site);
}

static void *take(struct model_queue *queue, const struct site *site)
{
    uint32_t at = queue->head++ % MODEL_QUEUE_MAX;
    struct actor *me = &actors[self];

    trace(site, NULL, "%p", queue->items[at]);
    view_join(&me->now, &pushes[queue->pushers[at]].view);
    view_join(&me->acquired, &me->now);
    me->hash = mix(me->hash, pushes[queue->pushers[at]].hash);
    return queue->items[at];
}

void *model_queue_take(struct model_queue *queue)
{
    struct site site = {"take", "queue", "model_queue_take", "model_queue_take"};

    actor_point(NULL, false);
    remember(queue);
    while (queue->head == queue->tail) {
        trace(&site, NULL, "sleeps");
        actor_sleep(queue, false);
    }
    return take(queue, &site);
}

void *model_queue_try(struct model_queue *queue)
{
    struct site site = {"take", "queue", "model_queue_try", "model_queue_try"};

    actor_point(NULL, false);
    remember(queue);
    if (queue->head == queue->tail) {
        trace(&site, NULL, "empty");
        actors[self].hash = mix(actors[self].hash, 0xe0);
        return NULL;
    }
    return take(queue, &site);
}
