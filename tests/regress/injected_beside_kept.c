/* SPDX-License-Identifier: MIT */
/*
 * Threads that contend for mutexes, and are kept by their carrier when they are woken, while others come from outside:
 * these never had a turn as long as one of those waited for its own.
 */
#include "regress.h"

#include <vthread/sync.h>

enum { MUTEXES = 4, FOR_EACH = 3, FROM_OUTSIDE = 200 };

static vthread_mutex_t mutexes[MUTEXES];
static atomic_bool over;
static _Atomic int came;

static void *contends(void *arg)
{
    vthread_mutex_t *mutex = arg;

    while (!atomic_load(&over)) {
        EXPECT(vthread_mutex_lock(mutex) == 0);
        vthread_yield();
        EXPECT(vthread_mutex_unlock(mutex) == 0);
    }
    return NULL;
}

static void *comes(void *arg)
{
    atomic_fetch_add(&came, 1);
    return arg;
}

int main(void)
{
    vthread_t threads[MUTEXES * FOR_EACH];
    vthread_t last;

    regress_configure(1, 0);
    for (int i = 0; i < MUTEXES * FOR_EACH; i++)
        EXPECT(vthread_create(&threads[i], NULL, contends, &mutexes[i % MUTEXES]) == 0);
    for (int i = 0; i < FROM_OUTSIDE; i++) {
        EXPECT(vthread_create(&last, NULL, comes, NULL) == 0);
        EXPECT(vthread_join(last, NULL) == 0);
    }
    EXPECT(atomic_load(&came) == FROM_OUTSIDE);
    atomic_store(&over, true);
    for (int i = 0; i < MUTEXES * FOR_EACH; i++)
        EXPECT(vthread_join(threads[i], NULL) == 0);
    return regress_end();
}
