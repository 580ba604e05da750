/* SPDX-License-Identifier: MIT */
/*
 * Names and addresses of hosts.  The C library's resolver waits where no hook is, so somebody else waits for it: for
 * getaddrinfo another OS thread.  The others write where the caller says, which may be in its stack, so that is kept:
 * they block the carrier, in a blocking section.
 */
#include <errno.h>
#include <string.h>

#include "posix/apart.h"
#include "posix/wait.h"

struct lookup {
    char *node;
    char *service;
    const struct addrinfo *hints;
    struct addrinfo copy;
    struct addrinfo *found;
    int result;
    int error;
};

static void *look_up(void *arg)
{
    struct lookup *l = arg;

    l->result = REAL(getaddrinfo)(l->node, l->service, l->hints != NULL ? &l->copy : NULL, &l->found);
    l->error = errno;
    return NULL;
}

static int park_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                            struct addrinfo **found)
{
    struct lookup l = {.hints = hints, .result = EAI_MEMORY};

    if (hints != NULL)
        l.copy = *hints;
    l.copy.ai_flags |= AI_NUMERICHOST; /* an address is looked up nowhere */
    l.result = REAL(getaddrinfo)(node, service, &l.copy, found);
    if (l.result != EAI_NONAME || (hints != NULL && (hints->ai_flags & AI_NUMERICHOST)))
        return l.result;
    l.result = EAI_MEMORY;
    l.copy.ai_flags &= ~AI_NUMERICHOST;
    l.node = node != NULL ? strdup(node) : NULL;
    l.service = service != NULL ? strdup(service) : NULL;
    if ((node == NULL) == (l.node == NULL) && (service == NULL) == (l.service == NULL))
        apart_call_copy(look_up, &l, sizeof l);
    free(l.node);
    free(l.service);
    if (l.result == 0)
        *found = l.found;
    if (l.result == EAI_SYSTEM)
        posix_fail(l.error);
    return l.result;
}

HOOK int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
                     struct addrinfo **restrict found)
{
    return IS_VIRTUAL() ? park_getaddrinfo(node, service, hints, found)
                        : REAL(getaddrinfo)(node, service, hints, found);
}

/* ---- those that write where the caller says ---- */

/* One call of any of them; the members that it does not take are not looked at. */
struct query {
    const void *key; /* a name, or an address */
    socklen_t length;
    int family;
    char *host;
    socklen_t host_size;
    char *service;
    socklen_t service_size;
    int flags;
    struct hostent *result;
    char *buffer;
    size_t size;
    struct hostent **found;
    int *h_error;
    int error;
};

/* One of the functions, for vthread_blocking_call. */
#define QUERY_FUNCTION(fn, member, call)                                                                               \
    static void *fn(void *arg)                                                                                         \
    {                                                                                                                  \
        struct query *q = arg;                                                                                         \
                                                                                                                       \
        q->member = call;                                                                                              \
        return NULL;                                                                                                   \
    }

QUERY_FUNCTION(query_name_of, error,
               REAL(getnameinfo)(q->key, q->length, q->host, q->host_size, q->service, q->service_size, q->flags))
QUERY_FUNCTION(query_name, result, REAL(gethostbyname)(q->key))
QUERY_FUNCTION(query_name2, result, REAL(gethostbyname2)(q->key, q->family))
QUERY_FUNCTION(query_address, result, REAL(gethostbyaddr)(q->key, q->length, q->family))
QUERY_FUNCTION(query_name_r, error, REAL(gethostbyname_r)(q->key, q->result, q->buffer, q->size, q->found, q->h_error))
QUERY_FUNCTION(query_name2_r, error,
               REAL(gethostbyname2_r)(q->key, q->family, q->result, q->buffer, q->size, q->found, q->h_error))
QUERY_FUNCTION(query_address_r, error,
               REAL(gethostbyaddr_r)(q->key, q->length, q->family, q->result, q->buffer, q->size, q->found, q->h_error))

/* Platform threads ask themselves. */
static void ask(void *(*fn)(void *query), struct query *q, bool is_virtual)
{
    if (is_virtual)
        vthread_blocking_call(fn, q);
    else
        fn(q);
}

HOOK int getnameinfo(const struct sockaddr *restrict address, socklen_t length, char *restrict host,
                     socklen_t host_size, char *restrict service, socklen_t service_size, int flags)
{
    struct query q = {.key = address,
                      .length = length,
                      .host = host,
                      .host_size = host_size,
                      .service = service,
                      .service_size = service_size,
                      .flags = flags};
    bool in_figures = (flags & NI_NUMERICHOST) && (service == NULL || (flags & NI_NUMERICSERV));

    ask(query_name_of, &q, IS_VIRTUAL() && !in_figures);
    return q.error;
}

HOOK struct hostent *gethostbyname(const char *name)
{
    struct query q = {.key = name};

    ask(query_name, &q, IS_VIRTUAL());
    return q.result;
}

HOOK struct hostent *gethostbyname2(const char *name, int family)
{
    struct query q = {.key = name, .family = family};

    ask(query_name2, &q, IS_VIRTUAL());
    return q.result;
}

HOOK struct hostent *gethostbyaddr(const void *address, socklen_t length, int family)
{
    struct query q = {.key = address, .length = length, .family = family};

    ask(query_address, &q, IS_VIRTUAL());
    return q.result;
}

HOOK int gethostbyname_r(const char *restrict name, struct hostent *restrict result, char *restrict buffer, size_t size,
                         struct hostent **restrict found, int *restrict h_error)
{
    struct query q = {
        .key = name, .result = result, .buffer = buffer, .size = size, .found = found, .h_error = h_error};

    ask(query_name_r, &q, IS_VIRTUAL());
    return q.error;
}

HOOK int gethostbyname2_r(const char *restrict name, int family, struct hostent *restrict result, char *restrict buffer,
                          size_t size, struct hostent **restrict found, int *restrict h_error)
{
    struct query q = {.key = name,
                      .family = family,
                      .result = result,
                      .buffer = buffer,
                      .size = size,
                      .found = found,
                      .h_error = h_error};

    ask(query_name2_r, &q, IS_VIRTUAL());
    return q.error;
}

HOOK int gethostbyaddr_r(const void *restrict address, socklen_t length, int family, struct hostent *restrict result,
                         char *restrict buffer, size_t size, struct hostent **restrict found, int *restrict h_error)
{
    struct query q = {.key = address,
                      .length = length,
                      .family = family,
                      .result = result,
                      .buffer = buffer,
                      .size = size,
                      .found = found,
                      .h_error = h_error};

    ask(query_address_r, &q, IS_VIRTUAL());
    return q.error;
}
