/* SPDX-License-Identifier: MIT */
/*
 * proxy LISTEN UPSTREAM: a reverse proxy for HTTP/1.1.
 *
 *     $ ./proxy :8080 localhost:9000 &
 *     $ curl http://localhost:8080/
 *
 * A virtual thread for each client reads a request, takes one of a few connections to the upstream server from a
 * pool, sends the request there, and the answer back.  Each read, each write and each wait for a connection has a
 * deadline.  Bodies of any size pass through in pieces.  What goes wrong upstream is told as 502, 503 or 504.
 */
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/executor.h>
#include <vthread/net.h>
#include <vthread/os.h>
#include <vthread/pool.h>
#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "proxy_message.h"

enum { LINGER_MS = 1000, RETRY_MS = 10, SHUTDOWN_MS = 20000 };

static struct {
    const char *listen, *upstream;
    unsigned connections;
    int64_t idle_ms, patience_ms, stop_ms;
} options = {.connections = 64, .idle_ms = 60000, .patience_ms = 10000, .stop_ms = 10000};

static vthread_pool_t *upstreams;
static atomic_bool stopping;

/* ---- connections to the upstream server ---- */

struct upstream {
    struct stream stream;
    struct message answer;
    bool used; /* it has answered before, so it may have ended since */
};

static int upstream_connect(void *user, void **ret_obj)
{
    struct upstream *u = calloc(1, sizeof *u);

    (void)user;
    if (u == NULL)
        return ENOMEM;
    u->stream.fd = vthread_dial_tcp_until(options.upstream, vthread_after_ms(options.patience_ms));
    if (u->stream.fd < 0) {
        int error = -u->stream.fd;

        free(u);
        return error;
    }
    *ret_obj = u;
    return 0;
}

static void upstream_close(void *user, void *obj)
{
    struct upstream *u = obj;

    (void)user;
    vthread_close(u->stream.fd);
    message_free(&u->answer);
    free(u);
}

/* The server says nothing unasked, unless it is about to close. */
static bool upstream_is_silent(void *user, void *obj)
{
    struct upstream *u = obj;
    struct pollfd p = {.fd = u->stream.fd, .events = POLLIN};

    (void)user;
    return poll(&p, 1, 0) == 0;
}

/* ---- one request and its answer ---- */

struct client {
    struct stream stream;
    struct message request;
    char address[NI_MAXHOST];
    bool keep_alive;
};

enum outcome {
    ANSWERED,       /* and both sides may go on */
    ANSWERED_LAST,  /* but the upstream connection is of no more use */
    CUT_OFF,        /* in the middle of the answer, or the client is gone: nothing can be said any more */
    NEVER_ANSWERED, /* not a byte came back */
    NEVER_ASKED,    /* the client has not sent all of its request, or not as it should */
};

static int write_text(int fd, struct text *t)
{
    ssize_t n = -ENOMEM;

    if (!t->failed)
        n = vthread_write_all_until(fd, t->at, t->length, vthread_after_ms(options.patience_ms));
    text_free(t);
    return n < 0 ? (int)-n : 0;
}

static int send_request_head(struct client *c, struct upstream *u)
{
    struct message *m = &c->request;
    enum framing framing = message_framing(m, true);
    struct text out = {0};

    text_print(&out, "%s ", http_method_str((enum http_method)m->parser.method));
    text_add(&out, m->start.at, m->start.length);
    text_print(&out, " HTTP/1.1\r\n");
    message_add_fields(m, framing, &out);
    if (message_find(m, "Host") == NULL) /* a client that speaks HTTP/1.0 */
        text_print(&out, "Host: %s\r\n", options.upstream);
    text_print(&out, "Via: 1.%u vthread-proxy\r\nX-Forwarded-For: %s\r\n\r\n", m->parser.http_minor, c->address);
    return write_text(u->stream.fd, &out);
}

static int send_answer_head(struct client *c, struct message *m, enum framing framing)
{
    struct text out = {0};

    text_print(&out, "HTTP/1.1 %u ", (unsigned)m->parser.status_code);
    text_add(&out, m->start.at, m->start.length);
    text_add(&out, "\r\n", 2);
    message_add_fields(m, framing, &out);
    if (!c->keep_alive)
        text_print(&out, "Connection: close\r\n");
    else if (c->request.parser.http_minor == 0)
        text_print(&out, "Connection: keep-alive\r\n");
    text_add(&out, "\r\n", 2);
    return write_text(c->stream.fd, &out);
}

/* The body of the request, which the client may be waiting to be asked for. */
static int relay_request_body(struct client *c, struct upstream *u)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct message *m = &c->request;

    if (m->parser.http_minor >= 1 && message_has_body(m) && !message_has_more(m) && message_find(m, "Expect") != NULL)
        vthread_write_all_until(c->stream.fd, go_on, sizeof go_on - 1, vthread_after_ms(options.patience_ms));
    return message_relay_body(m, u->stream.fd, message_framing(m, true));
}

static int read_answer_head(struct client *c, struct upstream *u)
{
    struct message *m = &u->answer;
    int error;

    do { /* 100 Continue and the like concern only us */
        m->lacks_body = c->request.parser.method == HTTP_HEAD;
        error =
            message_read_head(m, &u->stream, HTTP_RESPONSE, vthread_after_ms(options.patience_ms), options.patience_ms);
    } while (error == 0 && m->parser.status_code / 100 == 1 && (error = message_relay_body(m, -1, 0)) == 0);
    return error;
}

static enum outcome relay_answer(struct client *c, struct upstream *u)
{
    struct message *m = &u->answer;
    enum framing framing = message_framing(m, c->request.parser.http_minor >= 1);

    if (framing == FRAMED_BY_CLOSE || stopping)
        c->keep_alive = false;
    if (send_answer_head(c, m, framing) != 0 || message_relay_body(m, c->stream.fd, framing) != 0 ||
        m->write_error != 0)
        return CUT_OFF;
    return http_should_keep_alive(&m->parser) && u->stream.begin == u->stream.end ? ANSWERED : ANSWERED_LAST;
}

static enum outcome exchange(struct client *c, struct upstream *u, int *ret_error)
{
    enum outcome outcome;

    *ret_error = send_request_head(c, u);
    if (*ret_error == EINTR)
        return NEVER_ANSWERED;
    if (*ret_error == 0 && (*ret_error = relay_request_body(c, u)) != 0)
        return NEVER_ASKED;
    /* Though it may not have taken all: who refuses a request need not hear it to the end. */
    *ret_error = read_answer_head(c, u);
    if (*ret_error != 0)
        return NEVER_ANSWERED;
    if (c->request.write_error != 0)
        c->keep_alive = false;
    outcome = relay_answer(c, u);
    return outcome == ANSWERED && c->request.write_error != 0 ? ANSWERED_LAST : outcome;
}

/* RFC 9110, 9.2.2; those that a server may have done without our hearing of it. */
static bool may_be_repeated(const struct client *c)
{
    unsigned method = c->request.parser.method;

    return (method == HTTP_GET || method == HTTP_HEAD || method == HTTP_OPTIONS) && !message_has_body(&c->request);
}

/* What to say of an error upstream, and of one in the request; 0: there is nobody to tell. */
static int status_upstream(int error)
{
    switch (error) {
    case ETIMEDOUT:
        return HTTP_STATUS_GATEWAY_TIMEOUT;
    case EINTR:
    case ECANCELED:
        return HTTP_STATUS_SERVICE_UNAVAILABLE;
    default:
        return HTTP_STATUS_BAD_GATEWAY;
    }
}

static int status_of_request(const struct client *c, int error)
{
    const struct message *m = &c->request;

    if (error == ETIMEDOUT)
        return m->start.length > 0 ? HTTP_STATUS_REQUEST_TIMEOUT : 0;
    if (error != EPROTO || HTTP_PARSER_ERRNO(&m->parser) == HPE_OK)
        return 0;
    return HTTP_PARSER_ERRNO(&m->parser) == HPE_HEADER_OVERFLOW ? HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE
                                                                : HTTP_STATUS_BAD_REQUEST;
}

/* Returns 0, or the status to refuse the request with; then, or if keep_alive is off, the client has had its last. */
static int forward(struct client *c)
{
    for (;;) {
        enum outcome outcome;
        void *obj;
        bool used;
        int error = vthread_pool_acquire_until(upstreams, &obj, vthread_after_ms(options.patience_ms));
        struct upstream *u = obj;

        if (error != 0)
            return error == ETIMEDOUT ? HTTP_STATUS_SERVICE_UNAVAILABLE : status_upstream(error);
        used = u->used;
        u->used = true;
        outcome = exchange(c, u, &error);
        if (outcome == ANSWERED)
            vthread_pool_release(upstreams, u);
        else
            vthread_pool_discard(upstreams, u);
        if (outcome == NEVER_ANSWERED && used && error != ETIMEDOUT && error != EINTR && may_be_repeated(c))
            continue; /* it has been closed just now, as connections that were idle are; a new one in the end is not */
        if (outcome == CUT_OFF || outcome == NEVER_ASKED)
            c->keep_alive = false;
        if (outcome == NEVER_ASKED)
            return status_of_request(c, error);
        return outcome == NEVER_ANSWERED ? status_upstream(error) : 0;
    }
}

/* ---- a client ---- */

static void refuse(struct client *c, int status)
{
    const char *words = http_status_str((enum http_status)status);
    struct text out = {0};

    c->keep_alive = false;
    text_print(&out, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
               status, words, strlen(words), c->request.parser.method == HTTP_HEAD ? "" : words);
    write_text(c->stream.fd, &out);
}

/* Closing with input unread would reset the connection, and what was said last might not arrive. */
static void linger(struct client *c)
{
    int64_t deadline_ns = vthread_after_ms(LINGER_MS);

    vthread_shutdown(c->stream.fd, SHUT_WR);
    while (vthread_read_until(c->stream.fd, c->stream.bytes, sizeof c->stream.bytes, deadline_ns) > 0)
        ;
}

static void serve_requests(struct client *c)
{
    do {
        int error = message_read_head(&c->request, &c->stream, HTTP_REQUEST, vthread_after_ms(options.idle_ms),
                                      options.patience_ms);
        int status = error != 0 ? status_of_request(c, error) : 0;

        c->keep_alive = error == 0 && http_should_keep_alive(&c->request.parser) && !stopping;
        if (error == 0)
            status = c->request.parser.method == HTTP_CONNECT ? HTTP_STATUS_METHOD_NOT_ALLOWED : forward(c);
        if (status != 0)
            refuse(c, status);
        if (!c->keep_alive && (error == 0 || status != 0))
            linger(c);
    } while (c->keep_alive);
}

static void *serve(void *arg)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int fd = (int)(intptr_t)arg;
    struct client *c = calloc(1, sizeof *c);

    if (c != NULL) {
        c->stream.fd = fd;
        if (getpeername(fd, (struct sockaddr *)&address, &length) != 0 ||
            getnameinfo((struct sockaddr *)&address, length, c->address, sizeof c->address, NULL, 0, NI_NUMERICHOST))
            strcpy(c->address, "unknown");
        serve_requests(c);
        message_free(&c->request);
        free(c);
    }
    vthread_close(fd);
    return NULL;
}

/* ---- the proxy ---- */

struct proxy {
    int listener;
    vthread_executor_t *clients;
};

static void *accept_loop(void *arg)
{
    struct proxy *proxy = arg;

    for (;;) {
        int fd = vthread_accept(proxy->listener, NULL, NULL);

        if (fd == -EINTR || fd == -ECANCELED)
            return NULL;
        if (fd < 0)
            vthread_sleep_ms(RETRY_MS); /* out of descriptors, or memory: those who are here will give some back */
        else if (vthread_executor_submit(proxy->clients, serve, (void *)(intptr_t)fd, NULL) != 0)
            vthread_close(fd);
    }
}

static void say_port(int listener)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char port[NI_MAXSERV] = "?";

    if (getsockname(listener, (struct sockaddr *)&address, &length) == 0)
        getnameinfo((struct sockaddr *)&address, length, NULL, 0, port, sizeof port, NI_NUMERICSERV);
    printf("port %s\n", port);
    fflush(stdout);
}

/* Until SIGINT or SIGTERM; then no more clients, and those who are here have stop_ms to end. */
static int run(void)
{
    static struct proxy proxy;
    vthread_pool_params_t params = {
        .max_objects = options.connections,
        .max_idle_ns = options.idle_ms * 1000000,
        .create = upstream_connect,
        .validate = upstream_is_silent,
        .destroy = upstream_close,
    };
    vthread_t acceptor;
    sigset_t signals;
    int error;

    proxy.listener = vthread_listen_tcp(options.listen, 0, 0);
    if (proxy.listener < 0)
        return -proxy.listener;
    error = vthread_pool_new(&upstreams, &params);
    if (error == 0)
        error = vthread_executor_new_per_task(&proxy.clients, NULL);
    if (error == 0)
        error = vthread_create(&acceptor, NULL, accept_loop, &proxy);
    if (error != 0)
        return error;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    vthread_signal_wait_until(&signals, VTHREAD_NOW); /* from here on they are kept */
    say_port(proxy.listener);
    vthread_signal_wait(&signals);
    stopping = true;
    vthread_close(proxy.listener);
    vthread_join(acceptor, NULL);
    vthread_executor_shutdown(proxy.clients);
    if (vthread_executor_await_until(proxy.clients, vthread_after_ms(options.stop_ms)) == ETIMEDOUT)
        vthread_executor_shutdown_now(proxy.clients);
    vthread_executor_free(proxy.clients);
    vthread_pool_free(upstreams);
    return vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS));
}

/* ---- options ---- */

static const struct argp_option known[] = {
    {"connections", 'c', "N", 0, "To the upstream server, at most (64)", 0},
    {"idle", 'i', "MS", 0, "Close connections that are unused for so long (60000)", 0},
    {"patience", 'p', "MS", 0, "How long a read, a write or a connection may take (10000)", 0},
    {"stop", 's', "MS", 0, "How long clients may go on after SIGTERM (10000)", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    char *end = arg;
    long number = arg != NULL && key != ARGP_KEY_ARG ? strtol(arg, &end, 10) : 0;

    if (end != arg && (*end != '\0' || number < 1 || number > 1 << 20))
        argp_error(state, "%s: a number from 1 to 1048576 is wanted", arg);
    switch (key) {
    case 'c':
        options.connections = (unsigned)number;
        return 0;
    case 'i':
        options.idle_ms = number;
        return 0;
    case 'p':
        options.patience_ms = number;
        return 0;
    case 's':
        options.stop_ms = number;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            return ARGP_ERR_UNKNOWN;
        *(state->arg_num == 0 ? &options.listen : &options.upstream) = arg;
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2)
            argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp parser = {
        .options = known,
        .parser = parse_option,
        .args_doc = "LISTEN UPSTREAM",
        .doc = "A reverse proxy for HTTP/1.1: from LISTEN (host:port, or :port) to UPSTREAM (host:port).",
    };
    int error;

    argp_parse(&parser, argc, argv, 0, NULL, NULL);
    error = run();
    if (error != 0)
        fprintf(stderr, "proxy: %s\n", strerror(error));
    return error != 0;
}
