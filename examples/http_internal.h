/* SPDX-License-Identifier: MIT */
/*
 * Inside the HTTP server.
 *
 * How a connection lives: its thread (http_server.c) reads a request (http_request.c), responds (http_answer.c), and
 * again.  What is answered collects in the connection, and goes out just before it waits for more input.  So a
 * lone request costs one read and one write, and so does a batch of pipelined ones.
 *
 * Buffers are on the heap and begin small: in a frame they would be copied whenever the thread parks, and
 * most connections of a busy server are idle.
 */
#ifndef EXAMPLES_HTTP_INTERNAL_H
#define EXAMPLES_HTTP_INTERNAL_H

#include <http_parser.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vthread/vthread.h>

#include "http_server.h"

enum {
    BUFFER_SMALL = 512,      /* what a buffer begins with */
    BUFFER_LARGE = 16 << 10, /* what a connection keeps of one between requests, at most */
};

/* What is worked out beforehand of a route and its fixed answer. */
struct prepared {
    const struct http_route *route;
    size_t path_length;
    char *answer; /* as most clients get it; NULL: there is a handler */
    size_t answer_length;
    size_t head_length; /* of what comes before the Connection field, had it one, and the empty line */
};

struct connection;

struct http_server {
    struct prepared *prepared; /* one for each route, and an end */
    atomic_bool stopping;
    struct http_params params;
    int listener;
    int port;
    vthread_t acceptor;
    /* For a few instructions, never across a call that may switch, so the OS's mutex will do. */
    pthread_mutex_t lock;
    struct connection *connections;
    uint64_t open;
    uint64_t accepted;
    uint64_t requests_before; /* of connections that are gone */
    vthread_t stopper;        /* waits for the last to go */
};

struct connection {
    struct http_exchange exchange; /* first, so that a handler's pointer leads here */
    int fd;

    bool failed; /* the client is gone, or memory */
    _Atomic uint64_t requests;

    /* Input: in[begin] starts the request under way; up to `parsed` it has been seen by the parser. */
    char *in;
    size_t in_capacity;
    size_t begin;
    size_t parsed;
    size_t received;

    /* Output: `ready` alone, which need not be copied, or what is in `out`. */
    const struct prepared *ready;
    size_t out_length;
    size_t out_capacity;
    char *out;

    /* The request; offsets count from in[begin], for the buffer may move. */
    http_parser parser;
    size_t url;
    size_t url_length;
    size_t body;
    size_t body_length;
    int64_t deadline_ns; /* for the rest of it; 0: it came in one piece so far */
    int refusal;         /* the status it is refused with; 0: none */
    bool head_done;
    bool expects_continue;
    bool complete;
    bool keep_alive;
    bool answered;

    /* Under the server's lock. */
    struct connection *next;
    struct connection **link;
    vthread_t thread;
};

static inline int64_t http_deadline(int64_t ms)
{
    return ms < 0 ? VTHREAD_FOREVER : vthread_after_ms(ms);
}

/* For the client to take an answer, or to send the next request. */
static inline int64_t connection_idle_deadline(const struct connection *c)
{
    return http_deadline(c->exchange.server->params.idle_ms);
}

/* ---- http_server.c ---- */

/* False: no memory, and the connection is given up. */
bool connection_resize(struct connection *c, char **buffer, size_t *capacity, size_t wanted);

/* ---- http_request.c ---- */

/* False: there is none, and the connection ends. */
bool connection_read_request(struct connection *c);

/* What follows a field's name and colon; NULL: there is no such field. */
const char *connection_find_field(const struct connection *c, const char *name, size_t length);

/* ---- http_answer.c ---- */

void connection_respond(struct connection *c);

/* Say what is wrong with the request, and hear no more from this client. */
void connection_refuse(struct connection *c, int status);
void connection_continue(struct connection *c);

/* Send what has been answered. */
void connection_flush(struct connection *c, int64_t deadline_ns);

bool http_prepare(struct prepared *p, const struct http_route *route);

#endif
