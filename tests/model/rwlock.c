/* SPDX-License-Identifier: MIT */
/*
 * The real sync/rwlock.c and barrier.c over sync/wait_queue.c: readers × writers × timeout;
 * arrivals × timeout × reset.
 *
 * What the lock guards are plain fields: a race if a writer is not alone.  Nobody waits for
 * ever; all who come to a barrier get the same verdict.
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

#include "sync/barrier.c"
#include "sync/rwlock.c"
#include "sync/wait_queue.c"

#include "tests/model/waiting.h"

int stack_refuse_private(const char *call, const char *what, const void *p)
{
    (void)p;
    model_fail("%s: %s", call, what);
}

void misuse(const char *call, const char *format, ...)
{
    model_fail("%s: %s", call, format);
}

enum { THREE = 2 }; /* variant, beside LINKED: parties of the barrier, else 2 */

static MODEL_SHARED struct {
    vthread_rwlock_t *rwlock;
    vthread_barrier_t barrier;
    int guarded;
    int references;
    int prepared[MODEL_ACTORS_MAX];
} x;
static MODEL_BOOK int readings, writings, given_up;
static MODEL_BOOK int results[MODEL_ACTORS_MAX];

/* ---- readers and a writer ---- */

static void read_and_unlock(void)
{
    int before = x.guarded;

    MODEL_POINT();
    MODEL_ASSERT(before % 2 == 0 && x.guarded == before);
    readings++;
    MODEL_ASSERT(vthread_rwlock_unlock(x.rwlock) == 0);
}

static void write_and_unlock(void)
{
    x.guarded++;
    MODEL_POINT();
    x.guarded++;
    writings++;
    MODEL_ASSERT(vthread_rwlock_unlock(x.rwlock) == 0);
}

static void reads(void)
{
    MODEL_ASSERT(vthread_rwlock_rdlock(x.rwlock) == 0);
    read_and_unlock();
}

static void writes(void)
{
    MODEL_ASSERT(vthread_rwlock_wrlock(x.rwlock) == 0);
    write_and_unlock();
}

static void writes_twice(void)
{
    writes();
    writes();
}

static void tries_to_read(void)
{
    if (vthread_rwlock_tryrdlock(x.rwlock) == 0)
        read_and_unlock();
}

static void writes_or_times_out(void)
{
    int error = vthread_rwlock_wrlock_until(x.rwlock, DEADLINE);

    MODEL_ASSERT(error == 0 || error == ETIMEDOUT);
    if (error == 0) {
        write_and_unlock();
    } else {
        given_up++;
        model_reached("given up");
    }
}

static void reads_or_times_out(void)
{
    int error = vthread_rwlock_rdlock_until(x.rwlock, DEADLINE);

    MODEL_ASSERT(error == 0 || error == ETIMEDOUT);
    if (error == 0) {
        read_and_unlock();
    } else {
        given_up++;
        model_reached("given up");
    }
}

static void drops_reference(void)
{
    vthread_rwlock_t *l = x.rwlock;
    bool last;

    MODEL_ASSERT(vthread_rwlock_wrlock(l) == 0);
    last = --x.references == 0;
    MODEL_ASSERT(vthread_rwlock_unlock(l) == 0);
    if (last)
        memory_free(l);
}

/* ---- barrier ---- */

static void arrives_until(int64_t deadline_ns)
{
    int parties = model_variant() & THREE ? 3 : 2;
    int index;

    x.prepared[model_self()] = 1;
    index = vthread_barrier_wait_until(&x.barrier, deadline_ns);
    results[model_self()] = index;
    MODEL_ASSERT(index < parties);
    if (index >= 0)
        for (int i = 0; i < parties; i++)
            MODEL_ASSERT(x.prepared[i] == 1);
    else
        model_reached("broken");
}

static void arrives(void)
{
    arrives_until(VTHREAD_FOREVER);
}

static void arrives_or_times_out(void)
{
    arrives_until(DEADLINE);
}

static void resets(void)
{
    vthread_barrier_reset(&x.barrier);
}

/* ---- models ---- */

static void setup(void)
{
    make_threads();
    x.rwlock = memory_alloc(sizeof *x.rwlock);
    vthread_rwlock_init(x.rwlock, NULL);
    x.references = 2;
    vthread_barrier_init(&x.barrier, model_variant() & THREE ? 3 : 2);
}

static void check(void)
{
    MODEL_ASSERT(vthread_rwlock_destroy(x.rwlock) == 0);
    MODEL_ASSERT(x.guarded == 2 * writings);
}

static void check_three(void)
{
    check();
    MODEL_ASSERT(readings + writings + given_up == 3);
}

static void check_freed(void)
{
    MODEL_ASSERT(x.references == 0);
}

/* Each index once. */
static void check_passed(void)
{
    int sum = 0;

    for (int i = 0; i < MODEL_ACTORS_MAX; i++)
        sum += results[i];
    MODEL_ASSERT(sum == (model_variant() & THREE ? 3 : 1));
}

/* Both have passed, or one has given up and the other been told so. */
static void check_same_verdict(void)
{
    if (results[0] >= 0 && results[1] >= 0)
        MODEL_ASSERT(results[0] + results[1] == 1);
    else
        MODEL_ASSERT(results[0] == -ECANCELED && results[1] == -ETIMEDOUT);
    MODEL_ASSERT(vthread_barrier_is_broken(&x.barrier) == (results[0] < 0));
}

static const char *const waited[] = {"waited", NULL};
static const char *const gave_up[] = {"waited", "given up", NULL};
static const char *const broken[] = {"waited", "broken", NULL};

static const struct model models[] = {
    {.name = "writers",
     .setup = setup,
     .check = check,
     .reaches = waited,
     .quick = {3, 2, 0},
     .actors = {{"a", writes_twice}, {"b", writes}},
     .mutants =
         MUTANTS({MODEL_WEAKEN, "try", "cas", NULL}, {MODEL_SPLIT, "try", "cas", NULL},
                 {MODEL_SPLIT, "take_or_queue_up", "cas", NULL}, {MODEL_SPLIT, "vthread_rwlock_unlock", "cas", NULL},
                 {MODEL_WEAKEN, "vthread_rwlock_unlock", "cas", NULL})},
    {.name = "readers-and-writer",
     .setup = setup,
     .check = check_three,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"a", reads}, {"b", writes}, {"c", reads}},
     .mutants = MUTANTS({MODEL_SPLIT, "vthread_rwlock_unlock", "cas", NULL})},
    {.name = "try",
     .setup = setup,
     .check = check,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"a", tries_to_read}, {"b", writes}, {"c", reads}},
     .mutants = MUTANTS({MODEL_SPLIT, "settle_locked", "cas", NULL})},
    {.name = "writer-gives-up",
     .variant = LINKED,
     .setup = setup,
     .check = check_three,
     .ends_asleep = true,
     .reaches = gave_up,
     .quick = {2, 0, 0},
     .actors = {{"a", reads}, {"b", writes_or_times_out}, {"c", reads}, {"timer", fire_timers}}},
    {.name = "reader-gives-up",
     .variant = LINKED,
     .setup = setup,
     .check = check_three,
     .ends_asleep = true,
     .reaches = gave_up,
     .quick = {2, 0, 0},
     .actors = {{"a", writes}, {"b", reads_or_times_out}, {"c", writes}, {"timer", fire_timers}}},
    {.name = "freed",
     .setup = setup,
     .check = check_freed,
     .reaches = waited,
     .quick = {3, 2, 0},
     .actors = {{"a", drops_reference}, {"b", drops_reference}}},
    {.name = "barrier",
     .variant = THREE,
     .setup = setup,
     .check = check_passed,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"a", arrives}, {"b", arrives}, {"c", arrives}}},
    {.name = "barrier-timeout",
     .variant = LINKED,
     .setup = setup,
     .check = check_same_verdict,
     .ends_asleep = true,
     .reaches = broken,
     .quick = {3, 1, 0},
     .actors = {{"a", arrives}, {"b", arrives_or_times_out}, {"timer", fire_timers}}},
    {.name = "barrier-reset",
     .variant = LINKED,
     .setup = setup,
     .ends_asleep = true, /* one, if the reset came between them */
     .reaches = broken,
     .quick = {3, 1, 0},
     .actors = {{"a", arrives}, {"b", arrives}, {"c", resets}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
