/* SPDX-License-Identifier: MIT */
/*
 * http-epoll PORT: http_epoll.c as a program, for http_compare.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/epoll.h"

int main(int argc, char **argv)
{
    int listener;

    if (argc != 2) {
        fprintf(stderr, "usage: http-epoll PORT\n");
        return 2;
    }
    listener = epoll_listen(atoi(argv[1]));
    if (listener < 0) {
        fprintf(stderr, "http-epoll: %s\n", strerror(-listener));
        return 1;
    }
    epoll_serve(listener, &http_epoll);
}
