/* SPDX-License-Identifier: MIT */
/*
 * The demo's parts.  It is one program in several processes: those that must not disturb
 * each other's figures are started from /proc/self/exe with a role of their own.
 *
 *     demo.c            options
 *     demo_http.c       the server, its pages and its table
 *     demo_load.c       role --load: virtual threads that send requests
 *     demo_park.c       the second table, and role --park: a million that wait
 *     demo_process.c    roles, figures of this process, progress on the terminal
 *     demo_histogram.h  latencies
 */
#ifndef EXAMPLES_DEMO_H
#define EXAMPLES_DEMO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct demo_options {
    int port;
    bool reuse_port;
    int connections;
    int seconds;
    long threads;
    bool no_deadlines;
};

/* ---- demo_http.c: each returns the program's exit status ---- */

int demo_http(const struct demo_options *options);
int demo_serve(const struct demo_options *options);

/* ---- demo_load.c ---- */

int demo_load(const struct demo_options *options);

/* ---- demo_park.c ---- */

int demo_park(const struct demo_options *options);
int demo_park_child(const struct demo_options *options);

/* ---- demo_process.c ---- */

/* A process of our own program; `to` and `from` are its standard input and output. */
struct demo_child {
    pid_t pid;
    FILE *to;
    FILE *from;
};

/* argv[0] is ours to fill in.  False: said why. */
bool demo_spawn(struct demo_child *ret_child, const char **argv);

/* Waits for its end; true: exit status 0. */
bool demo_reap(struct demo_child *child);

int64_t demo_cpu_ns(void);
int64_t demo_rss_bytes(void);

/* Use as many descriptors as the system lets us; returns how many. */
long demo_raise_descriptor_limit(void);

/* On a terminal one line that changes, and is gone at the end; elsewhere a line each. */
void demo_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void demo_progress_end(void);
bool demo_on_terminal(void);

/* "1,234,567"; in one of a few buffers, for use at once. */
const char *demo_number(double value);

#endif
