/* SPDX-License-Identifier: MIT */
/*
 * The real sync/mutex.c over sync/wait_queue.c: acquire × release × wake × hand-over ×
 * timeout × interrupt; freed by the last owner.
 *
 * What the lock guards is a plain field: a race if two are inside, or if one does not see
 * what the owner before has written.  Whoever gives up says so; all others get it.
 */
#include <sched.h>

#include "base/clock.h"
#include "base/memory.h"
#include "tests/model/model.h"

static int model_sched_yield(void)
{
    model_pause();
    return 0;
}
#define sched_yield model_sched_yield

/* Two milliseconds pass between two looks: whoever has been woken once, and lost, starves. */
static MODEL_BOOK int64_t looks[MODEL_ACTORS_MAX];
static int64_t model_clock(void)
{
    return ++looks[model_self()] * 2000000;
}
#define clock_monotonic_ns model_clock

#include "sync/mutex.c"
#include "sync/wait_queue.c"

#include "tests/model/waiting.h"

enum { FAIR = 2, TRIES = 4 }; /* variants, beside LINKED */

static MODEL_SHARED struct {
    struct mutex *mutex;
    uint32_t guarded;
    uint32_t references;
} x;
static MODEL_BOOK int entered, given_up;

static void enter(void)
{
    x.guarded++;
    MODEL_POINT();
    x.guarded++;
    entered++;
}

static int acquire(uint64_t flags, int64_t deadline_ns)
{
    struct thread *self = thread_self(NULL);
    bool taken = mutex_try(x.mutex, self) || ((model_variant() & TRIES) && mutex_try_slow(x.mutex, self));
    int error = taken ? 0 : mutex_acquire_slow(x.mutex, self, flags, deadline_ns);

    if (error == 0) {
        MODEL_ASSERT(mutex_is_owner(x.mutex, self));
        if (thread_waiters[thread_index(self)].amount == GIVEN_THE_LOCK)
            model_reached("handed over");
    }
    return error;
}

static void locks(void)
{
    MODEL_ASSERT(acquire(WORD_DEAF, VTHREAD_FOREVER) == 0);
    enter();
    mutex_release(x.mutex, thread_self(NULL));
}

static void locks_twice(void)
{
    locks();
    locks();
}

static void locks_thrice(void)
{
    locks_twice();
    locks();
}

static void locks_or_gives_up(uint64_t flags, int64_t deadline_ns, int expected)
{
    int error = acquire(flags, deadline_ns);

    if (error == 0) {
        enter();
        mutex_release(x.mutex, thread_self(NULL));
    } else {
        MODEL_ASSERT(error == expected);
        model_reached("given up");
        given_up++;
    }
}

static void locks_or_times_out(void)
{
    locks_or_gives_up(0, DEADLINE, ETIMEDOUT);
}

static void locks_or_is_interrupted(void)
{
    locks_or_gives_up(0, VTHREAD_FOREVER, EINTR);
}

static void interrupts(void)
{
    interrupt_record(record_of(1));
}

/* Frees what the mutex is in, if it is the last. */
static void drops_reference(void)
{
    struct mutex *m = x.mutex;
    bool last;

    MODEL_ASSERT(acquire(WORD_DEAF, VTHREAD_FOREVER) == 0);
    last = --x.references == 0;
    entered++;
    mutex_release(m, thread_self(NULL));
    if (last)
        memory_free(m);
}

static void drops_reference_or_times_out(void)
{
    struct mutex *m = x.mutex;

    if (acquire(0, DEADLINE) == 0) {
        bool last = --x.references == 0;

        mutex_release(m, thread_self(NULL));
        if (last)
            memory_free(m);
        entered++;
    } else {
        drops_reference();
    }
}

/* ---- models ---- */

static void setup(void)
{
    make_threads();
    x.mutex = memory_alloc(sizeof *x.mutex);
    *x.mutex = (struct mutex){.word = {model_variant() & FAIR ? MUTEX_FAIR : 0}};
    x.references = 2;
}

static void setup_three(void)
{
    setup();
    x.references = 3;
}

/* Free, and nobody left in the queue, or with a role. */
static void check(void)
{
    uint32_t w = atomic_load_relaxed(&x.mutex->word);

    MODEL_ASSERT((w & ~MUTEX_FAIR) == 0);
    MODEL_ASSERT(!x.mutex->woken);
    MODEL_ASSERT(wait_queue_is_empty(&x.mutex->queue));
    MODEL_ASSERT(atomic_load_relaxed(&x.mutex->queue.lock.word) == 0);
    MODEL_ASSERT(x.guarded == 2 * (uint32_t)entered);
}

static void check_two(void)
{
    check();
    MODEL_ASSERT(entered == 2);
}

static void check_three(void)
{
    check();
    MODEL_ASSERT(entered == 3);
}

static void check_five(void)
{
    check();
    MODEL_ASSERT(entered == 5);
}

static void check_all_but_given_up(void)
{
    check();
    MODEL_ASSERT(entered + given_up == 3);
}

static void check_freed(void)
{
    MODEL_ASSERT(x.references == 0);
}

static const char *const waited[] = {"waited", NULL};
static const char *const handed_over[] = {"waited", "handed over", NULL};
static const char *const given[] = {"waited", "given up", NULL};
static const char *const given_or_handed[] = {"waited", "given up", "handed over", NULL};

static const struct model models[] = {
    {.name = "two",
     .setup = setup,
     .check = check_two,
     .reaches = waited,
     .quick = {4, 3, 0},
     .actors = {{"a", locks}, {"b", locks}},
     .mutants = MUTANTS(
         {MODEL_WEAKEN, "mutex_release_at_once", "store", "word"}, {MODEL_WEAKEN, "is_announced_locked", "heavy", NULL},
         {MODEL_DROP, "mutex_release_at_once", "store", "held"},
         {MODEL_WEAKEN, "mutex_release_at_once", "store", "held"},
         {MODEL_WEAKEN, "is_announced_locked", "load", "held"}, {MODEL_SPLIT, "mutex_try", "cas", NULL},
         {MODEL_SPLIT, "take_or_announce_locked", "cas", NULL}, {MODEL_DROP, "wait_queue_append", "store", NULL},
         {MODEL_DROP, "pass_on_locked", "store", NULL})},
    {.name = "three",
     .setup = setup,
     .check = check_three,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"a", locks}, {"b", locks}, {"c", locks}},
     .mutants = MUTANTS({MODEL_WEAKEN, "take_or_announce_locked", "cas", NULL})},
    {.name = "barging",
     .variant = TRIES,
     .setup = setup,
     .check = check_three,
     .quick = {2, 0, 0},
     .actors = {{"a", locks}, {"b", locks}, {"c", locks}},
     .mutants =
         MUTANTS({MODEL_WEAKEN, "pass_on_locked", "store", "word"}, {MODEL_WEAKEN, "mutex_try_slow", "cas", NULL})},
    {.name = "hand-over",
     .setup = setup,
     .check = check_five,
     .reaches = handed_over,
     .quick = {2, 0, 0},
     .actors = {{"greedy", locks_thrice}, {"b", locks}, {"c", locks}}},
    {.name = "fair",
     .variant = FAIR,
     .setup = setup,
     .check = check_three,
     .reaches = handed_over,
     .quick = {2, 1, 0},
     .actors = {{"a", locks_twice}, {"b", locks}}},
    {.name = "timeout",
     .variant = LINKED,
     .setup = setup,
     .check = check_all_but_given_up,
     .reaches = given,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"a", locks_twice}, {"b", locks_or_times_out}, {"timer", fire_timers}}},
    {.name = "timeout-of-the-oldest",
     .variant = LINKED,
     .setup = setup,
     .check = check_all_but_given_up,
     .reaches = given,
     .ends_asleep = true,
     .quick = {2, 0, 0},
     .actors = {{"a", locks}, {"b", locks_or_times_out}, {"c", locks}, {"timer", fire_timers}}},
    {.name = "timeout-of-the-starving",
     .variant = LINKED,
     .setup = setup,
     .check = check_all_but_given_up,
     .reaches = given_or_handed,
     .ends_asleep = true,
     .quick = {3, 0, 0},
     .actors = {{"a", locks_twice}, {"b", locks_or_times_out}, {"timer", fire_timers}}},
    {.name = "fair-timeout",
     .variant = FAIR | LINKED,
     .setup = setup,
     .check = check_all_but_given_up,
     .reaches = given_or_handed,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"a", locks_twice}, {"b", locks_or_times_out}, {"timer", fire_timers}},
     .mutants = MUTANTS({MODEL_WEAKEN, "wait_queue_wake_chain", "store", NULL})},
    {.name = "interrupt",
     .setup = setup,
     .check = check_all_but_given_up,
     .reaches = given,
     .quick = {2, 1, 0},
     .actors = {{"a", locks_twice}, {"b", locks_or_is_interrupted}, {"interrupter", interrupts}}},
    {.name = "freed",
     .setup = setup,
     .check = check_freed,
     .reaches = waited,
     .quick = {3, 2, 0},
     .actors = {{"a", drops_reference}, {"b", drops_reference}}},
    {.name = "freed-by-three",
     .setup = setup_three,
     .check = check_freed,
     .reaches = waited,
     .quick = {2, 0, 0},
     .actors = {{"a", drops_reference}, {"b", drops_reference}, {"c", drops_reference}}},
    {.name = "freed-after-timeout",
     .variant = LINKED,
     .setup = setup,
     .check = check_freed,
     .ends_asleep = true,
     .quick = {2, 0, 0},
     .actors = {{"a", drops_reference}, {"b", drops_reference_or_times_out}, {"timer", fire_timers}}},
    {.name = "fair-freed-after-timeout",
     .variant = FAIR | LINKED,
     .setup = setup,
     .check = check_freed,
     .ends_asleep = true,
     .quick = {2, 0, 0},
     .actors = {{"a", drops_reference}, {"b", drops_reference_or_times_out}, {"timer", fire_timers}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
