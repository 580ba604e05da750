/* SPDX-License-Identifier: MIT */
/*
 * Threads that do hardly anything but switch, on every way that there is, while the main thread
 * stops the world again and again: they are stopped in the middle of switches, where it is hardest to say whose
 * frames are where.  In between the main thread uses again what was freed by mistake.
 */
#include <stdatomic.h>

#include <vthread/all.h>

#include "stress.h"

enum { THREADS = 48, NODES = 3, REUSED = 4 * THREADS * NODES };

struct node {
    struct node *next;
    uint64_t inverse;
    uint64_t value;
};

static atomic_bool over;
static atomic_long wrong;
static vthread_cont_scope_t outer = VTHREAD_CONT_SCOPE_INITIALIZER("outer");
static vthread_cont_scope_t inner = VTHREAD_CONT_SCOPE_INITIALIZER("inner");

static struct node *list_new(uint64_t value)
{
    struct node *list = NULL;

    for (int i = 0; i < NODES; i++) {
        struct node *n = vthread_gc_alloc(sizeof *n);

        MUST(n != NULL ? 0 : ENOMEM);
        *n = (struct node){.next = list, .value = value, .inverse = ~value};
        list = n;
    }
    return list;
}

static void list_check(const struct node *list, uint64_t value)
{
    int length = 0;

    for (; list != NULL && length < NODES; list = list->next, length++)
        if (list->value != value || list->inverse != ~value) {
            atomic_fetch_add(&wrong, 1);
            return;
        }
    if (length != NODES)
        atomic_fetch_add(&wrong, 1);
}

static bool goes_on(void)
{
    return !atomic_load_explicit(&over, memory_order_relaxed);
}

static void *yield(void *arg)
{
    struct node *list = list_new((uintptr_t)arg);

    while (goes_on()) {
        vthread_yield();
        list_check(list, (uintptr_t)arg);
    }
    return NULL;
}

static void *yield_deep(void *arg)
{
    struct node *list = list_new((uintptr_t)arg);
    volatile char frame[2000];

    frame[0] = 1;
    for (int i = 0; i < 20 && goes_on(); i++) {
        vthread_yield();
        list_check(list, (uintptr_t)arg);
    }
    return frame[0] ? list : NULL;
}

/* Now from a deep frame, now from a shallow one. */
static void *yield_here_and_there(void *arg)
{
    struct node *list = list_new((uintptr_t)arg);

    while (goes_on()) {
        vthread_yield();
        list_check(yield_deep(arg), (uintptr_t)arg);
        list_check(list, (uintptr_t)arg);
    }
    return NULL;
}

static vthread_t partner[THREADS];

static void *park(void *arg)
{
    uintptr_t number = (uintptr_t)arg;
    struct node *list = list_new(number);

    while (goes_on()) {
        vthread_unpark(partner[number ^ 4]);
        if (vthread_park_until(vthread_after_ms(1)) != ETIMEDOUT)
            list_check(list, number);
    }
    return NULL;
}

static void *generate(void *arg)
{
    struct node *list = list_new((uintptr_t)arg);

    while (goes_on()) {
        vthread_cont_yield(&inner, list);
        list_check(list, (uintptr_t)arg);
        vthread_cont_yield(&outer, list);
        list_check(list, (uintptr_t)arg);
        vthread_yield();
        list_check(list, (uintptr_t)arg);
    }
    return NULL;
}

static void *run_inner(void *arg)
{
    struct node *list = list_new((uintptr_t)arg);
    vthread_cont_t *c;
    void *got;

    MUST(vthread_cont_new(&c, &inner, generate, arg));
    while (vthread_cont_run(c, &got) == 0) {
        list_check(got, (uintptr_t)arg);
        list_check(list, (uintptr_t)arg);
    }
    vthread_cont_free(c);
    return NULL;
}

static void *run_outer(void *arg)
{
    struct node *list = list_new((uintptr_t)arg);
    vthread_cont_t *c;
    void *got;

    MUST(vthread_cont_new(&c, &outer, run_inner, arg));
    while (vthread_cont_run(c, &got) == 0) {
        list_check(got, (uintptr_t)arg);
        list_check(list, (uintptr_t)arg);
    }
    vthread_cont_free(c);
    return NULL;
}

static void reuse(void)
{
    for (int i = 0; i < REUSED; i++) {
        struct node *n = vthread_gc_alloc(sizeof *n);

        MUST(n != NULL ? 0 : ENOMEM);
        n->value = n->inverse = 1;
    }
}

/*
 * So many times a carrier is stopped, not so many collections: with more carriers than CPUs a collection waits
 * until the kernel has let each of them run, for the length of a time slice or two.
 */
static long collections(long stops)
{
    vthread_runtime_stats_t stats;

    MUST(vthread_runtime_stats(&stats));
    return stops / stats.parallelism > 0 ? stops / stats.parallelism : 1;
}

int main(int argc, char **argv)
{
    static void *(*const bodies[])(void *arg) = {yield, park, yield_here_and_there, run_outer};
    struct stress s = stress_begin(argc, argv, 4000);
    long rounds = collections(s.count);
    vthread_t threads[THREADS];

    /* Those that park come in pairs, whose numbers differ by 4. */
    for (uintptr_t i = 0; i < THREADS; i++)
        partner[i] = threads[i] = stress_start(bodies[i % 4], (void *)i);
    for (long i = 0; i < rounds && atomic_load(&wrong) == 0; i++) {
        vthread_gc_collect();
        reuse();
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        stress_join(threads[i]);
    return stress_end("lists that are not as they were", (uint64_t)atomic_load(&wrong), 0);
}
