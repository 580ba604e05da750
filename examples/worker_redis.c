/* SPDX-License-Identifier: MIT */
#include "worker_redis.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/pool.h>
#include <vthread/vthread.h>

enum { DEFAULT_PORT = 6379, HOST_BYTES = 256 };

static struct {
    char host[HOST_BYTES]; /* or path */
    int port;              /* 0: it is a path */
    int64_t patience_ms;
} server;

static vthread_pool_t *connections;
static atomic_bool away;

static void say_away(const char *why)
{
    if (!vthread_is_interrupted(vthread_self()) && !atomic_exchange(&away, true))
        fprintf(stderr, "worker: Redis: %s; trying again\n", why);
}

static void say_there(void)
{
    if (atomic_load_explicit(&away, memory_order_relaxed) && atomic_exchange(&away, false))
        fprintf(stderr, "worker: Redis is there again\n");
}

/* ---- connections ---- */

static struct timeval timeval_of_ms(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

static bool log_in(redisContext *redis)
{
    const char *password = getenv("REDISCLI_AUTH");
    redisReply *reply;
    bool ok;

    if (password == NULL)
        return true;
    reply = redisCommand(redis, "AUTH %s", password);
    ok = reply != NULL && reply->type != REDIS_REPLY_ERROR;
    if (!ok)
        say_away(reply != NULL ? reply->str : redis->errstr);
    freeReplyObject(reply);
    return ok;
}

redisContext *redis_dial(int64_t wait_ms)
{
    struct timeval patience = timeval_of_ms(server.patience_ms);
    redisContext *redis = server.port == 0 ? redisConnectUnixWithTimeout(server.host, patience)
                                           : redisConnectWithTimeout(server.host, server.port, patience);

    if (redis == NULL || redis->err != 0)
        say_away(redis != NULL ? redis->errstr : strerror(ENOMEM));
    else if (redisSetTimeout(redis, timeval_of_ms(server.patience_ms + wait_ms)) == REDIS_OK && log_in(redis))
        return redis;
    if (redis != NULL)
        redisFree(redis);
    return NULL;
}

static int pool_dial(void *user, void **ret_obj)
{
    (void)user;
    *ret_obj = redis_dial(0);
    return *ret_obj != NULL ? 0 : ECONNREFUSED;
}

/* Redis says nothing unasked, unless it has gone. */
static bool pool_is_silent(void *user, void *obj)
{
    struct pollfd p = {.fd = ((redisContext *)obj)->fd, .events = POLLIN};

    (void)user;
    return poll(&p, 1, 0) == 0;
}

static void pool_hang_up(void *user, void *obj)
{
    (void)user;
    redisFree(obj);
}

/* ---- questions ---- */

/* NULL: the connection is of no more use. */
static redisReply *exchange(redisContext *redis, const char *command, int length)
{
    void *reply = NULL;

    if (redisAppendFormattedCommand(redis, command, (size_t)length) == REDIS_OK &&
        redisGetReply(redis, &reply) == REDIS_OK)
        return reply;
    say_away(redis->errstr);
    return NULL;
}

/* It will do better later: it starts, or is being replaced. */
static bool is_temporary(const redisReply *reply)
{
    static const char *const words[] = {"LOADING ", "BUSY ", "TRYAGAIN ", "MASTERDOWN ", "READONLY ", "CLUSTERDOWN "};

    for (size_t i = 0; reply->type == REDIS_REPLY_ERROR && i < sizeof words / sizeof *words; i++)
        if (strncmp(reply->str, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

/* 0, EINTR, or EAGAIN: try again. */
static int ask_once(const char *command, int length, redisReply **ret_reply)
{
    redisReply *reply;
    void *redis;
    int error = vthread_pool_acquire(connections, &redis);

    if (error != 0)
        return error == EINTR ? EINTR : EAGAIN;
    reply = exchange(redis, command, length);
    if (reply == NULL) {
        vthread_pool_discard(connections, redis);
        return EAGAIN;
    }
    vthread_pool_release(connections, redis);
    if (is_temporary(reply)) {
        say_away(reply->str);
        freeReplyObject(reply);
        return EAGAIN;
    }
    say_there();
    *ret_reply = reply;
    return 0;
}

static redisReply *refuse_errors(redisReply *reply)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ERROR)
        return reply;
    fprintf(stderr, "worker: Redis refuses: %s\n", reply->str);
    freeReplyObject(reply);
    return NULL;
}

static redisReply *ask(const char *command, int length)
{
    redisReply *reply = NULL;

    while (length > 0 && ask_once(command, length, &reply) == EAGAIN)
        /* A call of hiredis that was interrupted leaves the flag as it was. */
        if (vthread_interrupted() || vthread_sleep_ms(REDIS_RETRY_MS) != 0)
            break;
    return refuse_errors(reply);
}

redisReply *redis_ask(const char *format, ...)
{
    char *command = NULL;
    redisReply *reply;
    va_list args;
    int length;

    va_start(args, format);
    length = redisvFormatCommand(&command, format, args);
    va_end(args);
    reply = ask(command, length);
    redisFreeCommand(command);
    return reply;
}

redisReply *redis_ask_vector(int count, const char **words)
{
    char *command = NULL;
    int length = redisFormatCommandArgv(&command, count, words, NULL);
    redisReply *reply = ask(command, length);

    redisFreeCommand(command);
    return reply;
}

redisReply *redis_ask_by(redisContext **redis, const char *format, ...)
{
    redisReply *reply;
    va_list args;

    va_start(args, format);
    reply = redisvCommand(*redis, format, args);
    va_end(args);
    if (reply != NULL && reply->type != REDIS_REPLY_ERROR) {
        say_there();
        return reply;
    }
    say_away(reply != NULL ? reply->str : (*redis)->errstr);
    freeReplyObject(reply);
    redisFree(*redis);
    *redis = NULL;
    return NULL;
}

/* ---- begin and end ---- */

static bool parse_address(const char *address)
{
    const char *colon = strrchr(address, ':');
    bool is_path = strchr(address, '/') != NULL;
    size_t length = colon != NULL && !is_path ? (size_t)(colon - address) : strlen(address);
    char *end = NULL;
    long port = is_path ? 0 : colon != NULL ? strtol(colon + 1, &end, 10) : DEFAULT_PORT;

    if (length == 0 || length >= sizeof server.host || port < !is_path || port > 65535 || (end != NULL && *end != '\0'))
        return false;
    memcpy(server.host, address, length);
    server.host[length] = '\0';
    server.port = (int)port;
    return true;
}

int redis_open(const char *address, unsigned most, int64_t patience_ms)
{
    vthread_pool_params_t params = {
        .max_objects = most,
        .create = pool_dial,
        .validate = pool_is_silent,
        .destroy = pool_hang_up,
    };

    if (!parse_address(address))
        return EINVAL;
    server.patience_ms = patience_ms;
    return vthread_pool_new(&connections, &params);
}

void redis_close(void)
{
    vthread_pool_free(connections);
}
