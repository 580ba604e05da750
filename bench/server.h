/* SPDX-License-Identifier: MIT */
/*
 * Rows about servers (http, echo): each server is a process of its own, the load is the row's, and two servers take
 * turns, so that one of them is the measure of the other.
 */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <sys/types.h>
#include <time.h>

#include "bench/bench.h"

/* What a server process does. */
struct service {
    const char *name;
    const char *prefix; /* of its metrics' names */
    unsigned carriers;  /* 0: without the runtime */
    /* Says server_ready and never returns. */
    void (*serve)(const struct bench_run *run, int ready);
};

struct server {
    const struct service *service;
    pid_t pid;
    int port;
    clockid_t cpu_clock;
};

/* ---- server.c ---- */

/* Fork it, which wants a process without threads; pinned: see server_can_pin. */
void server_start(const struct bench_run *run, struct server *server, const struct service *service, bool pinned);
void server_stop(const struct bench_run *run, struct server *server);

/* In the server. */
void server_ready(const struct bench_run *run, int ready, int port);
int server_port(const struct bench_run *run, int listener);

/* User's and system's, of all its threads: what getrusage would say in there, to the nanosecond. */
int64_t server_cpu_ns(const struct server *server);

/* Something went wrong with it, and the row has failed.  Says so, and what became of the server. */
NORETURN COLD void server_fail(const struct bench_run *run, const struct server *server, const char *what, int error);

/* The first CPUs are for the server, which has so many carriers, the next one is for the load.  False: too few. */
bool server_can_pin(unsigned carriers);
/* This process, and the threads that it makes from now on. */
void server_pin(const struct bench_run *run, unsigned first, unsigned count);

/* ---- load.c ---- */

/* Each connection sends the request, waits for the whole answer, and sends the next. */
struct load {
    unsigned connections;
    const char *request;
    size_t request_length;
    const char *answer; /* NULL: the request returns, and is stamped anew each time */
    size_t answer_length;
};

struct load_figures {
    double cpu_us; /* the server's, of each request */
    double rate;   /* requests a second */
    double p50_us;
    double p99_us;
    double load_cpu_us; /* if it is more than the server's, the server has waited */
};

/* run->count requests, all answers compared. */
void load_measure(const struct bench_run *run, const struct server *server, const struct load *load,
                  struct load_figures *ret_figures);

/* The whole row: both servers, which take turns within every repetition, and the ratios of the first to the second. */
void load_compare(const struct bench_run *run, const struct service services[2], const struct load *load);

#endif
