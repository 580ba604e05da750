/* SPDX-License-Identifier: MIT */
#include "bench/epoll.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, BACKLOG = 4096 };

int epoll_listen(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    int error;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* those it accepts inherit it */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    error = errno;
    close(fd);
    return -error;
}

NORETURN static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static void accept_all(int listener, int epoll, const struct epoll_service *service)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_connection *c = calloc(1, service->connection_bytes);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

        if (c == NULL)
            give_up("epoll_serve");
        c->fd = fd;
        if (service->begin != NULL)
            service->begin(c);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            give_up("epoll_ctl");
    }
}

void epoll_serve(int listener, const struct epoll_service *service)
{
    static struct epoll_event events[EVENTS];
    struct epoll_event listening = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening) != 0)
        give_up("epoll_serve");
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            struct epoll_connection *c = events[i].data.ptr;

            if (c == NULL) {
                accept_all(listener, epoll, service);
            } else if (!service->serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
