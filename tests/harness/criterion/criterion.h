/* SPDX-License-Identifier: MIT */
/*
 * The part of Criterion that our tests use, for builds where Criterion cannot go:
 * cross builds and ThreadSanitizer.  Same names, same meaning:
 *
 *     Test(suite, name) { cr_assert_eq(1 + 1, 2); }
 *     Test(suite, dies, .signal = SIGABRT, .timeout = 5) { abort(); }
 *
 * Each test runs in a process of its own; the report is TAP on standard output.
 */
#ifndef HARNESS_CRITERION_H
#define HARNESS_CRITERION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct harness_options {
    void (*init)(void);
    void (*fini)(void);
    int signal;     /* must end by this signal */
    int exit_code;  /* must end with this exit status */
    double timeout; /* seconds; 0: the runner's */
    bool disabled;
    const char *description;
};

struct harness_test {
    const char *suite;
    const char *name;
    void (*body)(void);
    struct harness_options options;
    struct harness_test *next;
};

void harness_add(struct harness_test *test);
void harness_add_suite(struct harness_test *suite);

/* End the test as failed when fatal, else remember that it failed. */
__attribute__((format(printf, 5, 6))) void harness_fail(bool fatal, const char *file, int line, const char *what,
                                                        const char *fmt, ...);
__attribute__((format(printf, 1, 2), noreturn)) void harness_skip(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void harness_log(const char *fmt, ...);

#define Test(SUITE, NAME, ...)                                                                                         \
    static void SUITE##_##NAME##_body(void);                                                                           \
    __attribute__((constructor)) static void SUITE##_##NAME##_add(void)                                                \
    {                                                                                                                  \
        static struct harness_test test = {                                                                            \
            #SUITE, #NAME, SUITE##_##NAME##_body, {.description = NULL, __VA_ARGS__}, NULL};                           \
        harness_add(&test);                                                                                            \
    }                                                                                                                  \
    static void SUITE##_##NAME##_body(void)

/* Options for all tests of a suite; a test's own are stronger. */
#define TestSuite(SUITE, ...)                                                                                          \
    __attribute__((constructor)) static void SUITE##_suite_add(void)                                                   \
    {                                                                                                                  \
        static struct harness_test suite = {#SUITE, NULL, NULL, {.description = NULL, __VA_ARGS__}, NULL};             \
        harness_add_suite(&suite);                                                                                     \
    }                                                                                                                  \
    struct harness_test

/* What follows the operands, if anything, is a format string and its arguments. */
#define HARNESS_CHECK(FATAL, COND, TEXT, ...)                                                                          \
    ((COND) ? (void)0 : harness_fail((FATAL), __FILE__, __LINE__, (TEXT), " " __VA_ARGS__))
#define HARNESS_COMPARE(FATAL, A, OP, B, ...) HARNESS_CHECK(FATAL, (A)OP(B), #A " " #OP " " #B, __VA_ARGS__)

#define cr_assert(COND, ...) HARNESS_CHECK(true, (COND), #COND, __VA_ARGS__)
#define cr_assert_not(COND, ...) HARNESS_CHECK(true, !(COND), "not " #COND, __VA_ARGS__)
#define cr_assert_eq(A, B, ...) HARNESS_COMPARE(true, A, ==, B, __VA_ARGS__)
#define cr_assert_neq(A, B, ...) HARNESS_COMPARE(true, A, !=, B, __VA_ARGS__)
#define cr_assert_lt(A, B, ...) HARNESS_COMPARE(true, A, <, B, __VA_ARGS__)
#define cr_assert_leq(A, B, ...) HARNESS_COMPARE(true, A, <=, B, __VA_ARGS__)
#define cr_assert_gt(A, B, ...) HARNESS_COMPARE(true, A, >, B, __VA_ARGS__)
#define cr_assert_geq(A, B, ...) HARNESS_COMPARE(true, A, >=, B, __VA_ARGS__)
#define cr_assert_null(P, ...) HARNESS_CHECK(true, (P) == NULL, #P " is NULL", __VA_ARGS__)
#define cr_assert_not_null(P, ...) HARNESS_CHECK(true, (P) != NULL, #P " is not NULL", __VA_ARGS__)
#define cr_assert_str_eq(A, B, ...) HARNESS_CHECK(true, strcmp((A), (B)) == 0, #A " equals " #B, __VA_ARGS__)
#define cr_assert_str_neq(A, B, ...) HARNESS_CHECK(true, strcmp((A), (B)) != 0, #A " differs from " #B, __VA_ARGS__)
#define cr_assert_arr_eq(A, B, BYTES, ...)                                                                             \
    HARNESS_CHECK(true, memcmp((A), (B), (BYTES)) == 0, #A " equals " #B, __VA_ARGS__)

#define cr_expect(COND, ...) HARNESS_CHECK(false, (COND), #COND, __VA_ARGS__)
#define cr_expect_not(COND, ...) HARNESS_CHECK(false, !(COND), "not " #COND, __VA_ARGS__)
#define cr_expect_eq(A, B, ...) HARNESS_COMPARE(false, A, ==, B, __VA_ARGS__)
#define cr_expect_neq(A, B, ...) HARNESS_COMPARE(false, A, !=, B, __VA_ARGS__)
#define cr_expect_lt(A, B, ...) HARNESS_COMPARE(false, A, <, B, __VA_ARGS__)
#define cr_expect_leq(A, B, ...) HARNESS_COMPARE(false, A, <=, B, __VA_ARGS__)
#define cr_expect_gt(A, B, ...) HARNESS_COMPARE(false, A, >, B, __VA_ARGS__)
#define cr_expect_geq(A, B, ...) HARNESS_COMPARE(false, A, >=, B, __VA_ARGS__)
#define cr_expect_null(P, ...) HARNESS_CHECK(false, (P) == NULL, #P " is NULL", __VA_ARGS__)
#define cr_expect_not_null(P, ...) HARNESS_CHECK(false, (P) != NULL, #P " is not NULL", __VA_ARGS__)
#define cr_expect_str_eq(A, B, ...) HARNESS_CHECK(false, strcmp((A), (B)) == 0, #A " equals " #B, __VA_ARGS__)
#define cr_expect_str_neq(A, B, ...) HARNESS_CHECK(false, strcmp((A), (B)) != 0, #A " differs from " #B, __VA_ARGS__)
#define cr_expect_arr_eq(A, B, BYTES, ...)                                                                             \
    HARNESS_CHECK(false, memcmp((A), (B), (BYTES)) == 0, #A " equals " #B, __VA_ARGS__)
#define cr_fail(...) harness_fail(true, __FILE__, __LINE__, "", " " __VA_ARGS__)
#define cr_skip(...) harness_skip(" " __VA_ARGS__)
#define cr_skip_test(...) harness_skip(" " __VA_ARGS__)
#define cr_log_info(...) harness_log(__VA_ARGS__)
#define cr_log_warn(...) harness_log(__VA_ARGS__)
#define cr_log_error(...) harness_log(__VA_ARGS__)

#endif
