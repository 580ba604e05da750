/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 messages on their way through a proxy: the head is read, looked at and sent on, and then the
 * body follows piece by piece, so that a message of any size takes one small buffer.
 *
 * Everything blocks, also in the parser's callbacks: on_body writes to the other side, and the virtual
 * thread waits there, inside http_parser_execute, until that side has taken it.
 */
#ifndef EXAMPLES_PROXY_MESSAGE_H
#define EXAMPLES_PROXY_MESSAGE_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STREAM_BYTES = 16 << 10, HEAD_BYTES_MAX = 16 << 10 };

/* A descriptor, and what was received there and has not been looked at. */
struct stream {
    int fd;
    size_t begin, end;
    char bytes[STREAM_BYTES];
};

struct text {
    char *at;
    size_t length, capacity;
    bool failed; /* there was no memory */
};

void text_add(struct text *t, const char *bytes, size_t length);
void text_print(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);

/* How the end of a body is told. */
enum framing {
    FRAMED_BY_LENGTH, /* or there is none */
    FRAMED_BY_CHUNKS,
    FRAMED_BY_CLOSE,
};

struct message {
    http_parser parser; /* what is known of it: method, status_code, http_minor, flags, ... */
    struct text start;  /* the request's target, or the status in words */
    struct text fields; /* lines "Name: value\r\n" */
    bool lacks_body;    /* to be set before the head of a response is read: it answers a HEAD */

    struct stream *from;
    int to;
    enum framing framing; /* on the way out */
    int64_t patience_ms;  /* for each read and write */
    int write_error;      /* of the other side, which stops the body */
    bool in_value, head_done, complete;
};

/* Read to the end of the head.  0, EPROTO (see the parser), ENOMEM, ENODATA (nothing came), or as vthread_read. */
int message_read_head(struct message *m, struct stream *from, enum http_parser_type type, int64_t deadline_ns,
                      int64_t patience_ms);

/* What follows the name of a field, and its colon; NULL: there is none. */
const char *message_find(const struct message *m, const char *name);

bool message_has_more(const struct message *m); /* something came along with the head */
bool message_has_body(const struct message *m);
/* For a receiver that speaks so: */
enum framing message_framing(const struct message *m, bool knows_chunks);

/* Its fields, but for those that concern only the connection it came by; how it is framed is said anew. */
void message_add_fields(const struct message *m, enum framing framing, struct text *out);

/* Send the body on.  0, or what is wrong with the sender; that the receiver is gone is in write_error. */
int message_relay_body(struct message *m, int to, enum framing framing);

void message_free(struct message *m);

#endif
