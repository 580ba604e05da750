/* SPDX-License-Identifier: MIT */
/*
 * Two or three actors do one thing each with fresh objects, many thousand times; the results of every round,
 * taken together, must be among those that the documentation permits (after OpenJDK's jcstress).
 *
 * Each actor goes through a batch of worlds, one round each; where it meets the others it waits
 * a little for them, or yields, so that they come at the objects in all orders.
 */
#ifndef TESTS_OUTCOME_H
#define TESTS_OUTCOME_H

#include <sched.h>

#include <vthread/executor.h>
#include <vthread/queue.h>
#include <vthread/sync.h>

#include "../stress/stress.h"

enum { ACTORS_MAX = 3, RESULTS = 4, BATCH = 100, SEEN_MAX = 32, WAIT_FOR_OTHERS = 200, SOON_NS = 20000 };

struct world {
    _Alignas(64) vthread_mutex_t mutex;
    vthread_cond_t cond;
    vthread_sem_t sem;
    vthread_rwlock_t rwlock;
    vthread_latch_t latch;
    vthread_barrier_t barrier;
    vthread_queue_t *queue;
    vthread_queue_t *other;
    vthread_future_t *future;
    int x, y;        /* plain */
    int64_t soon_ns; /* a deadline that may pass or not */
    _Atomic int arrived;
    _Atomic(vthread_t) threads[ACTORS_MAX]; /* those who have come */
    atomic_bool done;                       /* for an actor that is to stay until another is through */
    int results[RESULTS];
};

/* r: the actor's result. */
typedef void actor_fn(struct world *w, int *r);

struct outcome_test {
    const char *name;
    actor_fn *begin; /* before each round */
    actor_fn *actors[ACTORS_MAX];
    actor_fn *end;             /* after it; its result comes last */
    const char *permitted[16]; /* results, of each actor and of end */
};

static struct world worlds[BATCH];
static const struct outcome_test *test;
static int actor_count;

/* Errors by name; all other results are small numbers. */
static const char *outcome_word(int result, char *buffer, size_t size)
{
    switch (abs(result)) {
    case EINTR:
        return "interrupted";
    case EBUSY:
        return "busy";
    case ETIMEDOUT:
        return "late";
    case ECANCELED:
        return "cancelled";
    default:
        snprintf(buffer, size, "%d", result);
        return buffer;
    }
}

static void outcome_text(const struct world *w, char *text, size_t size)
{
    size_t length = 0;

    for (int i = 0; i < RESULTS; i++) {
        char number[16];

        if (i < ACTORS_MAX && i >= actor_count)
            continue;
        length += (size_t)snprintf(text + length, size - length, "%s%s", length > 0 ? " " : "",
                                   outcome_word(w->results[i], number, sizeof number));
    }
}

static bool outcome_is_permitted(const char *text)
{
    for (int i = 0; test->permitted[i] != NULL; i++)
        if (strcmp(test->permitted[i], text) == 0)
            return true;
    return false;
}

struct outcome_actor {
    int index;
    uint64_t random;
};

static void outcome_meet(struct world *w, uint64_t *random)
{
    uint64_t how = stress_below(random, 4);

    atomic_fetch_add(&w->arrived, 1);
    if (how == 0)
        vthread_yield();
    for (int i = 0; how != 1 && i < WAIT_FOR_OTHERS && atomic_load(&w->arrived) < actor_count; i++)
        vthread_spin_hint();
}

static void *outcome_act(void *arg)
{
    struct outcome_actor *a = arg;

    for (int i = 0; i < BATCH; i++) {
        atomic_store(&worlds[i].threads[a->index], vthread_self());
        outcome_meet(&worlds[i], &a->random);
        test->actors[a->index](&worlds[i], &worlds[i].results[a->index]);
    }
    return NULL;
}

static void outcome_batch(uint64_t *random)
{
    static struct outcome_actor actors[ACTORS_MAX];
    vthread_t threads[ACTORS_MAX];
    uint64_t platform = stress_below(random, 3 * ACTORS_MAX); /* one of them in every third batch */

    memset(worlds, 0, sizeof worlds);
    for (int i = 0; i < BATCH; i++) {
        worlds[i].soon_ns = (int64_t)stress_below(random, SOON_NS);
        if (test->begin != NULL)
            test->begin(&worlds[i], NULL);
    }
    for (int i = 0; i < actor_count; i++) {
        vthread_attr_t attr = {.kind = (uint64_t)i == platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};

        actors[i] = (struct outcome_actor){i, stress_random(random)};
        MUST(vthread_create(&threads[i], &attr, outcome_act, &actors[i]));
    }
    for (int i = 0; i < actor_count; i++)
        stress_join(threads[i]);
    for (int i = 0; i < BATCH; i++)
        if (test->end != NULL)
            test->end(&worlds[i], &worlds[i].results[RESULTS - 1]);
}

static struct {
    char text[64];
    long times;
} seen[SEEN_MAX];

static bool outcome_count(const struct world *w)
{
    char text[64];
    int i = 0;

    outcome_text(w, text, sizeof text);
    while (i < SEEN_MAX - 1 && seen[i].times > 0 && strcmp(seen[i].text, text) != 0)
        i++;
    strcpy(seen[i].text, text);
    seen[i].times++;
    return outcome_is_permitted(text);
}

static inline void outcome_await(atomic_bool *done)
{
    while (!atomic_load(done))
        vthread_yield();
}

static inline void outcome_interrupt(struct world *w, int actor)
{
    vthread_t t;

    while ((t = atomic_load(&w->threads[actor])) == NULL)
        vthread_yield();
    vthread_interrupt(t);
}

/* Every test of the table, that many rounds each. */
static int outcome_main(int argc, char **argv, const struct outcome_test *tests)
{
    struct stress s = stress_begin(argc, argv, 5000);
    uint64_t random = s.seed;
    int wrong = 0;

    for (test = tests; test->name != NULL; test++) {
        bool right = true;

        for (actor_count = 0; actor_count < ACTORS_MAX && test->actors[actor_count] != NULL;)
            actor_count++;
        memset(seen, 0, sizeof seen);
        for (long n = 0; n < s.count; n += BATCH) {
            outcome_batch(&random);
            for (int i = 0; i < BATCH; i++)
                right &= outcome_count(&worlds[i]);
        }
        printf("%-28s %s\n", test->name, right ? "ok" : "WRONG");
        for (int i = 0; i < SEEN_MAX && seen[i].times > 0; i++)
            printf("    %-40s %ld%s\n", seen[i].text, seen[i].times,
                   outcome_is_permitted(seen[i].text) ? "" : "  NOT PERMITTED");
        wrong += !right;
    }
    return stress_end("tests with other results", (uint64_t)wrong, 0);
}

#endif
