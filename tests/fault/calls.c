/* SPDX-License-Identifier: MIT */
/* Calls that need a little memory: they say so, and change nothing. */
#include <pthread.h>

#include "fault.h"

static vthread_t thread;

static void *park_for_ever(void *arg)
{
    while (vthread_park() != EINTR)
        ;
    return arg;
}

static int rename_it(void)
{
    return vthread_setname(thread, "new name");
}

static void check_name(int error)
{
    char name[32];

    EXPECT(vthread_name(thread, name, sizeof name) == 0);
    EXPECT(strcmp(name, error == 0 ? "new name" : "old name") == 0);
    EXPECT(vthread_setname(thread, "old name") == 0);
}

/* A foreign thread's first calls. */
static atomic_int results[2];

static void *foreign(void *arg)
{
    int error;

    fault_mine = true;
    if (arg != NULL) {
        atomic_store(&results[0], vthread_self() != NULL ? 0 : ENOMEM);
    } else {
        error = vthread_park_until(VTHREAD_NOW);
        atomic_store(&results[0], error == ETIMEDOUT ? 0 : error);
    }
    fault_mine = false;
    /* Afterwards it has a handle like everybody. */
    fault_set_hook(NULL);
    atomic_store(&results[1], vthread_self() != NULL);
    return NULL;
}

static bool by_self;

static int call_from_foreign(void)
{
    pthread_t t;

    fault_mine = false;
    EXPECT(pthread_create(&t, NULL, foreign, by_self ? &by_self : NULL) == 0);
    EXPECT(pthread_join(t, NULL) == 0);
    EXPECT(atomic_load(&results[1]) == 1);
    return atomic_load(&results[0]);
}

static void check(int error)
{
    (void)error;
    fault_check_works();
}

static atomic_int pin_errors;

static void *pin_and_fail(void *arg)
{
    const char *reason = "nothing";

    fault_mine = true;
    if (vthread_pin("a reason") != 0 || !vthread_is_pinned(&reason) ||
        (reason != NULL && strcmp(reason, "a reason") != 0) || vthread_unpin() != 0)
        atomic_fetch_add(&pin_errors, 1);
    fault_mine = false;
    return arg;
}

static int pin_without_memory(void)
{
    vthread_t t = NULL;

    fault_mine = false;
    EXPECT(vthread_create(&t, NULL, pin_and_fail, NULL) == 0);
    EXPECT(vthread_join(t, NULL) == 0);
    EXPECT(atomic_load(&pin_errors) == 0);
    return 0;
}

int main(void)
{
    EXPECT(vthread_create(&thread, &(vthread_attr_t){.name = "old name"}, park_for_ever, NULL) == 0);
    fault_each("setname", SITES_ALL, 1, true, rename_it, check_name);
    fault_each("park on a foreign thread", SITES_ALL, 1, true, call_from_foreign, check);
    by_self = true;
    fault_each("self on a foreign thread", SITES_ALL, 1, true, call_from_foreign, check);
    fault_each("pin", SITES_ALL, 1, true, pin_without_memory, check);
    vthread_interrupt(thread);
    EXPECT(vthread_join(thread, NULL) == 0);
    fault_check_shutdown();
    return 0;
}
