/* SPDX-License-Identifier: MIT */
/*
 * The harness: what a benchmark declares, and what it measures with.
 *
 * Every row runs in a child process of its own, forked before the runtime
 * starts, so that neither memory nor warmth leaks from one to the next.  Its body
 * is a virtual thread (as the peers' bodies are a goroutine, a task), and what
 * it samples goes through a pipe to the parent, which prints minimum and median.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attributes.h"

enum { BENCH_VARIANTS = 4 };

struct bench_run;

struct bench {
    const char *name;     /* "yield/10k"; "/w2" is appended where carriers play a part */
    const char *question; /* what its figure answers, in a line */
    void (*run)(const struct bench_run *run);
    uint64_t count; /* how much of it; of what is said in the question */
    uint64_t quick; /* the same for --quick, which only shows that it works */
    unsigned reps;
    unsigned carriers[BENCH_VARIANTS]; /* a run each; none: works below the runtime */
    bool fresh;                        /* a process for every repetition, and no warm-up: for memory */
    bool apart;                        /* the carriers are a server's, in another process: works without the runtime */
    unsigned sole_stacks;              /* vthread_runtime_params_t; 0: the default */
    unsigned parameter;                /* the benchmark's own */
};

/* Each file ends with its rows; the last is empty. */
extern const struct bench bench_switch[];
extern const struct bench bench_create_finish[];
extern const struct bench bench_dump[];
extern const struct bench bench_spawn[];
extern const struct bench bench_executor[];
extern const struct bench bench_yield[];
extern const struct bench bench_pingpong[];
extern const struct bench bench_ring[];
extern const struct bench bench_parked[];
extern const struct bench bench_sleepers[];
extern const struct bench bench_skynet[];
extern const struct bench bench_steal[];
extern const struct bench bench_timers[];
extern const struct bench bench_sync[];
extern const struct bench bench_collected[]; /* these where BENCH_GC, BENCH_HTTP, BENCH_NET */
extern const struct bench bench_http[];
extern const struct bench bench_echo[];

struct bench_run {
    const struct bench *bench;
    unsigned carriers; /* 0: without the runtime */
    uint64_t count;
    unsigned warm;
    unsigned reps;
    bool quick;
    int out; /* the pipe to the parent */
};

/* ---- for benchmarks (measure.c) ---- */

int64_t bench_wall_ns(void);
int64_t bench_cpu_ns(void); /* of the whole process */
int64_t bench_rss_bytes(void);
int64_t bench_pte_bytes(void); /* page tables, which RSS leaves out */

void bench_sample(const struct bench_run *run, const char *metric, double value, const char *unit);

/* A broken sanity equality: says so and ends the child, so that no figure comes from a wrong run. */
#define bench_check(run, x) (LIKELY(x) ? (void)0 : bench_fail((run), #x, __FILE__, __LINE__))
NORETURN COLD void bench_fail(const struct bench_run *run, const char *what, const char *file, int line);

/* The same for what is not our fault; in a line. */
NORETURN COLD PRINTF_FORMAT(2, 3) void bench_give_up(const struct bench_run *run, const char *format, ...);

/* Memory or the end of the child. */
void *bench_alloc(const struct bench_run *run, uint64_t count, size_t bytes);

/* Warm-up and repetitions of once(run): samples wall and CPU ns of each of `ops`, as ns_per_op and cpu_ns_per_op. */
void bench_repeat_per_op(const struct bench_run *run, uint64_t ops, void (*once)(const struct bench_run *run));

/* The same for a task as a whole: wall and cpu, in ms. */
void bench_repeat_whole(const struct bench_run *run, void (*once)(const struct bench_run *run));

/* The same pseudo-random numbers as the peers': of the i-th thread. */
uint64_t bench_splitmix(uint64_t x);

/* Keep a value, and memory behind it, from the optimiser. */
#define bench_escape(p) __asm__ volatile("" : : "r"(p) : "memory")

/* ---- for the harness itself ---- */

struct bench_series;

/* child.c: run one row with so many carriers; adds to the series.  False when it failed, which has been said. */
bool bench_child(const struct bench *bench, const struct bench_run *run, const char *name, struct bench_series **series,
                 int64_t timeout_ns);

/* report.c */
void bench_series_add(struct bench_series **series, const char *metric, double value, const char *unit);
void bench_series_print(struct bench_series *series, const char *name, FILE *json, bool *json_comma);
void bench_series_free(struct bench_series *series);

#endif
