/* SPDX-License-Identifier: MIT */
/* A failure was forgotten when there was no memory to remember it by. */
#include "regress.h"

#include "base/memory.h"

static atomic_bool no_memory;
static atomic_int told;

static bool fails(enum fault_site site)
{
    return site == FAULT_ALLOC && atomic_load(&no_memory);
}

static void on_failure(const vthread_failure_t *failure, void *user)
{
    EXPECT(user == &told);
    EXPECT(failure->kind == VTHREAD_FAILURE_FAILED);
    EXPECT(failure->error == EIO);
    atomic_fetch_add(&told, 1);
}

static void *fail(void *arg)
{
    void *value;

    atomic_store(&no_memory, arg != NULL);
    value = vthread_fail(EIO);
    atomic_store(&no_memory, false);
    return value;
}

int main(void)
{
    vthread_t t = NULL;
    void *value = &t;

    regress_configure(1, 0);
    fault_set_hook(fails);
    vthread_set_failure_handler(on_failure, &told);
    for (int i = 0; i < 2; i++) {
        EXPECT(vthread_create(&t, NULL, fail, i == 0 ? NULL : &told) == 0);
        EXPECT(vthread_join(t, &value) == 0);
        EXPECT(value == NULL);
        EXPECT(atomic_load(&told) == i + 1);
    }
    return regress_end();
}
