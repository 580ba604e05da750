/* SPDX-License-Identifier: MIT */
/*
 * pg_many CONNINFO [THREADS [CONNECTIONS]]: many virtual threads share a few connections to PostgreSQL, and use libpq's
 * plain calls, which block: PQconnectdb, PQexec.
 *
 *     $ ./pg_many 'host=/run/postgresql dbname=postgres' 2000 50
 *
 * It is linked with libvthread-posix, so what blocks parks.  (pg_pool does the same without, by the calls of libpq that
 * do not block.)
 */
#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/queue.h>
#include <vthread/runtime.h>
#include <vthread/version.h>
#include <vthread/vthread.h>

#include "os_threads.h"

enum { THREADS = 2000, CONNECTIONS = 50, SHUTDOWN_MS = 20000 };

static const char *conninfo;
static vthread_queue_t *idle; /* PGconn * */
static atomic_int right;
static atomic_int os_threads;

static void *dial(void *arg)
{
    PGconn *pg = PQconnectdb(conninfo);

    if (PQstatus(pg) != CONNECTION_OK)
        fprintf(stderr, "pg_many: %s", PQerrorMessage(pg));
    vthread_queue_put_ptr(idle, pg);
    return arg;
}

/* The server sleeps for 50 ms, and answers with what it was asked. */
static void *ask(void *arg)
{
    int id = (int)(intptr_t)arg;
    char query[64];
    char expected[16];
    void *pg = NULL;
    PGresult *result;

    if (vthread_queue_take_ptr(idle, &pg) != 0)
        return NULL;
    snprintf(query, sizeof query, "SELECT %d FROM pg_sleep(0.05)", id);
    snprintf(expected, sizeof expected, "%d", id);
    result = PQexec(pg, query);
    if (PQresultStatus(result) == PGRES_TUPLES_OK && strcmp(PQgetvalue(result, 0, 0), expected) == 0)
        atomic_fetch_add(&right, 1);
    PQclear(result);
    if (id == 0)
        atomic_store(&os_threads, count_os_threads());
    vthread_queue_put_ptr(idle, pg);
    return NULL;
}

static int run(vthread_t *threads, int n, void *(*fn)(void *))
{
    int started = 0;

    while (started < n && vthread_create(&threads[started], NULL, fn, (void *)(intptr_t)started) == 0)
        started++;
    for (int i = 0; i < started; i++)
        vthread_join(threads[i], NULL);
    return started;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : THREADS;
    int connections = argc > 3 ? atoi(argv[3]) : CONNECTIONS;
    vthread_t *all = calloc((size_t)threads + (size_t)connections, sizeof(vthread_t));
    vthread_runtime_stats_t stats;
    int64_t began_ns;
    void *pg;

    if (argc < 2 || all == NULL || vthread_queue_new(&idle, sizeof(void *), (size_t)connections) != 0) {
        fprintf(stderr, "usage: %s CONNINFO [THREADS [CONNECTIONS]]\n", argv[0]);
        return 2;
    }
    if (!vthread_has("posix")) {
        fprintf(stderr, "%s: libvthread-posix is not in effect\n", argv[0]);
        return 1;
    }
    conninfo = argv[1];
    run(all, connections, dial);
    began_ns = vthread_now_ns();
    run(all, threads, ask);
    vthread_runtime_stats(&stats);
    printf("%d of %d right, with %d OS threads and %u carriers, in %d ms\n", atomic_load(&right), threads,
           atomic_load(&os_threads), stats.parallelism, (int)((vthread_now_ns() - began_ns) / 1000000));
    for (int i = 0; i < connections && vthread_queue_take_ptr(idle, &pg) == 0; i++)
        PQfinish(pg);
    vthread_queue_free(idle);
    free(all);
    return atomic_load(&right) == threads && vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS)) == 0 ? 0 : 1;
}
