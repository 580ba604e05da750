/* SPDX-License-Identifier: MIT */
/*
 * http_epoll PORT: what does an HTTP request cost without any threads?
 *
 * The floor that examples/http_server.c is compared with: one thread, a level-triggered epoll loop, the
 * same parser, the same answer to GET /ping, and one write for all requests of a read.  It checks nothing else.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 512,
    IN_BYTES = 2048,
    OUT_BYTES = 8192,
    BACKLOG = 4096,
};

static const char pong[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong";

struct connection {
    http_parser parser;
    int fd;
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

/* False: the connection is over. */
static bool serve(struct connection *c)
{
    ssize_t n = read(c->fd, c->in, sizeof c->in);

    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    out_length = 0;
    if (http_parser_execute(&c->parser, &settings, c->in, (size_t)n) != (size_t)n)
        return false;
    return out_length == 0 || write(c->fd, out, out_length) == (ssize_t)out_length;
}

static void accept_all(int listener, int epoll)
{
    int one = 1;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

        if (c == NULL)
            exit(1);
        c->fd = fd;
        http_parser_init(&c->parser, HTTP_REQUEST);
        c->parser.data = c;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, BACKLOG) != 0) {
        perror("http_epoll");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    struct epoll_event listening = {.events = EPOLLIN};
    int listener = argc == 2 ? listen_on(atoi(argv[1])) : -1;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (listener < 0) {
        fprintf(stderr, "usage: http_epoll PORT\n");
        return 2;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (c == NULL) {
                accept_all(listener, epoll);
            } else if (!serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
