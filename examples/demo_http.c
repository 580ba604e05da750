/* SPDX-License-Identifier: MIT */
/*
 * The server of the demo: some pages, and what it costs to serve them.
 */
#include "demo.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/net.h>
#include <vthread/os.h>
#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "http_server.h"
#include "os_threads.h"

enum { STOP_MS = 3000, COMPUTE_MS = 5000, SPARE_DESCRIPTORS = 64 };

/* ---- pages ---- */

static void front_page(struct http_exchange *x, void *user)
{
    static const char page[] =
        "<!doctype html>\n<html lang=en><title>vthread</title>\n"
        "<style>body{font:18px/1.5 sans-serif;max-width:36em;margin:3em auto;padding:0 1em}</style>\n"
        "<h1>Hello from virtual thread %llu</h1>\n"
        "<p>Every connection has a virtual thread of its own, in plain blocking C. Now: <b>%llu</b> connections on "
        "<b>%d</b> OS threads, <b>%s</b> requests so far, <b>%.1f MB</b> of memory.\n"
        "<ul><li><a href=/ping>/ping</a> answers pong<li><a href=/sleep>/sleep</a> takes a second, and holds nobody up"
        "<li><a href=/compute>/compute</a> computes for five seconds, and holds nobody up either"
        "<li>/echo returns what is posted to it</ul>\n";
    struct http_stats stats;
    char text[1024];
    int n;

    (void)user;
    http_server_stats(x->server, &stats);
    n = snprintf(text, sizeof text, page, (unsigned long long)vthread_id(vthread_self()),
                 (unsigned long long)stats.connections, count_os_threads(), demo_number((double)stats.requests),
                 (double)demo_rss_bytes() / 1e6);
    http_reply(x, 200, "text/html; charset=utf-8", text, (size_t)n);
}

static void sleepy_page(struct http_exchange *x, void *user)
{
    static const char text[] = "slept for a second\n";

    (void)user;
    vthread_sleep_ms(1000);
    http_reply(x, 200, "text/plain", text, sizeof text - 1);
}

/* Without ever giving its carrier up: the runtime notices, and has another one serve the others meanwhile. */
static void computing_page(struct http_exchange *x, void *user)
{
    int64_t until_ns = vthread_after_ms(COMPUTE_MS);
    unsigned long long rounds = 0;
    char text[64];
    int n;

    (void)user;
    while (vthread_now_ns() < until_ns)
        rounds++;
    n = snprintf(text, sizeof text, "%llu rounds\n", rounds);
    http_reply(x, 200, "text/plain", text, (size_t)n);
}

static void echo_page(struct http_exchange *x, void *user)
{
    (void)user;
    http_reply(x, 200, "application/octet-stream", x->body, x->body_length);
}

static const struct http_route routes[] = {
    {.path = "/ping", .type = "text/plain", .body = "pong"},
    {.path = "/", .handler = front_page},
    {.path = "/sleep", .handler = sleepy_page},
    {.path = "/compute", .handler = computing_page},
    {.path = "/echo", .handler = echo_page},
    {0},
};

static struct http_server *server;

static bool start(const struct demo_options *options, int port)
{
    char address[32];
    struct http_params params = {.address = address, .routes = routes, .reuse_port = options->reuse_port};
    int error;

    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    if (options->no_deadlines)
        params.idle_ms = params.request_ms = -1;
    error = http_server_start(&server, &params);
    if (error != 0)
        fprintf(stderr, "demo: %s: %s\n", address, strerror(error));
    return error == 0;
}

static void stop(void)
{
    http_server_stop(server, vthread_after_ms(STOP_MS));
    vthread_runtime_shutdown(vthread_after_ms(STOP_MS));
}

/* ---- --serve ---- */

int demo_serve(const struct demo_options *options)
{
    sigset_t signals;

    demo_raise_descriptor_limit();
    if (!start(options, options->port))
        return 1;
    printf("http://127.0.0.1:%d/ (and /ping, /sleep, /compute, /echo); Ctrl-C stops it\n", http_server_port(server));
    fflush(stdout);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    while (vthread_signal_wait(&signals) == -EINTR)
        ;
    printf("\nstopping\n");
    stop();
    return 0;
}

/* ---- the table ---- */

struct figures {
    int connections;
    int64_t wall_ns, cpu_ns, rss_bytes;
    double requests, p50_ns, p99_ns, p999_ns;
    int errors, os_threads;
};

static void print_row(const char *name, const char *value, const char *unit)
{
    printf("    %-20s %12s %s\n", name, value, unit);
}

static const char *fixed_point(double value)
{
    static char text[32];

    snprintf(text, sizeof text, "%.2f", value);
    return text;
}

static void print_table(const struct figures *f)
{
    printf("\nHTTP/1.1 server, one virtual thread per connection; %s connections for %.1f s\n\n",
           demo_number(f->connections), (double)f->wall_ns / 1e9);
    print_row("requests/s", demo_number(f->requests / ((double)f->wall_ns / 1e9)), "");
    print_row("latency p50", fixed_point(f->p50_ns / 1e6), "ms");
    print_row("latency p99", fixed_point(f->p99_ns / 1e6), "ms");
    print_row("latency p99.9", fixed_point(f->p999_ns / 1e6), "ms");
    print_row("CPU per request", fixed_point((double)f->cpu_ns / 1e3 / f->requests), "µs, user and system");
    print_row("memory", fixed_point((double)f->rss_bytes / 1e6), "MB, all of the server");
    print_row("OS threads", demo_number(f->os_threads), "");
    if (f->errors > 0)
        print_row("failed connections", demo_number(f->errors), "");
    printf("\n");
}

/* ---- driving it ---- */

static void show_tick(long ms, double requests)
{
    static long said_ms;

    if (!demo_on_terminal() && ms - said_ms < 1000)
        return;
    said_ms = ms;
    demo_progress("  %4.1f s: %s requests, %s a second", (double)ms / 1e3, demo_number(requests),
                  demo_number(requests / ((double)ms / 1e3)));
}

/* What the load says, until its end.  CPU time counts between its begin and its end. */
static bool follow(struct demo_child *load, struct figures *ret)
{
    char line[200];
    long long wall_ns;
    double requests;
    long ms;

    while (fgets(line, sizeof line, load->from) != NULL) {
        if (sscanf(line, "connected %d", &ret->connections) == 1)
            demo_progress("  %s connections; warming up", demo_number(ret->connections));
        else if (strcmp(line, "begin\n") == 0)
            ret->cpu_ns = demo_cpu_ns();
        else if (sscanf(line, "tick %ld %lf", &ms, &requests) == 2)
            show_tick(ms, requests);
        else if (sscanf(line, "end %lld %lf %d %lf %lf %lf", &wall_ns, &ret->requests, &ret->errors, &ret->p50_ns,
                        &ret->p99_ns, &ret->p999_ns) == 6) {
            ret->cpu_ns = demo_cpu_ns() - ret->cpu_ns;
            ret->wall_ns = wall_ns;
            ret->rss_bytes = demo_rss_bytes();
            ret->os_threads = count_os_threads();
            demo_progress_end();
            return ret->requests > 0;
        }
    }
    return false;
}

static int affordable_connections(int wanted)
{
    long limit = demo_raise_descriptor_limit() - SPARE_DESCRIPTORS;

    if (wanted <= limit)
        return wanted;
    printf("  %d connections instead of %d: the limit of open files is low (ulimit -n)\n", (int)limit, wanted);
    return (int)limit;
}

int demo_http(const struct demo_options *options)
{
    struct figures figures = {0};
    struct demo_child load;
    char connections[16];
    char seconds[16];
    bool ok;

    printf("An HTTP server and, in a process of its own, its load: both are virtual threads.\n");
    snprintf(connections, sizeof connections, "%d", affordable_connections(options->connections));
    snprintf(seconds, sizeof seconds, "%d", options->seconds);
    /* Before the runtime starts, so that the child inherits none of its threads' business. */
    if (!demo_spawn(&load, (const char *[]){NULL, "--load", "--connections", connections, "--seconds", seconds, NULL}))
        return 1;
    ok = start(options, 0);
    if (ok) {
        fprintf(load.to, "%d\n", http_server_port(server));
        fflush(load.to);
        ok = follow(&load, &figures);
        stop();
    }
    ok = demo_reap(&load) && ok;
    if (!ok) {
        fprintf(stderr, "demo: the load did not get through\n");
        return 1;
    }
    print_table(&figures);
    return 0;
}
