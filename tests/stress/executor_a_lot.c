/* SPDX-License-Identifier: MIT */
/*
 * Executors of both kinds, one after another: virtual and platform threads submit, get, share,
 * cancel and free at random, are interrupted, and somebody shuts the executor down in between.
 * Every task that was submitted runs once, or was cancelled or drained; every value is taken or discarded once.
 */
#include <vthread/executor.h>

#include "stress.h"

enum { VIRTUAL = 6, PLATFORM = 2, ACTORS = VIRTUAL + PLATFORM, SLOTS = 300 };

enum action { RETURNS, EXITS, FAILS, YIELDS, SLEEPS, SUBMITS, CALLS, ACTIONS };

/* A task, of which there may be two by this number: one that it submits itself has the next. */
struct slot {
    _Atomic int submitted, ran, cancelled;
    uint64_t random;
};

static struct {
    vthread_executor_t *executor;
    bool fixed;
    uint64_t shut_down_at; /* after so many slots */
    bool now;
    _Atomic uint64_t next;
    _Atomic uint64_t drained;
    struct slot slots[2 * SLOTS];
} round_;

static _Atomic uint64_t made, taken, discarded, wrong, tasks;
static _Atomic bool over;
static vthread_t _Atomic actors[ACTORS];

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                   \
            atomic_fetch_add(&wrong, 1);                                                                               \
        }                                                                                                              \
    } while (0)

static void discard(void *value)
{
    EXPECT(value == &made);
    atomic_fetch_add(&discarded, 1);
}

static void *value_made(void)
{
    atomic_fetch_add(&made, 1);
    return &made;
}

/* ---- tasks ---- */

static void *quick(void *arg)
{
    atomic_fetch_add(&((struct slot *)arg)->ran, 1);
    return value_made();
}

static bool is_submitted(struct slot *slot, int error)
{
    EXPECT(error == 0 || error == ECANCELED);
    if (error == 0)
        atomic_fetch_add(&slot->submitted, 1);
    return error == 0;
}

static void *task(void *arg)
{
    struct slot *slot = arg;
    struct slot *other = slot + SLOTS;
    int error;

    EXPECT(atomic_fetch_add(&slot->ran, 1) == 0);
    switch ((enum action)stress_below(&slot->random, ACTIONS)) {
    case EXITS:
        vthread_exit(value_made());
    case FAILS:
        return vthread_fail(17);
    case YIELDS:
        vthread_yield();
        break;
    case SLEEPS:
        vthread_sleep_ns((int64_t)stress_below(&slot->random, 100000));
        break;
    case SUBMITS:
        is_submitted(other, vthread_executor_submit(round_.executor, quick, other, NULL));
        break;
    case CALLS:
        if (round_.fixed) /* EDEADLK */
            break;
        void *value = NULL;

        error = vthread_executor_call(round_.executor, quick, other, &value);
        if (is_submitted(other, error)) {
            EXPECT(value == &made);
            atomic_fetch_add(&taken, 1);
        }
        break;
    default:
        break;
    }
    return value_made();
}

static void *task_of_copy(void *arg)
{
    return task(*(struct slot **)arg);
}

/* ---- futures ---- */

static struct shared {
    vthread_future_t *future;
    struct slot *slot;
    _Atomic int holders, taken;
} shared_pool[SLOTS];

/* Gets the result, with patience or not; returns whether it is the value. */
static bool gets(vthread_future_t *f, struct slot *slot, uint64_t *random)
{
    for (;;) {
        bool patient = stress_below(random, 2) != 0;
        void *value = NULL;
        int error = patient
                        ? vthread_future_get(f, &value)
                        : vthread_future_get_until(f, &value, vthread_after_ns((int64_t)stress_below(random, 50000)));

        switch (error) {
        case 0:
            EXPECT(value == &made && vthread_future_state(f) == VTHREAD_FUTURE_SUCCEEDED);
            return true;
        case ECHILD:
            EXPECT(vthread_future_error(f) == 17);
            return false;
        case ECANCELED:
            return false;
        case ETIMEDOUT:
            EXPECT(!patient);
            break;
        default:
            EXPECT(error == EINTR);
        }
        if (stress_below(random, 4) == 0) {
            atomic_store(&slot->cancelled, 1); /* before it can be seen that it does not run */
            error = vthread_future_cancel(f, stress_below(random, 2) != 0);
            EXPECT(error == 0 || error == ESRCH);
        }
    }
}

static void let_go(struct shared *shared)
{
    if (atomic_fetch_sub(&shared->holders, 1) == 2) {
        vthread_future_free(shared->future);
        atomic_store(&shared->holders, 0); /* only now: its value has been discarded */
    }
}

static void get_shared(struct shared *shared, uint64_t *random)
{
    if (gets(shared->future, shared->slot, random) && atomic_exchange(&shared->taken, 1) == 0)
        atomic_fetch_add(&taken, 1);
    let_go(shared);
}

static void *get_it_too(void *arg)
{
    struct shared *shared = arg;
    uint64_t random = (uint64_t)(uintptr_t)arg ^ atomic_load(&tasks);

    get_shared(shared, &random);
    return NULL;
}

static void share(vthread_future_t *f, struct slot *slot, uint64_t *random)
{
    struct shared *shared = &shared_pool[slot - round_.slots];

    shared->future = f;
    shared->slot = slot;
    atomic_store(&shared->taken, 0);
    atomic_store(&shared->holders, 1 + 3);
    for (int i = 0; i < 2; i++)
        stress_start(get_it_too, shared);
    get_shared(shared, random);
}

static void use(vthread_future_t *f, struct slot *slot, uint64_t *random)
{
    switch (stress_below(random, 8)) {
    case 0:
        break;
    case 1:
        atomic_store(&slot->cancelled, 1);
        vthread_future_cancel(f, stress_below(random, 2) != 0);
        break;
    case 2:
        share(f, slot, random);
        return;
    case 3:
        vthread_yield();
        break;
    default:
        atomic_fetch_add(&taken, gets(f, slot, random));
    }
    vthread_future_free(f);
}

/* ---- actors ---- */

static void submit(struct slot *slot, uint64_t *random)
{
    vthread_executor_t *ex = round_.executor;
    vthread_future_t *f = NULL;
    void *value = NULL;
    int error;

    slot->random = stress_random(random);
    switch (stress_below(random, 8)) {
    case 0:
        is_submitted(slot, vthread_executor_submit(ex, task, slot, NULL));
        return;
    case 1:
        is_submitted(slot, vthread_executor_submit_copy(ex, task_of_copy, &slot, sizeof slot, NULL));
        return;
    case 2:               /* what is not run is ECANCELED, too: submitted or not */
        if (round_.fixed) /* with a local, which keeps the stack: the task must not need one that is shared */
            error = vthread_executor_call(ex, task_of_copy, &slot, &value);
        else
            error = vthread_executor_call(ex, task, slot, &value);
        EXPECT(error == 0 || error == 17 || error == ECANCELED);
        if (error != ECANCELED)
            atomic_fetch_add(&slot->submitted, 1);
        atomic_fetch_add(&taken, error == 0);
        return;
    case 3:
        error = vthread_executor_submit_copy(ex, task_of_copy, &slot, sizeof slot, &f);
        break;
    default:
        error = vthread_executor_submit(ex, task, slot, &f);
    }
    if (is_submitted(slot, error))
        use(f, slot, random);
}

static void *act(void *arg)
{
    uint64_t random = *(uint64_t *)arg;
    uint64_t i;

    while ((i = atomic_fetch_add(&round_.next, 1)) < SLOTS) {
        if (i == round_.shut_down_at) {
            if (round_.now)
                atomic_fetch_add(&round_.drained, (uint64_t)vthread_executor_shutdown_now(round_.executor));
            else
                EXPECT(vthread_executor_shutdown(round_.executor) == 0);
        }
        submit(&round_.slots[i], &random);
        vthread_interrupted();
    }
    return NULL;
}

static void *interrupt_them(void *arg)
{
    uint64_t random = *(uint64_t *)arg;

    while (!atomic_load(&over)) {
        vthread_interrupt(atomic_load(&actors[stress_below(&random, ACTORS)]));
        vthread_sleep_ns(20000);
    }
    return NULL;
}

static void *free_executor(void *arg)
{
    EXPECT(vthread_executor_free(arg) == 0);
    return NULL;
}

/* ---- a round ---- */

static void begin(uint64_t *random)
{
    vthread_executor_params_t params = {.discard = discard};

    memset(&round_, 0, sizeof round_);
    round_.fixed = stress_below(random, 2) != 0;
    round_.shut_down_at = stress_below(random, 2 * SLOTS);
    round_.now = stress_below(random, 2) != 0;
    params.threads = 1 + (unsigned)stress_below(random, 3);
    if (stress_below(random, 4) == 0)
        params.name = "task";
    MUST(round_.fixed ? vthread_executor_new_fixed(&round_.executor, &params)
                      : vthread_executor_new_per_task(&round_.executor, &params));
}

/* Every slot's task has run once, unless there is a reason why not. */
static void check(void)
{
    uint64_t lost = 0;

    for (int i = 0; i < 2 * SLOTS; i++) {
        struct slot *slot = &round_.slots[i];
        int submitted = atomic_load(&slot->submitted);
        int ran = atomic_load(&slot->ran);

        EXPECT(ran <= 1 && ran <= submitted);
        if (submitted > ran && !atomic_load(&slot->cancelled))
            lost++;
        atomic_fetch_add(&tasks, (uint64_t)ran);
    }
    EXPECT(lost <= atomic_load(&round_.drained));
    EXPECT(lost == 0 || round_.fixed);
}

static void one_round(uint64_t *random, bool restart)
{
    static const vthread_attr_t platform = {.kind = VTHREAD_KIND_PLATFORM};
    static uint64_t seeds[ACTORS + 1];
    vthread_t threads[ACTORS];
    vthread_t interrupter;

    begin(random);
    atomic_store(&over, false);
    for (int i = 0; i <= ACTORS; i++)
        seeds[i] = stress_random(random);
    for (int i = 0; i < ACTORS; i++) {
        MUST(vthread_create(&threads[i], i < VIRTUAL ? NULL : &platform, act, &seeds[i]));
        atomic_store(&actors[i], threads[i]);
    }
    interrupter = stress_start(interrupt_them, &seeds[ACTORS]);
    for (int i = 0; i < ACTORS; i++)
        stress_join(threads[i]);
    atomic_store(&over, true);
    stress_join(interrupter);
    if (restart) { /* with the executor open: what is queued then is cancelled, however much that is */
        atomic_fetch_add(&round_.drained, 2 * SLOTS);
        MUST(vthread_runtime_shutdown(vthread_after_ms(30000)));
        free_executor(round_.executor);
    } else if (stress_below(random, 2)) {
        stress_join(stress_start(free_executor, round_.executor));
    } else {
        free_executor(round_.executor);
    }
    /* Those that get a future that is shared may have to wait for it still. */
    for (int i = 0; i < SLOTS; i++)
        while (atomic_load(&shared_pool[i].holders) > 0)
            usleep(100);
    check();
}

static void no_failures(const vthread_failure_t *failure, void *user)
{
    (void)user;
    EXPECT(failure->error == 17); /* of those without a future, on purpose */
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 200000);
    uint64_t random = s.seed;

    vthread_set_failure_handler(no_failures, NULL);
    for (long i = 0; i < s.count; i += SLOTS)
        one_round(&random, i / SLOTS % 8 == 7);
    vthread_set_failure_handler(NULL, NULL);
    printf("%" PRIu64 " tasks ran\n", atomic_load(&tasks));
    return stress_end("values taken or discarded (and anything wrong)",
                      atomic_load(&taken) + atomic_load(&discarded) + atomic_load(&wrong), atomic_load(&made));
}
