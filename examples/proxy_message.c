/* SPDX-License-Identifier: MIT */
#include "proxy_message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/net.h>
#include <vthread/vthread.h>

/* ---- text ---- */

void text_add(struct text *t, const char *bytes, size_t length)
{
    if (t->capacity - t->length <= length) {
        size_t wanted = 2 * (t->length + length) + 64;
        char *moved = realloc(t->at, wanted);

        if (moved == NULL) {
            t->failed = true;
            return;
        }
        t->at = moved;
        t->capacity = wanted;
    }
    memcpy(t->at + t->length, bytes, length);
    t->length += length;
    t->at[t->length] = '\0';
}

void text_print(struct text *t, const char *format, ...)
{
    char line[512];
    va_list values;
    int n;

    va_start(values, format);
    n = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (n < 0 || (size_t)n >= sizeof line)
        t->failed = true;
    else
        text_add(t, line, (size_t)n);
}

static void text_clear(struct text *t)
{
    t->length = 0;
    t->failed = false;
}

void text_free(struct text *t)
{
    free(t->at);
    *t = (struct text){0};
}

/* ---- what the parser tells ---- */

static int on_start(http_parser *parser, const char *at, size_t length)
{
    struct message *m = parser->data;

    text_add(&m->start, at, length);
    return 0;
}

static void end_value(struct message *m)
{
    if (m->in_value)
        text_add(&m->fields, "\r\n", 2);
    m->in_value = false;
}

/* Names and values may come in pieces.  What comes after the body (trailers) is left out. */
static int on_field(http_parser *parser, const char *at, size_t length)
{
    struct message *m = parser->data;

    if (m->head_done)
        return 0;
    end_value(m);
    text_add(&m->fields, at, length);
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t length)
{
    struct message *m = parser->data;

    if (m->head_done)
        return 0;
    if (!m->in_value)
        text_add(&m->fields, ": ", 2);
    m->in_value = true;
    text_add(&m->fields, at, length);
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    struct message *m = parser->data;
    bool is_response = parser->type == HTTP_RESPONSE;
    unsigned status = parser->status_code;

    end_value(m);
    m->head_done = true;
    if (is_response && (status / 100 == 1 || status == HTTP_STATUS_NO_CONTENT || status == HTTP_STATUS_NOT_MODIFIED))
        m->lacks_body = true;
    parser->upgrade = 0;
    http_parser_pause(parser, 1);
    return m->lacks_body;
}

static int on_body(http_parser *parser, const char *at, size_t length)
{
    struct message *m = parser->data;
    int64_t deadline_ns = vthread_after_ms(m->patience_ms);
    char size[24];
    ssize_t n = 0;

    if (m->framing == FRAMED_BY_CHUNKS)
        n = vthread_write_all_until(m->to, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", length), deadline_ns);
    if (n >= 0)
        n = vthread_write_all_until(m->to, at, length, deadline_ns);
    if (n >= 0 && m->framing == FRAMED_BY_CHUNKS)
        n = vthread_write_all_until(m->to, "\r\n", 2, deadline_ns);
    if (n < 0)
        m->write_error = (int)-n;
    return n < 0;
}

/* Stop here: what follows is another message. */
static int on_message_complete(http_parser *parser)
{
    struct message *m = parser->data;

    m->complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_start,
    .on_status = on_start,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- reading ---- */

/* Parse so many bytes of what there is; none: the sender has closed.  0, EPROTO or ENOMEM. */
static int parse(struct message *m, size_t length)
{
    struct stream *from = m->from;

    from->begin += http_parser_execute(&m->parser, &settings, from->bytes + from->begin, length);
    if (HTTP_PARSER_ERRNO(&m->parser) == HPE_PAUSED)
        http_parser_pause(&m->parser, 0);
    if (m->start.failed || m->fields.failed)
        return ENOMEM;
    return HTTP_PARSER_ERRNO(&m->parser) == HPE_OK ? 0 : EPROTO;
}

/* 0, also at the end of input, or as vthread_read. */
static int receive(struct stream *from, int64_t deadline_ns)
{
    ssize_t n = vthread_read_until(from->fd, from->bytes, sizeof from->bytes, deadline_ns);

    from->begin = 0;
    from->end = n > 0 ? (size_t)n : 0;
    return n < 0 ? (int)-n : 0;
}

int message_read_head(struct message *m, struct stream *from, enum http_parser_type type, int64_t deadline_ns,
                      int64_t patience_ms)
{
    int64_t patient_ns = 0; /* until when the rest may take, once it has begun */
    bool begun = from->begin < from->end;
    int error = 0;

    http_parser_init(&m->parser, type);
    m->parser.data = m;
    text_clear(&m->start);
    text_clear(&m->fields);
    m->from = from;
    m->in_value = m->head_done = m->complete = false;
    m->write_error = 0;
    m->patience_ms = patience_ms;
    while (error == 0 && !m->head_done) {
        if (from->begin == from->end) {
            if (begun && patient_ns == 0)
                patient_ns = vthread_after_ms(patience_ms);
            error = receive(from, begun ? patient_ns : deadline_ns);
            if (error == 0 && from->end == 0)
                return begun ? EPROTO : ENODATA;
            begun = true;
        }
        if (error == 0)
            error = parse(m, from->end - from->begin);
    }
    /* It has stopped before the last byte, and has yet to see whether all that makes sense together. */
    return error == 0 ? parse(m, 1) : error;
}

bool message_has_more(const struct message *m)
{
    return m->from->begin < m->from->end;
}

bool message_has_body(const struct message *m)
{
    const http_parser *p = &m->parser;

    if (m->lacks_body)
        return false;
    if ((p->flags & F_CHUNKED) != 0)
        return true;
    return (p->flags & F_CONTENTLENGTH) != 0 ? p->content_length > 0 : p->type == HTTP_RESPONSE;
}

int message_relay_body(struct message *m, int to, enum framing framing)
{
    int error = 0;
    ssize_t n;

    m->to = to;
    m->framing = framing;
    while (error == 0 && !m->complete) {
        bool ended = false;

        if (!message_has_more(m)) {
            error = receive(m->from, vthread_after_ms(m->patience_ms));
            ended = !message_has_more(m);
        }
        if (error == 0)
            error = parse(m, m->from->end - m->from->begin);
        if (error == 0 && ended && !m->complete)
            error = EPROTO; /* in the middle */
    }
    if (m->write_error != 0)
        return 0;
    if (error == 0 && framing == FRAMED_BY_CHUNKS) {
        n = vthread_write_all_until(to, "0\r\n\r\n", 5, vthread_after_ms(m->patience_ms));
        m->write_error = n < 0 ? (int)-n : 0;
    }
    return error;
}

/* ---- sending on ---- */

enum framing message_framing(const struct message *m, bool knows_chunks)
{
    if (!message_has_body(m) || ((m->parser.flags & F_CHUNKED) == 0 && (m->parser.flags & F_CONTENTLENGTH) != 0))
        return FRAMED_BY_LENGTH;
    return knows_chunks ? FRAMED_BY_CHUNKS : FRAMED_BY_CLOSE;
}

static bool names(const char *line, const char *name, size_t length)
{
    return strncasecmp(line, name, length) == 0 && line[length] == ':';
}

static const char *next_line(const char *line)
{
    return strstr(line, "\r\n") + 2;
}

const char *message_find(const struct message *m, const char *name)
{
    size_t length = strlen(name);

    for (const char *line = m->fields.length > 0 ? m->fields.at : ""; *line != '\0'; line = next_line(line))
        if (names(line, name, length))
            return line + length + 1;
    return NULL;
}

/* Is it named by a Connection field?  RFC 9110, 7.6.1. */
static bool is_of_connection(const struct message *m, const char *line)
{
    size_t length = strcspn(line, ":");

    for (const char *l = m->fields.at; *l != '\0'; l = next_line(l)) {
        if (!names(l, "Connection", 10))
            continue;
        for (const char *token = l + 11; *token != '\r';) {
            size_t n;

            token += strspn(token, ", \t");
            n = strcspn(token, ", \t\r");
            if (n == length && strncasecmp(token, line, n) == 0)
                return true;
            token += n;
        }
    }
    return false;
}

static bool goes_on(const struct message *m, const char *line, enum framing framing)
{
    static const char *const stay[] = {"Connection", "Keep-Alive", "Proxy-Connection",  "TE",
                                       "Trailer",    "Upgrade",    "Transfer-Encoding", "Expect"};

    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        if (names(line, stay[i], strlen(stay[i])))
            return false;
    if (names(line, "Content-Length", 14)) /* whatever Connection says: it is how the body ends */
        return framing == FRAMED_BY_LENGTH;
    return !is_of_connection(m, line);
}

void message_add_fields(const struct message *m, enum framing framing, struct text *out)
{
    for (const char *line = m->fields.length > 0 ? m->fields.at : ""; *line != '\0'; line = next_line(line))
        if (goes_on(m, line, framing))
            text_add(out, line, (size_t)(next_line(line) - line));
    if (framing == FRAMED_BY_CHUNKS)
        text_print(out, "Transfer-Encoding: chunked\r\n");
}

void message_free(struct message *m)
{
    text_free(&m->start);
    text_free(&m->fields);
}
