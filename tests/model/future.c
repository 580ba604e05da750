/* SPDX-License-Identifier: MIT */
/*
 * The real concurrent/future.c over future_word.h and sync/wait_queue.c: task × get × timeout ×
 * cancel × free; and count.h: begin × end × close.
 *
 * Whoever gets the value sees what the task has done; the value is taken or discarded once;
 * the future is freed once, and nobody touches it afterwards; an interrupt comes before the end of
 * the task that it is for.
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

#include "concurrent/count.h"
#include "concurrent/future.c"
#include "sync/wait_queue.c"

#include "tests/model/waiting.h"

static MODEL_SHARED struct {
    struct vthread_future *future;
    struct vthread_executor executor;
    int data[MODEL_ACTORS_MAX]; /* what tasks do */
    int over;                   /* the task has ended */
    atomic_word holders;
    struct count count;
    ATOMIC(bool) terminated;
} x;
static MODEL_BOOK int freed, discarded, taken, ran, interrupted;

static int value; /* its address is */

/* ---- what future.c uses ---- */

static void discard(void *v)
{
    MODEL_ASSERT(v == &value);
    discarded++;
}

void future_recycle(struct vthread_future *f)
{
    freed++;
    memory_free(f);
}

bool vthread_interrupted(void)
{
    return false;
}

int vthread_interrupt(vthread_t thread)
{
    MODEL_ASSERT(thread == thread_handle(&table[record_of(0)]));
    MODEL_POINT();
    MODEL_ASSERT(x.over == 0); /* a race if that is not said before the task ends */
    interrupted++;
    return 0;
}

void thread_failed(struct thread *t, vthread_failure_kind_t kind, int error)
{
    (void)t, (void)kind;
    model_fail("failed with %d", error);
}

void misuse(const char *call, const char *format, ...)
{
    model_fail("%s: %s", call, format);
}

int stack_refuse_private(const char *call, const char *what, const void *p)
{
    (void)p;
    model_fail("%s: %s", call, what);
}

struct vthread_future *executor_task_of(struct thread *self)
{
    (void)self;
    return NULL;
}

void group_member_ended(void *member, bool succeeded)
{
    (void)member, (void)succeeded;
    model_fail("there are no groups");
}

/* ---- actors; the first is the task ---- */

static void task(void)
{
    void *v = NULL;

    if (future_begin(x.future, thread_handle(thread_self(NULL)))) {
        ran++;
        x.data[0] = 7;
        v = &value;
    }
    future_end(x.future, FUTURE_SUCCEEDED, v);
    x.over = 1;
}

static void gets_until(int64_t deadline_ns)
{
    void *v = NULL;
    int error = vthread_future_get_until(x.future, &v, deadline_ns);

    if (error == 0) {
        MODEL_ASSERT(v == &value && x.data[0] == 7);
        taken = 1; /* by several, perhaps */
        model_reached("got");
    } else if (error == ECANCELED) {
        MODEL_ASSERT(v == NULL);
        model_reached("cancelled");
    } else {
        MODEL_ASSERT(error == ETIMEDOUT && deadline_ns == DEADLINE);
        model_reached("given up");
    }
}

/* The last of those who hold it frees it. */
static void let_go(void)
{
    if (atomic_fetch_sub_acq_rel(&x.holders, 1) == 1)
        vthread_future_free(x.future);
}

static void gets(void)
{
    gets_until(VTHREAD_FOREVER);
    let_go();
}

static void gets_or_times_out(void)
{
    gets_until(DEADLINE);
    let_go();
}

static void polls(void)
{
    while (!vthread_future_is_done(x.future))
        model_pause();
    gets();
}

static void cancel_with(bool interrupt)
{
    int error = vthread_future_cancel(x.future, interrupt);

    MODEL_ASSERT(error == 0 || error == ESRCH);
    model_reached(error == 0 ? "in time" : "too late");
    let_go();
}

static void cancels(void)
{
    cancel_with(false);
}

static void cancels_and_interrupts(void)
{
    cancel_with(true);
}

static void pokes(void)
{
    future_interrupt(x.future);
    let_go();
}

/* ---- counts: shard 0 is a carrier's, shard 1 is shared ---- */

static void ends_in(struct count_shard *here)
{
    x.data[model_self()] = 7;
    if (count_end(&x.count, here)) {
        atomic_store_release(&x.terminated, true);
        model_reached("found by a task");
    }
    count_go(&x.count, here);
}

static void ends_alone(void)
{
    ends_in(count_shard(&x.count, 0));
}

static void ends_shared(void)
{
    ends_in(count_shard(&x.count, COUNT_NO_CARRIER));
}

/* Submits, and is its own task; or is refused, and still inside when all is over. */
static void submits_in(struct count_shard *here)
{
    if (count_begin(&x.count, here)) {
        model_reached("begun");
        ends_in(here);
        return;
    }
    model_reached("refused");
    if (count_end(&x.count, here))
        atomic_store_release(&x.terminated, true);
    count_go(&x.count, here);
}

static void submits_alone(void)
{
    submits_in(count_shard(&x.count, 0));
}

static void submits_shared(void)
{
    submits_in(count_shard(&x.count, COUNT_NO_CARRIER));
}

static void closes(void)
{
    if (count_close(&x.count)) {
        atomic_store_release(&x.terminated, true);
        model_reached("found by who closes");
    }
    while (!atomic_load_acquire(&x.terminated))
        model_pause();
    for (int i = 0; i < MODEL_ACTORS_MAX; i++)
        MODEL_ASSERT(x.data[i] == 0 || x.data[i] == 7); /* a race if some task has not ended */
}

static void closes_and_frees(void)
{
    closes();
    MODEL_ASSERT(x.data[0] == 7 && x.data[1] == 7);
    count_await_gone(&x.count, model_pause);
    memory_free(x.count.shard);
}

/* ---- models ---- */

static void setup_with(uint32_t holders)
{
    make_threads();
    x.future = memory_alloc(sizeof *x.future);
    x.executor.discard = discard;
    atomic_init(&x.future->executor, &x.executor);
    atomic_init(&x.future->work.word, FUTURE_PENDING | FUTURE_TASK | FUTURE_HELD);
    atomic_init(&x.holders, holders);
}

static void one_holder(void)
{
    setup_with(1);
}

static void two_holders(void)
{
    setup_with(2);
}

static void three_holders(void)
{
    setup_with(3);
}

static void setup_count(void)
{
    x.count.shards = 2;
    x.count.shard = memory_alloc(2 * sizeof *x.count.shard);
}

static void setup_begun(void)
{
    setup_count();
    atomic_init(&x.count.shard[0].begun, 1);
    atomic_init(&x.count.shard[1].begun, 1);
}

static void setup_begun_shared(void)
{
    setup_count();
    atomic_init(&x.count.shard[1].begun, 2);
}

static void check(void)
{
    MODEL_ASSERT(freed == 1);
    MODEL_ASSERT(ran == taken + discarded);
}

static const char *const waited[] = {"waited", "got", NULL};
static const char *const given_up[] = {"given up", "got", NULL};
static const char *const both_ways[] = {"in time", "too late", NULL};
static const char *const either[] = {"in time", "too late", "got", "cancelled", NULL};
static const char *const counted[] = {"begun", "refused", NULL};
static const char *const found[] = {"found by a task", "found by who closes", NULL};

static const struct model models[] = {
    {.name = "get",
     .setup = one_holder,
     .check = check,
     .reaches = waited,
     .quick = {4, 3, 0},
     .actors = {{"task", task}, {"getter", gets}},
     .mutants = MUTANTS({MODEL_WEAKEN, "future_word_end", "cas", NULL}, {MODEL_SPLIT, "future_word_wait", "cas", NULL},
                        {MODEL_WEAKEN, "vthread_future_get_until", "load", NULL})},
    {.name = "polled",
     .setup = one_holder,
     .check = check,
     .quick = {4, 3, 0},
     .actors = {{"task", task}, {"getter", polls}},
     .mutants = MUTANTS({MODEL_WEAKEN, "future_word_end", "cas", NULL})},
    {.name = "two-get",
     .setup = two_holders,
     .check = check,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"task", task}, {"a", gets}, {"b", gets}}},
    {.name = "timeout",
     .setup = one_holder,
     .check = check,
     .ends_asleep = true,
     .reaches = given_up,
     .variant = LINKED,
     .quick = {3, 1, 0},
     .actors = {{"task", task}, {"getter", gets_or_times_out}, {"timer", fire_timers}},
     .mutants =
         MUTANTS({MODEL_SPLIT, "future_word_free", "cas", NULL}, {MODEL_WEAKEN, "wait_queue_let_go", "load", NULL})},
    {.name = "free",
     .setup = one_holder,
     .check = check,
     .quick = {4, 3, 0},
     .actors = {{"task", task}, {"holder", let_go}},
     .mutants = MUTANTS({MODEL_SPLIT, "future_word_free", "cas", NULL}, {MODEL_SPLIT, "future_word_end", "cas", NULL},
                        {MODEL_WEAKEN, "future_word_free", "load", NULL})},
    {.name = "cancel",
     .setup = one_holder,
     .check = check,
     .reaches = both_ways,
     .quick = {4, 2, 0},
     .actors = {{"task", task}, {"canceller", cancels}},
     .mutants =
         MUTANTS({MODEL_SPLIT, "future_word_cancel", "cas", NULL}, {MODEL_SPLIT, "future_word_begin", "cas", NULL})},
    {.name = "cancel-and-interrupt",
     .setup = one_holder,
     .check = check,
     .reaches = both_ways,
     .quick = {4, 2, 0},
     .actors = {{"task", task}, {"canceller", cancels_and_interrupts}},
     .mutants = MUTANTS({MODEL_WEAKEN, "future_word_interrupted", "fetch", NULL},
                        {MODEL_WEAKEN, "future_word_begin", "cas", NULL})},
    {.name = "cancel-and-get",
     .setup = two_holders,
     .check = check,
     .reaches = either,
     .quick = {2, 1, 0},
     .actors = {{"task", task}, {"canceller", cancels_and_interrupts}, {"getter", gets}}},
    {.name = "poke-and-cancel",
     .setup = two_holders,
     .check = check,
     .reaches = both_ways,
     .quick = {2, 1, 0},
     .actors = {{"task", task}, {"poker", pokes}, {"canceller", cancels_and_interrupts}}},
    {.name = "cancel-get-poke",
     .setup = three_holders,
     .check = check,
     .reaches = either,
     .quick = {1, 0, 0},
     .actors = {{"task", task}, {"canceller", cancels}, {"getter", gets}, {"poker", pokes}}},
    {.name = "count-end",
     .setup = setup_begun,
     .reaches = found,
     .quick = {3, 2, 0},
     .actors = {{"a", ends_alone}, {"b", ends_shared}, {"closer", closes_and_frees}},
     .mutants = MUTANTS({MODEL_WEAKEN, "count_end", "fence", NULL}, {MODEL_WEAKEN, "count_close", "heavy", NULL},
                        {MODEL_WEAKEN, "count_add", "store", NULL}, {MODEL_WEAKEN, "count_add", "fetch", NULL},
                        {MODEL_DROP, "count_add", "store", NULL}, {MODEL_WEAKEN, "count_is_zero", "load", "ended"})},
    {.name = "count-end-shared",
     .setup = setup_begun_shared,
     .reaches = found,
     .quick = {3, 2, 0},
     .actors = {{"a", ends_shared}, {"b", ends_shared}, {"closer", closes_and_frees}},
     .mutants = MUTANTS({MODEL_SPLIT, "count_add", "fetch", NULL})},
    {.name = "count-begin",
     .setup = setup_count,
     .reaches = counted,
     .quick = {3, 1, 0},
     .actors = {{"a", submits_alone}, {"b", submits_shared}, {"closer", closes}},
     .mutants = MUTANTS({MODEL_WEAKEN, "count_close", "heavy", NULL}, {MODEL_DROP, "count_close", "store", NULL})},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
