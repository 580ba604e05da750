/* SPDX-License-Identifier: MIT */
/*
 * Servers without any threads, the floor that ours are compared with: one OS
 * thread, a level-triggered epoll loop, and a call for what has come.
 */
#ifndef BENCH_EPOLL_H
#define BENCH_EPOLL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attributes.h"

/* Begins what a service keeps of each connection; zeroed. */
struct epoll_connection {
    int fd;
};

struct epoll_service {
    size_t connection_bytes;
    void (*begin)(struct epoll_connection *c); /* NULL: nothing to do */
    bool (*serve)(struct epoll_connection *c); /* there is input; false: the connection is over */
};

/* On 127.0.0.1, port 0 being any that is free; non-blocking.  Returns the descriptor or -Exxx. */
int epoll_listen(int port);

/* Ends the process when it cannot go on. */
NORETURN void epoll_serve(int listener, const struct epoll_service *service);

/* http_epoll.c: GET /ping is answered as the example's server does, nothing else is checked. */
extern const struct epoll_service http_epoll;

#endif
