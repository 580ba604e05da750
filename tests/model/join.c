/* SPDX-License-Identifier: MIT */
/*
 * The real vthread/join.c: end × join × detach × timeout × interrupt × references.
 *
 * The thread that ends is an actor that calls thread_ended().  Every record is freed once, every
 * joiner gets the value or its own error, and nobody waits for ever.
 */
#define record_free real_record_free
#include "vthread/thread.h"
#undef record_free

#include "tests/model/model.h"

static MODEL_SHARED struct record_cache caches[MODEL_ACTORS_MAX];
static MODEL_BOOK int times_freed;

/* What the next life would write is written at once: a race if somebody still looks. */
static void free_and_spoil(struct record_cache *cache, struct thread *t)
{
    uint64_t w = atomic_load_relaxed(&t->word);

    times_freed++;
    MODEL_ASSERT(word_generation(w) == 1 && word_state(w) == WORD_TERMINATED);
    real_record_free(cache, t);
    atomic_store_relaxed(&thread_cold(t)->value, NULL);
}
#define record_free free_and_spoil

#include "vthread/join.c"

#include "tests/model/waiting.h"

/* Records of the first three actors. */
enum { TARGET = 1, JOINER, JOINER2 };

static MODEL_SHARED int value;
static MODEL_BOOK int results[RECORDS];
static MODEL_BOOK bool joined[RECORDS];

static vthread_t target(void)
{
    return (vthread_t)(((uint64_t)1 << 32) | TARGET);
}

/* ---- what the layer's other files would do ---- */

struct record_cache *record_cache_self(void)
{
    return &caches[model_self()];
}

void record_drain(struct record_cache *cache, uint32_t n)
{
    (void)cache, (void)n;
}

void thread_extra_free(struct thread *t)
{
    (void)t;
}

void locals_destroy(struct locals *locals)
{
    (void)locals;
}

/* No shutdown here. */
int runtime_begin_look(void)
{
    return 0;
}

void platform_end_call(void)
{
}

/* ---- actors ---- */

static void ends(void)
{
    struct thread *t = &table[TARGET];

    value = 7;
    atomic_store_relaxed(&thread_cold(t)->value, &value);
    thread_ended(t, record_cache_self());
}

/* Joins, with the value visible. */
static int join_until(int64_t deadline_ns)
{
    void *got = NULL;
    int error = vthread_join_until(target(), &got, deadline_ns);

    results[record_self()] = error;
    if (error == 0) {
        MODEL_ASSERT(got == &value && *(int *)got == 7);
        joined[record_self()] = true;
    }
    return error;
}

static void joins(void)
{
    MODEL_ASSERT(join_until(VTHREAD_FOREVER) == 0);
}

static void joins_if_first(void)
{
    int error = join_until(VTHREAD_FOREVER);

    MODEL_ASSERT(error == 0 || error == ESRCH || error == EINVAL); /* EINVAL: detached */
}

/* Joins with a deadline, and if that passes first, once more without. */
static void joins_twice(void)
{
    int error = join_until(DEADLINE);

    if (error == ETIMEDOUT) {
        model_reached("timed out");
        error = join_until(VTHREAD_FOREVER);
    }
    MODEL_ASSERT(error == 0);
}

static void joins_or_times_out(void)
{
    int error = join_until(DEADLINE);

    MODEL_ASSERT(error == 0 || error == ESRCH || error == ETIMEDOUT);
}

static void joins_or_is_interrupted(void)
{
    int error = join_until(VTHREAD_FOREVER);

    if (error == EINTR)
        model_reached("interrupted");
    MODEL_ASSERT(error == 0 || error == EINTR || error == ESRCH);
}

static void detaches(void)
{
    int error = vthread_detach(target());

    results[record_self()] = error;
    MODEL_ASSERT(error == 0 || error == ESRCH || error == EINVAL);
}

static void refs(void)
{
    if (vthread_ref(target()) == 0) {
        MODEL_POINT();
        MODEL_ASSERT(times_freed == 0);
        MODEL_ASSERT(vthread_unref(target()) == 0);
    }
}

static void interrupts(void)
{
    interrupt_record(JOINER);
}

/* ---- models ---- */

static void setup(void)
{
    make_threads();
    for (int i = 0; i < LOCKS; i++)
        atomic_init(&locks[i].lock.word, 0);
}

static void check_freed(void)
{
    MODEL_ASSERT(times_freed == 1);
    MODEL_ASSERT(word_state(atomic_load_relaxed(&table[TARGET].word)) == WORD_TERMINATED);
}

static void check_first_or_second(void)
{
    check_freed();
    MODEL_ASSERT(joined[JOINER] || joined[JOINER2]);
}

static void check_interrupted(void)
{
    if (joined[JOINER] || joined[JOINER2])
        check_freed();
    MODEL_ASSERT(results[JOINER] == EINTR || joined[JOINER] || joined[JOINER2]);
    MODEL_ASSERT(joined[JOINER2] || results[JOINER2] == ESRCH);
}

static void check_joined_or_timed_out(void)
{
    MODEL_ASSERT(times_freed == joined[JOINER]);
}

static const char *const waited[] = {"waited", NULL};
static const char *const timed_out[] = {"timed out", NULL};
static const char *const interrupted[] = {"interrupted", NULL};

static const struct model models[] = {
    {.name = "end-join",
     .setup = setup,
     .check = check_freed,
     .reaches = waited,
     .quick = {3, 3, 0},
     .actors = {{"thread", ends}, {"joiner", joins}},
     .mutants = MUTANTS({MODEL_WEAKEN, "word_terminate", "cas", NULL}, {MODEL_SPLIT, "word_terminate", "cas", NULL},
                        {MODEL_SPLIT, "queue_locked", "cas", NULL})},
    {.name = "end-two-joins",
     .setup = setup,
     .check = check_first_or_second,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"thread", ends}, {"joiner", joins_if_first}, {"joiner2", joins_if_first}}},
    {.name = "end-join-detach",
     .setup = setup,
     .check = check_freed,
     .quick = {2, 2, 0},
     .actors = {{"thread", ends}, {"joiner", joins_if_first}, {"detacher", detaches}}},
    {.name = "join-with-timeout",
     .variant = LINKED,
     .setup = setup,
     .check = check_joined_or_timed_out,
     .ends_asleep = true,
     .quick = {2, 2, 0},
     .actors = {{"thread", ends}, {"joiner", joins_or_times_out}, {"timer", fire_timers}}},
    {.name = "join-again-after-timeout",
     .variant = LINKED,
     .setup = setup,
     .check = check_freed,
     .ends_asleep = true,
     .reaches = timed_out,
     .quick = {2, 1, 0},
     .actors = {{"thread", ends}, {"joiner", joins_twice}, {"timer", fire_timers}}},
    {.name = "interrupted-joiner",
     .variant = LINKED,
     .setup = setup,
     .check = check_interrupted,
     .reaches = interrupted,
     .quick = {1, 1, 0},
     .actors = {{"thread", ends},
                {"joiner", joins_or_is_interrupted},
                {"joiner2", joins_if_first},
                {"interrupter", interrupts}}},
    {.name = "end-join-reference",
     .setup = setup,
     .check = check_freed,
     .quick = {2, 2, 0},
     .actors = {{"thread", ends}, {"joiner", joins}, {"holder", refs}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
