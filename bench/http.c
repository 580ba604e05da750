/* SPDX-License-Identifier: MIT */
/*
 * http: what does an HTTP request cost a server with a virtual thread for each connection?
 *
 * GET /ping, kept alive, one under way on every connection.  The server is the example's (examples/http_server.h) with
 * one carrier and a CPU of its own, and without deadlines, for its rival has none: http_epoll.c, the same without
 * threads.  `cpu` is the server's user and system time of a request; `busy` below 1 says that the server waited
 * for the load, and that its figures are of something else.
 */
#include <unistd.h>

#include "bench/epoll.h"
#include "bench/server.h"
#include "examples/http_server.h"

static void serve_threads(const struct bench_run *run, int ready)
{
    static const struct http_route routes[] = {{.path = "/ping", .type = "text/plain", .body = "pong"}, {0}};
    struct http_params params = {.address = "127.0.0.1:0", .routes = routes, .idle_ms = -1, .request_ms = -1};
    struct http_server *server;

    bench_check(run, http_server_start(&server, &params) == 0);
    server_ready(run, ready, http_server_port(server));
    for (;;)
        pause();
}

static void serve_epoll(const struct bench_run *run, int ready)
{
    int listener = epoll_listen(0);

    bench_check(run, listener >= 0);
    server_ready(run, ready, server_port(run, listener));
    epoll_serve(listener, &http_epoll);
}

static void http(const struct bench_run *run)
{
    static const struct service services[2] = {
        {.name = "server", .prefix = "", .carriers = 1, .serve = serve_threads},
        {.name = "epoll server", .prefix = "epoll_", .serve = serve_epoll},
    };
    static const char request[] = "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong";
    struct load load = {
        .connections = run->bench->parameter,
        .request = request,
        .request_length = sizeof request - 1,
        .answer = answer,
        .answer_length = sizeof answer - 1,
    };

    load_compare(run, services, &load);
}

#define HTTP(NAME, CONNECTIONS)                                                                                        \
    {                                                                                                                  \
        .name = NAME, .question = "an HTTP server on one CPU, and a bare epoll loop; by requests", .run = http,        \
        .count = 40000, .quick = 2000, .reps = 25, .apart = true, .parameter = CONNECTIONS                             \
    }

const struct bench bench_http[] = {HTTP("http/64", 64), HTTP("http/1000", 1000), {0}};
