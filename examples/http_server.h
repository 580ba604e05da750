/* SPDX-License-Identifier: MIT */
/*
 * A small HTTP/1.1 server in plain blocking style: one virtual thread accepts, and
 * each connection has one of its own, which reads a request, calls a handler,
 * and writes the answer.  The handler blocks as it likes.
 *
 *     static void hello(struct http_exchange *x, void *user)
 *     {
 *         vthread_sleep_ms(1000);
 *         http_reply(x, 200, "text/plain", "hello\n", 6);
 *     }
 *
 *     static const struct http_route routes[] = {
 *         {.path = "/hello", .handler = hello},
 *         {.path = "/ping", .type = "text/plain", .body = "pong"},
 *         {0},
 *     };
 *
 *     http_server_start(&server, &(struct http_params){.address = "127.0.0.1:8080", .routes = routes});
 *
 * It speaks keep-alive and pipelining (requests that arrive together are answered
 * with one write), HEAD, bodies with a length or in chunks, and 100-continue.  What
 * it does not understand, or what is too large or too slow, is refused with the proper
 * status.  An example and a thing to measure with: no TLS, no files, no HTTP/2.
 */
#ifndef EXAMPLES_HTTP_SERVER_H
#define EXAMPLES_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_server;

/* A request and its answer: valid until the handler returns. */
struct http_exchange {
    struct http_server *server;
    const char *method; /* "GET" */
    const char *path;   /* as sent, without the query; not zero-terminated */
    size_t path_length;
    const char *query; /* what follows '?'; not zero-terminated */
    size_t query_length;
    const char *body;
    size_t body_length;
};

/* Answers with http_reply, once; one that does not is answered for with 500. */
typedef void http_handler_t(struct http_exchange *x, void *user);

/* A path, compared exactly, and its handler or its fixed answer (to GET and HEAD; others get 405). */
struct http_route {
    const char *path;
    http_handler_t *handler;
    const char *type;
    const char *body; /* zero-terminated */
};

struct http_params {
    const char *address;             /* as for vthread_listen_tcp: "127.0.0.1:8080", ":0"; read by start only */
    const struct http_route *routes; /* the last is all zero; must outlive the server */
    void *user;                      /* handed to the handlers */
    bool reuse_port;                 /* other processes may listen there, too, and get their share of the connections */
    /* Zero means the default; a negative time is no limit. */
    size_t head_bytes_max; /* request line and fields: 8 KiB; beyond: 414 or 431 */
    size_t body_bytes_max; /* 1 MiB; beyond: 413 */
    int64_t idle_ms;       /* between requests, and for the client to take an answer: 60 s */
    int64_t request_ms;    /* from a request's first byte to its last: 10 s; beyond: 408 */
};

/* Returns 0, or what vthread_listen_tcp or vthread_create says, as a positive number. */
int http_server_start(struct http_server **ret_server, const struct http_params *params);

int http_server_port(const struct http_server *server);

struct http_stats {
    uint64_t connections; /* open now */
    uint64_t accepted;
    uint64_t requests;
};

void http_server_stats(struct http_server *server, struct http_stats *ret_stats);

/*
 * Take no further connection, answer the requests that have arrived, close.  What is not done by the deadline
 * is interrupted.  Frees the server.
 */
void http_server_stop(struct http_server *server, int64_t deadline_ns);

/* ---- for handlers ---- */

/* The body is copied, or sent before this returns.  May switch. */
void http_reply(struct http_exchange *x, int status, const char *type, const void *body, size_t length);

/* A field of the request's head, by its name in any case; NULL: absent.  Not zero-terminated. */
const char *http_header(const struct http_exchange *x, const char *name, size_t *ret_length);

#endif
