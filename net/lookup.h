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

/* As vthread_getaddrinfo_until; *ret_error: 0, or with EAI_SYSTEM why (positive). */
MAY_SWITCH
int lookup_until(const char *node, const char *service, const struct addrinfo *hints, int64_t deadline_ns,
                 struct addrinfo **ret_list, int *ret_error);

#endif
