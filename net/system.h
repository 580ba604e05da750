/* SPDX-License-Identifier: MIT */
/*
 * The kernel's calls as this layer wants them: a result or -Exxx, never EINTR,
 * never SIGPIPE, and the caller's errno left alone.
 *
 * None is inlined: compilers keep the address of errno in a register across a
 * call that may switch, so it is looked up only where nothing switches.
 */
#ifndef NET_SYSTEM_H
#define NET_SYSTEM_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Sockets: never block, whatever O_NONBLOCK says. */
ssize_t system_recv(int fd, void *buffer, size_t size, int flags);
ssize_t system_send(int fd, const void *buffer, size_t size, int flags);
ssize_t system_recv_vector(int fd, const struct iovec *vector, int count);
ssize_t system_send_vector(int fd, const struct iovec *vector, int count);
struct mmsghdr;
ssize_t system_receive(int fd, struct msghdr *message, int flags);
ssize_t system_transmit(int fd, const struct msghdr *message, int flags);
int system_receive_many(int fd, struct mmsghdr *messages, unsigned count, int flags);
int system_transmit_many(int fd, struct mmsghdr *messages, unsigned count, int flags);

/* Other descriptors. */
ssize_t system_readv(int fd, const struct iovec *vector, int count);
ssize_t system_writev(int fd, const struct iovec *vector, int count);

/* Files. */
off_t system_seek(int fd, off_t offset, int whence);
ssize_t system_pread(int fd, void *buffer, size_t size, off_t offset);

/* offset may be NULL; EPIPE raises no signal. */
ssize_t system_sendfile(int out, int in, off_t *offset, size_t count);
ssize_t system_splice(int in, off_t *in_offset, int out, off_t *out_offset, size_t count, unsigned flags);
ssize_t system_tee(int in, int out, size_t count, unsigned flags);
int system_flock(int fd, int operation);

/* Events that are there now, or 0. */
int system_poll(int fd, int events);
/* poll(2) without waiting. */
int system_poll_all(struct pollfd *fds, nfds_t count);

/* New descriptors are non-blocking and close-on-exec. */
int system_socket(int domain, int type, int protocol);
int system_accept(int fd, struct sockaddr *address, socklen_t *length);
int system_connect(int fd, const struct sockaddr *address, socklen_t length);
int system_bind(int fd, const struct sockaddr *address, socklen_t length);
int system_listen(int fd, int backlog);
int system_set_option(int fd, int level, int option, int value);
int system_shutdown(int fd, int how);
int system_close(int fd);
/* Close what is there and put a duplicate of the other in its place. */
int system_replace(int fd, int by);
/* A socket that has hung up. */
int system_dead_socket(void);

/* A socket's SO_PROTOCOL and SO_TYPE, or -Exxx. */
int system_protocol(int fd);
int system_socket_type(int fd);
/* Is there an error to be reported, and no data before it? */
bool system_has_only_error(int fd);

/* Children.  Less than 0 is -Exxx, which no number of a child is. */
pid_t system_waitpid(pid_t pid, int *ret_status, int options);
int system_pidfd(pid_t pid);

/* epoll.  A wait that a signal interrupts finds nothing.  timeout_ns: 0 only looks, negative is for ever. */
int system_epoll_create(void);
int system_epoll_control(int epoll, int operation, int fd, uint32_t events, uint64_t data);
int system_epoll_wait(int epoll, struct epoll_event *events, int count, int64_t timeout_ns);

/* O_NONBLOCK: 1 or 0; and the file's type (S_IFMT), or -Exxx. */
int system_is_nonblocking(int fd);
int system_file_type(int fd);

#endif
