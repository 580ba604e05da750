/* SPDX-License-Identifier: MIT */
/*
 * site PAGES: serves pages that link to each other, for the crawlers, with the HTTP server of the examples.  Prints
 * "port N"; serves until its standard input ends, then prints how often a page was asked for, and how many connections
 * there were.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "http_server.h"

enum { LATENCY_MS = 5, STOP_MS = 1000, SHUTDOWN_MS = 20000 };

static long pages;

/* Page n links to 2n + 1 and 2n + 2, to the first, to itself, and elsewhere. */
static void page(struct http_exchange *x, void *user)
{
    long n = x->query_length > 0 ? strtol(x->query, NULL, 10) : 0;
    char text[600];
    int length =
        snprintf(text, sizeof text, "<h1>Page %ld</h1><a href=\"/\"><a href=\"#top\"><a href=\"/page?%ld\">", n, n);

    (void)user;
    for (long next = 2 * n + 1; next <= 2 * n + 2 && next < pages; next++)
        length += snprintf(text + length, sizeof text - (size_t)length, "<a href=\"/page?%ld\">", next);
    if (vthread_sleep_ms(LATENCY_MS) == 0)
        http_reply(x, 200, "text/html", text, (size_t)length);
}

static const struct http_route routes[] = {{.path = "/", .handler = page}, {.path = "/page", .handler = page}, {0}};

int main(int argc, char **argv)
{
    struct http_server *server;
    struct http_stats stats;
    char byte;

    pages = argc == 2 ? atol(argv[1]) : 100;
    if (http_server_start(&server, &(struct http_params){.address = "127.0.0.1:0", .routes = routes}) != 0)
        return 1;
    printf("port %d\n", http_server_port(server));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    http_server_stats(server, &stats);
    printf("%llu requests, %llu connections\n", (unsigned long long)stats.requests, (unsigned long long)stats.accepted);
    http_server_stop(server, vthread_after_ms(STOP_MS));
    return vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS)) != 0;
}
