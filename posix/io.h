/* SPDX-License-Identifier: MIT */
/* recvmsg and sendmsg on a virtual thread, for other hooks. */
#ifndef POSIX_IO_H
#define POSIX_IO_H

#include "posix/hook.h"

/* A count, or -Exxx. */
MAY_SWITCH
ssize_t io_receive_message(int fd, struct msghdr *message, int flags);
MAY_SWITCH
ssize_t io_send_message(int fd, const struct msghdr *message, int flags);

/* The sum of the buffers. */
size_t io_size(const struct iovec *vector, size_t count);

#endif
