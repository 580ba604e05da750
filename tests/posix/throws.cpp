/* SPDX-License-Identifier: MIT */
/*
 * A function given to pthread_once that throws: once is open again, for the next thread, and nobody is left pinned.
 * And std::call_once, which is made of it.
 */
#include <atomic>
#include <cstdio>
#include <mutex>

#include <pthread.h>
#include <unistd.h>

#include <vthread/vthread.h>

static pthread_once_t once;
static std::once_flag flag;
static std::atomic<int> tries;

static void throws_at_first()
{
    usleep(1000);
    if (tries++ == 0)
        throw 5;
}

static void *try_once(void *arg)
{
    void *result = nullptr;

    try {
        if (arg != nullptr)
            std::call_once(flag, throws_at_first);
        else
            pthread_once(&once, throws_at_first);
    } catch (int) {
        result = &tries;
    }
    return vthread_is_pinned(nullptr) ? &once : result;
}

int main()
{
    for (int way = 0; way < 2; way++) {
        vthread_t threads[10];
        int thrown = 0;

        tries = 0;
        for (vthread_t &t : threads)
            if (vthread_create(&t, nullptr, try_once, way == 0 ? nullptr : &flag) != 0)
                return 1;
        for (vthread_t t : threads) {
            void *value;

            if (vthread_join(t, &value) != 0 || value == &once)
                return 2;
            thrown += value != nullptr;
        }
        if (thrown != 1 || tries != 2) {
            std::fprintf(stderr, "way %d: thrown %d times, %d tries\n", way, thrown, tries.load());
            return 3;
        }
    }
    return 0;
}
