/* SPDX-License-Identifier: MIT */
/*
 * A platform thread finds that the one it joins has ended; before it takes the value the runtime is shut down.  The
 * record is then nobody's: freed once more, it would be given to two threads.
 */
#include "regress.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>

enum { MANY = 300 };

static sem_t inside;
static sem_t go_on;
static _Thread_local bool stops;

/* The first counted call of an OS thread comes by here: there the joiner waits. */
int pthread_setspecific(pthread_key_t key, const void *value)
{
    static int (*real)(pthread_key_t, const void *);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_setspecific");
    if (stops) {
        stops = false;
        sem_post(&inside);
        while (sem_wait(&go_on) != 0)
            ;
    }
    return real(key, value);
}

static void *ends(void *arg)
{
    return arg;
}

static void *waits(void *arg)
{
    vthread_park();
    return arg;
}

static void *joins(void *ended)
{
    vthread_t t;
    int error;

    stops = true;
    error = vthread_join(ended, NULL);
    EXPECT(error == ESRCH);
    EXPECT(vthread_create(&t, NULL, waits, NULL) == 0);
    return t;
}

int main(void)
{
    vthread_t all[MANY];
    vthread_t t;
    pthread_t joiner;
    void *value;

    regress_configure(2, 0);
    EXPECT(sem_init(&inside, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0);
    EXPECT(vthread_create(&t, NULL, ends, NULL) == 0);
    regress_wait_for(t, VTHREAD_TERMINATED);
    EXPECT(pthread_create(&joiner, NULL, joins, t) == 0);
    while (sem_wait(&inside) != 0)
        ;
    EXPECT(vthread_runtime_shutdown(VTHREAD_FOREVER) == 0);
    EXPECT(sem_post(&go_on) == 0);
    EXPECT(pthread_join(joiner, &value) == 0);
    t = value;
    for (int i = 0; i < MANY; i++) {
        EXPECT(vthread_create(&all[i], NULL, waits, NULL) == 0);
        EXPECT((uint32_t)(uintptr_t)all[i] != (uint32_t)(uintptr_t)t);
    }
    for (int i = 0; i < MANY; i++)
        EXPECT(vthread_unpark(all[i]) == 0 && vthread_join(all[i], NULL) == 0);
    EXPECT(vthread_unpark(t) == 0 && vthread_join(t, NULL) == 0);
    return regress_end();
}
