/* SPDX-License-Identifier: MIT */
/* Run with libvthread-mutex-check.so loaded before: mutexes of every kind are seen, once each, and no others. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static pthread_mutex_t normal = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static const void *seen[16];
static char names[16][32];
static atomic_int count;

static void on_mutex(const vthread_event_t *e, void *user)
{
    int n = atomic_load(&count);
    char text[4096];

    (void)user;
    EXPECT(n < 16);
    seen[n] = e->mutex;
    snprintf(names[n], sizeof names[n], "%s", e->name);
    EXPECT(vthread_event_text(e, true, text, sizeof text) > 0);
    EXPECT(strstr(text, "holds an OS mutex") != NULL);
    EXPECT(e->depth > 0);
    atomic_store(&count, n + 1);
}

static void *hold(void *arg)
{
    (void)arg;
    /* Let go in time: nothing to say. */
    EXPECT(pthread_mutex_lock(&normal) == 0);
    EXPECT(pthread_mutex_unlock(&normal) == 0);
    vthread_sleep_ms(1);
    /* There is one carrier, and so one OS thread to go on on. */
    EXPECT(pthread_mutex_lock(&normal) == 0);
    vthread_sleep_ms(1);
    vthread_sleep_ms(1); /* of that it has been told */
    EXPECT(pthread_mutex_unlock(&normal) == 0);
    vthread_sleep_ms(1);
    EXPECT(pthread_mutex_trylock(&recursive) == 0);
    EXPECT(pthread_mutex_lock(&recursive) == 0);
    EXPECT(pthread_mutex_unlock(&recursive) == 0);
    vthread_yield(); /* a wait as any other */
    EXPECT(pthread_mutex_unlock(&recursive) == 0);
    vthread_sleep_ms(1);
    return NULL;
}

int main(void)
{
    vthread_runtime_params_t params = {.parallelism = 1};
    vthread_t t;
    uint64_t id;

    EXPECT(vthread_runtime_configure(&params) == 0);
    EXPECT(vthread_event_subscribe(VTHREAD_EVENT_OS_MUTEX, on_mutex, NULL, &id) == 0);
    EXPECT(vthread_create(&t, &(vthread_attr_t){.name = "holder"}, hold, NULL) == 0);
    EXPECT(vthread_join(t, NULL) == 0);
    EXPECT(vthread_event_unsubscribe(id) == 0);
    EXPECT(atomic_load(&count) == 2);
    EXPECT(seen[0] == &normal);
    EXPECT(seen[1] == &recursive);
    EXPECT(strcmp(names[0], "holder") == 0);
    EXPECT(vthread_runtime_shutdown(vthread_after_ms(20000)) == 0);
    return 0;
}
