/* SPDX-License-Identifier: MIT */
/*
 * Redis for virtual threads that want an answer, however long that takes: hiredis' plain calls, which block.
 *
 * A question goes by one of a few connections, which are kept in a pool.  If the connection breaks, or the server is
 * gone or still loads its data, it is asked again, until it is answered or the thread is interrupted: so it must be
 * one that may be asked twice.
 *
 * What goes wrong is told on stderr here, once for each time that the server goes away.
 */
#ifndef EXAMPLES_WORKER_REDIS_H
#define EXAMPLES_WORKER_REDIS_H

#include <hiredis/hiredis.h>
#include <stdint.h>

enum { REDIS_RETRY_MS = 100 };

/*
 * Nothing is connected yet.
 *
 * address:     "host:port", "host", or the path of a socket (it has a slash)
 * connections: at most
 * patience_ms: within this a connection is made, and any answer begins; later, the connection counts as broken
 *
 * 0, or EINVAL (the address), or what vthread_pool_new says.  The environment variable REDISCLI_AUTH is the password.
 */
int redis_open(const char *address, unsigned connections, int64_t patience_ms);
void redis_close(void);

/*
 * As redisCommand, over the pool.  The reply is to be freed with freeReplyObject, and is not an error: NULL means that
 * the thread has been interrupted (which clears the flag), or that Redis refuses the command.
 */
redisReply *redis_ask(const char *format, ...);
redisReply *redis_ask_vector(int count, const char **words);

/*
 * A connection for the caller alone, for commands that wait in the server, wait_ms at most.  NULL: there is none to be
 * had now.  To be given to redisFree.
 */
redisContext *redis_dial(int64_t wait_ms);

/*
 * As redis_ask, over that connection, and once.  NULL: it did not work, whatever the reason; the connection is closed
 * then, and *redis NULL.
 */
redisReply *redis_ask_by(redisContext **redis, const char *format, ...);

#endif
