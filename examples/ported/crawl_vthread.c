/* SPDX-License-Identifier: MIT */
/*
 * crawl_vthread HOST:PORT: reads "/" and every page that links lead to, and counts them.  A virtual thread for each
 * page, so a page is what a function does; what is scarce, connections, is in a pool.
 * crawl_pthread.c is the same program with pthreads, where the threads are what is scarce.
 */
#include <vthread/net.h>
#include <vthread/pool.h>
#include <vthread/sync.h>

#include "crawl.h"

static vthread_pool_t *connections;
static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static vthread_cond_t finished = VTHREAD_COND_INITIALIZER;
static long under_way, pages, failures;
static int64_t bytes;

/* ---- connections: a descriptor each, plus 1, since no object may be NULL ---- */

static int connect_it(void *user, void **ret_obj)
{
    int fd = vthread_dial_tcp(user);

    if (fd < 0)
        return -fd;
    *ret_obj = (void *)(intptr_t)(fd + 1);
    return 0;
}

static void disconnect_it(void *user, void *obj)
{
    (void)user;
    vthread_close((int)(intptr_t)obj - 1);
}

/* The body, to be freed, or NULL. */
static char *get(int fd, const char *path)
{
    char request[PATH_BYTES + 64], head[HEAD_BYTES];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    size_t have = 0, in_head;
    long size;
    char *end = NULL, *body;

    if (vthread_write_all(fd, request, (size_t)length) < 0)
        return NULL;
    while (end == NULL && have < sizeof head - 1) {
        ssize_t n = vthread_read(fd, head + have, sizeof head - 1 - have);

        if (n <= 0)
            return NULL;
        have += (size_t)n;
        head[have] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    size = end != NULL ? body_length(head) : -1;
    in_head = end != NULL ? have - (size_t)(end + 4 - head) : 0;
    if (size < (long)in_head || (body = malloc((size_t)size + 1)) == NULL)
        return NULL;
    memcpy(body, end + 4, in_head);
    body[size] = '\0';
    if (vthread_read_full(fd, body + in_head, (size_t)size - in_head) == (ssize_t)((size_t)size - in_head))
        return body;
    free(body);
    return NULL;
}

static char *fetch(const char *path)
{
    void *connection;
    char *page;

    if (vthread_pool_acquire(connections, &connection) != 0)
        return NULL;
    page = get((int)(intptr_t)connection - 1, path);
    if (page != NULL)
        vthread_pool_release(connections, connection);
    else
        vthread_pool_discard(connections, connection); /* who knows what state it is in */
    return page;
}

/* ---- pages ---- */

static void start_crawl(const char *path);

static void *crawl(void *arg)
{
    char path[PATH_BYTES];
    char *page = fetch(arg); /* arg is a copy of our own */

    for (const char *at = page; at != NULL && (at = next_link(at, path)) != NULL;)
        start_crawl(path);
    vthread_mutex_lock(&mutex);
    pages += page != NULL;
    failures += page == NULL;
    bytes += page != NULL ? (int64_t)strlen(page) : 0;
    if (--under_way == 0)
        vthread_cond_signal(&finished);
    vthread_mutex_unlock(&mutex);
    free(page);
    return NULL;
}

static void start_crawl(const char *path)
{
    bool is_new;

    vthread_mutex_lock(&mutex);
    is_new = see(path);
    under_way += is_new;
    vthread_mutex_unlock(&mutex);
    if (is_new && vthread_create_copy(NULL, NULL, crawl, path, strlen(path) + 1) != 0)
        abort();
}

int main(int argc, char **argv)
{
    vthread_pool_params_t params = {.max_objects = CONNECTIONS, .create = connect_it, .destroy = disconnect_it};

    if (argc != 2) {
        fprintf(stderr, "usage: %s HOST:PORT\n", argv[0]);
        return 2;
    }
    params.user = argv[1];
    if (vthread_pool_new(&connections, &params) != 0)
        return 1;
    start_crawl("/");
    vthread_mutex_lock(&mutex);
    while (under_way > 0)
        vthread_cond_wait(&finished, &mutex);
    vthread_mutex_unlock(&mutex);
    vthread_pool_free(connections);
    printf("%ld pages, %lld bytes, %ld failures\n", pages, (long long)bytes, failures);
    return failures > 0;
}
