/* SPDX-License-Identifier: MIT */
/*
 * redis_many SOCKET [THREADS [ROUNDS]]: a thousand virtual threads, each with a connection to Redis of its own, through
 * hiredis as it is: its plain calls, which block.
 *
 *     $ ./redis_many /run/redis.sock 1000 10
 *
 * It is linked with libvthread-posix, and that is all: hiredis' read, write, poll and connect park the virtual
 * thread.  The last line says how many OS threads that took.
 */
#include <hiredis/hiredis.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/runtime.h>
#include <vthread/sync.h>
#include <vthread/version.h>
#include <vthread/vthread.h>

enum { THREADS = 1000, ROUNDS = 10, SHUTDOWN_MS = 20000 };

static const char *path;
static int rounds = ROUNDS;
static atomic_int right;
static atomic_int os_threads;
static vthread_barrier_t connected;

static int count_os_threads(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[128];
    int n = 0;

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return n;
}

static bool command(redisContext *redis, const char *expected, const char *format, int id, int value)
{
    redisReply *reply = redisCommand(redis, format, id, value);
    bool is_right =
        reply != NULL && reply->type != REDIS_REPLY_ERROR && reply->str != NULL && strcmp(reply->str, expected) == 0;

    freeReplyObject(reply);
    return is_right;
}

/* Each counts in a key of its own, sleeps in the server now and then, and finds what it has written. */
static void *talk(void *arg)
{
    int id = (int)(intptr_t)arg;
    redisContext *redis = redisConnectUnix(path);
    char value[16];
    int done = 0;

    if (redis == NULL || redis->err)
        fprintf(stderr, "redis_many: %s\n", redis != NULL ? redis->errstr : "no memory");
    vthread_barrier_wait(&connected);
    for (int i = 0; redis != NULL && !redis->err && i < rounds; i++) {
        snprintf(value, sizeof value, "%d", i);
        done += command(redis, "OK", "SET key:%d %d", id, i) && command(redis, value, "GET key:%d", id, 0);
        if (id == 0 && i == rounds / 2)
            atomic_store(&os_threads, count_os_threads());
    }
    atomic_fetch_add(&right, done);
    if (redis != NULL)
        redisFree(redis);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : THREADS;
    vthread_t *all = calloc((size_t)threads, sizeof(vthread_t));
    int started = 0;

    if (argc < 2 || all == NULL) {
        fprintf(stderr, "usage: %s SOCKET [THREADS [ROUNDS]]\n", argv[0]);
        return 2;
    }
    if (!vthread_has("posix")) {
        fprintf(stderr, "%s: libvthread-posix is not in effect\n", argv[0]);
        return 1;
    }
    path = argv[1];
    rounds = argc > 3 ? atoi(argv[3]) : ROUNDS;
    vthread_barrier_init(&connected, threads);
    while (started < threads && vthread_create(&all[started], NULL, talk, (void *)(intptr_t)started) == 0)
        started++;
    for (int i = 0; i < started; i++)
        vthread_join(all[i], NULL);
    free(all);
    vthread_runtime_stats_t stats;
    vthread_runtime_stats(&stats);
    printf("%d of %d rounds right, with %d OS threads and %u carriers\n", atomic_load(&right), threads * rounds,
           atomic_load(&os_threads), stats.parallelism);
    return atomic_load(&right) == threads * rounds && vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS)) == 0 ? 0
                                                                                                                   : 1;
}
