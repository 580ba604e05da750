/* SPDX-License-Identifier: MIT */
/*
 * Joins by several at once, with deadlines, against detach, with references held, and the handles
 * of long ended threads used in between: the value arrives, each creator's reference is consumed once.
 */
#include "stress.h"

enum { OLD = 64, JOINERS_MAX = 4 };

struct round {
    vthread_t target;
    void *value;      /* that the target returns; NULL: nobody may get one */
    bool may_give_up; /* joins end by deadlines as well */
    _Atomic uint32_t joined;
    _Atomic uint32_t wrong;
    uint64_t random;
};

static _Atomic(vthread_t) old[OLD]; /* by whoever comes */

static void *target_body(void *arg)
{
    uint64_t bits = (uintptr_t)arg;

    for (uint64_t i = bits % 5; i > 0; i--)
        vthread_yield();
    if (bits % 7 == 0)
        vthread_sleep_ns(30000);
    return arg;
}

static void *join_it(void *arg)
{
    struct round *r = arg;
    void *value = NULL;
    int error;

    do
        error = r->may_give_up ? vthread_join_until(r->target, &value, vthread_after_ns(5000))
                               : vthread_join(r->target, &value);
    while (error == ETIMEDOUT);
    if (error == 0)
        atomic_fetch_add(&r->joined, 1);
    if (error == 0 ? value != r->value : error != ESRCH)
        atomic_fetch_add(&r->wrong, 1);
    return NULL;
}

/* What one must not be able to do with a thread that has ended. */
static bool is_harmless(vthread_t ended)
{
    char name[64];

    return ended == NULL ||
           (vthread_unpark(ended) == 0 && vthread_interrupt(ended) == 0 && vthread_join(ended, NULL) == ESRCH &&
            vthread_detach(ended) == ESRCH && vthread_start(ended) == ESRCH && !vthread_is_alive(ended) &&
            vthread_state(ended) == VTHREAD_TERMINATED && vthread_name(ended, name, sizeof name) == ESRCH &&
            !vthread_is_interrupted(ended) && vthread_ref(ended) == ESRCH);
}

/* Returns true when all went as it must. */
static bool one_round(uint64_t *random)
{
    struct round *r = calloc(1, sizeof *r);
    vthread_t joiners[JOINERS_MAX];
    uint64_t n = 1 + stress_below(random, JOINERS_MAX);
    bool referenced = stress_below(random, 3) == 0;
    bool ok;

    r->value = (void *)(uintptr_t)(1 + stress_below(random, 1000000));
    r->may_give_up = stress_below(random, 2) == 0;
    MUST(vthread_new(&r->target, NULL, target_body, r->value));
    if (referenced)
        MUST(vthread_ref(r->target));
    MUST(vthread_start(r->target));
    for (uint64_t i = 0; i < n; i++)
        joiners[i] = stress_start(join_it, r);
    for (uint64_t i = 0; i < n; i++)
        stress_join(joiners[i]);
    ok = r->joined >= 1 && r->wrong == 0;
    if (referenced) {
        char name[64];

        ok = ok && vthread_name(r->target, name, sizeof name) == 0 && vthread_join(r->target, NULL) == ESRCH;
        ok = vthread_unref(r->target) == 0 && ok;
    }
    ok = ok && is_harmless(old[stress_below(random, OLD)]);
    old[stress_below(random, OLD)] = r->target;
    free(r);
    return ok;
}

static void *detach_it(void *arg)
{
    struct round *r = arg;

    return (void *)(uintptr_t)vthread_detach(r->target);
}

/* One joins, one detaches; somebody must win, and only one if the joiner came late. */
static bool one_race(uint64_t *random)
{
    struct round *r = calloc(1, sizeof *r);
    vthread_t joiner;
    vthread_t detacher;
    int error;
    bool ok;

    r->value = (void *)(uintptr_t)(1 + stress_below(random, 1000000));
    MUST(vthread_create(&r->target, NULL, target_body, r->value));
    detacher = stress_start(detach_it, r);
    joiner = stress_start(join_it, r);
    error = (int)(uintptr_t)stress_join(detacher);
    stress_join(joiner); /* EINVAL (detached, still running) counts as wrong there */
    ok = error == 0 || (error == ESRCH && r->joined == 1 && r->wrong == 0);
    free(r);
    return ok;
}

static void *churn(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    uint64_t rounds = random & 0xffff;
    uint64_t good = 0;

    for (uint64_t i = 0; i < rounds; i++)
        good += i % 4 == 3 ? one_race(&random) : one_round(&random);
    return (void *)(uintptr_t)good;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 8000);
    vthread_t threads[8];
    uint64_t each = (uint64_t)s.count / 8 + 1;
    uint64_t good = 0;

    each = each > 0xffff ? 0xffff : each;
    for (int i = 0; i < 8; i++)
        threads[i] = stress_start(churn, (void *)(uintptr_t)((s.seed << 16) + ((uint64_t)i << 40 | each)));
    for (int i = 0; i < 8; i++)
        good += (uintptr_t)stress_join(threads[i]);
    return stress_end("rounds", good, each * 8);
}
