/* SPDX-License-Identifier: MIT */
/*
 * The load: so many connections, a virtual thread each, that send a request, wait for the answer, and send the next.
 *
 * Reads the server's port from standard input.  Says on standard output
 *     connected N
 *     begin
 *     tick MILLISECONDS REQUESTS      a few times a second
 *     end NANOSECONDS REQUESTS ERRORS P50 P99 P999
 */
#include "demo.h"

#include <http_parser.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/net.h>
#include <vthread/vthread.h>

#include "demo_histogram.h"

enum {
    BUFFER_BYTES = 512,
    WARM_UP_MS = 1000,
    TICK_MS = 250,
    PATIENCE_MS = 10000,
};

struct client {
    vthread_t thread;
    http_parser parser;
    bool complete;
    char buffer[BUFFER_BYTES];
};

static char address[32];
static struct histogram latencies;
static atomic_int connected;
static atomic_int errors;
static atomic_bool recording;
static atomic_bool over;

static int on_message_complete(http_parser *parser)
{
    struct client *client = parser->data;

    client->complete = true;
    return 0;
}

static const http_parser_settings settings = {.on_message_complete = on_message_complete};

/* One request and its whole answer.  False: it was not as it should be. */
static bool ping(struct client *client, int fd)
{
    static const char request[] = "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n";
    http_parser *parser = &client->parser;

    if (vthread_write_all(fd, request, sizeof request - 1) < 0)
        return false;
    client->complete = false;
    while (!client->complete) {
        ssize_t n = vthread_read_until(fd, client->buffer, sizeof client->buffer, vthread_after_ms(PATIENCE_MS));

        if (n <= 0 || http_parser_execute(parser, &settings, client->buffer, (size_t)n) != (size_t)n)
            return false;
    }
    return parser->status_code == 200;
}

static bool ping_until_over(struct client *client, int fd)
{
    int64_t begun_ns = vthread_now_ns();

    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        int64_t ended_ns;

        if (!ping(client, fd))
            return false;
        ended_ns = vthread_now_ns();
        if (atomic_load_explicit(&recording, memory_order_relaxed))
            histogram_add(&latencies, (uint64_t)(ended_ns - begun_ns));
        begun_ns = ended_ns;
    }
    return true;
}

static void *run_client(void *arg)
{
    struct client *client = arg;
    int fd = vthread_dial_tcp(address);

    atomic_fetch_add(&connected, 1);
    http_parser_init(&client->parser, HTTP_RESPONSE);
    client->parser.data = client;
    if (fd < 0 || !ping_until_over(client, fd))
        atomic_fetch_add(&errors, 1);
    vthread_close(fd);
    return NULL;
}

static void measure(int seconds)
{
    int64_t begin_ns = vthread_now_ns();
    int64_t now_ns = begin_ns;

    printf("begin\n");
    atomic_store(&recording, true);
    while (now_ns - begin_ns < seconds * INT64_C(1000000000)) {
        vthread_sleep_ms(TICK_MS);
        now_ns = vthread_now_ns();
        printf("tick %lld %llu\n", (long long)(now_ns - begin_ns) / 1000000,
               (unsigned long long)histogram_total(&latencies));
    }
    atomic_store(&recording, false);
    printf("end %lld %llu %d %llu %llu %llu\n", (long long)(now_ns - begin_ns),
           (unsigned long long)histogram_total(&latencies), atomic_load(&errors),
           (unsigned long long)histogram_percentile(&latencies, 0.5),
           (unsigned long long)histogram_percentile(&latencies, 0.99),
           (unsigned long long)histogram_percentile(&latencies, 0.999));
}

int demo_load(const struct demo_options *options)
{
    struct client *clients = calloc((size_t)options->connections, sizeof *clients);
    int port;

    demo_raise_descriptor_limit();
    setlinebuf(stdout);
    if (clients == NULL || scanf("%d", &port) != 1)
        return 1;
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    for (int i = 0; i < options->connections; i++)
        if (vthread_create(&clients[i].thread, NULL, run_client, &clients[i]) != 0)
            return 1;
    while (atomic_load(&connected) < options->connections)
        vthread_sleep_ms(10);
    printf("connected %d\n", options->connections - atomic_load(&errors));
    vthread_sleep_ms(WARM_UP_MS);
    measure(options->seconds);
    atomic_store(&over, true);
    for (int i = 0; i < options->connections; i++)
        vthread_join(clients[i].thread, NULL);
    free(clients);
    return 0;
}
