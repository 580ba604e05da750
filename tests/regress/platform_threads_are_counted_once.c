/* SPDX-License-Identifier: MIT */
/*
 * A thread of kind PLATFORM that returned NULL, or that could not be created, counted as alive for ever,
 * and shutdown waited for it; a foreign thread that had never asked for its name crashed when it ended.
 */
#include <pthread.h>

#include "base/memory.h"
#include "regress.h"

static void *return_it(void *arg)
{
    return arg;
}

static bool no_threads(enum fault_site site)
{
    return site == FAULT_THREAD;
}

static void *create_only(void *arg)
{
    EXPECT(vthread_create(NULL, NULL, return_it, NULL) == 0);
    return arg;
}

int main(void)
{
    vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};
    pthread_t foreign;
    vthread_t t;

    regress_configure(2, 0);
    EXPECT(vthread_create(&t, &platform, return_it, NULL) == 0);
    EXPECT(vthread_join(t, NULL) == 0);
    EXPECT(vthread_new(&t, &platform, return_it, NULL) == 0);
    fault_set_hook(no_threads);
    EXPECT(vthread_create(NULL, &platform, return_it, NULL) == EAGAIN);
    EXPECT(vthread_start(t) == EAGAIN);
    fault_set_hook(NULL);
    EXPECT(vthread_start(t) == 0);
    EXPECT(vthread_join(t, NULL) == 0);
    EXPECT(pthread_create(&foreign, NULL, create_only, NULL) == 0);
    EXPECT(pthread_join(foreign, NULL) == 0);
    return regress_end();
}
