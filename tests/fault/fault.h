/* SPDX-License-Identifier: MIT */
/*
 * The n-th request for memory, address space or a thread fails, for n = 1, 2, 3 …
 * until none does.  After each attempt the library must work as before.
 */
#ifndef TESTS_FAULT_H
#define TESTS_FAULT_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "base/memory.h"

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s (request %d failed)\n", __FILE__, __LINE__, #condition,                \
                    atomic_load(&fault.at));                                                                           \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

enum {
    SITES_ALL = 1 << FAULT_RESERVE | 1 << FAULT_COMMIT | 1 << FAULT_ALLOC | 1 << FAULT_THREAD,
    SITES_MEMORY = 1 << FAULT_COMMIT | 1 << FAULT_ALLOC,
};

static struct {
    atomic_uint sites;
    atomic_int at;     /* number of the request that fails */
    atomic_int length; /* and how many after it */
    atomic_int seen;
    atomic_int failed;
} fault;

/* Only requests of this thread count, if it has set that. */
static _Thread_local bool fault_mine;
static atomic_bool fault_only_mine;

static bool fault_at_number(enum fault_site site)
{
    int number;

    if (!(atomic_load(&fault.sites) & 1u << site) || (atomic_load(&fault_only_mine) && !fault_mine))
        return false;
    number = atomic_fetch_add(&fault.seen, 1) + 1;
    if (number < atomic_load(&fault.at) || number >= atomic_load(&fault.at) + atomic_load(&fault.length))
        return false;
    atomic_fetch_add(&fault.failed, 1);
    return true;
}

static inline void fault_begin(unsigned sites, int at, int length, bool only_mine)
{
    atomic_store(&fault.sites, sites);
    atomic_store(&fault.at, at);
    atomic_store(&fault.length, length);
    atomic_store(&fault.seen, 0);
    atomic_store(&fault.failed, 0);
    atomic_store(&fault_only_mine, only_mine);
    fault_mine = only_mine;
    fault_set_hook(fault_at_number);
}

/* Returns whether any request has failed. */
static inline bool fault_end(void)
{
    fault_set_hook(NULL);
    return atomic_load(&fault.failed) > 0;
}

/*
 * Run the operation with the n-th request failing, for every n until it makes
 * fewer; its result must be 0 or out of memory or threads.  `check` runs after
 * each, without faults.
 */
static inline void fault_each(const char *what, unsigned sites, int length, bool only_mine, int (*operation)(void),
                              void (*check)(int error))
{
    bool failed = true;
    int n;

    for (n = 1; failed; n++) {
        int error;

        fault_begin(sites, n, length, only_mine);
        error = operation();
        failed = fault_end();
        EXPECT(error == 0 || error == ENOMEM || error == EAGAIN);
        EXPECT(error == 0 || failed);
        check(error);
        EXPECT(n < 10000);
    }
    printf("%s: survived the failure of each of %d requests\n", what, n - 2);
}

static inline void *fault_return(void *arg)
{
    return arg;
}

/* The library works. */
static inline void fault_check_works(void)
{
    vthread_t t = NULL;
    void *value = NULL;

    EXPECT(vthread_create(&t, NULL, fault_return, &value) == 0);
    EXPECT(vthread_join(t, &value) == 0);
    EXPECT(value == &value);
}

static inline uint64_t fault_alive(void)
{
    vthread_runtime_stats_t stats;

    EXPECT(vthread_runtime_stats(&stats) == 0);
    return stats.threads_alive;
}

/* It can be ended, too: nothing counts as alive that never was. */
static inline void fault_check_shutdown(void)
{
    EXPECT(vthread_runtime_shutdown(vthread_after_ms(20000)) == 0);
}

#endif
