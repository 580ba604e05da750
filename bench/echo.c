/* SPDX-License-Identifier: MIT */
/*
 * echo: what does a message cost a server with a virtual thread for each connection, which reads and writes?
 *
 * 64 bytes there and back, one message under way on every connection; as examples/echo_server.c does it, and as an
 * epoll loop on one CPU does.  With one carrier the server has a CPU of its own, and the load another; with two that
 * takes three CPUs, and where there are fewer nothing is pinned.
 */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <vthread/net.h>
#include <vthread/vthread.h>

#include "bench/epoll.h"
#include "bench/server.h"

enum { MESSAGE_BYTES = 64, BUFFER_BYTES = 4096 };

/* ---- with threads ---- */

static void *echo_connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char *buffer = malloc(BUFFER_BYTES);
    ssize_t n;

    while (buffer != NULL && (n = vthread_read(fd, buffer, BUFFER_BYTES)) > 0)
        if (vthread_write_all(fd, buffer, (size_t)n) < 0)
            break;
    free(buffer);
    vthread_close(fd);
    return NULL;
}

static void *accept_connections(void *arg)
{
    int listener = (int)(intptr_t)arg;
    int fd;

    while ((fd = vthread_accept(listener, NULL, NULL)) >= 0)
        if (vthread_create(NULL, NULL, echo_connection, (void *)(intptr_t)fd) != 0)
            vthread_close(fd);
    return NULL;
}

static void serve_threads(const struct bench_run *run, int ready)
{
    int listener = vthread_listen_tcp("127.0.0.1:0", 0, 0);
    vthread_t acceptor;

    bench_check(run, listener >= 0);
    bench_check(run, vthread_create(&acceptor, NULL, accept_connections, (void *)(intptr_t)listener) == 0);
    server_ready(run, ready, server_port(run, listener));
    vthread_join(acceptor, NULL);
}

/* ---- without ---- */

static bool echo_input(struct epoll_connection *c)
{
    static char buffer[BUFFER_BYTES];
    ssize_t n = read(c->fd, buffer, sizeof buffer);

    return n > 0 && write(c->fd, buffer, (size_t)n) == n;
}

static void serve_epoll(const struct bench_run *run, int ready)
{
    static const struct epoll_service service = {.connection_bytes = sizeof(struct epoll_connection),
                                                 .serve = echo_input};
    int listener = epoll_listen(0);

    bench_check(run, listener >= 0);
    server_ready(run, ready, server_port(run, listener));
    epoll_serve(listener, &service);
}

/* ---- the row ---- */

static void echo(const struct bench_run *run)
{
    struct service services[2] = {
        {.name = "server", .prefix = "", .carriers = run->carriers, .serve = serve_threads},
        {.name = "epoll server", .prefix = "epoll_", .serve = serve_epoll},
    };
    char message[MESSAGE_BYTES];
    struct load load = {
        .connections = run->bench->parameter,
        .request = message,
        .request_length = sizeof message,
        .answer_length = sizeof message,
    };

    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (char)('0' + i);
    load_compare(run, services, &load);
}

const struct bench bench_echo[] = {
    {
        .name = "echo/1000",
        .question = "64 bytes there and back over 1,000 connections, and a bare epoll loop; by messages",
        .run = echo,
        .count = 40000,
        .quick = 2000,
        .reps = 25,
        .carriers = {1, 2},
        .apart = true,
        .parameter = 1000,
    },
    {0},
};
