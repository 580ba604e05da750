/* SPDX-License-Identifier: MIT */
/* Threads that work for a layer above: it hears of every end, once, with the value or the code. */
#include "vthread_help.h"

#undef atomic_init /* of <stdatomic.h> */
#include "vthread/work.h"

TestSuite(work, .fini = help_fini, .timeout = 60);

struct job {
    struct thread_work work;
    int way;
    void *value;
    int error;
    vthread_t by;
    atomic_int ended;
};

enum { RETURNS, EXITS, EXITS_DEEP, FAILS, FAILS_WITH_VALUE, FAILS_WITHOUT_CODE, FAILS_TWICE, PARKS, WAYS };

static NOINLINE void exit_deep(void *value)
{
    volatile char frame[1000];

    frame[0] = 1;
    HELP_KEEP_WHOLE(frame);
    vthread_exit(value);
}

static void *run(void *arg)
{
    struct job *job = arg;

    if (vthread_self() != atomic_load_relaxed(&job->work.thread))
        return NULL;
    switch (job->way) {
    case EXITS:
        vthread_exit(job);
    case EXITS_DEEP:
        exit_deep(job);
        break;
    case FAILS:
        return vthread_fail(7);
    case FAILS_WITH_VALUE:
        vthread_fail(7);
        break;
    case FAILS_WITHOUT_CODE:
        return vthread_fail(0);
    case FAILS_TWICE:
        vthread_fail(6);
        return vthread_fail(7);
    case PARKS: /* what it works for is not where a wait keeps its blocker */
        help_park_for_ever(NULL);
        vthread_park_on_until(&job->way, vthread_after_ns(1000));
        vthread_exit(job);
    }
    return job;
}

static void end(struct thread_work *work, void *value)
{
    struct job *job = container_of(work, struct job, work);

    job->value = value;
    job->error = work->error;
    job->by = vthread_self();
    atomic_fetch_add(&job->ended, 1);
}

static const struct thread_work_hooks hooks = {run, end};

static atomic_int failures;

static void count_failure(const vthread_failure_t *failure, void *user)
{
    (void)failure, (void)user;
    atomic_fetch_add(&failures, 1);
}

static void every_way(const vthread_attr_t *attr)
{
    vthread_set_failure_handler(count_failure, NULL);
    for (int way = 0; way < WAYS; way++) {
        struct job *job = calloc(1, sizeof *job);
        vthread_t thread;
        bool fails = way >= FAILS && way <= FAILS_TWICE;

        job->work.hooks = &hooks;
        job->way = way;
        cr_assert_eq(thread_create_work(attr, &job->work), 0);
        thread = atomic_load_acquire(&job->work.thread);
        if (way == PARKS) {
            cr_assert(EVENTUALLY(vthread_public_state(thread) == VTHREAD_PUBLIC_WAITING));
            vthread_interrupt(thread);
        }
        cr_assert(EVENTUALLY(atomic_load(&job->ended) == 1));
        cr_assert_eq(job->by, thread);
        cr_assert_eq(job->value, fails && way != FAILS_WITH_VALUE ? NULL : job, "way %d", way);
        cr_assert_eq(job->error, !fails ? 0 : way == FAILS_WITHOUT_CODE ? EINVAL : 7);
        cr_assert(EVENTUALLY(!vthread_is_alive(thread)));
        cr_assert_eq(vthread_join(thread, NULL), ESRCH); /* was detached */
        cr_assert_eq(atomic_load(&job->ended), 1);
        free(job);
    }
    cr_assert_eq(atomic_load(&failures), 0);
}

Test(work, every_end_is_told)
{
    every_way(NULL);
    every_way(&(vthread_attr_t){.name = "named"});
    every_way(&(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED});
}

Test(work, every_end_is_told_on_platform_threads)
{
    every_way(&(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM});
}

/* A thread that is not created does not end. */
Test(work, wrong_attributes)
{
    struct job job = {.work.hooks = &hooks};

    cr_assert_eq(thread_create_work(&(vthread_attr_t){.reserved = {1}}, &job.work), EINVAL);
    cr_assert_not(thread_attr_is_valid(&(vthread_attr_t){.reserved = {1}}));
    cr_assert(thread_attr_is_valid(&(vthread_attr_t){0}));
    cr_assert_eq(atomic_load(&job.ended), 0);
}
