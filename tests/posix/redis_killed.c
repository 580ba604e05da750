/* SPDX-License-Identifier: MIT */
/*
 * redis_killed SOCKET THREADS: each thread waits in a list of its own (BLPOP, through hiredis), while redis_killed.py
 * kills the server.  Each must be told, connect to the next server, wait again, and get what is for it.
 */
#include <hiredis/hiredis.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vthread/runtime.h>
#include <vthread/version.h>
#include <vthread/vthread.h>

#include "examples/os_threads.h"

enum { RETRY_US = 10000, SHUTDOWN_MS = 60000 };

static const char *path;
static atomic_int lost, answered, os_threads;

/* Until there is a server, and room in its backlog. */
static redisContext *dial(void)
{
    redisContext *redis;

    while ((redis = redisConnectUnix(path)) == NULL || redis->err != 0) {
        if (redis != NULL)
            redisFree(redis);
        usleep(RETRY_US);
    }
    return redis;
}

/* Once more than connections are lost: that to a server which is just being killed, and has not let us in, is another.
 */
static void *wait_for_number(void *arg)
{
    int id = (int)(intptr_t)arg;
    redisReply *reply = NULL;
    char number[16];

    for (int times = 0; reply == NULL; times++) {
        redisContext *redis = dial();

        reply = redisCommand(redis, "BLPOP list:%d 0", id);
        if (reply == NULL && redis->err != REDIS_ERR_EOF && redis->err != REDIS_ERR_IO)
            fprintf(stderr, "thread %d: %s\n", id, redis->errstr);
        else if (reply == NULL && times == 0 && atomic_fetch_add(&lost, 1) == 0)
            atomic_store(&os_threads, count_os_threads());
        redisFree(redis);
    }
    snprintf(number, sizeof number, "%d", id);
    if (reply->type == REDIS_REPLY_ARRAY && strcmp(reply->element[1]->str, number) == 0)
        atomic_fetch_add(&answered, 1);
    else
        fprintf(stderr, "thread %d: somebody else's answer\n", id);
    freeReplyObject(reply);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 0;
    vthread_t *all = calloc((size_t)threads, sizeof(vthread_t));
    vthread_runtime_stats_t stats;

    if (argc != 3 || all == NULL || !vthread_has("posix")) {
        fprintf(stderr, "usage: %s SOCKET THREADS, with libvthread-posix in effect\n", argv[0]);
        return 2;
    }
    path = argv[1];
    for (int i = 0; i < threads; i++)
        if (vthread_create(&all[i], NULL, wait_for_number, (void *)(intptr_t)i) != 0)
            return 2;
    for (int i = 0; i < threads; i++)
        vthread_join(all[i], NULL);
    free(all);
    vthread_runtime_stats(&stats);
    printf("%d lost, %d answered, %d OS threads, %u carriers\n", atomic_load(&lost), atomic_load(&answered),
           atomic_load(&os_threads), stats.parallelism);
    return vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS));
}
