/* SPDX-License-Identifier: MIT */
/*
 * From a request to its answer: routes, handlers, and what is sent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/net.h>

#include "http_internal.h"

enum {
    OUT_BYTES_MAX = 64 << 10, /* what may collect before it is sent */
    HEAD_BYTES_MAX = 256,     /* of an answer */
};

/* ---- output ---- */

static void send_all(struct connection *c, const void *bytes, size_t length, int64_t deadline_ns)
{
    if (!c->failed && vthread_write_all_until(c->fd, bytes, length, deadline_ns) < 0)
        c->failed = true;
}

void connection_flush(struct connection *c, int64_t deadline_ns)
{
    if (c->ready != NULL)
        send_all(c, c->ready->answer, c->ready->answer_length, deadline_ns);
    else if (c->out_length > 0)
        send_all(c, c->out, c->out_length, deadline_ns);
    c->ready = NULL;
    c->out_length = 0;
    if (c->out_capacity > BUFFER_LARGE) {
        free(c->out);
        c->out = NULL;
        c->out_capacity = 0;
    }
}

static void put(struct connection *c, const void *bytes, size_t length)
{
    const struct prepared *ready = c->ready;
    size_t wanted = c->out_capacity;

    if (ready != NULL) { /* it is not alone any more */
        c->ready = NULL;
        put(c, ready->answer, ready->answer_length);
        wanted = c->out_capacity;
    }
    while (wanted - c->out_length < length)
        wanted = wanted > 0 ? 2 * wanted : BUFFER_SMALL;
    if (length == 0 || (wanted > c->out_capacity && !connection_resize(c, &c->out, &c->out_capacity, wanted)))
        return;
    memcpy(c->out + c->out_length, bytes, length);
    c->out_length += length;
}

static void put_text(struct connection *c, const char *text)
{
    put(c, text, strlen(text));
}

static void answer(struct connection *c, const char *head, size_t head_length, const void *body, size_t length)
{
    bool is_head = c->head_done && c->parser.method == HTTP_HEAD;

    c->answered = true;
    if (c->out_length + head_length + length > OUT_BYTES_MAX)
        connection_flush(c, connection_idle_deadline(c));
    put(c, head, head_length);
    if (!c->keep_alive)
        put_text(c, "Connection: close\r\n");
    else if (c->parser.http_minor == 0)
        put_text(c, "Connection: keep-alive\r\n");
    put(c, "\r\n", 2);
    if (is_head)
        return;
    if (length <= OUT_BYTES_MAX) {
        put(c, body, length);
    } else {
        connection_flush(c, connection_idle_deadline(c));
        send_all(c, body, length, connection_idle_deadline(c));
    }
}

static void answer_prepared(struct connection *c, const struct prepared *p)
{
    size_t blank = p->head_length + 2; /* the empty line */

    if (c->out_length == 0 && c->ready == NULL && c->keep_alive && c->parser.http_minor >= 1 &&
        c->parser.method == HTTP_GET) {
        c->ready = p;
        return;
    }
    answer(c, p->answer, p->head_length, p->answer + blank, p->answer_length - blank);
}

/* Returns the length. */
static size_t format_head(char head[HEAD_BYTES_MAX], int status, const char *type, size_t length)
{
    const char *allow = status == HTTP_STATUS_METHOD_NOT_ALLOWED ? "Allow: GET, HEAD\r\n" : "";

    return (size_t)snprintf(head, HEAD_BYTES_MAX, "HTTP/1.1 %d %s\r\n%sContent-Type: %.80s\r\nContent-Length: %zu\r\n",
                            status, http_status_str((enum http_status)status), allow, type, length);
}

void http_reply(struct http_exchange *x, int status, const char *type, const void *body, size_t length)
{
    struct connection *c = (struct connection *)x;
    char head[HEAD_BYTES_MAX];

    if (!c->answered)
        answer(c, head, format_head(head, status, type, length), body, length);
}

static void reply_status(struct connection *c, int status)
{
    const char *text = http_status_str((enum http_status)status);

    http_reply(&c->exchange, status, "text/plain", text, strlen(text));
}

void connection_refuse(struct connection *c, int status)
{
    c->refusal = status;
    c->keep_alive = false;
    reply_status(c, status);
}

/* The client waits for it, before it sends the body. */
void connection_continue(struct connection *c)
{
    put_text(c, "HTTP/1.1 100 Continue\r\n\r\n");
}

/* ---- routes ---- */

bool http_prepare(struct prepared *p, const struct http_route *route)
{
    char head[HEAD_BYTES_MAX];
    int n;

    p->route = route;
    p->path_length = strlen(route->path);
    if (route->handler != NULL)
        return true;
    p->head_length = format_head(head, HTTP_STATUS_OK, route->type, strlen(route->body));
    n = asprintf(&p->answer, "%s\r\n%s", head, route->body);
    if (n < 0)
        p->answer = NULL;
    p->answer_length = (size_t)n;
    return n >= 0;
}

/* A proxy's client may name the server as well: GET http://server/path. */
static void skip_authority(const char **url, size_t *length)
{
    struct http_parser_url parts;

    http_parser_url_init(&parts);
    if (**url == '/' || http_parser_parse_url(*url, *length, 0, &parts) != 0 || (parts.field_set & 1 << UF_PATH) == 0)
        return;
    *url += parts.field_data[UF_PATH].off;
    *length -= parts.field_data[UF_PATH].off;
}

/* Path and query. */
static void describe_url(struct connection *c)
{
    struct http_exchange *x = &c->exchange;
    const char *url = c->in + c->begin + c->url;
    size_t length = c->url_length;
    const char *mark;

    skip_authority(&url, &length);
    mark = memchr(url, '?', length);
    x->path = url;
    x->path_length = mark != NULL ? (size_t)(mark - url) : length;
    x->query = mark != NULL ? mark + 1 : url + length;
    x->query_length = length - (size_t)(x->query - url);
}

static void call_handler(struct connection *c, http_handler_t *handler)
{
    struct http_exchange *x = &c->exchange;

    x->method = http_method_str((enum http_method)c->parser.method);
    x->body = c->in + c->begin + c->body;
    x->body_length = c->body_length;
    handler(x, c->exchange.server->params.user);
    if (!c->answered)
        reply_status(c, HTTP_STATUS_INTERNAL_SERVER_ERROR);
}

static const struct prepared *find_route(const struct connection *c)
{
    const struct http_exchange *x = &c->exchange;

    for (const struct prepared *p = c->exchange.server->prepared; p->route != NULL; p++)
        if (p->path_length == x->path_length && memcmp(p->route->path, x->path, x->path_length) == 0)
            return p;
    return NULL;
}

void connection_respond(struct connection *c)
{
    uint64_t requests = atomic_load_explicit(&c->requests, memory_order_relaxed);
    const struct prepared *p;

    /* Written by this thread only. */
    atomic_store_explicit(&c->requests, requests + 1, memory_order_relaxed);
    describe_url(c);
    p = find_route(c);
    if (p == NULL)
        reply_status(c, HTTP_STATUS_NOT_FOUND);
    else if (p->answer == NULL)
        call_handler(c, p->route->handler);
    else if (c->parser.method == HTTP_GET || c->parser.method == HTTP_HEAD)
        answer_prepared(c, p);
    else
        reply_status(c, HTTP_STATUS_METHOD_NOT_ALLOWED);
}
