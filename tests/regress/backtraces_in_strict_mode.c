/* SPDX-License-Identifier: MIT */
/* In strict mode vthread_backtrace said that every parked thread was being moved just now. */
#include "regress.h"

#include <pthread.h>
#include <unwind.h>

enum { THREADS = 8, ROUNDS = 2000, PCS = 32 };

static _Atomic uint64_t seen;
static atomic_bool enough;

static __attribute__((noinline)) int park_deep(int depth)
{
    volatile char room[200];

    room[depth] = (char)depth;
    if (depth > 0)
        return park_deep(depth - 1) + room[depth];
    return vthread_park();
}

static void *park_again_and_again(void *arg)
{
    while (!atomic_load(&enough) && !vthread_interrupted())
        park_deep((int)(uintptr_t)arg);
    return NULL;
}

/* A thread that stays parked can be looked at; and it goes on from there. */
static void look_at_one(vthread_t t)
{
    void *pcs[PCS];
    int n = vthread_backtrace(t, pcs, PCS);
    bool found = false;

    if (n == -ENOTSUP) /* built without libunwind */
        return;
    EXPECT(n > 0);
    for (int i = 0; i < n; i++)
        found = found || _Unwind_FindEnclosingFunction(pcs[i]) == (void *)(uintptr_t)park_again_and_again;
    EXPECT(found);
}

static vthread_t threads[THREADS];

static void *wake_all(void *arg)
{
    for (int i = 0; !atomic_load(&enough); i++) {
        vthread_unpark(threads[i % THREADS]);
        usleep(20);
    }
    return arg;
}

static void check(unsigned stacks)
{
    pthread_t waker;
    void *pcs[PCS];

    regress_configure(2, stacks);
    atomic_store(&enough, false);
    for (int i = 0; i < THREADS; i++)
        EXPECT(vthread_create(&threads[i], NULL, park_again_and_again, (void *)(uintptr_t)i) == 0);
    /* All of them first: one that still runs holds the stack that it shares with others. */
    for (int i = 0; i < THREADS; i++)
        regress_wait_for(threads[i], VTHREAD_PARKED);
    for (int i = 0; i < THREADS; i++)
        look_at_one(threads[i]);
    /* And while they come and go. */
    EXPECT(pthread_create(&waker, NULL, wake_all, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++)
        if (vthread_backtrace(threads[i % THREADS], pcs, PCS) > 0)
            atomic_fetch_add(&seen, 1);
    atomic_store(&enough, true);
    pthread_join(waker, NULL);
    for (int i = 0; i < THREADS; i++) {
        vthread_unpark(threads[i]);
        EXPECT(vthread_join(threads[i], NULL) == 0);
    }
    regress_end();
}

int main(void)
{
    setenv("VTHREAD_STRICT", "1", 1);
    check(0);
    check(2);
    printf("%llu backtraces of threads that came and went\n", (unsigned long long)atomic_load(&seen));
    return 0;
}
