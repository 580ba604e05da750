/* SPDX-License-Identifier: MIT */
/*
 * worker [--redis ADDRESS] STREAM: takes jobs from a stream of Redis, and runs each on a virtual thread of its own.
 *
 *     $ ./worker --redis localhost jobs &
 *     $ redis-cli XADD jobs '*' text hello ms 50
 *     $ redis-cli HGETALL jobs:results
 *
 * Start as many as you like, on as many machines: all of them belong to one consumer group, and each job is given to
 * one of them.  When a server alone no longer suffices: docs/scaling.md.
 *
 * A job is done at least once.  It stays *pending* with its worker until its result is written, in the same
 * transaction that takes it out of the stream.  Workers keep what they run from growing idle; so what has been idle
 * for --min-idle belonged to one that died, or to a job that failed, and whoever sees it first claims it.  What was
 * delivered --deliveries times, and still is not done, goes to STREAM:dead with the reason.  (A job that kills its
 * worker takes the others there down with it, and they have been delivered once more, too: leave them some.)
 * The result is filed under the job's number, so that doing it twice changes nothing.
 *
 * Who does what:
 *     feed     one thread, with a connection that blocks in XREADGROUP: takes permits, as many jobs at most,
 *              and starts them.  No job is taken before there is room for it: another worker may have some
 *     run      a thread for each job; gives its permit back
 *     keep     one thread, says of all running jobs that they still are
 *     main     waits for SIGTERM or SIGINT; then feed ends, the running jobs end, the worker leaves the group
 */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <vthread/executor.h>
#include <vthread/os.h>
#include <vthread/runtime.h>
#include <vthread/sync.h>
#include <vthread/version.h>
#include <vthread/vthread.h>

#include "worker_redis.h"

enum { ID_BYTES = 48, NAME_BYTES = 128, KEY_BYTES = 256, BATCH = 64, UNBLOCK_MS = 50, SHUTDOWN_MS = 20000 };

static struct {
    const char *redis, *group;
    int at_once, deliveries;
    unsigned connections;
    int64_t min_idle_ms, patience_ms, stop_ms;
} options = {
    .redis = "localhost",
    .group = "workers",
    .at_once = 100,
    .deliveries = 5,
    .connections = 8,
    .min_idle_ms = 30000,
    .patience_ms = 10000,
    .stop_ms = 30000,
};

static char name[NAME_BYTES]; /* of this worker, in the group: host-pid */
static struct {
    char jobs[KEY_BYTES], results[KEY_BYTES], dead[KEY_BYTES];
} keys;

static atomic_bool stopping; /* no new jobs */
static atomic_bool stopped;  /* all have ended */

/* ---- a job ---- */

struct job {
    LIST_ENTRY(job) running;
    char id[ID_BYTES]; /* Redis' */
    int64_t ms;
    bool has_text;
    char text[];
};

static struct {
    vthread_mutex_t mutex;
    LIST_HEAD(, job) list;
} running;

static vthread_executor_t *executor;
static vthread_sem_t permits;
static atomic_int at_once;
static atomic_long done, failed;

static const char *field(const redisReply *fields, const char *wanted)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, wanted) == 0)
            return fields->element[i + 1]->str;
    return NULL;
}

/* NULL: no memory. */
static struct job *job_new(const char *id, const redisReply *fields)
{
    const char *text = field(fields, "text");
    const char *ms = field(fields, "ms");
    size_t bytes = text != NULL ? strlen(text) + 1 : 0;
    struct job *job = malloc(sizeof *job + bytes);

    if (job == NULL)
        return NULL;
    snprintf(job->id, sizeof job->id, "%s", id);
    job->ms = ms != NULL ? strtoll(ms, NULL, 10) : 0;
    job->has_text = text != NULL;
    if (text != NULL)
        memcpy(job->text, text, bytes);
    return job;
}

/* What is to be done: here, to wait for `ms` milliseconds, as for some other service, and to write the text backwards.
 */
static bool work(struct job *job)
{
    if (!job->has_text || vthread_sleep_ms(job->ms > 0 ? job->ms : 0) != 0)
        return false;
    for (size_t i = 0, j = strlen(job->text); i + 1 < j; i++) {
        char c = job->text[i];

        job->text[i] = job->text[--j];
        job->text[j] = c;
    }
    return true;
}

/* The result, who found it, and how many jobs ran there: all or nothing, and twice is once. */
static bool file_result(const struct job *job, int beside)
{
    static const char script[] = "redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])\n"
                                 "redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])\n"
                                 "return redis.call('XDEL', KEYS[1], ARGV[2])";
    redisReply *reply = redis_ask("EVAL %s 2 %s %s %s %s %s|%s|%d", script, keys.jobs, keys.results, options.group,
                                  job->id, job->text, name, beside);

    freeReplyObject(reply);
    return reply != NULL;
}

static void *run(void *arg)
{
    struct job *job = arg;
    int beside = atomic_fetch_add(&at_once, 1) + 1;
    bool ok = work(job);

    atomic_fetch_sub(&at_once, 1);
    if (ok && file_result(job, beside))
        atomic_fetch_add(&done, 1);
    else /* it stays pending, for whoever claims it */
        atomic_fetch_add(&failed, 1);
    vthread_mutex_lock(&running.mutex);
    LIST_REMOVE(job, running);
    vthread_mutex_unlock(&running.mutex);
    free(job);
    vthread_sem_release(&permits, 1);
    return NULL;
}

/* ---- jobs that run ---- */

static bool is_running(const char *id)
{
    struct job *job;

    vthread_mutex_lock(&running.mutex);
    LIST_FOREACH(job, &running.list, running)
    if (strcmp(job->id, id) == 0)
        break;
    vthread_mutex_unlock(&running.mutex);
    return job != NULL;
}

/* An entry of the stream: its number, and fields with their values (none: it has been deleted). */
static bool start(const redisReply *entry)
{
    struct job *job;

    if (entry->type != REDIS_REPLY_ARRAY || entry->elements < 2 || entry->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    job = job_new(entry->element[0]->str, entry->element[1]);
    if (job == NULL)
        return false;
    vthread_mutex_lock(&running.mutex);
    LIST_INSERT_HEAD(&running.list, job, running);
    vthread_mutex_unlock(&running.mutex);
    if (vthread_executor_submit(executor, run, job, NULL) == 0)
        return true;
    vthread_mutex_lock(&running.mutex);
    LIST_REMOVE(job, running);
    vthread_mutex_unlock(&running.mutex);
    free(job);
    return false;
}

static int start_all(const redisReply *entries)
{
    int started = 0;

    for (size_t i = 0; i < entries->elements; i++)
        started += start(entries->element[i]);
    return started;
}

/* The numbers of those that run. */
static int list_running(char (*ids)[ID_BYTES])
{
    struct job *job;
    int n = 0;

    vthread_mutex_lock(&running.mutex);
    LIST_FOREACH(job, &running.list, running)
    if (n < options.at_once)
        memcpy(ids[n++], job->id, ID_BYTES);
    vthread_mutex_unlock(&running.mutex);
    return n;
}

/* Claiming what one has got already makes it fresh; JUSTID: and is not a delivery. */
static void *keep(void *arg)
{
    char(*ids)[ID_BYTES] = calloc((size_t)options.at_once, ID_BYTES);
    const char **words = calloc((size_t)options.at_once + 6, sizeof *words);

    while (ids != NULL && words != NULL && !stopped && vthread_sleep_ms(options.min_idle_ms / 3) == 0) {
        int count = list_running(ids), n = 0;

        words[n++] = "XCLAIM", words[n++] = keys.jobs, words[n++] = options.group, words[n++] = name, words[n++] = "0";
        for (int i = 0; i < count; i++)
            words[n++] = ids[i];
        words[n++] = "JUSTID";
        if (count > 0)
            freeReplyObject(redis_ask_vector(n, words));
    }
    free(words);
    free(ids);
    return arg;
}

/* ---- where jobs come from ---- */

static redisContext *redis;        /* feed's own */
static atomic_llong connection_id; /* its number, in Redis */
static int64_t look_ns;            /* when to look for what others have left */

static int64_t look_every_ms(void)
{
    return options.min_idle_ms / 2;
}

/* Makes the group if there is none, so that nobody else need do so. */
static bool join_group(void)
{
    static const char script[] = "local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')\n"
                                 "if made.err and not made.err:find('BUSYGROUP') then return made end\n"
                                 "return 1";
    redisReply *reply = redis_ask_by(&redis, "EVAL %s 1 %s %s", script, keys.jobs, options.group);
    static bool said;

    freeReplyObject(reply);
    if (reply == NULL || (reply = redis_ask_by(&redis, "CLIENT ID")) == NULL)
        return false;
    connection_id = reply->integer;
    freeReplyObject(reply);
    if (!said) {
        printf("%s takes jobs from %s\n", name, keys.jobs);
        fflush(stdout);
    }
    return said = true;
}

static bool connect_feed(void)
{
    return redis != NULL || ((redis = redis_dial(look_every_ms())) != NULL && join_group());
}

/* How many of n have been started.  Waits for the first of them, until it is time to look elsewhere. */
static int read_new(int n)
{
    redisReply *reply = redis_ask_by(&redis, "XREADGROUP GROUP %s %s COUNT %d BLOCK %lld STREAMS %s >", options.group,
                                     name, n, (long long)look_every_ms(), keys.jobs);
    int started = 0;

    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0)
        started = start_all(reply->element[0]->element[1]);
    freeReplyObject(reply);
    return started;
}

/* Several workers may: the first does it. */
static void bury(const char *id, long long deliveries)
{
    static const char script[] =
        "if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end\n"
        "local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]\n"
        "if entry then\n"
        "    redis.call('XADD', KEYS[2], '*', 'job', ARGV[2], 'deliveries', ARGV[3], unpack(entry[2]))\n"
        "end\n"
        "return redis.call('XDEL', KEYS[1], ARGV[2])";

    fprintf(stderr, "worker: job %s was delivered %lld times, and goes to %s\n", id, deliveries, keys.dead);
    freeReplyObject(redis_ask_by(&redis, "EVAL %s 2 %s %s %s %s %lld", script, keys.jobs, keys.dead, options.group, id,
                                 deliveries));
}

/* 1: it was still as idle, nobody else has claimed it, and it has been started. */
static int claim(const char *id)
{
    redisReply *reply = redis_ask_by(&redis, "XCLAIM %s %s %s %lld %s", keys.jobs, options.group, name,
                                     (long long)options.min_idle_ms, id);
    int started = reply != NULL ? start_all(reply) : 0;

    freeReplyObject(reply);
    return started;
}

/* What the dead have left, and those that failed; at most n. */
static int claim_idle(int n)
{
    redisReply *idle;
    int started = 0;

    if (vthread_now_ns() < look_ns)
        return 0;
    idle = redis_ask_by(&redis, "XPENDING %s %s IDLE %lld - + %d", keys.jobs, options.group,
                        (long long)options.min_idle_ms, BATCH);
    look_ns = vthread_after_ms(look_every_ms());
    for (size_t i = 0; idle != NULL && i < idle->elements && redis != NULL; i++) {
        const redisReply *row = idle->element[i]; /* number, worker, idle for, delivered so often */

        if (started == n) {
            look_ns = VTHREAD_NOW; /* there is more */
            break;
        }
        if (is_running(row->element[0]->str))
            continue;
        if (row->element[3]->integer >= options.deliveries)
            bury(row->element[0]->str, row->element[3]->integer);
        else
            started += claim(row->element[0]->str);
    }
    freeReplyObject(idle);
    return started;
}

static int take_permits(void)
{
    int n = 1;

    vthread_sem_acquire_uninterruptible(&permits, 1);
    while (n < BATCH && vthread_sem_tryacquire(&permits, 1) == 0)
        n++;
    return n;
}

static void *feed(void *arg)
{
    while (!stopping) {
        int n = take_permits(), started = 0;

        if (!stopping && connect_feed())
            started = claim_idle(n);
        if (!stopping && redis != NULL && started < n)
            started += read_new(n - started);
        vthread_sem_release(&permits, n - started);
        if (redis == NULL)
            vthread_sleep_ms(REDIS_RETRY_MS);
    }
    if (redis != NULL)
        redisFree(redis);
    return arg;
}

/* ---- the worker ---- */

/*
 * An interrupt would do as well, but might come between Redis' giving of a job and our reading of it: the job would
 * wait for somebody to claim it.
 */
static void stop_feed(vthread_t feeder)
{
    stopping = true;
    vthread_sem_release(&permits, 1);
    do {
        redisContext *other = redis_dial(0);

        if (other != NULL)
            freeReplyObject(redis_ask_by(&other, "CLIENT UNBLOCK %lld", (long long)connection_id));
        if (other != NULL)
            redisFree(other);
    } while (vthread_join_until(feeder, NULL, vthread_after_ms(UNBLOCK_MS)) == ETIMEDOUT);
}

/* If nothing is left under its name; what is, somebody will claim. */
static void leave_group(void)
{
    static const char script[] =
        "if redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])[1] then return 0 end\n"
        "return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])";
    redisContext *other = redis_dial(0);

    if (other != NULL)
        freeReplyObject(redis_ask_by(&other, "EVAL %s 1 %s %s %s", script, keys.jobs, options.group, name));
    if (other != NULL)
        redisFree(other);
}

static void await_signal(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    while (vthread_signal_wait(&signals) == -EINTR)
        ;
}

static int run_worker(void)
{
    vthread_t feeder, keeper;
    int error = vthread_sem_init(&permits, options.at_once, NULL);

    if (error == 0)
        error = vthread_executor_new_per_task(&executor, NULL);
    if (error == 0)
        error = vthread_create(&keeper, NULL, keep, NULL);
    if (error == 0)
        error = vthread_create(&feeder, NULL, feed, NULL);
    if (error != 0)
        return error;
    await_signal();
    stop_feed(feeder);
    vthread_executor_shutdown(executor);
    if (vthread_executor_await_until(executor, vthread_after_ms(options.stop_ms)) == ETIMEDOUT)
        vthread_executor_shutdown_now(executor);
    vthread_executor_free(executor);
    stopped = true;
    vthread_interrupt(keeper);
    vthread_join(keeper, NULL);
    leave_group();
    redis_close();
    printf("%ld jobs done, %ld not\n", atomic_load(&done), atomic_load(&failed));
    return vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS));
}

/* ---- options ---- */

static const struct argp_option known[] = {
    {"redis", 'r', "ADDRESS", 0, "host:port, or the path of a socket (localhost:6379); password: $REDISCLI_AUTH", 0},
    {"group", 'g', "NAME", 0, "Of consumers (workers)", 0},
    {"jobs", 'j', "N", 0, "To run at once, at most (100)", 0},
    {"connections", 'c', "N", 0, "To Redis, at most, besides the one that waits for jobs (8)", 0},
    {"deliveries", 'd', "N", 0, "Of one job, before it is given up (5)", 0},
    {"min-idle", 'm', "MS", 0, "Without a sign of life, until a job is claimed by others (30000)", 0},
    {"patience", 'p', "MS", 0, "How long an answer of Redis may take (10000)", 0},
    {"stop", 's', "MS", 0, "How long running jobs may go on after SIGTERM (30000)", 0},
    {0},
};

static long parse_number(struct argp_state *state, const char *text, long least)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (end == text || *end != '\0' || number < least || number > 1 << 20)
        argp_error(state, "%s: a number from %ld to 1048576 is wanted", text, least);
    return number;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'r':
        options.redis = arg;
        return 0;
    case 'g':
        options.group = arg;
        return 0;
    case 'j':
        options.at_once = (int)parse_number(state, arg, 1);
        return 0;
    case 'c':
        options.connections = (unsigned)parse_number(state, arg, 1);
        return 0;
    case 'd':
        options.deliveries = (int)parse_number(state, arg, 1);
        return 0;
    case 'm':
        options.min_idle_ms = parse_number(state, arg, 10);
        return 0;
    case 'p':
        options.patience_ms = parse_number(state, arg, 1);
        return 0;
    case 's':
        options.stop_ms = parse_number(state, arg, 1);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            return ARGP_ERR_UNKNOWN;
        if (*arg == '\0' || strlen(arg) + sizeof ":results" > KEY_BYTES)
            argp_error(state, "the stream's name is too long, or empty");
        snprintf(keys.jobs, KEY_BYTES, "%s", arg);
        snprintf(keys.results, KEY_BYTES, "%.*s:results", KEY_BYTES - 16, arg);
        snprintf(keys.dead, KEY_BYTES, "%.*s:dead", KEY_BYTES - 16, arg);
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 1)
            argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp parser = {
        .options = known,
        .parser = parse_option,
        .args_doc = "STREAM",
        .doc = "Takes jobs from a stream of Redis, and runs each on a virtual thread.  Results go to the hash"
               " STREAM:results, what cannot be done to the stream STREAM:dead.",
    };
    char host[NAME_BYTES / 2] = "";
    int error;

    argp_parse(&parser, argc, argv, 0, NULL, NULL);
    if (!vthread_has("posix")) {
        fprintf(stderr, "worker: libvthread-posix is not in effect\n");
        return 1;
    }
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "%s-%ld", host, (long)getpid());
    signal(SIGPIPE, SIG_IGN); /* main, too, writes to connections that may have ended */
    error = redis_open(options.redis, options.connections, options.patience_ms);
    if (error != 0) {
        fprintf(stderr, "worker: %s: %s\n", options.redis,
                error == EINVAL ? "host:port, or a path, is wanted" : strerror(error));
        return 1;
    }
    error = run_worker();
    if (error != 0)
        fprintf(stderr, "worker: %s\n", strerror(error));
    return error != 0;
}
