/* SPDX-License-Identifier: MIT */
/*
 * Addresses into names: the C library's getnameinfo, where getaddrinfo is called.
 */
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

#include <vthread/os.h>

#include "base/clock.h"
#include "base/memory.h"
#include "net/lookup.h"
#include "vthread/thread.h"

/* The answer goes by way of this: the caller, who may leave, and whose frames may move, has the buffers. */
struct name_lookup {
    struct lookup lookup;
    struct sockaddr_storage address;
    socklen_t length;
    int flags;
    socklen_t host_size;
    socklen_t service_size;
    char host[NI_MAXHOST];
    char service[NI_MAXHOST]; /* a unix socket's is its path */
};

/* Not inlined: as ask in lookup.c. */
static NOINLINE void ask_for_name(struct lookup *lookup)
{
    struct name_lookup *l = (struct name_lookup *)lookup;
    int before = errno;

    lookup->code = getnameinfo((const struct sockaddr *)&l->address, l->length, l->host_size > 0 ? l->host : NULL,
                               l->host_size, l->service_size > 0 ? l->service : NULL, l->service_size, l->flags);
    lookup->error = lookup->code == EAI_SYSTEM ? errno : 0;
    errno = before;
}

static socklen_t at_most(socklen_t size, socklen_t most)
{
    return size < most ? size : most;
}

int vthread_getnameinfo_until(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_size,
                              char *service, socklen_t service_size, int flags, int64_t deadline_ns)
{
    struct name_lookup *l;
    struct thread *self;
    bool at_once = (host == NULL || host_size == 0 || (flags & NI_NUMERICHOST)) &&
                   (service == NULL || service_size == 0 || (flags & NI_NUMERICSERV));
    int error;
    int code = lookup_begin(&self, &error);

    if (code != 0)
        return code;
    if (address == NULL || length > sizeof l->address)
        return EAI_FAMILY;
    if (!at_once && deadline_ns != INT64_MAX && deadline_ns <= clock_now_ns())
        return EAI_CANCELED;
    l = memory_alloc(sizeof *l);
    if (l == NULL)
        return EAI_MEMORY;
    l->lookup.ask = ask_for_name;
    memcpy(&l->address, address, length);
    l->length = length;
    l->flags = flags;
    l->host_size = host != NULL ? at_most(host_size, sizeof l->host) : 0;
    l->service_size = service != NULL ? at_most(service_size, sizeof l->service) : 0;
    if (at_once)
        ask_for_name(&l->lookup);
    else
        code = lookup_run(&l->lookup, self, deadline_ns, &error);
    if (code != 0)
        return code;
    code = l->lookup.code;
    if (code == 0 && l->host_size > 0)
        strcpy(host, l->host);
    if (code == 0 && l->service_size > 0)
        strcpy(service, l->service);
    memory_free(l);
    return code;
}

int vthread_getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_size,
                        char *service, socklen_t service_size, int flags)
{
    return vthread_getnameinfo_until(address, length, host, host_size, service, service_size, flags, VTHREAD_FOREVER);
}
