/* SPDX-License-Identifier: MIT */
/*
 * The real sync/sem.c and latch.c over sync/wait_queue.c: acquire × release × timeout; wait
 * × count down; freed by the one who has waited.
 *
 * No permit is made or lost, everybody gets what there is enough of, and what was written
 * before a release is seen after the acquire.
 */
#include <sched.h>

#include "base/memory.h"
#include "tests/model/model.h"

static int model_sched_yield(void)
{
    model_pause();
    return 0;
}
#define sched_yield model_sched_yield

#include "sync/latch.c"
#include "sync/sem.c"
#include "sync/wait_queue.c"

#include "tests/model/waiting.h"

int stack_refuse_private(const char *call, const char *what, const void *p)
{
    (void)p;
    model_fail("%s: %s", call, what);
}

/* Variants, beside LINKED. */
enum { FAIR = 2, ONE = 4, TWO = 8 };

static MODEL_SHARED struct {
    vthread_sem_t *sem;
    vthread_latch_t *latch;
    int data[MODEL_ACTORS_MAX];
} x;
static MODEL_BOOK int taken, given;

/* ---- semaphore ---- */

static void acquires(int n)
{
    MODEL_ASSERT(vthread_sem_acquire_uninterruptible(x.sem, n) == 0);
    taken += n;
}

static void acquires_1(void)
{
    acquires(1);
}

static void acquires_2(void)
{
    acquires(2);
}

static void acquires_or_times_out(int n)
{
    int error = vthread_sem_acquire_until(x.sem, n, DEADLINE);

    MODEL_ASSERT(error == 0 || error == ETIMEDOUT);
    if (error == 0)
        taken += n;
    else
        model_reached("given up");
}

static void acquires_1_or_times_out(void)
{
    acquires_or_times_out(1);
}

static void acquires_2_or_times_out(void)
{
    acquires_or_times_out(2);
}

static void releases(int n)
{
    MODEL_ASSERT(vthread_sem_release(x.sem, n) == 0);
    given += n;
}

static void releases_1(void)
{
    releases(1);
}

static void releases_2(void)
{
    releases(2);
}

static void releases_1_and_2(void)
{
    releases(1);
    releases(2);
}

static void drains(void)
{
    taken += vthread_sem_drain(x.sem);
}

/* What is released is worth looking at. */
static void writes_and_releases(void)
{
    vthread_sem_t *sem = x.sem;

    x.data[0] = 7;
    MODEL_ASSERT(vthread_sem_release(sem, 1) == 0);
}

static void acquires_reads_and_frees(void)
{
    MODEL_ASSERT(vthread_sem_acquire_uninterruptible(x.sem, 1) == 0);
    MODEL_ASSERT(x.data[0] == 7);
    memory_free(x.sem);
}

static void polls_reads_and_frees(void)
{
    while (vthread_sem_tryacquire(x.sem, 1) != 0)
        model_pause();
    MODEL_ASSERT(x.data[0] == 7);
    memory_free(x.sem);
}

/* Gives up, and polls then. */
static void times_out_polls_and_frees(void)
{
    int error = vthread_sem_acquire_until(x.sem, 1, DEADLINE);

    if (error == 0) {
        MODEL_ASSERT(x.data[0] == 7);
        memory_free(x.sem);
    } else {
        model_reached("given up");
        polls_reads_and_frees();
    }
}

/* ---- latch ---- */

static void counts_down(void)
{
    vthread_latch_t *latch = x.latch;

    x.data[model_self()] = 7;
    vthread_latch_count_down(latch);
}

static void check_data(void)
{
    MODEL_ASSERT(x.data[0] == 7 && (!(model_variant() & TWO) || x.data[1] == 7));
}

static void waits(void)
{
    MODEL_ASSERT(vthread_latch_wait(x.latch) == 0);
    check_data();
}

static void waits_and_frees(void)
{
    waits();
    memory_free(x.latch);
}

static void polls_waits_and_frees(void)
{
    while (vthread_latch_count(x.latch) != 0)
        model_pause();
    check_data();
    memory_free(x.latch);
}

static void times_out_waits_and_frees(void)
{
    int error = vthread_latch_wait_until(x.latch, DEADLINE);

    if (error != 0) {
        model_reached("given up");
        waits();
    }
    check_data();
    memory_free(x.latch);
}

/* ---- models ---- */

static void setup(void)
{
    vthread_sem_params_t params = {.fair = model_variant() & FAIR};

    make_threads();
    x.sem = memory_alloc(sizeof *x.sem);
    x.latch = memory_alloc(sizeof *x.latch);
    vthread_sem_init(x.sem, model_variant() & ONE ? 1 : 0, &params);
    vthread_latch_init(x.latch, model_variant() & TWO ? 2 : 1);
}

static void check(void)
{
    MODEL_ASSERT(vthread_sem_available(x.sem) == given - taken + (model_variant() & ONE ? 1 : 0));
    MODEL_ASSERT(wait_queue_is_empty(&sem_of(x.sem)->queue));
}

static const char *const waited[] = {"waited", NULL};
static const char *const given_up[] = {"given up", NULL};

static const struct model models[] = {
    {.name = "two-acquire",
     .setup = setup,
     .check = check,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"a", acquires_1}, {"b", acquires_1}, {"giver", releases_2}},
     .mutants =
         MUTANTS({MODEL_SPLIT, "take_or_queue_up", "cas", NULL}, {MODEL_SPLIT, "vthread_sem_release", "cas", NULL})},
    {.name = "amounts",
     .setup = setup,
     .check = check,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"a", acquires_2}, {"b", acquires_1}, {"giver", releases_1_and_2}}},
    {.name = "fair-amounts",
     .variant = FAIR | ONE,
     .setup = setup,
     .check = check,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"a", acquires_2}, {"b", acquires_1}, {"giver", releases_2}}},
    {.name = "timeout",
     .variant = LINKED,
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .reaches = given_up,
     .quick = {2, 1, 0},
     .actors = {{"a", acquires_1_or_times_out}, {"giver", releases_1}, {"timer", fire_timers}}},
    {.name = "timeout-of-the-oldest",
     .variant = LINKED,
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .reaches = given_up,
     .quick = {2, 0, 0},
     .actors = {{"a", acquires_2_or_times_out}, {"b", acquires_1}, {"giver", releases_1}, {"timer", fire_timers}}},
    {.name = "fair-timeout-of-the-oldest",
     .variant = LINKED | FAIR,
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .reaches = given_up,
     .quick = {2, 0, 0},
     .actors = {{"a", acquires_2_or_times_out}, {"b", acquires_1}, {"giver", releases_1}, {"timer", fire_timers}}},
    {.name = "drain",
     .variant = LINKED | ONE,
     .setup = setup,
     .check = check,
     .ends_asleep = true,
     .reaches = given_up,
     .quick = {2, 0, 0},
     .actors = {{"a", acquires_2_or_times_out}, {"drainer", drains}, {"giver", releases_1}, {"timer", fire_timers}},
     .mutants = MUTANTS({MODEL_SPLIT, "add_locked", "cas", NULL})},
    {.name = "freed",
     .setup = setup,
     .reaches = waited,
     .quick = {4, 3, 0},
     .actors = {{"a", acquires_reads_and_frees}, {"giver", writes_and_releases}},
     .mutants = MUTANTS({MODEL_WEAKEN, "vthread_sem_release", "cas", NULL}, {MODEL_WEAKEN, "try", "cas", NULL})},
    {.name = "freed-by-polling",
     .setup = setup,
     .quick = {4, 2, 0},
     .actors = {{"a", polls_reads_and_frees}, {"giver", writes_and_releases}},
     .mutants = MUTANTS({MODEL_WEAKEN, "try", "cas", NULL})},
    {.name = "freed-after-timeout",
     .variant = LINKED,
     .setup = setup,
     .ends_asleep = true,
     .reaches = given_up,
     .quick = {3, 1, 0},
     .actors = {{"a", times_out_polls_and_frees}, {"giver", writes_and_releases}, {"timer", fire_timers}},
     .mutants = MUTANTS({MODEL_WEAKEN, "add_locked", "cas", NULL}, {MODEL_WEAKEN, "wait_queue_let_go", "load", NULL})},
    {.name = "latch",
     .variant = TWO,
     .setup = setup,
     .quick = {2, 1, 0},
     .reaches = waited,
     .actors = {{"a", counts_down}, {"b", counts_down}, {"c", waits}, {"d", waits}},
     .mutants = MUTANTS({MODEL_SPLIT, "vthread_latch_count_down", "cas", NULL},
                        {MODEL_WEAKEN, "vthread_latch_count_down", "cas", NULL})},
    {.name = "latch-freed",
     .setup = setup,
     .quick = {4, 2, 0},
     .reaches = waited,
     .actors = {{"a", counts_down}, {"b", waits_and_frees}},
     .mutants = MUTANTS({MODEL_WEAKEN, "count_last", "cas", NULL})},
    {.name = "latch-freed-by-polling",
     .setup = setup,
     .quick = {4, 2, 0},
     .actors = {{"a", counts_down}, {"b", polls_waits_and_frees}},
     .mutants =
         MUTANTS({MODEL_WEAKEN, "vthread_latch_count", "load", NULL}, {MODEL_WEAKEN, "count_last", "cas", NULL})},
    {.name = "latch-freed-after-timeout",
     .variant = LINKED,
     .setup = setup,
     .ends_asleep = true,
     .reaches = given_up,
     .quick = {3, 1, 0},
     .actors = {{"a", counts_down}, {"b", times_out_waits_and_frees}, {"timer", fire_timers}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
