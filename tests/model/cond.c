/* SPDX-License-Identifier: MIT */
/*
 * The real sync/cond.c with mutex.c and wait_queue.c: wait × signal × broadcast × timeout × interrupt,
 * around a number of things that some put and others take.
 *
 * Every change is signalled to one waiter: if a signal were lost, to one who gives up at the same moment
 * say, somebody would wait for ever for what is there.
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

#include "sync/mutex.c"
#include "sync/wait_queue.c"
#define wait cond_wait
#define signal cond_signal
#include "sync/cond.c"

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

/* Conditions of reentrant locks are not the subject. */
bool vthread_lock_is_held(vthread_lock_t *lock)
{
    (void)lock;
    return false;
}

void lock_release_wholly(vthread_lock_t *lock, struct thread *self, uint32_t *ret_holds)
{
    (void)lock;
    (void)self;
    (void)ret_holds;
}

void lock_acquire_wholly(vthread_lock_t *lock, uint32_t holds)
{
    (void)lock;
    (void)holds;
}

static MODEL_SHARED struct {
    vthread_mutex_t mutex;
    vthread_cond_t changed;
    int things; /* plain, under the mutex */
} x;
static MODEL_BOOK int taken, given_up;

static void puts_thing(void)
{
    MODEL_ASSERT(vthread_mutex_lock(&x.mutex) == 0);
    x.things++;
    MODEL_ASSERT(vthread_cond_signal(&x.changed) == 0);
    MODEL_ASSERT(vthread_mutex_unlock(&x.mutex) == 0);
}

/* The signal after the unlock. */
static void puts_thing_outside(void)
{
    MODEL_ASSERT(vthread_mutex_lock(&x.mutex) == 0);
    x.things++;
    MODEL_ASSERT(vthread_mutex_unlock(&x.mutex) == 0);
    MODEL_ASSERT(vthread_cond_signal(&x.changed) == 0);
}

static void puts_two(void)
{
    MODEL_ASSERT(vthread_mutex_lock(&x.mutex) == 0);
    x.things += 2;
    MODEL_ASSERT(vthread_cond_broadcast(&x.changed) == 0);
    MODEL_ASSERT(vthread_mutex_unlock(&x.mutex) == 0);
}

/* error: why it may give up; 0: never. */
static void takes_thing(int64_t deadline_ns, int error)
{
    int result = 0;

    MODEL_ASSERT(vthread_mutex_lock(&x.mutex) == 0);
    while (x.things == 0 && result == 0)
        result = error != 0 ? vthread_cond_wait_until(&x.changed, &x.mutex, deadline_ns)
                            : vthread_cond_wait_uninterruptible(&x.changed, &x.mutex);
    MODEL_ASSERT(result == 0 || result == error);
    MODEL_ASSERT(mutex_is_owner(mutex_of(&x.mutex), thread_self(NULL)));
    if (x.things > 0) {
        x.things--;
        taken++;
    } else {
        model_reached("given up");
        given_up++;
    }
    MODEL_ASSERT(vthread_mutex_unlock(&x.mutex) == 0);
}

static void takes(void)
{
    takes_thing(VTHREAD_FOREVER, 0);
}

static void takes_or_times_out(void)
{
    takes_thing(DEADLINE, ETIMEDOUT);
}

static void takes_or_is_interrupted(void)
{
    takes_thing(VTHREAD_FOREVER, EINTR);
}

static void interrupts(void)
{
    interrupt_record(record_of(1));
}

/* ---- models ---- */

static void check(void)
{
    MODEL_ASSERT(wait_queue_is_empty(&cond_of(&x.changed)->queue));
    MODEL_ASSERT(!mutex_is_used(mutex_of(&x.mutex)));
}

static void check_one(void)
{
    check();
    MODEL_ASSERT(taken == 1 && x.things == 0);
}

static void check_two(void)
{
    check();
    MODEL_ASSERT(taken == 2 && x.things == 0);
}

/* One thing for two: either gets it, and if it is not the one who gives up, that is the end of the other's wait, too.
 */
static void check_one_of_two(void)
{
    MODEL_ASSERT(taken == 1 && given_up <= 1 && x.things == 0);
    if (given_up == 1)
        check();
}

static void check_one_or_none(void)
{
    check();
    MODEL_ASSERT(taken + given_up == 1 && taken + x.things == 1);
}

static const char *const waited[] = {"waited", NULL};
static const char *const gave_up[] = {"waited", "given up", NULL};

static const struct model models[] = {
    {.name = "signal",
     .setup = make_threads,
     .check = check_one,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"putter", puts_thing}, {"taker", takes}},
     .mutants = MUTANTS({MODEL_DROP, "wait_queue_append", "store", NULL},
                        {MODEL_DROP, "wait_queue_wake_chain", "store", NULL})},
    {.name = "signal-outside",
     .setup = make_threads,
     .check = check_one,
     .reaches = waited,
     .quick = {3, 2, 0},
     .actors = {{"putter", puts_thing_outside}, {"taker", takes}}},
    {.name = "two-signals",
     .setup = make_threads,
     .check = check_two,
     .reaches = waited,
     .quick = {1, 0, 0},
     .actors = {{"putter", puts_thing}, {"another", puts_thing_outside}, {"taker", takes}, {"taker too", takes}}},
    {.name = "broadcast",
     .setup = make_threads,
     .check = check_two,
     .reaches = waited,
     .quick = {2, 0, 0},
     .actors = {{"putter", puts_two}, {"taker", takes}, {"taker too", takes}}},
    {.name = "timeout",
     .variant = LINKED,
     .setup = make_threads,
     .check = check_one_or_none,
     .reaches = gave_up,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"putter", puts_thing}, {"taker", takes_or_times_out}, {"timer", fire_timers}}},
    {.name = "timeout-of-one-of-two",
     .variant = LINKED,
     .setup = make_threads,
     .check = check_one_of_two,
     .reaches = waited,
     .ends_asleep = true,
     .quick = {1, 0, 0},
     .actors = {{"putter", puts_thing}, {"taker", takes_or_times_out}, {"taker too", takes}, {"timer", fire_timers}}},
    {.name = "interrupt",
     .setup = make_threads,
     .check = check_one_or_none,
     .reaches = gave_up,
     .quick = {2, 1, 0},
     .actors = {{"putter", puts_thing}, {"taker", takes_or_is_interrupted}, {"interrupter", interrupts}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
