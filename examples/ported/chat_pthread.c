/* SPDX-License-Identifier: MIT */
/*
 * chat_pthread PORT: whatever line one says, all others hear.  Two threads for each connection: one reads,
 * one writes what is in its queue.  chat_vthread.c is the same program with virtual threads.
 *
 * One who does not take a line for PATIENCE_MS is sent away, so that the others need not wait for him.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 256, LINES = 64, PATIENCE_MS = 500, SEND_BYTES = 65536, STACK_BYTES = 65536 };

struct line {
    size_t length;
    char text[LINE_BYTES];
};

/* What <vthread/queue.h> has: a ring for the writer to take from. */
struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t filled, emptied;
    size_t first, count;
    bool closed;
    struct line ring[LINES];
};

struct client {
    struct client *next;
    int fd;
    struct queue lines;
    size_t start, end; /* of what was read and not yet looked at */
    char buffer[4096];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct client *clients;

static void queue_init(struct queue *q)
{
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->filled, NULL);
    pthread_cond_init(&q->emptied, NULL);
}

static void queue_destroy(struct queue *q)
{
    pthread_cond_destroy(&q->emptied);
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->mutex);
}

static struct timespec after_ms(int ms)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += ms * 1000000L;
    ts.tv_sec += ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    return ts;
}

static int queue_put_until(struct queue *q, const struct line *line, const struct timespec *deadline)
{
    int error = 0;

    pthread_mutex_lock(&q->mutex);
    while (q->count == LINES && !q->closed && error == 0)
        error = pthread_cond_timedwait(&q->emptied, &q->mutex, deadline);
    if (q->closed)
        error = ECANCELED;
    if (error == 0) {
        q->ring[(q->first + q->count++) % LINES] = *line;
        pthread_cond_signal(&q->filled);
    }
    pthread_mutex_unlock(&q->mutex);
    return error;
}

static int queue_take(struct queue *q, struct line *line)
{
    int error = 0;

    pthread_mutex_lock(&q->mutex);
    while (q->count == 0 && !q->closed)
        pthread_cond_wait(&q->filled, &q->mutex);
    if (q->count > 0) {
        *line = q->ring[q->first];
        q->first = (q->first + 1) % LINES;
        q->count--;
        pthread_cond_signal(&q->emptied);
    } else {
        error = ECANCELED;
    }
    pthread_mutex_unlock(&q->mutex);
    return error;
}

static void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->closed = true;
    pthread_cond_broadcast(&q->filled);
    pthread_cond_broadcast(&q->emptied);
    pthread_mutex_unlock(&q->mutex);
}

/* The next line, with its end; one that is too long comes in pieces.  False: there is none. */
static bool read_line(struct client *c, struct line *line)
{
    line->length = 0;
    while (line->length < LINE_BYTES) {
        if (c->start == c->end) {
            ssize_t n = read(c->fd, c->buffer, sizeof c->buffer);

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
    queue_close(&c->lines);
    shutdown(c->fd, SHUT_RDWR);
}

static void broadcast(const struct client *from, const struct line *line)
{
    pthread_mutex_lock(&mutex);
    for (struct client *c = clients; c != NULL; c = c->next) {
        struct timespec deadline = after_ms(PATIENCE_MS);

        if (c != from && queue_put_until(&c->lines, line, &deadline) == ETIMEDOUT)
            send_away(c);
    }
    pthread_mutex_unlock(&mutex);
}

static bool send_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, text, length, MSG_NOSIGNAL);

        if (n < 0)
            return false;
        text += n;
        length -= (size_t)n;
    }
    return true;
}

static void *write_lines(void *arg)
{
    struct client *c = arg;
    struct line line;

    while (queue_take(&c->lines, &line) == 0)
        if (!send_all(c->fd, line.text, line.length))
            break;
    send_away(c); /* put no longer waits for us, nor the other thread for lines */
    return NULL;
}

static void enter(struct client *c)
{
    pthread_mutex_lock(&mutex);
    c->next = clients;
    clients = c;
    pthread_mutex_unlock(&mutex);
}

static void leave(struct client *c)
{
    struct client **at = &clients;

    pthread_mutex_lock(&mutex);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pthread_mutex_unlock(&mutex);
}

static void *serve(void *arg)
{
    struct client *c = arg;
    struct line line;
    pthread_t writer;

    queue_init(&c->lines);
    if (pthread_create(&writer, NULL, write_lines, c) == 0) {
        enter(c);
        while (read_line(c, &line))
            broadcast(c, &line);
        leave(c);
        queue_close(&c->lines);
        pthread_join(writer, NULL);
    }
    queue_destroy(&c->lines);
    close(c->fd);
    free(c);
    return NULL;
}

static void greet(int fd)
{
    struct client *c = calloc(1, sizeof *c);
    pthread_attr_t attr; /* megabytes of stack for each connection would be too much, so somebody has to guess */
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BYTES}, sizeof(int));
    if (c != NULL) {
        c->fd = fd;
        if (pthread_create(&thread, &attr, serve, c) == 0)
            fd = -1;
        else
            free(c);
    }
    if (fd >= 0)
        close(fd);
    pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

    name.sin_port = htons((uint16_t)(argc == 2 ? atoi(argv[1]) : 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, SOMAXCONN) != 0 ||
        getsockname(listener, (struct sockaddr *)&name, &(socklen_t){sizeof name}) != 0) {
        fprintf(stderr, "chat: cannot listen\n");
        return 1;
    }
    printf("port %d\n", ntohs(name.sin_port));
    fflush(stdout);
    while ((fd = accept(listener, NULL, NULL)) >= 0)
        greet(fd);
    return 1;
}
