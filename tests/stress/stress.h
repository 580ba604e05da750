/* SPDX-License-Identifier: MIT */
/*
 * What the stress tests share: how much, which seed, and the one equality at the end.
 *
 *     PROGRAM [COUNT [SEED]]
 *
 * COUNT is the test's own measure of work; STRESS_SCALE multiplies the default
 * (0.1, 100), STRESS_SEED is the seed when none is given.  The seed is printed
 * first, so that a failure can be tried again.
 */
#ifndef TESTS_STRESS_H
#define TESTS_STRESS_H

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

struct stress {
    long count;
    uint64_t seed;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STRESS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STRESS_SANITIZED 1
#endif
#endif
#ifndef STRESS_SANITIZED
#define STRESS_SANITIZED 0
#endif

/* Threads alive at a time; ThreadSanitizer knows 8,128 at most. */
#if defined(__SANITIZE_THREAD__)
#define STRESS_THREADS_MAX 2000
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STRESS_THREADS_MAX 2000
#endif
#endif
#ifndef STRESS_THREADS_MAX
#define STRESS_THREADS_MAX 100000000
#endif

static inline long stress_threads(long wanted)
{
    return wanted < STRESS_THREADS_MAX ? wanted : STRESS_THREADS_MAX;
}

static inline bool stress_strict(void)
{
    const char *strict = getenv("VTHREAD_STRICT");

    return strict != NULL && strcmp(strict, "1") == 0;
}

static inline struct stress stress_begin(int argc, char **argv, long normal)
{
    const char *scale = getenv("STRESS_SCALE");
    const char *seed = argc > 2 ? argv[2] : getenv("STRESS_SEED");
    struct stress s;
    struct timespec now;
    double count = (double)normal;

    if (argc > 1) {
        count = atof(argv[1]);
    } else {
        if (scale != NULL)
            count *= atof(scale);
        /* There every wait copies and guards, or every access is looked up. */
        if (stress_strict() || STRESS_SANITIZED)
            count /= 5;
    }
    s.count = count < 1 ? 1 : (long)count;
    clock_gettime(CLOCK_REALTIME, &now);
    s.seed = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)now.tv_nsec * 2654435761u + (uint64_t)getpid();
    printf("count %ld, seed %" PRIu64 "\n", s.count, s.seed);
    fflush(stdout);
    return s;
}

/* splitmix64: each state a stream of its own, however close two seeds are. */
static inline uint64_t stress_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t stress_below(uint64_t *state, uint64_t n)
{
    return stress_random(state) % n;
}

/* For what must succeed for the test to mean anything. */
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        int must_error = (call);                                                                                       \
        if (must_error != 0) {                                                                                         \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, strerror(must_error));                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Start a thread; the new one may run before its handle is stored, so it must not look for it. */
static inline vthread_t stress_start(void *(*fn)(void *arg), void *arg)
{
    vthread_t t = NULL;

    MUST(vthread_create(&t, NULL, fn, arg));
    return t;
}

static inline void *stress_join(vthread_t t)
{
    void *value = NULL;

    MUST(vthread_join(t, &value));
    return value;
}

/* The equality; also that nothing is left running.  The exit status of the test. */
static inline int stress_end(const char *what, uint64_t found, uint64_t expected)
{
    int error = vthread_runtime_shutdown(vthread_after_ms(30000));

    printf("%s: %" PRIu64 ", expected %" PRIu64 "\n", what, found, expected);
    if (error != 0)
        printf("shutdown: %s\n", strerror(error));
    return found == expected && error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
