/* SPDX-License-Identifier: MIT */
/* A tree whose functions lock and call each other. */
#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t mutex;
static long visits;

static void visit(int depth)
{
    pthread_mutex_lock(&mutex);
    visits++;
    if (depth > 0) {
        visit(depth - 1);
        visit(depth - 1);
    }
    pthread_mutex_unlock(&mutex);
}

static void *walk(void *arg)
{
    visit(6);
    return arg;
}

int main(void)
{
    pthread_t threads[4];
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    if (pthread_mutex_init(&mutex, &attr) != 0) {
        puts("no recursive mutex");
        return 1;
    }
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, walk, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("%ld visits\n", visits);
    return 0;
}
