/* SPDX-License-Identifier: MIT */
/*
 * Names into addresses: the C library's getaddrinfo, on OS threads of its own.
 *
 * Not libevent's evdns, which reads /etc/hosts and resolv.conf and no more: nsswitch.conf (mDNS, systemd-resolved,
 * LDAP, "myhostname"), gai.conf's order of addresses and whatever else makes a name mean the same here as in every
 * other program are the C library's.
 *
 * It cannot be interrupted, so the caller's thread waits for an OS thread that calls it, and may leave before it is
 * done; then that one throws the result away.  Not the caller's carrier in a blocking section: that would keep its
 * stack from others for as long as a name server does not answer.  There are a few such threads at most; other lookups
 * queue.
 */
#ifndef NET_LOOKUP_H
#define NET_LOOKUP_H

#include <stdint.h>

#include "base/attributes.h"

struct addrinfo;
struct thread;

/*
 * One question, and its answer: the beginning of something that memory_alloc has made.  It is the caller's, but
 * ABANDONED: then the worker's.
 */
struct lookup {
    struct lookup *next; /* QUEUED */
    enum { LOOKUP_QUEUED, LOOKUP_RUNNING, LOOKUP_DONE, LOOKUP_ABANDONED } state;
    int code;                         /* DONE: 0 or EAI_xxx */
    int error;                        /* and with EAI_SYSTEM why */
    uint64_t token;                   /* of the caller's present wait */
    void (*ask)(struct lookup *);     /* sets code and error; on a worker */
    void (*discard)(struct lookup *); /* what a successful answer holds; NULL: nothing */
};

/* What every call begins with.  0, or EAI_xxx. */
int lookup_begin(struct thread **ret_self, int *ret_error);

/* Have it asked, and wait.  0: done; or EAI_xxx, and it is not the caller's any more. */
MAY_SWITCH
int lookup_run(struct lookup *l, struct thread *self, int64_t deadline_ns, int *ret_error);

/* As vthread_getaddrinfo_until; *ret_error: 0, or with EAI_SYSTEM why (positive). */
MAY_SWITCH
int lookup_until(const char *node, const char *service, const struct addrinfo *hints, int64_t deadline_ns,
                 struct addrinfo **ret_list, int *ret_error);

#endif
