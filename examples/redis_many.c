/* SPDX-License-Identifier: MIT */
/*
 * redis_many SOCKET [THREADS [ROUNDS]]: a thousand virtual threads, each with a connection to Redis of its own, through
 * hiredis as it is: its plain calls, which block.
 *
 *     $ ./redis_many /run/redis.sock 1000 10
 *
 * Each writes a number; when all have, all ask for theirs, ROUNDS times; that is what is timed.
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

#include "os_threads.h"

enum { THREADS = 1000, ROUNDS = 10, KNOCKING = 256, SHUTDOWN_MS = 20000 };

static const char *path;
static int rounds = ROUNDS;
static atomic_int right, failed;
static atomic_int os_threads;
/* Redis' socket has room for 511 who have not been let in yet; hiredis does not wait for it, but fails. */
static vthread_sem_t knocking = VTHREAD_SEM_INITIALIZER(KNOCKING);
static vthread_barrier_t connected, answered; /* all threads, and main */

static bool answers(redisContext *redis, const char *expected, const char *format, int id)
{
    redisReply *reply = redisCommand(redis, format, id, id);
    bool is_right =
        reply != NULL && reply->type != REDIS_REPLY_ERROR && reply->str != NULL && strcmp(reply->str, expected) == 0;

    freeReplyObject(reply);
    return is_right;
}

/* Each has written a number; then all of them ask for theirs at once. */
static void *talk(void *arg)
{
    int id = (int)(intptr_t)arg;
    redisContext *redis;
    char number[16];
    int done = 0;
    bool ok;

    vthread_sem_acquire(&knocking, 1);
    redis = redisConnectUnix(path);
    snprintf(number, sizeof number, "%d", id);
    ok = redis != NULL && !redis->err && answers(redis, "OK", "SET key:%d %d", id);
    vthread_sem_release(&knocking, 1);
    if (!ok && atomic_fetch_add(&failed, 1) == 0)
        fprintf(stderr, "redis_many: %s\n", redis != NULL ? redis->errstr : "no memory");
    vthread_barrier_wait(&connected);
    for (int i = 0; ok && i < rounds; i++) {
        done += answers(redis, number, "GET key:%d", id);
        if (id == 0 && i == rounds / 2)
            atomic_store(&os_threads, count_os_threads());
    }
    atomic_fetch_add(&right, done);
    vthread_barrier_wait(&answered);
    if (redis != NULL)
        redisFree(redis);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : THREADS;
    vthread_t *all = calloc((size_t)threads, sizeof(vthread_t));
    int64_t began_ns, ended_ns;
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
    vthread_barrier_init(&connected, threads + 1);
    vthread_barrier_init(&answered, threads + 1);
    while (started < threads && vthread_create(&all[started], NULL, talk, (void *)(intptr_t)started) == 0)
        started++;
    if (started < threads) {
        fprintf(stderr, "%s: only %d threads could be started\n", argv[0], started);
        return 1;
    }
    vthread_barrier_wait(&connected);
    began_ns = vthread_now_ns();
    vthread_barrier_wait(&answered);
    ended_ns = vthread_now_ns();
    for (int i = 0; i < started; i++)
        vthread_join(all[i], NULL);
    free(all);
    vthread_runtime_stats_t stats;
    vthread_runtime_stats(&stats);
    printf("%d of %d right, with %d OS threads and %u carriers, in %d ms\n", atomic_load(&right), threads * rounds,
           atomic_load(&os_threads), stats.parallelism, (int)((ended_ns - began_ns) / 1000000));
    return atomic_load(&right) == threads * rounds && vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS)) == 0 ? 0
                                                                                                                   : 1;
}
