/* SPDX-License-Identifier: MIT */
/*
 * How a connection lives.  Its thread runs serve(): read_request, respond, and again.  Whatever
 * is answered collects in `out`; receive() sends it just before it waits for more input.  So a lone
 * request costs one read and one write, and so does a batch of pipelined ones.
 *
 * Buffers are on the heap and begin small: in a frame they would be copied whenever the thread parks, and
 * most connections of a busy server are idle.
 */
#include "http_server.h"

#include <errno.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <vthread/net.h>
#include <vthread/vthread.h>

enum {
    BACKLOG = 4096,
    BUFFER_SMALL = 512,      /* what a connection begins with, for each direction */
    BUFFER_LARGE = 16 << 10, /* what it keeps between requests, at most */
    OUT_BYTES_MAX = 64 << 10,
    LINGER_MS = 1000,
    LINGER_BYTES = 1 << 20,
    RETRY_MS = 10,
    STOP_RETRY_MS = 100,
};

/* What is worked out beforehand of a route and its fixed answer. */
struct prepared {
    size_t path_length;
    char *head; /* without Connection field and empty line; NULL: there is a handler */
    size_t head_length;
    size_t body_length;
};

struct connection;

struct http_server {
    struct http_params params;
    struct prepared *prepared; /* one for each route, and an end */
    int listener;
    int port;
    vthread_t acceptor;
    atomic_bool stopping;
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
    struct http_server *server;
    struct connection *next;
    struct connection **link;
    vthread_t thread;
    int fd;

    /* Input: in[begin] starts the request under way; up to `parsed` it has been seen by the parser. */
    char *in;
    size_t in_capacity;
    size_t begin;
    size_t parsed;
    size_t received;

    char *out;
    size_t out_capacity;
    size_t out_length;

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

    bool failed; /* the client is gone, or memory */
    _Atomic uint64_t requests;
};

/* ---- output ---- */

static int64_t deadline_after(int64_t ms)
{
    return ms < 0 ? VTHREAD_FOREVER : vthread_after_ms(ms);
}

static int64_t idle_deadline(const struct connection *c)
{
    return deadline_after(c->server->params.idle_ms);
}

static void send_all(struct connection *c, const void *bytes, size_t length, int64_t deadline_ns)
{
    if (!c->failed && vthread_write_all_until(c->fd, bytes, length, deadline_ns) < 0)
        c->failed = true;
}

static void flush(struct connection *c, int64_t deadline_ns)
{
    if (c->out_length > 0)
        send_all(c, c->out, c->out_length, deadline_ns);
    c->out_length = 0;
}

/* False: no memory, and the connection is given up. */
static bool resize(struct connection *c, char **buffer, size_t *capacity, size_t wanted)
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

static void put(struct connection *c, const void *bytes, size_t length)
{
    size_t wanted = c->out_capacity;

    while (wanted - c->out_length < length)
        wanted *= 2;
    if (length == 0 || (wanted > c->out_capacity && !resize(c, &c->out, &c->out_capacity, wanted)))
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
        flush(c, idle_deadline(c));
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
        flush(c, idle_deadline(c));
        send_all(c, body, length, idle_deadline(c));
    }
}

static int format_head(char *text, size_t size, int status, const char *type, size_t length)
{
    const char *allow = status == HTTP_STATUS_METHOD_NOT_ALLOWED ? "Allow: GET, HEAD\r\n" : "";

    return snprintf(text, size, "HTTP/1.1 %d %s\r\n%sContent-Type: %s\r\nContent-Length: %zu\r\n", status,
                    http_status_str((enum http_status)status), allow, type, length);
}

void http_reply(struct http_exchange *x, int status, const char *type, const void *body, size_t length)
{
    struct connection *c = (struct connection *)x;
    char head[256];
    int n = format_head(head, sizeof head, status, type, length);

    if (c->answered || n < 0 || (size_t)n >= sizeof head)
        return;
    answer(c, head, (size_t)n, body, length);
}

static void reply_status(struct connection *c, int status)
{
    const char *text = http_status_str((enum http_status)status);

    http_reply(&c->exchange, status, "text/plain", text, strlen(text));
}

/* Say what is wrong with the request, and hear no more from this client. */
static void refuse(struct connection *c, int status)
{
    c->refusal = status;
    c->keep_alive = false;
    reply_status(c, status);
}

/* ---- the parser calls back with what it finds; nothing here blocks ---- */

static int on_url(http_parser *parser, const char *at, size_t length)
{
    struct connection *c = parser->data;

    if (c->url_length == 0)
        c->url = (size_t)(at - (c->in + c->begin));
    c->url_length += length;
    return 0;
}

/* What follows a field's name and colon; NULL: there is no such field. */
static const char *find_field(const struct connection *c, const char *name, size_t length)
{
    const char *line = c->in + c->begin + c->url + c->url_length;

    /* The parser has seen the whole head, so every line ends, and an empty one comes last. */
    for (;;) {
        line = (const char *)rawmemchr(line, '\n') + 1;
        if (*line == '\r' || *line == '\n')
            return NULL;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1;
    }
}

/* What is wrong with the head, as a status; 0: nothing. */
static int check_head(const struct connection *c)
{
    const http_parser *p = &c->parser;
    bool has_length = (p->flags & F_CONTENTLENGTH) != 0;

    if (p->http_major != 1)
        return HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED;
    if (p->http_minor >= 1 && find_field(c, "Host", 4) == NULL)
        return HTTP_STATUS_BAD_REQUEST;
    if (has_length && p->content_length > c->server->params.body_bytes_max)
        return HTTP_STATUS_PAYLOAD_TOO_LARGE;
    if (p->method == HTTP_CONNECT)
        return HTTP_STATUS_METHOD_NOT_ALLOWED;
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    struct connection *c = parser->data;

    c->head_done = true;
    c->refusal = check_head(c);
    if (c->refusal != 0)
        return -1;
    /* An offer to speak another protocol, which need not be taken up. */
    parser->upgrade = 0;
    if (parser->http_minor >= 1 && (parser->flags & (F_CONTENTLENGTH | F_CHUNKED)) != 0)
        c->expects_continue = find_field(c, "Expect", 6) != NULL;
    return 0;
}

/* Chunks move together, over the framing between them. */
static int on_body(http_parser *parser, const char *at, size_t length)
{
    struct connection *c = parser->data;
    char *base = c->in + c->begin;

    if (c->body_length + length > c->server->params.body_bytes_max) {
        c->refusal = HTTP_STATUS_PAYLOAD_TOO_LARGE;
        return -1;
    }
    if (c->body_length == 0)
        c->body = (size_t)(at - base);
    else if (base + c->body + c->body_length != at)
        memmove(base + c->body + c->body_length, at, length);
    c->body_length += length;
    c->expects_continue = false;
    return 0;
}

/* Stop here: what follows is the next request. */
static int on_message_complete(http_parser *parser)
{
    struct connection *c = parser->data;

    c->complete = true;
    c->keep_alive = http_should_keep_alive(parser) && !atomic_load_explicit(&c->server->stopping, memory_order_relaxed);
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- input ---- */

/* Room for more input, everything received so far having been parsed.  False: that is enough. */
static bool make_room(struct connection *c)
{
    const struct http_params *params = &c->server->params;
    bool was_full = c->received == c->in_capacity;
    size_t wanted = c->in_capacity;

    if (!c->head_done && c->received - c->begin >= params->head_bytes_max) {
        bool has_line = memchr(c->in + c->begin, '\n', c->received - c->begin) != NULL;

        refuse(c, has_line ? HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE : HTTP_STATUS_URI_TOO_LONG);
        return false;
    }
    if (c->body_length > 0) /* what is behind it was framing */
        c->received = c->begin + c->body + c->body_length;
    memmove(c->in, c->in + c->begin, c->received - c->begin);
    c->received -= c->begin;
    c->parsed = c->received;
    c->begin = 0;
    /* Twice the size when it does not suffice, or did not hold all that the last read might have brought. */
    if (c->received == c->in_capacity || (was_full && c->in_capacity < BUFFER_LARGE))
        wanted = 2 * c->in_capacity;
    else if (c->received == 0 && c->in_capacity > BUFFER_LARGE)
        wanted = BUFFER_SMALL;
    return wanted == c->in_capacity || resize(c, &c->in, &c->in_capacity, wanted);
}

/* Wait for more input; what has been answered goes out first.  False: the connection ends. */
static bool receive(struct connection *c)
{
    int64_t deadline_ns = idle_deadline(c);
    bool begun = c->received > c->begin;
    ssize_t n;

    if (c->expects_continue)
        put_text(c, "HTTP/1.1 100 Continue\r\n\r\n");
    c->expects_continue = false;
    flush(c, deadline_ns);
    if (c->failed || !make_room(c))
        return false;
    if (begun && c->deadline_ns == 0)
        c->deadline_ns = deadline_after(c->server->params.request_ms);
    if (begun)
        deadline_ns = c->deadline_ns;
    n = vthread_read_until(c->fd, c->in + c->received, c->in_capacity - c->received, deadline_ns);
    if (n == -ETIMEDOUT && begun)
        refuse(c, HTTP_STATUS_REQUEST_TIMEOUT);
    if (n <= 0)
        return false;
    c->received += (size_t)n;
    return true;
}

static bool parse(struct connection *c)
{
    c->parsed += http_parser_execute(&c->parser, &settings, c->in + c->parsed, c->received - c->parsed);
    switch (HTTP_PARSER_ERRNO(&c->parser)) {
    case HPE_OK:
        return true;
    case HPE_PAUSED:
        http_parser_pause(&c->parser, 0);
        return true;
    case HPE_HEADER_OVERFLOW:
        refuse(c, HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE);
        return false;
    default:
        refuse(c, c->refusal != 0 ? c->refusal : HTTP_STATUS_BAD_REQUEST);
        return false;
    }
}

static bool read_request(struct connection *c)
{
    c->begin = c->parsed;
    c->url_length = 0;
    c->body = 0;
    c->body_length = 0;
    c->deadline_ns = 0;
    c->head_done = false;
    c->expects_continue = false;
    c->complete = false;
    c->answered = false;
    while (!c->complete) {
        if (c->parsed == c->received && !receive(c))
            return false;
        if (!parse(c))
            return false;
    }
    return true;
}

/* ---- the request, for handlers ---- */

const char *http_header(const struct http_exchange *x, const char *name, size_t *ret_length)
{
    const char *value = find_field((const struct connection *)x, name, strlen(name));

    if (value == NULL)
        return NULL;
    value += strspn(value, " \t");
    *ret_length = strcspn(value, "\r\n");
    return value;
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

static void describe(struct connection *c)
{
    struct http_exchange *x = &c->exchange;
    const char *url = c->in + c->begin + c->url;
    size_t length = c->url_length;
    const char *mark;

    skip_authority(&url, &length);
    mark = memchr(url, '?', length);
    x->method = http_method_str((enum http_method)c->parser.method);
    x->path = url;
    x->path_length = mark != NULL ? (size_t)(mark - url) : length;
    x->query = mark != NULL ? mark + 1 : url + length;
    x->query_length = length - (size_t)(x->query - url);
    x->body = c->in + c->begin + c->body;
    x->body_length = c->body_length;
}

/* The route's number, or -1. */
static int find_route(const struct connection *c)
{
    const struct http_server *server = c->server;
    const struct http_exchange *x = &c->exchange;

    for (int i = 0; server->params.routes[i].path != NULL; i++)
        if (server->prepared[i].path_length == x->path_length &&
            memcmp(server->params.routes[i].path, x->path, x->path_length) == 0)
            return i;
    return -1;
}

static void respond(struct connection *c)
{
    const struct http_server *server = c->server;
    const struct http_route *route;
    const struct prepared *p;
    int i;
    uint64_t requests = atomic_load_explicit(&c->requests, memory_order_relaxed);

    /* Written by this thread only. */
    atomic_store_explicit(&c->requests, requests + 1, memory_order_relaxed);
    describe(c);
    i = find_route(c);
    if (i < 0) {
        reply_status(c, HTTP_STATUS_NOT_FOUND);
        return;
    }
    route = &server->params.routes[i];
    p = &server->prepared[i];
    if (route->handler != NULL) {
        route->handler(&c->exchange, server->params.user);
        if (!c->answered)
            reply_status(c, HTTP_STATUS_INTERNAL_SERVER_ERROR);
    } else if (c->parser.method != HTTP_GET && c->parser.method != HTTP_HEAD) {
        reply_status(c, HTTP_STATUS_METHOD_NOT_ALLOWED);
    } else {
        answer(c, p->head, p->head_length, route->body, p->body_length);
    }
}

/* ---- a connection ---- */

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
    struct http_server *server = c->server;

    pthread_mutex_lock(&server->lock);
    c->thread = vthread_self();
    pthread_mutex_unlock(&server->lock);
    while (c->keep_alive && read_request(c))
        respond(c);
    flush(c, idle_deadline(c));
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
    c->server = server;
    c->fd = fd;
    c->keep_alive = true;
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    if (resize(c, &c->in, &c->in_capacity, BUFFER_SMALL) && resize(c, &c->out, &c->out_capacity, BUFFER_SMALL))
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
    size_t count = 0;
    char head[256];

    while (routes[count].path != NULL)
        count++;
    server->prepared = calloc(count + 1, sizeof *server->prepared);
    if (server->prepared == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct prepared *p = &server->prepared[i];

        p->path_length = strlen(routes[i].path);
        if (routes[i].handler != NULL)
            continue;
        p->body_length = strlen(routes[i].body);
        p->head_length = (size_t)format_head(head, sizeof head, HTTP_STATUS_OK, routes[i].type, p->body_length);
        p->head = strdup(head);
        if (p->head == NULL)
            return false;
    }
    return true;
}

static void server_free(struct http_server *server)
{
    for (struct prepared *p = server->prepared; p != NULL && p->path_length > 0; p++)
        free(p->head);
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
    server->listener = vthread_listen_tcp(params->address, BACKLOG, 0);
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
