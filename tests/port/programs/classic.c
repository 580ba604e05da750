/* SPDX-License-Identifier: MIT */
/* Producers and consumers around a ring, a barrier between two rounds, and a once: what every textbook has. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>

enum { THREADS = 8, ITEMS = 1000, ROOM = 4 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_barrier_t barrier;
static sem_t done;
static int ring[ROOM], count, first;
static long sum, serial, inits;

static void init(void)
{
    inits++;
}

static void put(int item)
{
    pthread_mutex_lock(&mutex);
    while (count == ROOM)
        pthread_cond_wait(&not_full, &mutex);
    ring[(first + count++) % ROOM] = item;
    pthread_cond_signal(&not_empty);
    pthread_mutex_unlock(&mutex);
}

static int take(void)
{
    int item;

    pthread_mutex_lock(&mutex);
    while (count == 0)
        pthread_cond_wait(&not_empty, &mutex);
    item = ring[first];
    first = (first + 1) % ROOM;
    count--;
    pthread_cond_signal(&not_full);
    pthread_mutex_unlock(&mutex);
    return item;
}

static void *work(void *arg)
{
    long number = (long)arg, mine = 0;

    pthread_once(&once, init);
    for (int i = 0; i < ITEMS; i++)
        if (number % 2 == 0)
            put(i);
        else
            mine += take();
    pthread_rwlock_wrlock(&rwlock);
    sum += mine;
    pthread_rwlock_unlock(&rwlock);
    int rc = pthread_barrier_wait(&barrier);
    if (rc != 0 && rc != PTHREAD_BARRIER_SERIAL_THREAD)
        return (void *)1;
    if (rc == PTHREAD_BARRIER_SERIAL_THREAD)
        serial++;
    pthread_barrier_wait(&barrier);
    sem_post(&done);
    if (number == 3)
        pthread_exit((void *)0);
    return NULL;
}

static void *detached(void *arg)
{
    sem_post((sem_t *)arg);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS], extra;
    pthread_attr_t attr;
    pthread_condattr_t condattr;
    pthread_cond_t never;
    struct timespec soon;
    long failed = 0;

    pthread_barrier_init(&barrier, NULL, THREADS);
    sem_init(&done, 0, 0);
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        sem_wait(&done);
    for (int i = 0; i < THREADS; i++) {
        void *value;

        if (pthread_join(threads[i], &value) != 0 || value != NULL)
            failed++;
    }
    pthread_barrier_destroy(&barrier);

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 64 * 1024);
    if (pthread_create(&extra, &attr, detached, &done) != 0)
        return 1;
    pthread_attr_destroy(&attr);
    sem_wait(&done);

    pthread_condattr_init(&condattr);
    pthread_condattr_setclock(&condattr, CLOCK_MONOTONIC);
    pthread_cond_init(&never, &condattr);
    clock_gettime(CLOCK_MONOTONIC, &soon);
    pthread_mutex_lock(&mutex);
    if (pthread_cond_timedwait(&never, &mutex, &soon) != ETIMEDOUT)
        failed++;
    pthread_mutex_unlock(&mutex);
    printf("%d, sum %ld, serial %ld, inits %ld, failed %ld\n", pthread_equal(pthread_self(), pthread_self()) != 0, sum,
           serial, inits, failed);
    return failed != 0;
}
