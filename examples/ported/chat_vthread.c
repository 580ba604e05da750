/* SPDX-License-Identifier: MIT */
/*
 * chat_vthread PORT: whatever line one says, all others hear.  Two virtual threads for each connection: one reads,
 * one writes what is in its queue.  chat_pthread.c is the same program with pthreads.
 *
 * One who does not take a line for PATIENCE_MS is sent away, so that the others need not wait for him.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/net.h>
#include <vthread/queue.h>
#include <vthread/sync.h>

enum { LINE_BYTES = 256, LINES = 64, PATIENCE_MS = 500, SEND_BYTES = 65536 };

struct line {
    size_t length;
    char text[LINE_BYTES];
};

struct client {
    struct client *next;
    int fd;
    vthread_queue_t *lines;
    size_t start, end; /* of what was read and not yet looked at */
    char buffer[4096];
};

static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static struct client *clients;

/* The next line, with its end; one that is too long comes in pieces.  False: there is none. */
static bool read_line(struct client *c, struct line *line)
{
    line->length = 0;
    while (line->length < LINE_BYTES) {
        if (c->start == c->end) {
            ssize_t n = vthread_read(c->fd, c->buffer, sizeof c->buffer);

            if (n <= 0)
                return false;
            c->start = 0;
            c->end = (size_t)n;
        }
        line->text[line->length++] = c->buffer[c->start++];
        if (line->text[line->length - 1] == '\n')
            break;
    }
    return true;
}

/* Its two threads notice. */
static void send_away(struct client *c)
{
    vthread_queue_close(c->lines);
    vthread_shutdown(c->fd, SHUT_RDWR);
}

static void broadcast(const struct client *from, const struct line *line)
{
    vthread_mutex_lock(&mutex);
    for (struct client *c = clients; c != NULL; c = c->next)
        if (c != from && vthread_queue_put_until(c->lines, line, vthread_after_ms(PATIENCE_MS)) == ETIMEDOUT)
            send_away(c);
    vthread_mutex_unlock(&mutex);
}

static void *write_lines(void *arg)
{
    struct client *c = arg;
    struct line line;

    while (vthread_queue_take(c->lines, &line) == 0)
        if (vthread_write_all(c->fd, line.text, line.length) < 0)
            break;
    send_away(c); /* put no longer waits for us, nor the other thread for lines */
    return NULL;
}

static void enter(struct client *c)
{
    vthread_mutex_lock(&mutex);
    c->next = clients;
    clients = c;
    vthread_mutex_unlock(&mutex);
}

static void leave(struct client *c)
{
    struct client **at = &clients;

    vthread_mutex_lock(&mutex);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    vthread_mutex_unlock(&mutex);
}

static void *serve(void *arg)
{
    struct client *c = arg;
    struct line line;
    vthread_t writer;

    if (vthread_queue_new(&c->lines, sizeof(struct line), LINES) == 0) {
        if (vthread_create(&writer, NULL, write_lines, c) == 0) {
            enter(c);
            while (read_line(c, &line))
                broadcast(c, &line);
            leave(c);
            vthread_queue_close(c->lines);
            vthread_join(writer, NULL);
        }
        vthread_queue_free(c->lines);
    }
    vthread_close(c->fd);
    free(c);
    return NULL;
}

static void greet(int fd)
{
    struct client *c = calloc(1, sizeof *c);

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BYTES}, sizeof(int));
    if (c != NULL) {
        c->fd = fd;
        if (vthread_create(NULL, NULL, serve, c) == 0)
            return;
    }
    free(c);
    vthread_close(fd);
}

int main(int argc, char **argv)
{
    char address[32];
    struct sockaddr_in name;
    int listener, fd;

    snprintf(address, sizeof address, "127.0.0.1:%s", argc == 2 ? argv[1] : "0");
    listener = vthread_listen_tcp(address, 0, 0);
    if (listener < 0 || getsockname(listener, (struct sockaddr *)&name, &(socklen_t){sizeof name}) != 0) {
        fprintf(stderr, "chat: cannot listen on %s\n", address);
        return 1;
    }
    printf("port %d\n", ntohs(name.sin_port));
    fflush(stdout);
    while ((fd = vthread_accept(listener, NULL, NULL)) >= 0)
        greet(fd);
    return 1;
}
