/* SPDX-License-Identifier: MIT */
/*
 * Dumps while threads are made, renamed, park, open scopes, submit tasks and end.  Each has every witness, who
 * is there all the time, once.  They go on until there have been enough dumps, too: the first takes long, for debug
 * information is loaded.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vthread/executor.h>
#include <vthread/runtime.h>
#include <vthread/scope.h>
#include <vthread/sync.h>

#include "stress.h"

enum { CHURNERS = 8, WITNESSES = 16, DUMPS = 100 };

static _Atomic bool stop, released;
static _Atomic uint64_t missed;
static _Atomic uint64_t ended;
static _Atomic uint64_t dumps;
static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;

static void *live(void *arg)
{
    uintptr_t n = (uintptr_t)arg;
    vthread_scope_t *s;

    switch (n % 5) {
    case 0:
        MUST(vthread_scope_open(&s, &(vthread_scope_params_t){.name = "short"}));
        MUST(vthread_scope_fork(s, live, (void *)(n + 1), NULL));
        MUST(vthread_scope_join(s));
        MUST(vthread_scope_close(s));
        break;
    case 1:
        MUST(vthread_setname(vthread_self(), "renamed"));
        vthread_park_until(vthread_after_ns((int64_t)(n % 7) * 10000));
        break;
    case 2:
        MUST(vthread_mutex_lock(&mutex));
        vthread_yield();
        MUST(vthread_mutex_unlock(&mutex));
        break;
    case 3:
        MUST(vthread_pin("now and then"));
        vthread_sleep_ns(1000);
        MUST(vthread_unpin());
        break;
    default:
        vthread_yield();
        break;
    }
    return NULL;
}

struct churner {
    uint64_t random;
    uint64_t rounds;
    uint64_t done;
};

static void *churn(void *arg)
{
    struct churner *self = arg;

    for (uint64_t i = 0; i < self->rounds || atomic_load(&dumps) < DUMPS; i++) {
        uintptr_t n = (uintptr_t)(stress_random(&self->random) >> 8);
        const vthread_attr_t named = {.name_prefix = "born-"};
        vthread_executor_t *ex;
        vthread_t t;

        MUST(vthread_create(&t, n % 2 ? &named : NULL, live, (void *)n));
        stress_join(t);
        if (i % 8 == 0) {
            MUST(vthread_executor_new_per_task(&ex, &(vthread_executor_params_t){.name = "brief"}));
            for (uintptr_t k = 0; k < 4; k++)
                MUST(vthread_executor_submit(ex, live, (void *)(n + k), NULL));
            MUST(vthread_executor_free(ex));
        }
        atomic_fetch_add(&ended, 1);
        self->done++;
    }
    return NULL;
}

static void *witness(void *arg)
{
    char name[32];

    snprintf(name, sizeof name, "witness-%03u.", (unsigned)(uintptr_t)arg);
    MUST(vthread_setname(vthread_self(), name));
    while (!atomic_load(&released))
        vthread_park_until(vthread_after_ms((int64_t)(uintptr_t)arg + 1));
    return NULL;
}

static void look(int fd, vthread_dump_format_t format)
{
    off_t size;
    char *text;

    if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    MUST(vthread_dump(fd, format));
    atomic_fetch_add(&dumps, 1);
    size = lseek(fd, 0, SEEK_END);
    text = calloc(1, (size_t)size + 1);
    if (text == NULL || pread(fd, text, (size_t)size, 0) != size)
        abort();
    for (unsigned i = 0; i < WITNESSES; i++) {
        const char *at;
        char name[32];

        snprintf(name, sizeof name, "\"witness-%03u.\"", i);
        at = strstr(text, name);
        if (at == NULL || strstr(at + 1, name) != NULL)
            atomic_fetch_add(&missed, 1);
    }
    if (size < 100 || text[size - 1] != '\n' || (format == VTHREAD_DUMP_JSON && text[size - 2] != '}'))
        atomic_fetch_add(&missed, 1);
    free(text);
}

static void *dump_all_the_time(void *arg)
{
    int fd = memfd_create("dump", 0);
    bool has_json = vthread_dump(fd, VTHREAD_DUMP_JSON) != ENOTSUP;

    (void)arg;
    for (int i = 0; !atomic_load(&stop); i++)
        look(fd, has_json && i % 2 == 0 ? VTHREAD_DUMP_JSON : VTHREAD_DUMP_TEXT);
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 60000);
    static struct churner churners[CHURNERS];
    vthread_t threads[CHURNERS + WITNESSES + 1];
    uint64_t rounds = (uint64_t)s.count / CHURNERS + 1;
    uint64_t done = 0;
    pthread_t outside;
    char name[32];

    for (unsigned i = 0; i < WITNESSES; i++) {
        threads[CHURNERS + i] = stress_start(witness, (void *)(uintptr_t)i);
        do
            vthread_yield();
        while (vthread_name(threads[CHURNERS + i], name, sizeof name) != 0 || name[0] != 'w');
    }
    MUST(pthread_create(&outside, NULL, dump_all_the_time, NULL));
    threads[CHURNERS + WITNESSES] = stress_start(dump_all_the_time, NULL);
    for (int i = 0; i < CHURNERS; i++) {
        churners[i] = (struct churner){s.seed + (uint64_t)i, rounds, 0};
        threads[i] = stress_start(churn, &churners[i]);
    }
    for (int i = 0; i < CHURNERS; i++) {
        stress_join(threads[i]);
        done += churners[i].done;
    }
    atomic_store(&stop, true);
    pthread_join(outside, NULL);
    stress_join(threads[CHURNERS + WITNESSES]);
    atomic_store(&released, true);
    for (int i = 0; i < WITNESSES; i++)
        stress_join(threads[CHURNERS + i]);
    printf("%llu dumps\n", (unsigned long long)atomic_load(&dumps));
    return stress_end("ended", atomic_load(&ended) + 1000000 * atomic_load(&missed), done);
}
