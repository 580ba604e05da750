/* SPDX-License-Identifier: MIT */
/*
 * From bytes to a request.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include <vthread/net.h>

#include "http_internal.h"

/* ---- the parser calls back with what it finds; nothing here blocks ---- */

static int on_url(http_parser *parser, const char *at, size_t length)
{
    struct connection *c = parser->data;

    if (c->url_length == 0)
        c->url = (size_t)(at - (c->in + c->begin));
    c->url_length += length;
    return 0;
}

static bool is_field(const char *line, const char *name, size_t length)
{
    return strncasecmp(line, name, length) == 0 && line[length] == ':';
}

const char *connection_find_field(const struct connection *c, const char *name, size_t length)
{
    const char *line = c->in + c->begin + c->url + c->url_length;

    /* The head has been checked, so every line ends, and an empty one comes last. */
    for (;;) {
        line = (const char *)rawmemchr(line, '\n') + 1;
        if (*line == '\r' || *line == '\n')
            return NULL;
        if (is_field(line, name, length))
            return line + length + 1;
    }
}

/* strncasecmp would be a third of what there is to do for a small head. */
static inline bool is_host(const char *line)
{
    return (line[0] | ' ') == 'h' && (line[1] | ' ') == 'o' && (line[2] | ' ') == 's' && (line[3] | ' ') == 't' &&
           line[4] == ':';
}

/*
 * Do lines end where we think they do?  The parser takes whatever follows a CR for an LF; who finds another end of the
 * head than others do is open to requests within requests (RFC 9112, 2.2 and 11.2).
 */
static bool lines_are_whole(const struct connection *c, bool *ret_has_host)
{
    const char *end = c->in + c->received;
    const char *line = c->in + c->begin + c->url + c->url_length;

    *ret_has_host = false;
    for (;;) {
        const char *feed = memchr(line, '\n', (size_t)(end - line));
        const char *cr = feed != NULL ? memchr(line, '\r', (size_t)(feed - line)) : NULL;

        if (feed == NULL || (cr != NULL && cr + 1 != feed))
            return false;
        if (feed == line || cr == line)
            return true;
        *ret_has_host = *ret_has_host || is_host(line);
        line = feed + 1;
    }
}

/* What is wrong with the head, as a status; 0: nothing. */
static int check_head(const struct connection *c)
{
    const http_parser *p = &c->parser;
    bool has_length = (p->flags & F_CONTENTLENGTH) != 0;
    bool has_host;

    if (p->http_major != 1)
        return HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED;
    if (!lines_are_whole(c, &has_host) || (p->http_minor >= 1 && !has_host))
        return HTTP_STATUS_BAD_REQUEST;
    if (has_length && p->content_length > c->exchange.server->params.body_bytes_max)
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
        c->expects_continue = connection_find_field(c, "Expect", 6) != NULL;
    return 0;
}

/* Chunks move together, over the framing between them. */
static int on_body(http_parser *parser, const char *at, size_t length)
{
    struct connection *c = parser->data;
    char *base = c->in + c->begin;

    if (c->body_length + length > c->exchange.server->params.body_bytes_max) {
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
    c->keep_alive =
        http_should_keep_alive(parser) && !atomic_load_explicit(&c->exchange.server->stopping, memory_order_relaxed);
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
    const struct http_params *params = &c->exchange.server->params;
    bool was_full = c->received == c->in_capacity;
    size_t wanted = c->in_capacity;

    if (!c->head_done && c->received - c->begin >= params->head_bytes_max) {
        bool has_line = memchr(c->in + c->begin, '\n', c->received - c->begin) != NULL;

        connection_refuse(c, has_line ? HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE : HTTP_STATUS_URI_TOO_LONG);
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
    return wanted == c->in_capacity || connection_resize(c, &c->in, &c->in_capacity, wanted);
}

/* Wait for more input; what has been answered goes out first.  False: the connection ends. */
static bool receive(struct connection *c)
{
    int64_t deadline_ns = connection_idle_deadline(c);
    bool begun = c->received > c->begin;
    ssize_t n;

    if (c->expects_continue)
        connection_continue(c);
    c->expects_continue = false;
    connection_flush(c, deadline_ns);
    if (c->failed || !make_room(c))
        return false;
    if (begun && c->deadline_ns == 0)
        c->deadline_ns = http_deadline(c->exchange.server->params.request_ms);
    if (begun)
        deadline_ns = c->deadline_ns;
    n = vthread_read_until(c->fd, c->in + c->received, c->in_capacity - c->received, deadline_ns);
    if (n == -ETIMEDOUT && begun)
        connection_refuse(c, HTTP_STATUS_REQUEST_TIMEOUT);
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
        connection_refuse(c, HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE);
        return false;
    default:
        connection_refuse(c, c->refusal != 0 ? c->refusal : HTTP_STATUS_BAD_REQUEST);
        return false;
    }
}

bool connection_read_request(struct connection *c)
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

const char *http_header(const struct http_exchange *x, const char *name, size_t *ret_length)
{
    const char *value = connection_find_field((const struct connection *)x, name, strlen(name));

    if (value == NULL)
        return NULL;
    value += strspn(value, " \t");
    *ret_length = strcspn(value, "\r\n");
    return value;
}
