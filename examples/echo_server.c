/* SPDX-License-Identifier: MIT */
/*
 * echo_server PORT: sends back what it receives, one virtual thread per connection.
 *
 *     $ ./echo_server 7777 &
 *     $ echo hello | nc -N localhost 7777
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/net.h>
#include <vthread/vthread.h>

enum { BUFFER_BYTES = 4096 };

static void *echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    /* Not a local: those are kept while the thread waits, which is most of the time. */
    char *buffer = malloc(BUFFER_BYTES);
    ssize_t n;

    while (buffer != NULL && (n = vthread_read(fd, buffer, BUFFER_BYTES)) > 0)
        if (vthread_write_all(fd, buffer, (size_t)n) < 0)
            break;
    free(buffer);
    vthread_close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    int listener = (int)(intptr_t)arg;

    for (;;) {
        int fd = vthread_accept(listener, NULL, NULL);

        if (fd == -EMFILE || fd == -ENFILE) /* accept has waited a little, and somebody may have closed one since */
            continue;
        if (fd < 0) {
            fprintf(stderr, "echo_server: accept: %s\n", strerror(-fd));
            return NULL;
        }
        if (vthread_create(NULL, NULL, echo, (void *)(intptr_t)fd) != 0)
            vthread_close(fd);
    }
}

int main(int argc, char **argv)
{
    char address[32];
    vthread_t server;
    int listener;

    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    snprintf(address, sizeof address, "127.0.0.1:%s", argv[1]);
    listener = vthread_listen_tcp(address, 0, 0);
    if (listener < 0) {
        fprintf(stderr, "echo_server: %s: %s\n", address, strerror(-listener));
        return 1;
    }
    if (vthread_create(&server, NULL, serve, (void *)(intptr_t)listener) != 0)
        return 1;
    vthread_join(server, NULL);
    return 1;
}
