/* SPDX-License-Identifier: MIT */
/*
 * The load: so many connections to a server, one epoll loop, and nothing of what is measured.
 *
 * It has to be cheaper than any server, for only one that never waits shows what a request costs.  All connections are
 * warm when the measurement begins, and live when it ends.  Requests are drawn from a common stock, so that
 * every connection has one under way for as long as there are any.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/server.h"
#include "examples/demo_histogram.h"

enum {
    MESSAGE_BYTES_MAX = 128,
    EVENTS = 512,
    WARM_UP = 5, /* exchanges of each connection */
    PATIENCE_MS = 10000,
    QUICK_DIVISOR = 20, /* of the connections */
};

struct client {
    int fd;
    uint32_t index;
    uint32_t sent;
    uint32_t received; /* bytes of the answer */
    int64_t begun_ns;
    char out[MESSAGE_BYTES_MAX];
    char in[MESSAGE_BYTES_MAX];
};

/* One measurement. */
static struct {
    const struct bench_run *run;
    const struct server *server;
    const struct load *plan;
    unsigned connections;
    struct client *clients;
    int epoll;
    uint64_t left; /* in the stock */
    struct histogram latencies;
} now;

static void require(bool ok, const char *what, int error)
{
    if (UNLIKELY(!ok))
        server_fail(now.run, now.server, what, error);
}

/* ---- a client ---- */

static void send_request(struct client *c)
{
    ssize_t n;

    c->sent++;
    c->received = 0;
    if (now.plan->answer == NULL) {
        memcpy(c->out, &c->index, sizeof c->index);
        memcpy(c->out + sizeof c->index, &c->sent, sizeof c->sent);
    }
    n = send(c->fd, c->out, now.plan->request_length, MSG_NOSIGNAL);
    require(n == (ssize_t)now.plan->request_length, "a request cannot be sent", n < 0 ? errno : EAGAIN);
}

/* True: the whole answer is here, and it is the right one. */
static bool receive(struct client *c)
{
    size_t length = now.plan->answer_length;
    const char *expected = now.plan->answer != NULL ? now.plan->answer : c->out;
    ssize_t n = recv(c->fd, c->in + c->received, sizeof c->in - c->received, 0);

    if (n < 0 && errno == EAGAIN)
        return false;
    require(n > 0, "an answer is missing", n < 0 ? errno : 0);
    c->received += (uint32_t)n;
    if (c->received > length || memcmp(c->in, expected, c->received) != 0)
        bench_give_up(now.run, "%s: a wrong answer", now.server->service->name);
    return c->received == length;
}

static void draw(struct client *c)
{
    if (now.left == 0)
        return;
    now.left--;
    send_request(c);
}

/* So many requests; returns how many answers were right. */
static uint64_t exchange(uint64_t count)
{
    static struct epoll_event events[EVENTS];
    uint64_t answered = 0;

    now.left = count;
    for (unsigned i = 0; i < now.connections; i++) {
        now.clients[i].begun_ns = bench_wall_ns();
        draw(&now.clients[i]);
    }
    while (answered < count) {
        int n = epoll_wait(now.epoll, events, EVENTS, PATIENCE_MS);

        if (n < 0 && errno == EINTR)
            continue;
        require(n > 0, "no answer", ETIMEDOUT);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            int64_t ended_ns;

            if (!receive(c))
                continue;
            answered++;
            ended_ns = bench_wall_ns();
            histogram_add(&now.latencies, (uint64_t)(ended_ns - c->begun_ns));
            c->begun_ns = ended_ns;
            draw(c);
        }
    }
    return answered;
}

/* ---- connections ---- */

static void connect_client(struct client *c, unsigned index)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)now.server->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;

    c->index = index;
    memcpy(c->out, now.plan->request, now.plan->request_length);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0, "cannot connect", errno);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    bench_check(now.run, fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0);
    bench_check(now.run, epoll_ctl(now.epoll, EPOLL_CTL_ADD, c->fd, &event) == 0);
}

/* The server has no more to say, and takes note: so the next measurement finds it at rest. */
static void disconnect(struct client *c)
{
    struct pollfd readable = {.fd = c->fd, .events = POLLIN};

    shutdown(c->fd, SHUT_WR);
    require(poll(&readable, 1, PATIENCE_MS) == 1, "it does not close", ETIMEDOUT);
    if (recv(c->fd, c->in, sizeof c->in, 0) != 0)
        bench_give_up(now.run, "%s: more than was asked for", now.server->service->name);
    close(c->fd);
}

static void set_up(const struct bench_run *run, const struct server *server, const struct load *load)
{
    now.run = run;
    now.server = server;
    now.plan = load;
    now.connections = run->quick ? (load->connections + QUICK_DIVISOR - 1) / QUICK_DIVISOR : load->connections;
    now.clients = bench_alloc(run, now.connections, sizeof *now.clients);
    now.epoll = epoll_create1(EPOLL_CLOEXEC);
    bench_check(run, now.epoll >= 0);
    for (unsigned i = 0; i < now.connections; i++)
        connect_client(&now.clients[i], i);
}

static void tear_down(void)
{
    for (unsigned i = 0; i < now.connections; i++)
        disconnect(&now.clients[i]);
    close(now.epoll);
    free(now.clients);
}

/* ---- a measurement ---- */

static double microseconds(double fraction)
{
    return (double)histogram_percentile(&now.latencies, fraction) / 1e3;
}

void load_measure(const struct bench_run *run, const struct server *server, const struct load *load,
                  struct load_figures *ret_figures)
{
    int64_t cpu_ns, load_cpu_ns, wall_ns;
    uint64_t answered;

    set_up(run, server, load);
    exchange((uint64_t)now.connections * WARM_UP);
    memset(&now.latencies, 0, sizeof now.latencies);
    cpu_ns = server_cpu_ns(server);
    load_cpu_ns = bench_cpu_ns();
    wall_ns = bench_wall_ns();
    answered = exchange(run->count);
    wall_ns = bench_wall_ns() - wall_ns;
    load_cpu_ns = bench_cpu_ns() - load_cpu_ns;
    cpu_ns = server_cpu_ns(server) - cpu_ns;
    tear_down();
    bench_check(run, answered == run->count && histogram_total(&now.latencies) == run->count);
    *ret_figures = (struct load_figures){
        .cpu_us = (double)cpu_ns / 1e3 / (double)answered,
        .load_cpu_us = (double)load_cpu_ns / 1e3 / (double)answered,
        .rate = (double)answered / ((double)wall_ns / 1e9),
        .p50_us = microseconds(0.5),
        .p99_us = microseconds(0.99),
    };
}

/* ---- two by turns ---- */

static void sample(const struct bench_run *run, const struct service *service, const char *metric, double value,
                   const char *unit)
{
    char name[64];

    snprintf(name, sizeof name, "%s%s", service->prefix, metric);
    bench_sample(run, name, value, unit);
}

static void sample_figures(const struct bench_run *run, const struct service *service, const struct load_figures *f)
{
    sample(run, service, "cpu", f->cpu_us, "us");
    sample(run, service, "rate", f->rate, "/s");
    sample(run, service, "p50", f->p50_us, "us");
    sample(run, service, "p99", f->p99_us, "us");
    sample(run, service, "load_cpu", f->load_cpu_us, "us");
}

/*
 * Each against the other of the same repetition: what disturbs one disturbs both, provided that turns are short.  On
 * a shared machine medians of 25 ratios of a third of a second each agreed within 3 %, and of 3 of 1.5 s within 20.
 */
static void take_turns(const struct bench_run *run, const struct server servers[2], const struct load *load)
{
    for (unsigned i = 0; i < run->warm + run->reps; i++) {
        struct load_figures figures[2];

        for (unsigned turn = 0; turn < 2; turn++) {
            unsigned which = (i + turn) % 2; /* nor is it always the same one that comes first */

            load_measure(run, &servers[which], load, &figures[which]);
        }
        if (i < run->warm)
            continue;
        for (unsigned which = 0; which < 2; which++)
            sample_figures(run, servers[which].service, &figures[which]);
        bench_sample(run, "cpu_to_epoll", figures[0].cpu_us / figures[1].cpu_us, "x");
        bench_sample(run, "p99_to_epoll", figures[0].p99_us / figures[1].p99_us, "x");
    }
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void load_compare(const struct bench_run *run, const struct service services[2], const struct load *load)
{
    struct server servers[2];
    unsigned cpus = services[0].carriers;
    bool pinned = server_can_pin(cpus);

    bench_check(run, load->request_length <= MESSAGE_BYTES_MAX && load->answer_length <= MESSAGE_BYTES_MAX);
    raise_descriptor_limit();
    for (int i = 0; i < 2; i++)
        server_start(run, &servers[i], &services[i], pinned);
    if (pinned)
        server_pin(run, cpus, 1);
    else
        fprintf(stderr, "%s with %u carriers: no CPU is left for the load, so nothing is pinned\n", run->bench->name,
                cpus);
    take_turns(run, servers, load);
    for (int i = 0; i < 2; i++)
        server_stop(run, &servers[i]);
}
