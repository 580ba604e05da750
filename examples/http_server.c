/* SPDX-License-Identifier: MIT */
/*
 * Accepting, a thread for each connection, and stopping.  http_internal.h says how the parts work together.
 */
#include "http_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/net.h>

#include "http_internal.h"

enum {
    BACKLOG = 4096,
    LINGER_MS = 1000,
    LINGER_BYTES = 1 << 20,
    RETRY_MS = 10,
    STOP_RETRY_MS = 100,
};

/* ---- a connection ---- */

bool connection_resize(struct connection *c, char **buffer, size_t *capacity, size_t wanted)
{
    char *moved = realloc(*buffer, wanted);

    if (moved == NULL) {
        c->failed = true;
        return false;
    }
    *buffer = moved;
    *capacity = wanted;
    return true;
}

/* Closing with input unread would reset the connection, and what was said last might not arrive. */
static void linger(struct connection *c)
{
    int64_t deadline_ns = vthread_after_ms(LINGER_MS);
    size_t total = 0;
    ssize_t n;

    vthread_shutdown(c->fd, SHUT_WR);
    while (total < LINGER_BYTES && (n = vthread_read_until(c->fd, c->in, c->in_capacity, deadline_ns)) > 0)
        total += (size_t)n;
}

static void connection_free(struct connection *c)
{
    vthread_close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void enter(struct http_server *server, struct connection *c)
{
    pthread_mutex_lock(&server->lock);
    c->next = server->connections;
    c->link = &server->connections;
    if (c->next != NULL)
        c->next->link = &c->next;
    server->connections = c;
    server->open++;
    server->accepted++;
    pthread_mutex_unlock(&server->lock);
}

/* From here on nobody shuts it down or interrupts it: the number and the name may be given away. */
static void leave(struct http_server *server, struct connection *c)
{
    vthread_t stopper;

    pthread_mutex_lock(&server->lock);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    server->requests_before += atomic_load_explicit(&c->requests, memory_order_relaxed);
    stopper = --server->open == 0 ? server->stopper : NULL;
    pthread_mutex_unlock(&server->lock);
    vthread_unpark(stopper);
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    struct http_server *server = c->exchange.server;

    pthread_mutex_lock(&server->lock);
    c->thread = vthread_self();
    pthread_mutex_unlock(&server->lock);
    while (c->keep_alive && connection_read_request(c))
        connection_respond(c);
    connection_flush(c, connection_idle_deadline(c));
    if (!c->failed && (c->refusal != 0 || c->parsed < c->received))
        linger(c);
    leave(server, c);
    connection_free(c);
    return NULL;
}

static struct connection *connection_new(struct http_server *server, int fd)
{
    struct connection *c = calloc(1, sizeof *c);

    if (c == NULL) {
        vthread_close(fd);
        return NULL;
    }
    c->exchange.server = server;
    c->fd = fd;
    c->keep_alive = true;
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    if (connection_resize(c, &c->in, &c->in_capacity, BUFFER_SMALL))
        return c;
    connection_free(c);
    return NULL;
}

static void *accept_loop(void *arg)
{
    struct http_server *server = arg;
    struct connection *c;
    int fd;

    for (;;) {
        fd = vthread_accept(server->listener, NULL, NULL);
        if (fd == -EINTR || fd == -ECANCELED) /* http_server_stop, vthread_runtime_shutdown */
            return NULL;
        if (fd < 0) { /* out of descriptors, or memory; those who are connected will give some back */
            if (vthread_sleep_ms(RETRY_MS) != 0)
                return NULL;
            continue;
        }
        c = connection_new(server, fd);
        if (c == NULL)
            continue;
        enter(server, c);
        if (vthread_create(NULL, NULL, serve, c) != 0) {
            leave(server, c);
            connection_free(c);
        }
    }
}

/* ---- the server ---- */

static bool prepare(struct http_server *server)
{
    const struct http_route *routes = server->params.routes;
    bool ok = true;
    size_t count = 0;

    while (routes[count].path != NULL)
        count++;
    server->prepared = calloc(count + 1, sizeof *server->prepared);
    if (server->prepared == NULL)
        return false;
    for (size_t i = 0; ok && i < count; i++)
        ok = http_prepare(&server->prepared[i], &routes[i]);
    return ok;
}

static void server_free(struct http_server *server)
{
    for (struct prepared *p = server->prepared; p != NULL && p->route != NULL; p++)
        free(p->answer);
    free(server->prepared);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

static void set_defaults(struct http_params *params)
{
    if (params->head_bytes_max == 0)
        params->head_bytes_max = 8 << 10;
    if (params->body_bytes_max == 0)
        params->body_bytes_max = 1 << 20;
    if (params->idle_ms == 0)
        params->idle_ms = 60000;
    if (params->request_ms == 0)
        params->request_ms = 10000;
}

static int bound_port(int listener)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;

    if (getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

int http_server_start(struct http_server **ret_server, const struct http_params *params)
{
    struct http_server *server = calloc(1, sizeof *server);
    int error = ENOMEM;

    if (server == NULL)
        return ENOMEM;
    server->params = *params;
    set_defaults(&server->params);
    http_parser_set_max_header_size((uint32_t)server->params.head_bytes_max);
    pthread_mutex_init(&server->lock, NULL);
    if (!prepare(server))
        goto fail;
    server->listener = vthread_listen_tcp(params->address, BACKLOG, params->reuse_port ? VTHREAD_LISTEN_REUSEPORT : 0);
    if (server->listener < 0) {
        error = -server->listener;
        goto fail;
    }
    server->port = bound_port(server->listener);
    error = vthread_create(&server->acceptor, NULL, accept_loop, server);
    if (error != 0)
        goto fail_listener;
    *ret_server = server;
    return 0;

fail_listener:
    vthread_close(server->listener);
fail:
    server_free(server);
    return error;
}

int http_server_port(const struct http_server *server)
{
    return server->port;
}

void http_server_stats(struct http_server *server, struct http_stats *ret_stats)
{
    pthread_mutex_lock(&server->lock);
    ret_stats->connections = server->open;
    ret_stats->accepted = server->accepted;
    ret_stats->requests = server->requests_before;
    for (struct connection *c = server->connections; c != NULL; c = c->next)
        ret_stats->requests += atomic_load_explicit(&c->requests, memory_order_relaxed);
    pthread_mutex_unlock(&server->lock);
}

static bool await_connections(struct http_server *server, int64_t deadline_ns)
{
    uint64_t open;
    int error = 0;

    for (;;) {
        pthread_mutex_lock(&server->lock);
        server->stopper = vthread_self();
        open = server->open;
        pthread_mutex_unlock(&server->lock);
        if (open == 0 || error != 0)
            return open == 0;
        error = vthread_park_until(deadline_ns);
    }
}

void http_server_stop(struct http_server *server, int64_t deadline_ns)
{
    atomic_store(&server->stopping, true);
    vthread_interrupt(server->acceptor);
    vthread_join(server->acceptor, NULL);
    vthread_close(server->listener);
    /* A connection that is idle reads the end and goes; others see it after the requests that have come. */
    pthread_mutex_lock(&server->lock);
    for (struct connection *c = server->connections; c != NULL; c = c->next)
        vthread_shutdown(c->fd, SHUT_RD);
    pthread_mutex_unlock(&server->lock);
    while (!await_connections(server, deadline_ns)) {
        pthread_mutex_lock(&server->lock);
        for (struct connection *c = server->connections; c != NULL; c = c->next)
            vthread_interrupt(c->thread);
        pthread_mutex_unlock(&server->lock);
        deadline_ns = vthread_after_ms(STOP_RETRY_MS);
    }
    server_free(server);
}
