/* SPDX-License-Identifier: MIT */
/*
 * What the tests of collected memory share: objects that are watched.  Each is allocated where it is to be
 * held, so that nobody else has ever seen its address.
 */
#ifndef TESTS_GC_HELP_H
#define TESTS_GC_HELP_H

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/all.h>

#include "vthread_help.h"

enum { OBJECTS = 64, MOST = OBJECTS * 3 / 4 };

#define MAGIC 0x5ca1ab1eu

struct object {
    unsigned magic;
    unsigned number;
    struct object *other;
    long padding[5];
};

static atomic_uint finalized;

static void on_finalized(void *object, void *user)
{
    (void)user;
    ((struct object *)object)->magic = 0;
    atomic_fetch_add(&finalized, 1);
}

/* NULL: no memory. */
static inline struct object *object_new(unsigned number)
{
    struct object *o = vthread_gc_alloc(sizeof *o);

    if (o == NULL || vthread_gc_set_finalizer(o, on_finalized, NULL) != 0)
        return NULL;
    o->magic = MAGIC;
    o->number = number;
    return o;
}

static inline bool object_is_whole(const struct object *o, unsigned number)
{
    return o != NULL && o->magic == MAGIC && o->number == number;
}

/* Overwrite what calls before have left on this stack. */
__attribute__((noinline)) static void wipe(void)
{
    char frame[12 * 1024];

    memset(frame, 0, sizeof frame);
    __asm__ volatile("" : : "r"(frame) : "memory");
}

/* Collect, and use again what was freed by mistake. */
static void *churn(void *arg)
{
    for (int round = 0; round < 4; round++) {
        vthread_gc_collect();
        for (int i = 0; i < 4 * OBJECTS; i++) {
            struct object *garbage = vthread_gc_alloc(sizeof *garbage);

            if (garbage != NULL)
                memset(garbage, 0x55, sizeof *garbage);
        }
        wipe();
        vthread_sleep_ns(200000);
    }
    return arg;
}

/* Conservative as the collector is, a few may be held by what looks like their address. */
static inline bool most_are_gone(void)
{
    return EVENTUALLY((help_run(churn, NULL), wipe(), atomic_load(&finalized) >= MOST));
}

#endif
