/* SPDX-License-Identifier: MIT */
/*
 * http_epoll: what does an HTTP request cost without any threads?
 *
 * The floor that examples/http_server.c is compared with: the same parser, the same answer to GET /ping,
 * and one write for all requests of a read.  It checks nothing else.
 */
#include <errno.h>
#include <http_parser.h>
#include <string.h>
#include <unistd.h>

#include "bench/epoll.h"

enum {
    IN_BYTES = 2048,
    OUT_BYTES = 8192,
};

static const char pong[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong";

struct connection {
    struct epoll_connection epoll; /* first, for it is what is freed */
    http_parser parser;
    bool is_ping;
    char in[IN_BYTES];
};

/* Answers to what is being read. */
static char out[OUT_BYTES];
static size_t out_length;

static int on_url(http_parser *parser, const char *at, size_t length)
{
    struct connection *c = parser->data;

    c->is_ping = length == 5 && memcmp(at, "/ping", 5) == 0;
    return 0;
}

static int on_message_complete(http_parser *parser)
{
    struct connection *c = parser->data;

    if (!c->is_ping || parser->method != HTTP_GET || !http_should_keep_alive(parser) ||
        out_length + sizeof pong - 1 > OUT_BYTES)
        return -1;
    memcpy(out + out_length, pong, sizeof pong - 1);
    out_length += sizeof pong - 1;
    return 0;
}

static const http_parser_settings settings = {.on_url = on_url, .on_message_complete = on_message_complete};

static void begin(struct epoll_connection *epoll)
{
    struct connection *c = container_of(epoll, struct connection, epoll);

    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
}

static bool serve(struct epoll_connection *epoll)
{
    struct connection *c = container_of(epoll, struct connection, epoll);
    ssize_t n = read(epoll->fd, c->in, sizeof c->in);

    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    out_length = 0;
    if (http_parser_execute(&c->parser, &settings, c->in, (size_t)n) != (size_t)n)
        return false;
    return out_length == 0 || write(epoll->fd, out, out_length) == (ssize_t)out_length;
}

const struct epoll_service http_epoll = {.connection_bytes = sizeof(struct connection), .begin = begin, .serve = serve};
