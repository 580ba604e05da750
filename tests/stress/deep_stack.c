/* SPDX-License-Identifier: MIT */
/*
 * Recursion to random depths, with locals in every frame, that waits at random depths in all the
 * ways there are: when it returns, each frame finds its locals as it left them.
 */
#include <fenv.h>
#include <math.h>

#include "stress.h"

enum { THREADS = 60 };

struct walker {
    uint64_t random;
    uint64_t steps;
    uint64_t frames;
    uint64_t wrong;
    _Atomic uint64_t neighbour; /* a thread to be unparked now and then */
};

static struct walker walkers[THREADS];

/* errno's address must not be remembered across a wait, so it is read out of line. */
__attribute__((noinline)) static void set_errno(int value)
{
    __asm__ volatile("");
    errno = value;
}

__attribute__((noinline)) static int get_errno(void)
{
    __asm__ volatile("");
    return errno;
}

static void wait_somehow(struct walker *w)
{
    int mark = 1 + (int)stress_below(&w->random, 1000);

    set_errno(mark);
    switch (stress_below(&w->random, 6)) {
    case 0:
        vthread_sleep_ns((int64_t)stress_below(&w->random, 20000));
        break;
    case 1:
        vthread_park_until(vthread_after_ns((int64_t)stress_below(&w->random, 20000)));
        break;
    case 2:
        vthread_pin("deep_stack");
        vthread_park_until(vthread_after_ns((int64_t)stress_below(&w->random, 20000)));
        vthread_unpin();
        break;
    default:
        vthread_unpark((vthread_t)(uintptr_t)atomic_load(&w->neighbour));
        vthread_yield();
        break;
    }
    if (get_errno() != mark)
        w->wrong++;
}

static uint64_t descend(struct walker *w, unsigned depth);

/* Frames of different sizes. */
#define FRAME(NAME, WORDS)                                                                                             \
    __attribute__((noinline)) static uint64_t NAME(struct walker *w, unsigned depth)                                   \
    {                                                                                                                  \
        volatile uint64_t locals[WORDS];                                                                               \
        uint64_t seed = stress_random(&w->random);                                                                     \
        volatile double real = (double)(seed >> 12);                                                                   \
        uint64_t below;                                                                                                \
        for (unsigned i = 0; i < (WORDS); i++)                                                                         \
            locals[i] = seed ^ i;                                                                                      \
        below = descend(w, depth);                                                                                     \
        for (unsigned i = 0; i < (WORDS); i++)                                                                         \
            if (locals[i] != (seed ^ i))                                                                               \
                w->wrong++;                                                                                            \
        if (real != (double)(seed >> 12))                                                                              \
            w->wrong++;                                                                                                \
        return below + 1;                                                                                              \
    }
FRAME(frame_small, 2)
FRAME(frame_middle, 30)
FRAME(frame_large, 600)

static uint64_t descend(struct walker *w, unsigned depth)
{
    uint64_t choice = stress_below(&w->random, 16);

    if (choice == 0)
        wait_somehow(w);
    if (depth == 0)
        return 0;
    if (choice < 10)
        return frame_small(w, depth - 1);
    return choice < 15 ? frame_middle(w, depth - 1) : frame_large(w, depth - 1);
}

static void *walk(void *arg)
{
    struct walker *w = arg;
    int rounding = w->random % 3 == 0 ? FE_UPWARD : FE_TONEAREST;

    atomic_store(&walkers[(w - walkers + 1) % THREADS].neighbour, (uintptr_t)vthread_self());
    if (fesetround(rounding) != 0)
        w->wrong++;
    while (w->frames < w->steps)
        w->frames += descend(w, (unsigned)stress_below(&w->random, 60));
    if (fegetround() != rounding)
        w->wrong++;
    return NULL;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 300000);
    vthread_t threads[THREADS];
    uint64_t short_of = 0;
    uint64_t wrong = 0;

    for (int i = 0; i < THREADS; i++) {
        walkers[i].random = s.seed + (uint64_t)i * 31;
        walkers[i].steps = (uint64_t)s.count / THREADS + 1;
        threads[i] = stress_start(walk, &walkers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        stress_join(threads[i]);
        short_of += walkers[i].frames < walkers[i].steps;
        wrong += walkers[i].wrong;
    }
    return stress_end("damaged frames and threads cut short", short_of + wrong, 0);
}
