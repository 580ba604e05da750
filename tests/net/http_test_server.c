/* SPDX-License-Identifier: MIT */
/*
 * http_test_server [HEAD_BYTES BODY_BYTES IDLE_MS REQUEST_MS]: the example's server with pages that tests
 * need and limits that they set (0: the default).  Prints "port N"; serves until its standard input ends;
 * then stops everything and prints "stopped".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vthread/net.h>
#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "http_server.h"

enum {
    BIG_BYTES = 8 << 20,
    STOP_MS = 1000,
    SHUTDOWN_MS = 20000,
};

static char *big;

static void echo(struct http_exchange *x, void *user)
{
    (void)user;
    http_reply(x, 200, "application/octet-stream", x->body, x->body_length);
}

/* The query is how many milliseconds. */
static void sleepy(struct http_exchange *x, void *user)
{
    (void)user;
    if (vthread_sleep_ms(strtol(x->query, NULL, 10)) == 0)
        http_reply(x, 200, "text/plain", "slept", 5);
    else
        http_reply(x, 503, "text/plain", "interrupted", 11);
}

static void send_big(struct http_exchange *x, void *user)
{
    (void)user;
    http_reply(x, 200, "application/octet-stream", big, BIG_BYTES);
}

static void describe(struct http_exchange *x, void *user)
{
    char text[2000];
    size_t length = 0;
    const char *agent = http_header(x, "user-agent", &length);
    int n =
        snprintf(text, sizeof text, "%s|%.*s|%.*s|%.*s|%.*s", x->method, (int)x->path_length, x->path,
                 (int)x->query_length, x->query, (int)x->body_length, x->body, (int)length, agent != NULL ? agent : "");

    (void)user;
    http_reply(x, 200, "text/plain", text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void say_nothing(struct http_exchange *x, void *user)
{
    (void)x;
    (void)user;
}

static void stats(struct http_exchange *x, void *user)
{
    vthread_runtime_stats_t runtime;
    struct http_stats http;
    char text[200];
    int n;

    (void)user;
    http_server_stats(x->server, &http);
    vthread_runtime_stats(&runtime);
    n = snprintf(text, sizeof text, "%llu %llu %llu %llu", (unsigned long long)http.connections,
                 (unsigned long long)http.accepted, (unsigned long long)http.requests,
                 (unsigned long long)runtime.threads_alive);
    http_reply(x, 200, "text/plain", text, (size_t)n);
}

static const struct http_route routes[] = {
    {.path = "/ping", .type = "text/plain", .body = "pong"},
    {.path = "/echo", .handler = echo},
    {.path = "/sleep", .handler = sleepy},
    {.path = "/big", .handler = send_big},
    {.path = "/describe", .handler = describe},
    {.path = "/nothing", .handler = say_nothing},
    {.path = "/stats", .handler = stats},
    {0},
};

int main(int argc, char **argv)
{
    struct http_params params = {.address = "127.0.0.1:0", .routes = routes};
    struct http_server *server;
    char byte;
    int error;

    if (argc == 5) {
        params.head_bytes_max = strtoul(argv[1], NULL, 10);
        params.body_bytes_max = strtoul(argv[2], NULL, 10);
        params.idle_ms = strtol(argv[3], NULL, 10);
        params.request_ms = strtol(argv[4], NULL, 10);
    }
    big = calloc(1, BIG_BYTES);
    error = http_server_start(&server, &params);
    if (big == NULL || error != 0) {
        fprintf(stderr, "http_test_server: %s\n", strerror(error));
        return 1;
    }
    printf("port %d\n", http_server_port(server));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    http_server_stop(server, vthread_after_ms(STOP_MS));
    error = vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS));
    if (error != 0) {
        fprintf(stderr, "http_test_server: shutdown: %s\n", strerror(error));
        return 1;
    }
    free(big);
    printf("stopped\n");
    return 0;
}
