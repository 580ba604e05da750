/* SPDX-License-Identifier: MIT */
/*
 * Trees of scopes with random joiners, failures, cancels by others, deadlines and interrupts, opened by
 * virtual and platform threads: each value that a subtask gives is taken or discarded exactly once, each
 * value of a key is destroyed once, and nothing of a scope runs after it was closed.
 */
#include <vthread/local.h>
#include <vthread/scope.h>

#include "stress.h"

enum { OWNERS = 6, PLATFORM_OWNERS = 2, DEPTH = 3 };

static struct {
    _Atomic int64_t given, taken, discarded; /* values, in number */
    _Atomic int64_t set, destroyed;          /* of the key */
    _Atomic int64_t forked, wrong;
} all;

static _Atomic int64_t left;
static atomic_bool over;
static vthread_key_t key;
static vthread_scoped_value_t depth_value = VTHREAD_SCOPED_VALUE_INITIALIZER("depth");

#define WRONG_IF(condition)                                                                                            \
    do {                                                                                                               \
        if (condition) {                                                                                               \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            atomic_fetch_add(&all.wrong, 1);                                                                           \
        }                                                                                                              \
    } while (0)

/* A scope that others may cancel: named by a slot that is emptied before it is closed. */
static struct {
    vthread_scope_t *_Atomic scope;
    _Atomic int users;
} slots[16];

struct job {
    uint64_t random;
    int depth;
    _Atomic int *alive; /* of the parent's */
};

/* What was given and is not taken or discarded yet; the bytes are checked, and freed once. */
static void *give(void)
{
    uint32_t *value = malloc(sizeof *value);

    if (value == NULL)
        abort();
    *value = 0x600df00d;
    atomic_fetch_add(&all.given, 1);
    return value;
}

static void use(void *value, _Atomic int64_t *counter)
{
    uint32_t *v = value;

    WRONG_IF(*v != 0x600df00d);
    *v = 0;
    free(v);
    atomic_fetch_add(counter, 1);
}

static void discard(void *value)
{
    use(value, &all.discarded);
    if ((uintptr_t)value % 64 == 0)
        vthread_yield();
}

static void destroy(void *value)
{
    if ((uintptr_t)value % 8 == 0)
        vthread_sleep_ns(1000);
    atomic_fetch_add(&all.destroyed, 1);
}

static void *run_scope(void *job);

/* Scoped values are what they were where the parent forked. */
static void check_depth(const struct job *job)
{
    const int *bound = vthread_scoped_value_get(&depth_value);

    WRONG_IF(bound == NULL || *bound != job->depth);
}

static void linger(uint64_t *random)
{
    switch (stress_below(random, 6)) {
    case 0:
        vthread_yield();
        break;
    case 1:
        vthread_sleep_ns((int64_t)stress_below(random, 50000));
        break;
    case 2:
        vthread_park_until(vthread_after_ns((int64_t)stress_below(random, 100000)));
        vthread_interrupted();
        break;
    default:
        break;
    }
}

static void *end_somehow(uint64_t *random)
{
    switch (stress_below(random, 8)) {
    case 0:
        return vthread_fail(1 + (int)stress_below(random, 100));
    case 1:
        vthread_exit(give());
    case 2:
        return NULL;
    default:
        return give();
    }
}

static void *subtask(void *arg)
{
    struct job job = *(struct job *)arg;
    _Atomic int *alive = job.alive;

    check_depth(&job);
    job.depth++;
    if (stress_below(&job.random, 3) == 0 && vthread_setspecific(key, (void *)(1 + stress_below(&job.random, 99))) == 0)
        atomic_fetch_add(&all.set, 1);
    linger(&job.random);
    if (job.depth < DEPTH && stress_below(&job.random, 2) == 0)
        WRONG_IF(vthread_scoped_value_run_copy(&depth_value, &job.depth, sizeof job.depth, run_scope, &job, NULL) != 0);
    atomic_fetch_sub(alive, 1);
    return end_somehow(&job.random);
}

/* ---- an owner's side ---- */

static int show(vthread_scope_t *s, uint64_t *random)
{
    int i = (int)stress_below(random, 16);
    vthread_scope_t *none = NULL;

    return atomic_compare_exchange_strong(&slots[i].scope, &none, s) ? i : -1;
}

static void hide(int i)
{
    if (i < 0)
        return;
    atomic_store(&slots[i].scope, NULL);
    while (atomic_load(&slots[i].users) > 0)
        vthread_yield();
}

static void fork_some(vthread_scope_t *s, struct job *job, _Atomic int *alive, vthread_subtask_t **subs, int n)
{
    for (int i = 0; i < n; i++) {
        struct job childs = {.random = stress_random(&job->random), .depth = job->depth, .alive = alive};

        atomic_fetch_add(alive, 1);
        subs[i] = NULL;
        WRONG_IF(vthread_scope_fork_copy(s, subtask, &childs, sizeof childs,
                                         stress_below(&job->random, 3) ? &subs[i] : NULL) != 0);
        atomic_fetch_add(&all.forked, 1);
    }
}

static void take_some(vthread_scope_t *s, struct job *job, vthread_subtask_t **subs, int n, int outcome)
{
    void *value;

    for (int i = 0; i < n; i++) {
        int error;

        if (subs[i] == NULL || stress_below(&job->random, 3) != 0)
            continue;
        value = NULL;
        error = vthread_subtask_result(subs[i], &value);
        WRONG_IF(error != 0 && error != ECHILD && error != ECANCELED);
        WRONG_IF((error == ECHILD) != (vthread_subtask_error(subs[i]) != 0));
        if (error == 0 && value != NULL)
            use(value, &all.taken);
    }
    for (int i = (int)stress_below(&job->random, 8); i > 0; i--) {
        int error = vthread_scope_result(s, &value);

        WRONG_IF(error != outcome && error != ENODATA);
        if (error == 0 && value != NULL)
            use(value, &all.taken);
    }
}

static int join(vthread_scope_t *s, struct job *job)
{
    int error = EINTR;

    while (error == EINTR) {
        if (stress_below(&job->random, 10) == 0)
            return -1; /* goes away, whatever comes of it */
        if (stress_below(&job->random, 3) == 0)
            vthread_scope_join_until(s, vthread_after_ns((int64_t)stress_below(&job->random, 100000)));
        error = vthread_scope_join(s);
    }
    return error;
}

static void *run_scope(void *arg)
{
    struct job *job = arg;
    vthread_scope_params_t params = {.joiner = (vthread_scope_joiner_t)stress_below(&job->random, 3),
                                     .discard = discard};
    /* Subtasks count there: not in a frame. */
    _Atomic int *alive = calloc(1, sizeof *alive);
    vthread_subtask_t *subs[8];
    vthread_scope_t *s;
    int n = (int)stress_below(&job->random, 8);
    int slot, outcome, error;

    if (stress_below(&job->random, 4) == 0)
        params.deadline_ns = vthread_after_ns((int64_t)stress_below(&job->random, 300000));
    if (stress_below(&job->random, 16) == 0)
        params.attr.kind = VTHREAD_KIND_PLATFORM;
    MUST(vthread_scope_open(&s, &params));
    slot = show(s, &job->random);
    fork_some(s, job, alive, subs, n);
    outcome = stress_below(&job->random, 10) ? join(s, job) : -1;
    if (outcome >= 0)
        take_some(s, job, subs, n, outcome);
    hide(slot);
    error = vthread_scope_close(s);
    WRONG_IF(error != 0 && error != ECANCELED);
    WRONG_IF(atomic_load(alive) > n); /* those that never began have not counted themselves out */
    *alive = INT32_MIN;               /* whoever still ran would use what was freed */
    free(alive);
    return NULL;
}

static void *own(void *arg)
{
    struct job job = {.random = *(uint64_t *)arg};

    while (atomic_fetch_sub(&left, 1) > 0) {
        if (vthread_scoped_value_run_copy(&depth_value, &job.depth, sizeof job.depth, run_scope, &job, NULL) != 0)
            abort();
        vthread_interrupted();
    }
    return NULL;
}

/* ---- others ---- */

static vthread_t owners[OWNERS];

static void *disturb(void *arg)
{
    uint64_t random = *(uint64_t *)arg;

    while (!atomic_load(&over)) {
        int i = (int)stress_below(&random, 16);
        vthread_scope_t *s;

        atomic_fetch_add(&slots[i].users, 1);
        s = atomic_load(&slots[i].scope);
        if (s != NULL && stress_below(&random, 4) == 0)
            MUST(vthread_scope_cancel(s));
        atomic_fetch_sub(&slots[i].users, 1);
        if (stress_below(&random, 4) == 0)
            vthread_interrupt(owners[stress_below(&random, OWNERS)]);
        vthread_sleep_ns((int64_t)stress_below(&random, 100000));
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static const vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};
    struct stress s = stress_begin(argc, argv, 3000);
    static uint64_t seeds[OWNERS + 1];
    uint64_t seed = s.seed;
    vthread_t disturber;

    MUST(vthread_key_create(&key, destroy));
    atomic_store(&left, s.count);
    for (int i = 0; i <= OWNERS; i++)
        seeds[i] = stress_random(&seed);
    for (int i = 0; i < OWNERS; i++)
        MUST(vthread_create(&owners[i], i < PLATFORM_OWNERS ? &platform : NULL, own, &seeds[i]));
    disturber = stress_start(disturb, &seeds[OWNERS]);
    for (int i = 0; i < OWNERS; i++)
        stress_join(owners[i]);
    atomic_store(&over, true);
    stress_join(disturber);
    printf("%" PRId64 " subtasks; %" PRId64 " values taken, %" PRId64 " discarded\n", atomic_load(&all.forked),
           atomic_load(&all.taken), atomic_load(&all.discarded));
    WRONG_IF(atomic_load(&all.set) != atomic_load(&all.destroyed));
    return stress_end("values", (uint64_t)(atomic_load(&all.taken) + atomic_load(&all.discarded)),
                      (uint64_t)(atomic_load(&all.given) + 1000000000 * atomic_load(&all.wrong)));
}
