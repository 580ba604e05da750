/* SPDX-License-Identifier: MIT */
/*
 * Random traces of calls, loops, locals of all kinds, yields, pins and nested
 * continuations, compared with the same trace run as plain calls.  A trace:
 *
 *     0-7    mix integers          y        yield to the innermost runner
 *     f l    mix doubles, long     Y        leave altogether, from however far inside
 *            doubles               p u      pin, unpin
 *     r      compute, rounding up  d        30 calls down, leave there
 *     (...)  a call                [...]    a call with a large frame
 *     <...>  three times           {...}    inside a continuation of its own
 *
 * Many traces are under way at a time, each a public continuation or a member that
 * shares a stack with others, and take turns at random.  In the plain run a small
 * model says what each yield and pin must answer.
 *
 *     VTHREAD_FUZZ_SEED=n     begin there (each failure prints its seed and trace)
 *     VTHREAD_FUZZ_ROUNDS=n   how many rounds, default 60
 *     VTHREAD_FUZZ_TRACE=...  this trace alone
 */
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "continuation_runner.h"

enum { TRACE_MAX = 120, LEVELS_MAX = 4, AT_ONCE = 24, DEEP = 30 };

enum how { PLAIN, PUBLIC, SHARED };

struct job {
    const char *trace;
    enum how how;
    int level; /* of nested continuations; PUBLIC begins at 1 */
    int pins[LEVELS_MAX + 2];
    uint64_t hash;
    int left;  /* times it left altogether */
    int inner; /* yields to a runner inside the trace */
    bool wrong;
    vthread_cont_t *cont;
    struct member member;
};

static vthread_cont_scope_t scopes[LEVELS_MAX + 2];

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * n >> 32);
}

static void mix(struct job *job, uint64_t value)
{
    job->hash = (job->hash ^ value) * 0x9e3779b97f4a7c15u;
    job->hash ^= job->hash >> 29;
}

/* ---- the model: who is pinned ---- */

static bool any_pinned(const struct job *job)
{
    for (int i = 1; i <= job->level; i++)
        if (job->pins[i] > 0)
            return true;
    return false;
}

/* ---- yields ---- */

/* Leave for the driver.  What it returns is part of the result. */
static int leave(struct job *job)
{
    int expected = any_pinned(job) ? EBUSY : 0;
    int got = expected;

    if (expected == 0)
        job->left++;
    if (job->how == PUBLIC) {
        got = vthread_cont_yield(&scopes[1], job);
    } else if (job->how == SHARED) {
        struct vthread_cont *inner = nested_around(__builtin_frame_address(0));

        got = nested_is_pinned(inner) ? EBUSY : 0;
        if (got == 0)
            runner_yield();
    }
    job->wrong |= got != expected;
    return got;
}

static int yield(struct job *job)
{
    int base = job->how == SHARED || (job->how == PLAIN && job->cont == NULL) ? 0 : 1;
    int expected;
    int got;

    if (job->level <= base)
        return leave(job);
    expected = job->pins[job->level] > 0 ? EBUSY : 0;
    got = expected;
    if (expected == 0)
        job->inner++;
    if (job->how != PLAIN)
        got = vthread_cont_yield(&scopes[job->level], job);
    job->wrong |= got != expected;
    return got;
}

static int pin(struct job *job)
{
    int expected = job->level == 0 ? EPERM : 0;
    int got = expected;

    job->pins[job->level]++;
    if (job->how != PLAIN)
        got = vthread_cont_pin("fuzz");
    job->wrong |= got != expected;
    return got;
}

static int unpin(struct job *job)
{
    int expected = job->level == 0 ? EPERM : job->pins[job->level] == 0 ? EINVAL : 0;
    int got = expected;

    if (expected == 0)
        job->pins[job->level]--;
    if (job->how != PLAIN)
        got = vthread_cont_unpin();
    job->wrong |= got != expected;
    return got;
}

/* ---- the interpreter ---- */

static const char *run_trace(struct job *job, const char *at);

static const char *skip(const char *at)
{
    int depth = 1;

    while (depth > 0 && *at != '\0')
        depth += strchr("([<{", *at) != NULL ? 1 : strchr(")]>}", *at) != NULL ? -1 : 0, at++;
    return at;
}

static NOINLINE double go_deep(struct job *job, int depth, double x)
{
    uint64_t before = job->hash + (uint64_t)depth;
    volatile double kept = x * 1.25 + depth;
    double y;

    if (depth == 0)
        mix(job, (uint64_t)leave(job));
    y = depth == 0 ? kept : go_deep(job, depth - 1, kept);
    mix(job, before);
    return y + kept;
}

static NOINLINE const char *call_large(struct job *job, const char *at)
{
    unsigned char bytes[2000];
    unsigned char seed = (unsigned char)job->hash;
    uint64_t sum = 0;
    const char *end;

    memset(bytes, seed, sizeof bytes);
    __asm__ volatile("" : : "r"(bytes) : "memory");
    end = run_trace(job, at);
    for (size_t i = 0; i < sizeof bytes; i++)
        sum += bytes[i] ^ seed;
    mix(job, sum);
    return end;
}

struct nested_call {
    struct job *job;
    const char *at;
};

static void *nested_body(void *arg)
{
    struct nested_call *call = arg;

    return (void *)(uintptr_t)run_trace(call->job, call->at);
}

static NOINLINE const char *call_nested(struct job *job, const char *at)
{
    struct nested_call call = {job, at};
    void *value = (void *)(uintptr_t)skip(at);
    vthread_cont_t *c;
    int seen = 0;
    int error = 0;

    job->pins[++job->level] = 0;
    if (job->how == PLAIN) {
        run_trace(job, at);
        job->level--;
        return value;
    }
    if (vthread_cont_new(&c, &scopes[job->level], nested_body, &call) != 0)
        abort();
    while ((error = vthread_cont_run(c, &value)) == 0) {
        seen++;
        job->wrong |= value != job;
    }
    job->wrong |= error != ENODATA || vthread_cont_free(c) != 0 || value != skip(at);
    job->level--;
    return value;
}

static double round_up(double x)
{
    int mode = fegetround();
    volatile double third;

    fesetround(FE_UPWARD);
    third = x / 3;
    fesetround(mode);
    return third;
}

/* Runs up to the closing bracket; returns what follows it. */
static NOINLINE const char *run_trace(struct job *job, const char *at)
{
    uint64_t a = job->hash, b = a * 3 + 1, c = a ^ 0x55, d = ~a;
    double x = (double)(a % 1000) / 7, y = x + 0.5;
    float z = (float)x;
    long double w = (long double)x / 3;

    for (;;) {
        char op = *at;

        if (op != '\0')
            at++;
        if (op >= '0' && op <= '7') {
            a += b ^ (uint64_t)op;
            b = b * 5 + c;
            c ^= d << (op & 7);
            d += a;
            mix(job, a ^ d);
            continue;
        }
        switch (op) {
        case 'f':
            x = x * 1.5 + y;
            y = y / 1.25 + 1;
            z += (float)y;
            break;
        case 'l':
            w = w * 1.5L + (long double)y;
            break;
        case 'r':
            x = round_up(x + 1);
            y += 1.0 / 3;
            break;
        case 'y':
            a += (uint64_t)yield(job);
            break;
        case 'Y':
            b += (uint64_t)leave(job);
            break;
        case 'p':
            c += (uint64_t)pin(job);
            break;
        case 'u':
            d += (uint64_t)unpin(job);
            break;
        case 'd':
            y += go_deep(job, DEEP, x);
            break;
        case '(':
            at = run_trace(job, at);
            break;
        case '[':
            at = call_large(job, at);
            break;
        case '{':
            at = call_nested(job, at);
            break;
        case '<':
            for (int i = 0; i < 3; i++) {
                run_trace(job, at);
                a += (uint64_t)i;
            }
            at = skip(at);
            break;
        default: { /* a closing bracket or the end */
            uint64_t bits[3];
            double w_as_double = (double)w;

            memcpy(&bits[0], &x, 8);
            memcpy(&bits[1], &y, 8);
            memcpy(&bits[2], &w_as_double, 8);
            mix(job, a ^ b << 1 ^ c << 2 ^ d << 3);
            mix(job, bits[0] ^ bits[1] << 1 ^ bits[2] << 2);
            mix(job, (uint64_t)(int64_t)(z * 16));
            return at;
        }
        }
    }
}

static void *job_body(void *arg)
{
    struct job *job = arg;

    run_trace(job, job->trace);
    return NULL;
}

/* ---- traces ---- */

static void make_trace(char *trace)
{
    char open[16];
    int depth = 0, level = 1, loops = 0, n = 0;
    int length = 5 + (int)random_below(TRACE_MAX - 30);

    while (n < length) {
        static const char plain[] = "01234567fffllryyyyyYYYYYpuudy";
        uint32_t what = random_below(100);

        if (what < 18 && depth < 10) {
            char bracket = "([<{{"[random_below(5)];

            if ((bracket == '{' && level == LEVELS_MAX) || (bracket == '<' && loops == 2))
                continue;
            level += bracket == '{';
            loops += bracket == '<';
            open[depth++] = bracket;
            trace[n++] = bracket;
        } else if (what < 34 && depth > 0) {
            char bracket = open[--depth];

            level -= bracket == '{';
            loops -= bracket == '<';
            trace[n++] = bracket == '(' ? ')' : bracket == '[' ? ']' : bracket == '<' ? '>' : '}';
        } else {
            trace[n++] = plain[random_below(sizeof plain - 1)];
        }
    }
    while (depth > 0) {
        char bracket = open[--depth];

        trace[n++] = bracket == '(' ? ')' : bracket == '[' ? ']' : bracket == '<' ? '>' : '}';
    }
    trace[n] = '\0';
}

static void job_init(struct job *job, const char *trace, enum how how, bool public)
{
    *job = (struct job){.trace = trace, .how = how, .level = public, .hash = 12345};
}

/* ---- driving ---- */

static void *run_cont(void *arg)
{
    struct job *job = arg;

    return (void *)(intptr_t)vthread_cont_run(job->cont, NULL);
}

/* One turn; true when it has ended. */
static bool turn(struct job *job, bool elsewhere)
{
    void *result;

    if (job->how == SHARED) {
        if (!member_run(&job->member))
            abort();
        return job->member.done;
    }
    if (elsewhere) {
        pthread_t thread;

        pthread_create(&thread, NULL, run_cont, job);
        pthread_join(thread, &result);
    } else {
        result = run_cont(job);
    }
    return (intptr_t)result == ENODATA;
}

static void compare(const struct job *job, uint64_t seed, int turns)
{
    struct job plain;

    job_init(&plain, job->trace, PLAIN, job->how == PUBLIC);
    plain.cont = job->cont; /* whether, not which */
    job_body(&plain);
    cr_assert(!job->wrong && !plain.wrong && job->hash == plain.hash && job->left == plain.left &&
                  job->inner == plain.inner && turns == plain.left + 1,
              "\n  %s of VTHREAD_FUZZ_SEED=%llu differs: hash %llx, plain %llx; left %d, plain %d; inner %d, plain %d; "
              "%d turns; a wrong answer: %d\n  VTHREAD_FUZZ_TRACE='%s'",
              job->how == PUBLIC ? "a continuation" : "a member", (unsigned long long)seed,
              (unsigned long long)job->hash, (unsigned long long)plain.hash, job->left, plain.left, job->inner,
              plain.inner, turns, job->wrong, job->trace);
}

/* n traces take turns. */
static void run_together(char traces[][TRACE_MAX], int n, enum how how, uint64_t seed, struct stack **stacks,
                         int nstacks)
{
    static struct job jobs[AT_ONCE];
    int turns[AT_ONCE] = {0};
    int alive[AT_ONCE];
    int left = n;

    for (int i = 0; i < n; i++) {
        struct job *job = &jobs[i];

        alive[i] = i;
        job_init(job, traces[i], how, how == PUBLIC);
        if (how == SHARED)
            member_init(&job->member, stacks[(int)random_below((uint32_t)nstacks)], job_body, job);
        else if (vthread_cont_new(&job->cont, &scopes[1], job_body, job) != 0)
            abort();
    }
    while (left > 0) {
        int k = (int)random_below((uint32_t)left);
        struct job *job = &jobs[alive[k]];

        turns[alive[k]]++;
        if (turn(job, how == PUBLIC && random_below(50) == 0)) {
            if (how == PUBLIC)
                vthread_cont_free(job->cont);
            alive[k] = alive[--left];
        }
    }
    for (int i = 0; i < n; i++)
        compare(&jobs[i], seed, turns[i]);
}

static uint64_t env_number(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

static void fuzz(enum how how)
{
    static const char *const corpus[] = {
#include "continuation_fuzz_corpus.h"
    };
    static char traces[AT_ONCE][TRACE_MAX];
    const char *only = getenv("VTHREAD_FUZZ_TRACE");
    uint64_t seed = env_number("VTHREAD_FUZZ_SEED", (uint64_t)time(NULL) * 1000003);
    uint64_t rounds = env_number("VTHREAD_FUZZ_ROUNDS", 60);
    struct stack *stacks[4];
    int n = sizeof corpus / sizeof corpus[0];

    fprintf(stderr, "# VTHREAD_FUZZ_SEED=%llu\n", (unsigned long long)seed);
    runner_start(4, 4);
    for (int i = 0; i < 4; i++) {
        stacks[i] = stack_shared_choose(&runner.stacks, i > 0 ? stacks[i - 1] : NULL);
        scopes[i + 1].name = "fuzz";
    }
    random_state = 1;
    if (only != NULL)
        n = 1;
    for (int i = 0; i < n; i++)
        strncpy(traces[i], only != NULL ? only : corpus[i], TRACE_MAX - 1);
    run_together(traces, n, how, 0, stacks, 2);
    for (uint64_t round = 0; only == NULL && round < rounds; round++) {
        random_state = (seed + round) * 0x9e3779b97f4a7c15u | 1;
        n = 1 + (int)random_below(AT_ONCE);
        for (int i = 0; i < n; i++)
            make_trace(traces[i]);
        run_together(traces, n, how, seed + round, stacks, 1 + (int)random_below(4));
    }
    cr_assert_eq(continuation_alive(), 0);
}

Test(fuzz, public_continuations, .timeout = 100)
{
    fuzz(PUBLIC);
}

Test(fuzz, members_of_shared_stacks, .timeout = 100)
{
    fuzz(SHARED);
}
