/* SPDX-License-Identifier: MIT */
/*
 * A task: something a carrier can run.  The pool sees only this link; what the
 * rest of it is, and how it is run, is known to the layer above (struct
 * carrier_hooks).  A task is in at most one queue at a time, and whoever queued
 * it must not touch it any more: it may be running elsewhere already.
 */
#ifndef CARRIER_TASK_H
#define CARRIER_TASK_H

#include <stddef.h>

#include "carrier/poller.h"

struct task {
    struct task *next;
};

static inline void task_list_init(struct task_list *list)
{
    list->first = NULL;
    list->end = &list->first;
    list->count = 0;
}

static inline void task_list_append(struct task_list *list, struct task *task)
{
    task->next = NULL;
    *list->end = task;
    list->end = &task->next;
    list->count++;
}

static inline struct task *task_list_take(struct task_list *list)
{
    struct task *task = list->first;

    if (task != NULL) {
        list->first = task->next;
        if (list->first == NULL)
            list->end = &list->first;
        list->count--;
    }
    return task;
}

#endif
