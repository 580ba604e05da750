/* SPDX-License-Identifier: MIT */
/* A destructor of thread-specific data runs when a carrier ends, inside a shutdown: its calls must not wait for that.
 */
#include "regress.h"

#include <pthread.h>

static pthread_key_t key;
static vthread_t ended;
static atomic_int destroyed;

static void *set(void *arg)
{
    EXPECT(pthread_setspecific(key, &key) == 0);
    return arg;
}

static void destroy(void *value)
{
    char name[64];

    (void)value;
    EXPECT(vthread_name(ended, name, sizeof name) == 0);
    EXPECT(vthread_unref(ended) == 0);
    EXPECT(vthread_name(ended, name, sizeof name) == ESRCH);
    EXPECT(vthread_create(NULL, NULL, set, NULL) == ECANCELED);
    EXPECT(vthread_self() == NULL);
    EXPECT(vthread_runtime_stats(NULL) == ECANCELED);
    atomic_fetch_add(&destroyed, 1);
}

int main(void)
{
    alarm(50);
    EXPECT(pthread_key_create(&key, destroy) == 0);
    for (int life = 1; life <= 3; life++) {
        EXPECT(vthread_create(&ended, NULL, set, NULL) == 0);
        EXPECT(vthread_ref(ended) == 0);
        EXPECT(vthread_join(ended, NULL) == 0);
        EXPECT(vthread_runtime_shutdown(VTHREAD_FOREVER) == 0);
        EXPECT(atomic_load(&destroyed) == life);
    }
    return 0;
}
