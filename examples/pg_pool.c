/* SPDX-License-Identifier: MIT */
/*
 * pg_pool CONNINFO [THREADS [CONNECTIONS]]: hundreds of virtual threads share a few connections to PostgreSQL, each for
 * a query at a time.  Some queries end their connection; the pool makes another.
 *
 *     $ ./pg_pool 'host=/run/postgresql dbname=postgres' 300 10
 *
 * libpq's plain calls block the OS thread.  Inside vthread_blocking_begin and _end they would be correct, at the price
 * of an OS thread for each query under way, and of a stack that its mates wait for.  So the calls that
 * do not block are used (PQsendQuery, PQconsumeInput), and in between the virtual thread waits for the
 * descriptor and nobody else: that is wait_for, and about as much code as this paragraph.
 *
 * Waits are on a duplicate of the descriptor, for libpq closes its own when it likes (a connection that breaks, an
 * address that does not answer), and whoever opens the next file would get a number that others still wait for.
 */
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/net.h>
#include <vthread/pool.h>
#include <vthread/runtime.h>
#include <vthread/sync.h>

enum { THREADS = 300, CONNECTIONS = 10, BREAKS_EVERY = 50, CONNECT_MS = 20000, IDLE_MS = 10000, SHUTDOWN_MS = 20000 };

struct connection {
    PGconn *pg;
    int fd; /* ours */
};

/* ---- libpq, for virtual threads ---- */

static int wait_for(int fd, int events, int64_t deadline_ns)
{
    int ready = vthread_wait_fd_until(fd, events, deadline_ns);

    return ready < 0 ? -ready : 0;
}

/* While connecting, the descriptor may be another one each time. */
static int wait_to_connect(PGconn *pg, int events, int64_t deadline_ns)
{
    int fd = fcntl(PQsocket(pg), F_DUPFD_CLOEXEC, 0);
    int error = fd < 0 ? errno : wait_for(fd, events, deadline_ns);

    if (fd >= 0)
        vthread_close(fd);
    return error;
}

static int connect_pg(PGconn *pg)
{
    int64_t deadline_ns = vthread_after_ms(CONNECT_MS);
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    int error = PQstatus(pg) == CONNECTION_BAD ? ECONNREFUSED : 0;

    while (error == 0 && state != PGRES_POLLING_OK) {
        error = wait_to_connect(pg, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ns);
        if (error == 0 && (state = PQconnectPoll(pg)) == PGRES_POLLING_FAILED)
            error = ECONNREFUSED;
    }
    return error;
}

static int flush(struct connection *c)
{
    int left = 0, error = 0;

    while (error == 0 && (left = PQflush(c->pg)) > 0) {
        error = wait_for(c->fd, POLLIN | POLLOUT, VTHREAD_FOREVER);
        if (error == 0 && !PQconsumeInput(c->pg)) /* the server may wait for us to read, before it reads on */
            error = EIO;
    }
    return error != 0 ? error : left < 0 ? EIO : 0;
}

/* The next result of the query; NULL: there are no more. */
static int next_result(struct connection *c, PGresult **ret_result)
{
    while (PQisBusy(c->pg)) {
        int error = wait_for(c->fd, POLLIN, VTHREAD_FOREVER);

        if (error != 0)
            return error;
        if (!PQconsumeInput(c->pg))
            return EIO;
    }
    *ret_result = PQgetResult(c->pg);
    return 0;
}

/* As PQexec: the last result, to be cleared.  After an error discard the connection. */
static int query(struct connection *c, const char *sql, PGresult **ret_result)
{
    PGresult *result = NULL, *next = NULL;
    int error = PQsendQuery(c->pg, sql) ? flush(c) : EIO;

    while (error == 0 && (error = next_result(c, &next)) == 0 && next != NULL) {
        PQclear(result);
        result = next;
    }
    if (error == 0 && PQstatus(c->pg) != CONNECTION_OK)
        error = ECONNRESET;
    if (error != 0) {
        PQclear(result);
        return error;
    }
    *ret_result = result;
    return 0;
}

/* ---- the pool's functions ---- */

static void disconnect(void *user, void *obj)
{
    struct connection *c = obj;

    (void)user;
    if (c->fd >= 0)
        vthread_close(c->fd);
    PQfinish(c->pg);
    free(c);
}

static int connect_it(void *user, void **ret_obj)
{
    struct connection *c = malloc(sizeof *c);
    int error;

    if (c == NULL)
        return ENOMEM;
    c->fd = -1;
    c->pg = PQconnectStart(user);
    error = c->pg != NULL ? connect_pg(c->pg) : ENOMEM;
    if (error == 0 && (PQsetnonblocking(c->pg, 1) != 0 || (c->fd = fcntl(PQsocket(c->pg), F_DUPFD_CLOEXEC, 0)) < 0))
        error = EIO;
    if (error != 0) {
        if (c->pg != NULL)
            fprintf(stderr, "pg_pool: %s", PQerrorMessage(c->pg));
        disconnect(user, c);
        return error;
    }
    *ret_obj = c;
    return 0;
}

/* The server may have gone, or said so, while it was idle. */
static bool is_good(void *user, void *obj)
{
    struct connection *c = obj;

    (void)user;
    return PQconsumeInput(c->pg) && PQstatus(c->pg) == CONNECTION_OK;
}

/* ---- the work ---- */

static vthread_pool_t *pool;
static struct {
    vthread_mutex_t mutex;
    long right, broken, failed;
    long most; /* queries that the server saw at once */
} done;

/* What the server says to a query that takes it a moment. */
static int ask(struct connection *c, long number, long *ret_answer, long *ret_at_once)
{
    char sql[256];
    PGresult *result;
    int error;

    snprintf(sql, sizeof sql,
             "SELECT %ld * 2, pg_sleep(0.01),"
             " (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_pool' AND state = 'active')",
             number);
    error = query(c, sql, &result);
    if (error != 0)
        return error;
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        *ret_answer = strtol(PQgetvalue(result, 0, 0), NULL, 10);
        *ret_at_once = strtol(PQgetvalue(result, 0, 2), NULL, 10);
    } else {
        error = EPROTO;
    }
    PQclear(result);
    return error;
}

/* 0: the connection is still there. */
static int break_it(struct connection *c)
{
    PGresult *result;
    int error = query(c, "SELECT pg_terminate_backend(pg_backend_pid())", &result);

    if (error == 0)
        PQclear(result);
    return error;
}

static void *work(void *arg)
{
    long number = (long)(intptr_t)arg, answer = 0, at_once = 0;
    bool breaks = number % BREAKS_EVERY == 0;
    void *c = NULL;
    int error = vthread_pool_acquire(pool, &c);

    if (error == 0) {
        error = ask(c, number, &answer, &at_once);
        if (error == 0 && !(breaks && break_it(c) != 0))
            vthread_pool_release(pool, c);
        else
            vthread_pool_discard(pool, c);
    }
    vthread_mutex_lock(&done.mutex);
    done.right += error == 0 && answer == number * 2;
    done.broken += error == 0 && breaks;
    done.failed += error != 0;
    if (at_once > done.most)
        done.most = at_once;
    vthread_mutex_unlock(&done.mutex);
    return NULL;
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? atol(argv[2]) : THREADS;
    vthread_pool_params_t params = {
        .max_objects = argc > 3 ? (uint32_t)atol(argv[3]) : CONNECTIONS,
        .max_idle_ns = IDLE_MS * INT64_C(1000000),
        .create = connect_it,
        .validate = is_good,
        .destroy = disconnect,
    };
    vthread_pool_stats_t stats;
    vthread_t *threads = calloc((size_t)count, sizeof *threads);
    int64_t began_ns = vthread_now_ns();
    char conninfo[1000];

    if (argc < 2 || threads == NULL) {
        fprintf(stderr, "usage: %s CONNINFO [THREADS [CONNECTIONS]]\n", argv[0]);
        return 2;
    }
    snprintf(conninfo, sizeof conninfo, "%s application_name=pg_pool", argv[1]);
    params.user = conninfo; /* on main's stack, which stays where it is */
    if (vthread_pool_new(&pool, &params) != 0)
        return 1;
    for (long i = 0; i < count; i++)
        if (vthread_create(&threads[i], NULL, work, (void *)(intptr_t)i) != 0)
            return 1;
    for (long i = 0; i < count; i++)
        vthread_join(threads[i], NULL);
    vthread_pool_stats(pool, &stats);
    vthread_pool_free(pool);
    free(threads);
    printf("%ld right, %ld failed, %ld broken, %llu connections, %ld at once, %lld ms\n", done.right, done.failed,
           done.broken, (unsigned long long)stats.created, done.most,
           (long long)((vthread_now_ns() - began_ns) / 1000000));
    return vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS)) != 0 || done.right != count;
}
