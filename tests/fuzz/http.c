/* SPDX-License-Identifier: MIT */
/*
 * The example's HTTP server, fed with anything, in pieces of any size.  Whatever a client sends and then closes its
 * side, the server answers with statuses that there are, or not at all, and ends the connection; and it still
 * serves others.  What else is wrong the sanitizers find.
 *
 * As libFuzzer wants it: the first byte is the size of the pieces (0: all at once), the rest is sent.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vthread/runtime.h>

#include "fuzz.h"
#include "http_server.h"

enum { PATIENCE_S = 20, ASK_EVERY = 256 };

static int port;

static void echo(struct http_exchange *x, void *user)
{
    size_t length = 0;
    const char *type = http_header(x, "content-type", &length);

    (void)user;
    /* Everything that a handler can look at is there. */
    FUZZ_CHECK(memchr(x->path, '\n', x->path_length) == NULL);
    FUZZ_CHECK(memchr(x->query, '\n', x->query_length) == NULL);
    FUZZ_CHECK(strlen(x->method) > 0);
    FUZZ_CHECK(type == NULL || memchr(type, '\n', length) == NULL);
    http_reply(x, 200, "application/octet-stream", x->body, x->body_length);
}

static const struct http_route routes[] = {
    {.path = "/p", .type = "text/plain", .body = "pong"},
    {.path = "/e", .handler = echo},
    {0},
};

static void start(void)
{
    static struct http_server *server;
    struct http_params params = {
        .address = "127.0.0.1:0", .routes = routes, .head_bytes_max = 512, .body_bytes_max = 1024};

    FUZZ_CHECK(http_server_start(&server, &params) == 0);
    port = http_server_port(server);
}

static int connect_to_it(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    FUZZ_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

/* As far as the server takes it: it may have heard enough. */
static void send_in_pieces(int fd, const char *data, size_t size, size_t piece)
{
    while (size > 0) {
        ssize_t n = send(fd, data, piece < size ? piece : size, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) /* the fuzzer's clock; no call with a time limit is begun anew */
            continue;
        if (n < 0) {
            FUZZ_CHECK(errno == EPIPE || errno == ECONNRESET);
            return;
        }
        data += n;
        size -= (size_t)n;
    }
    shutdown(fd, SHUT_WR);
}

/* To the end; returns how much of it came into the buffer. */
static size_t receive(int fd, char *buffer, size_t capacity)
{
    static char rest[4096];
    size_t length = 0;
    ssize_t n;

    for (;;) {
        n = length < capacity ? recv(fd, buffer + length, capacity - length, 0) : recv(fd, rest, sizeof rest, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        length += length < capacity ? (size_t)n : 0;
    }
    FUZZ_CHECK(n == 0 || errno == ECONNRESET); /* not: it took too long */
    return length;
}

static size_t exchange(const char *data, size_t size, size_t piece, char *answer, size_t capacity)
{
    int fd = connect_to_it();
    size_t length;

    send_in_pieces(fd, data, size, piece);
    length = receive(fd, answer, capacity);
    close(fd);
    return length;
}

static void check_first_status(const char *answer, size_t length)
{
    static const int statuses[] = {100, 200, 400, 404, 405, 408, 413, 414, 431, 505};
    char line[13] = "";
    int status = 0;

    if (length == 0)
        return;
    FUZZ_CHECK(length > 12);
    memcpy(line, answer, 12);
    FUZZ_CHECK(sscanf(line, "HTTP/1.1 %d", &status) == 1);
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (status == statuses[i])
            return;
    FUZZ_CHECK(!"a status that nobody has chosen");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char ping[] = "GET /p HTTP/1.1\r\nHost: h\r\n\r\n";
    static unsigned inputs;
    char answer[1024];
    size_t length;

    if (port == 0)
        start();
    if (size < 1)
        return 0;
    length = exchange((const char *)data + 1, size - 1, data[0] > 0 ? data[0] : size, answer, sizeof answer);
    check_first_status(answer, length);
    if (inputs++ % ASK_EVERY == 0) {
        length = exchange(ping, sizeof ping - 1, sizeof ping, answer, sizeof answer);
        FUZZ_CHECK(length > 4 && memcmp(answer + length - 4, "pong", 4) == 0);
    }
    return 0;
}
