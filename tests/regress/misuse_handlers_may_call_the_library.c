/* SPDX-License-Identifier: MIT */
/* The misuse handler was called with a lock of the runtime held, and any call it made hung. */
#include "regress.h"

#include <vthread/continuation.h>

static atomic_int told;

static void *nothing(void *arg)
{
    return arg;
}

static void call_the_library(const char *message, void *user)
{
    const vthread_runtime_params_t params = {.parallelism = 2};
    vthread_t t = NULL;

    (void)message, (void)user;
    if (atomic_fetch_add(&told, 1) < 2) {
        EXPECT(vthread_create(&t, NULL, nothing, NULL) == 0);
        EXPECT(vthread_join(t, NULL) == 0);
    }
    EXPECT(vthread_runtime_stats(NULL) == 0);
    EXPECT(vthread_runtime_configure(&params) == EBUSY);
}

static vthread_cont_scope_t scope = VTHREAD_CONT_SCOPE_INITIALIZER("left");

int main(void)
{
    vthread_cont_t *c = NULL;

    alarm(50);
    vthread_set_misuse_handler(call_the_library, NULL);
    setenv("VTHREAD_PARALLELISM", "lots", 1);
    setenv("VTHREAD_STRICT", "perhaps", 1);
    EXPECT(vthread_runtime_stats(NULL) == 0);
    EXPECT(atomic_load(&told) == 2);
    EXPECT(vthread_runtime_shutdown(VTHREAD_FOREVER) == 0);

    /* Continuations come without the runtime, and look at the same variables. */
    EXPECT(vthread_cont_new(&c, &scope, nothing, NULL) == 0);
    EXPECT(atomic_load(&told) >= 3);
    unsetenv("VTHREAD_PARALLELISM");
    unsetenv("VTHREAD_STRICT");
    EXPECT(vthread_runtime_stats(NULL) == 0);
    atomic_store(&told, 2);
    EXPECT(vthread_runtime_shutdown(VTHREAD_FOREVER) == 0);
    EXPECT(atomic_load(&told) == 3);
    EXPECT(vthread_cont_free(c) == 0);
    return regress_end();
}
