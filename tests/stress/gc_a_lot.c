/* SPDX-License-Identifier: MIT */
/*
 * Collections all the time, while threads do everything: lists that are reachable from one frame only, of
 * threads that yield, park, sleep, are pinned, block, run continuations, nested ones too, and pass objects on through
 * queues, results and futures.  Every object has a sum; what was freed by mistake is overwritten by others soon.
 */
#include <stdatomic.h>

#include <vthread/all.h>

#include "stress.h"

enum { THREADS = 200, LENGTH = 6, SWITCHERS = 8, STOPPERS = 2, GARBAGE = 100 };

struct node {
    struct node *next;
    uint64_t value;
    uint64_t inverse;
    uint64_t padding[3];
};

static atomic_long wrong;
static atomic_long left;
static atomic_long freed;
static uint64_t seed;
static vthread_queue_t *queue;
static vthread_cont_scope_t outer = VTHREAD_CONT_SCOPE_INITIALIZER("outer");
static vthread_cont_scope_t inner = VTHREAD_CONT_SCOPE_INITIALIZER("inner");

static struct node *node_new(struct node *next, uint64_t value)
{
    struct node *n = vthread_gc_alloc(sizeof *n);

    MUST(n != NULL ? 0 : ENOMEM);
    n->next = next;
    n->value = value;
    n->inverse = ~value;
    for (int i = 0; i < 3; i++)
        n->padding[i] = value;
    return n;
}

static struct node *list_new(uint64_t value)
{
    struct node *list = NULL;

    for (uint64_t i = 0; i < LENGTH; i++)
        list = node_new(list, value + i);
    return list;
}

static void list_check(const struct node *list, uint64_t value)
{
    uint64_t i = LENGTH;

    for (const struct node *n = list; n != NULL; n = n->next) {
        i--;
        if (n->value != value + i || n->inverse != ~n->value || n->padding[2] != n->value)
            atomic_fetch_add(&wrong, 1);
    }
    if (i != 0)
        atomic_fetch_add(&wrong, 1);
}

static void *result(void *arg)
{
    struct node *list = list_new((uintptr_t)arg);

    vthread_yield();
    return list;
}

static void *generate(void *arg)
{
    for (uintptr_t i = 0;; i++) {
        struct node *list = list_new((uintptr_t)arg + i);

        if (i % 3 == 0)
            vthread_yield(); /* away from inside a continuation */
        vthread_cont_yield(&inner, list);
        list_check(list, (uintptr_t)arg + i);
    }
    return NULL;
}

static void *generate_outer(void *arg)
{
    vthread_cont_t *c;

    if (vthread_cont_new(&c, &inner, generate, arg) != 0)
        return NULL;
    for (uintptr_t i = 0; i < 4; i++) {
        struct node *own = list_new(i);
        void *list;

        vthread_cont_run(c, &list);
        list_check(list, (uintptr_t)arg + i);
        vthread_cont_yield(&outer, list);
        list_check(list, (uintptr_t)arg + i);
        list_check(own, i);
    }
    vthread_cont_free(c);
    return NULL;
}

static void run_generators(uintptr_t value)
{
    vthread_cont_t *c;
    void *list;

    if (vthread_cont_new(&c, &outer, generate_outer, (void *)value) != 0)
        return;
    for (uintptr_t i = 0; i < 4 && vthread_cont_run(c, &list) == 0; i++) {
        vthread_yield();
        list_check(list, value + i);
    }
    vthread_cont_run(c, NULL);
    vthread_cont_free(c);
}

static void *body(void *arg)
{
    uint64_t random = seed + (uintptr_t)arg;

    while (atomic_fetch_sub(&left, 1) > 0) {
        uint64_t value = stress_random(&random);
        struct node *list = list_new(value);
        vthread_t t;
        void *got = NULL;

        switch ((value >> 40) % 9) {
        case 0:
        case 1:
            vthread_yield();
            break;
        case 2:
            vthread_sleep_ns(1000);
            break;
        case 3:
            vthread_pin("stress");
            vthread_sleep_ns(1000);
            vthread_unpin();
            break;
        case 4:
            vthread_blocking_begin("stress");
            vthread_blocking_end();
            break;
        case 5:
            if (vthread_create(&t, NULL, result, (void *)(uintptr_t)value) == 0 && vthread_join(t, &got) == 0)
                list_check(got, value);
            break;
        case 6:
            if (vthread_queue_put_ptr(queue, list_new(7)) == 0 && vthread_queue_take_ptr(queue, &got) == 0)
                list_check(got, 7);
            break;
        case 7:
            run_generators(value);
            break;
        default:
            for (volatile int i = 0; i < 200; i++)
                ;
        }
        list_check(list, value);
    }
    return NULL;
}

/* Hardly more than switches: most are stopped in the middle of one, or near it. */
static void *switch_only(void *arg)
{
    uint64_t value = (uintptr_t)arg;
    struct node *list = list_new(value);

    while (atomic_load_explicit(&left, memory_order_relaxed) > 0) {
        for (int i = 0; i < 200; i++)
            vthread_yield();
        list_check(list, value);
        list = list_new(++value);
    }
    return NULL;
}

static void *stop_the_world(void *arg)
{
    while (atomic_load(&left) > 0) {
        vthread_gc_collect();
        vthread_yield();
    }
    return arg;
}

static void on_freed(void *object, void *user)
{
    (void)object, (void)user;
    atomic_fetch_add(&freed, 1);
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 60000);
    vthread_t threads[THREADS + SWITCHERS + STOPPERS];
    long missing;

    seed = s.seed;
    atomic_store(&left, s.count);
    MUST(vthread_queue_new(&queue, sizeof(void *), 4));
    for (int i = 0; i < GARBAGE; i++)
        MUST(vthread_gc_set_finalizer(node_new(NULL, 1), on_freed, NULL));
    for (uintptr_t i = 0; i < THREADS + SWITCHERS + STOPPERS; i++)
        threads[i] = stress_start(i < THREADS               ? body
                                  : i < THREADS + SWITCHERS ? switch_only
                                                            : stop_the_world,
                                  (void *)i);
    for (int i = 0; i < THREADS + SWITCHERS + STOPPERS; i++)
        stress_join(threads[i]);
    /* Something may always look like a pointer to a few. */
    for (int i = 0; i < 1000 && atomic_load(&freed) < GARBAGE * 3 / 4; i++) {
        vthread_gc_collect();
        vthread_sleep_ms(1);
    }
    missing = atomic_load(&freed) < GARBAGE * 3 / 4;
    return stress_end("objects that are not as they were, garbage that is still there",
                      (uint64_t)(atomic_load(&wrong) + missing), 0);
}
