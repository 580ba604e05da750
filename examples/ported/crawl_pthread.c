/* SPDX-License-Identifier: MIT */
/*
 * crawl_pthread PORT: reads "/" and every page that links lead to (on this machine), and counts them.  Threads are
 * dear, so there are as many as connections, each has one, and what there is to do waits in a list. crawl_vthread.c is
 * the same program with virtual threads.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crawl.h"

struct job {
    struct job *next;
    char path[PATH_BYTES];
};

static struct sockaddr_in address = {.sin_family = AF_INET};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* for all of these */
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static struct job *jobs;
static long under_way; /* jobs, and those that are being done */
static long pages, failures;
static int64_t bytes;

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

static bool read_full(int fd, char *buffer, size_t size)
{
    while (size > 0) {
        ssize_t n = read(fd, buffer, size);

        if (n <= 0)
            return false;
        buffer += n;
        size -= (size_t)n;
    }
    return true;
}

/* The body, to be freed, or NULL. */
static char *get(int fd, const char *path)
{
    char request[PATH_BYTES + 64], head[HEAD_BYTES];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    size_t have = 0, in_head;
    long size;
    char *end = NULL, *body;

    if (!send_all(fd, request, (size_t)length))
        return NULL;
    while (end == NULL && have < sizeof head - 1) {
        ssize_t n = read(fd, head + have, sizeof head - 1 - have);

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
    if (read_full(fd, body + in_head, (size_t)size - in_head))
        return body;
    free(body);
    return NULL;
}

/* With the thread's own connection, made anew where there is none. */
static char *fetch(int *fd, const char *path)
{
    char *page = NULL;

    if (*fd < 0 && (*fd = socket(AF_INET, SOCK_STREAM, 0)) < 0)
        return NULL;
    if (getpeername(*fd, (struct sockaddr *)&(struct sockaddr_in){0}, &(socklen_t){sizeof address}) == 0 ||
        connect(*fd, (struct sockaddr *)&address, sizeof address) == 0)
        page = get(*fd, path);
    if (page == NULL) {
        close(*fd); /* who knows what state it is in */
        *fd = -1;
    }
    return page;
}

/* ---- pages ---- */

static void put_job(const char *path)
{
    struct job *job = malloc(sizeof *job);

    if (job == NULL)
        abort();
    pthread_mutex_lock(&mutex);
    if (see(path)) {
        strcpy(job->path, path);
        job->next = jobs;
        jobs = job;
        under_way++;
        pthread_cond_signal(&more);
        job = NULL;
    }
    pthread_mutex_unlock(&mutex);
    free(job);
}

/* NULL: all is done. */
static struct job *take_job(void)
{
    struct job *job;

    pthread_mutex_lock(&mutex);
    while (jobs == NULL && under_way > 0)
        pthread_cond_wait(&more, &mutex);
    job = jobs;
    if (job != NULL)
        jobs = job->next;
    pthread_mutex_unlock(&mutex);
    return job;
}

static void job_done(const char *page)
{
    pthread_mutex_lock(&mutex);
    pages += page != NULL;
    failures += page == NULL;
    bytes += page != NULL ? (int64_t)strlen(page) : 0;
    if (--under_way == 0)
        pthread_cond_broadcast(&more);
    pthread_mutex_unlock(&mutex);
}

static void *crawl(void *arg)
{
    char path[PATH_BYTES];
    struct job *job;
    int fd = -1;

    while ((job = take_job()) != NULL) {
        char *page = fetch(&fd, job->path);

        for (const char *at = page; at != NULL && (at = next_link(at, path)) != NULL;)
            put_job(path);
        job_done(page);
        free(page);
        free(job);
    }
    if (fd >= 0)
        close(fd);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t threads[CONNECTIONS];

    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    put_job("/");
    for (int i = 0; i < CONNECTIONS; i++)
        if (pthread_create(&threads[i], NULL, crawl, NULL) != 0)
            return 1;
    for (int i = 0; i < CONNECTIONS; i++)
        pthread_join(threads[i], NULL);
    printf("%ld pages, %lld bytes, %ld failures\n", pages, (long long)bytes, failures);
    return failures > 0;
}
