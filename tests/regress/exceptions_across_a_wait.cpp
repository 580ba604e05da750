/* SPDX-License-Identifier: MIT */
/*
 * What C++ knows of the exceptions being handled belongs to the OS thread; here it must belong to the virtual one, which
 * waits in the middle of a catch block while others throw, catch and wait in theirs.
 */
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                              \
            std::abort();                                                                                              \
        }                                                                                                              \
    } while (0)

namespace {

enum { THREADS = 6, ROUNDS = 300 };

struct failure {
    std::string text;
};

/* Now and then in one way, now and then in another, so that the threads change places. */
void wait(unsigned i)
{
    if (i % 3 == 0)
        EXPECT(vthread_sleep_ns(1000) == 0);
    else if (i % 3 == 1)
        vthread_park_until(vthread_after_ns(1000));
    else
        vthread_yield();
}

/* Waits while its exception flies. */
struct waits_when_unwound {
    unsigned i;
    ~waits_when_unwound()
    {
        EXPECT(std::uncaught_exception());
        wait(i);
        EXPECT(std::uncaught_exception());
    }
};

void throw_slowly(const std::string &text, unsigned i)
{
    waits_when_unwound guard = {i};

    throw failure{text};
}

void handle_one(const std::string &mine, unsigned i)
{
    try {
        try {
            throw_slowly(mine, i);
        } catch (failure &f) {
            EXPECT(f.text == mine);
            wait(i);
            EXPECT(f.text == mine);
            EXPECT(!std::uncaught_exception());
            try { /* one inside the other */
                throw static_cast<int>(i);
            } catch (int &n) {
                wait(i + 1);
                EXPECT(n == static_cast<int>(i));
            }
            wait(i + 2);
            throw; /* the one that this thread is handling, not somebody else's */
        }
        EXPECT(false);
    } catch (failure &again) {
        wait(i);
        EXPECT(again.text == mine);
        EXPECT(std::current_exception() != nullptr);
    }
    EXPECT(std::current_exception() == nullptr);
}

void *handle_many(void *arg)
{
    const std::string mine = "of thread " + std::to_string(reinterpret_cast<std::size_t>(arg));

    for (unsigned i = 0; i < ROUNDS; i++)
        handle_one(mine, i + static_cast<unsigned>(reinterpret_cast<std::size_t>(arg)));
    return nullptr;
}

void check(unsigned parallelism, unsigned stacks)
{
    vthread_runtime_params_t params = {};
    vthread_t threads[THREADS] = {};

    params.parallelism = parallelism;
    params.stacks = stacks;
    EXPECT(vthread_runtime_configure(&params) == 0);
    for (std::size_t i = 0; i < THREADS; i++)
        EXPECT(vthread_create(&threads[i], nullptr, handle_many, reinterpret_cast<void *>(i)) == 0);
    for (vthread_t t : threads)
        EXPECT(vthread_join(t, nullptr) == 0);
    EXPECT(vthread_runtime_shutdown(VTHREAD_FOREVER) == 0);
}

} // namespace

int main()
{
    check(1, 0);
    check(2, 0);
    check(2, 2); /* the frames move, and what was thrown stays */
    setenv("VTHREAD_FORCE_MIGRATE", "1", 1);
    check(2, 0);
    return 0;
}
