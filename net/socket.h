/* SPDX-License-Identifier: MIT */
/* What socket.c offers to the rest of the layer. */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attributes.h"

/* Take over a socket that was just made; or pass on the error.  Closes it on failure. */
int socket_adopt(int fd);
int socket_adopt_as(int fd, bool is_tcp);

/* As vthread_connect_until, but -Exxx. */
MAY_SWITCH
int socket_connect(int fd, const struct sockaddr *address, socklen_t length, int64_t deadline_ns);

#endif
