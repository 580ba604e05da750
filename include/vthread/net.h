/* SPDX-License-Identifier: MIT */
/*
 * Sockets and descriptors: calls that block the virtual thread and nobody else.
 *
 *     #include <vthread/net.h>
 *
 *     static void *echo(void *arg)
 *     {
 *         int fd = (int)(intptr_t)arg;
 *         char buffer[1024];
 *         ssize_t n;
 *
 *         while ((n = vthread_read(fd, buffer, sizeof buffer)) > 0)
 *             if (vthread_write_all(fd, buffer, (size_t)n) < 0)
 *                 break;
 *         vthread_close(fd);
 *         return NULL;
 *     }
 *
 *     int main(void)
 *     {
 *         int listener = vthread_listen_tcp("localhost:7777", 0, 0);
 *         int fd = listener;
 *
 *         while (fd >= 0 && (fd = vthread_accept(listener, NULL, NULL)) >= 0)
 *             if (vthread_create(NULL, NULL, echo, (void *)(intptr_t)fd) != 0)
 *                 vthread_close(fd);
 *         return 1;
 *     }
 *
 * Results.  Calls that yield a count, a descriptor or a mask return it or -Exxx; the
 * others return 0 or Exxx.  errno is neither read nor set.  SIGPIPE is never raised
 * (-EPIPE).  Signals that interrupt a system call are not seen.
 *
 * What ends a wait, besides what it waits for; in calls that return counts, negative:
 *     ETIMEDOUT  the deadline passed, the call's or the descriptor's (vthread_fd_set_deadline).
 *                One that has passed already: the call is made once, and does not wait
 *     EINTR      the thread was interrupted (vthread_interrupt), before the call or in
 *                it; its flag is cleared, and nothing was transferred
 *     ECANCELED  the descriptor was closed meanwhile, with vthread_close or by an interrupt
 *                (vthread_fd_set_interrupt_closes)
 * and any call:
 *     EBADF      no open descriptor            ENOTSUP   in the child of a fork
 *     ENOMEM     no memory                     ECANCELED the runtime is shutting down
 *     EDEADLK    from a callback of the runtime, which must not block
 *
 * Descriptors are the system's.  Those that these calls make are non-blocking and
 * close-on-exec.  They belong to the library until vthread_close: do not close, dup2
 * over, or fclose them.  Any other descriptor may be used too, as it is: see
 * vthread_fd_forget.  Files, directories and disks cannot be waited for; calls on
 * them run in a blocking section, without deadline or interruption (the flag stays set).
 *
 * Any number of threads may use a descriptor at once.  One reader and one writer
 * do not notice each other; of several readers (writers) each is served in one piece,
 * in the order of their calls.
 *
 * Buffers may be locals, on any kind of stack.  All calls may be made from any
 * thread; those that wait may switch.  A thread for which everything has always come
 * already, so that its reads and writes never wait, yields after every 16 of them.
 */
#ifndef VTHREAD_NET_H
#define VTHREAD_NET_H

#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <vthread/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- connections by name ---- */

/* Several processes may listen on the same port, and share what comes. */
#define VTHREAD_LISTEN_REUSEPORT 1u
/* vthread_listen_unix: remove what is at the path. */
#define VTHREAD_LISTEN_REPLACE 2u

/*
 * Listen on "host:port".  An empty host is every address, IPv6 and IPv4; port 0
 * one that is free (getsockname tells).  "[::1]:80", "localhost:80", ":http".
 *
 * backlog: 0 is the system's maximum.
 * flags:   0 or VTHREAD_LISTEN_REUSEPORT.
 *
 * Returns the descriptor, or
 *   -EINVAL      the address is malformed, the port unknown, backlog or flags wrong
 *   -ENOENT      no such host     -EAGAIN  the name server does not answer now
 *   -EADDRINUSE, -EACCES, -EMFILE and whatever else bind(2) and socket(2) return
 *
 * SO_REUSEADDR is set, and TCP_NODELAY, which accepted connections inherit.  Names are looked
 * up as vthread_getaddrinfo (os.h) does; an interrupt ends that.
 */
VTHREAD_API int vthread_listen_tcp(const char *address, int backlog, unsigned flags);

/*
 * Connect to "host:port"; an empty host is this machine.  TCP_NODELAY is set.
 *
 * The host's addresses are tried one after the other, in the order of preference that the
 * lookup gives them (not several at once, as "happy eyeballs" do): the next one when one refuses, cannot be
 * reached, or has used up its share of the time.  The deadline is that of the whole, lookup
 * included; what is left is shared equally among the addresses that are.  Without one, an
 * address that is silent takes as long as the system lets connect(2) wait, some two minutes.
 *
 * Returns the descriptor, or the errors above and those of connect(2); of several the first
 * address's.
 */
VTHREAD_API int vthread_dial_tcp(const char *address);
VTHREAD_API int vthread_dial_tcp_until(const char *address, int64_t deadline_ns);

/*
 * The same at a path; one that begins with '@' is a name in the abstract namespace.
 * flags: 0 or VTHREAD_LISTEN_REPLACE.  -ENAMETOOLONG, -EINVAL (empty).
 */
VTHREAD_API int vthread_listen_unix(const char *path, int backlog, unsigned flags);
VTHREAD_API int vthread_dial_unix(const char *path);
VTHREAD_API int vthread_dial_unix_until(const char *path, int64_t deadline_ns);

/* ---- sockets ---- */

/* socket(2).  Returns the descriptor or -Exxx. */
VTHREAD_API int vthread_socket(int domain, int type, int protocol);

/*
 * Wait for a connection and accept it.  address and length: as accept(2)'s; both
 * may be NULL.  What happened to connections that were gone before they were accepted is
 * not reported.
 *
 * Returns the descriptor, or -Exxx as accept(2).  When the process or the system has
 * no descriptor left, it first waits up to 0.1 s for one (a vthread_close ends
 * that; a deadline, too: -ETIMEDOUT), so a loop that merely goes on after -EMFILE does not spin.
 */
VTHREAD_API int vthread_accept(int fd, struct sockaddr *address, socklen_t *length);
VTHREAD_API int vthread_accept_until(int fd, struct sockaddr *address, socklen_t *length, int64_t deadline_ns);

/*
 * Connect.  Returns 0 or Exxx.  After EINTR or ETIMEDOUT the attempt goes on in the
 * background: close the descriptor, or call again to wait for the outcome.
 */
VTHREAD_API int vthread_connect(int fd, const struct sockaddr *address, socklen_t length);
VTHREAD_API int vthread_connect_until(int fd, const struct sockaddr *address, socklen_t length, int64_t deadline_ns);

/* ---- reading and writing ---- */

/*
 * Read what is there, at least one byte, waiting for it if need be.  0 is the end,
 * or that nothing was asked for.  -EFAULT: the buffer is NULL.
 */
VTHREAD_API ssize_t vthread_read(int fd, void *buffer, size_t size);
VTHREAD_API ssize_t vthread_read_until(int fd, void *buffer, size_t size, int64_t deadline_ns);
VTHREAD_API ssize_t vthread_readv(int fd, const struct iovec *vector, int count);
VTHREAD_API ssize_t vthread_readv_until(int fd, const struct iovec *vector, int count, int64_t deadline_ns);

/*
 * Read exactly that many bytes; fewer only at the end.  On an error what came
 * before it is in the buffer, but how much is not known: close the descriptor.
 */
VTHREAD_API ssize_t vthread_read_full(int fd, void *buffer, size_t size);
VTHREAD_API ssize_t vthread_read_full_until(int fd, void *buffer, size_t size, int64_t deadline_ns);

/* Write at least one byte, as many as there is room for.  Returns how many. */
VTHREAD_API ssize_t vthread_write(int fd, const void *buffer, size_t size);
VTHREAD_API ssize_t vthread_write_until(int fd, const void *buffer, size_t size, int64_t deadline_ns);
VTHREAD_API ssize_t vthread_writev(int fd, const struct iovec *vector, int count);
VTHREAD_API ssize_t vthread_writev_until(int fd, const struct iovec *vector, int count, int64_t deadline_ns);

/* Write all of it.  Returns size; after an error how much went out is not known: close the descriptor. */
VTHREAD_API ssize_t vthread_write_all(int fd, const void *buffer, size_t size);
VTHREAD_API ssize_t vthread_write_all_until(int fd, const void *buffer, size_t size, int64_t deadline_ns);

/* ---- messages ---- */

/*
 * recv(2) and its family, on sockets (else -ENOTSOCK).  Of one message each, or of what there is
 * on a stream; a send on a stream takes what there is room for, as vthread_write does.
 *
 * flags are the system's:
 *   MSG_DONTWAIT   do not wait: -EAGAIN
 *   MSG_WAITALL    on a stream, receive until the buffer is full.  Less at the end of the stream;
 *                  if a deadline, an interrupt or an error came first, after which the next
 *                  call reports the latter two; and where control data came with it
 *   MSG_PEEK       what is seen stays there
 *   MSG_OOB, MSG_ERRQUEUE   never wait: -EINVAL or -EAGAIN if there is nothing.  They do not
 *                  queue up behind those who wait for ordinary data
 *   MSG_CMSG_CLOEXEC   should be given by those who receive descriptors: these are foreign ones,
 *                  as their sender made them
 *   MSG_FASTOPEN   sends once the connection stands, if the kernel cannot earlier
 * MSG_NOSIGNAL is always on.
 *
 * Unlike vthread_read of nothing, to receive into no buffer takes a datagram.
 *
 * To send to the name of a unix datagram socket that has no room is tried again every 2 ms, for
 * the system does not tell when it has; a connected one waits for the event.
 *
 * Return the number of bytes (with MSG_TRUNC that of the datagram), or -Exxx; address, length
 * and the message's lengths and flags as the system does, and unchanged on an error.
 */
VTHREAD_API ssize_t vthread_recv(int fd, void *buffer, size_t size, int flags);
VTHREAD_API ssize_t vthread_recv_until(int fd, void *buffer, size_t size, int flags, int64_t deadline_ns);
VTHREAD_API ssize_t vthread_send(int fd, const void *buffer, size_t size, int flags);
VTHREAD_API ssize_t vthread_send_until(int fd, const void *buffer, size_t size, int flags, int64_t deadline_ns);

/* address may be NULL; then so may length. */
VTHREAD_API ssize_t vthread_recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
                                     socklen_t *length);
VTHREAD_API ssize_t vthread_recvfrom_until(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
                                           socklen_t *length, int64_t deadline_ns);
VTHREAD_API ssize_t vthread_sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *address,
                                   socklen_t length);
VTHREAD_API ssize_t vthread_sendto_until(int fd, const void *buffer, size_t size, int flags,
                                         const struct sockaddr *address, socklen_t length, int64_t deadline_ns);

VTHREAD_API ssize_t vthread_recvmsg(int fd, struct msghdr *message, int flags);
VTHREAD_API ssize_t vthread_recvmsg_until(int fd, struct msghdr *message, int flags, int64_t deadline_ns);
VTHREAD_API ssize_t vthread_sendmsg(int fd, const struct msghdr *message, int flags);
VTHREAD_API ssize_t vthread_sendmsg_until(int fd, const struct msghdr *message, int flags, int64_t deadline_ns);

/*
 * Several messages with one system call (struct mmsghdr is in <sys/socket.h>, with _GNU_SOURCE).
 * They wait for one, and then take those that are there, or those there is room for.
 *
 * Return the number of messages, or -Exxx.
 */
struct mmsghdr;
VTHREAD_API int vthread_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
VTHREAD_API int vthread_recvmmsg_until(int fd, struct mmsghdr *messages, unsigned count, int flags,
                                       int64_t deadline_ns);
VTHREAD_API int vthread_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
VTHREAD_API int vthread_sendmmsg_until(int fd, struct mmsghdr *messages, unsigned count, int flags,
                                       int64_t deadline_ns);

/* ---- inside the kernel ---- */

/*
 * sendfile(2): from a file to anything else, as much as there is room for, at least one byte.
 *
 * offset: where to begin, and then the byte after the last one sent; NULL: the file's own
 * position.  The file is read in a blocking section.  To what was made elsewhere and blocks
 * (pipes, sockets without O_NONBLOCK) the bytes are copied through memory.
 *
 * Returns how many were sent, 0 at the end of the file, or -Exxx (-EINVAL: `in` is no file).
 */
VTHREAD_API ssize_t vthread_sendfile(int out, int in, off_t *offset, size_t count);
VTHREAD_API ssize_t vthread_sendfile_until(int out, int in, off_t *offset, size_t count, int64_t deadline_ns);

/*
 * splice(2): from or to a pipe, as much as there is and there is room for, at least one byte.
 *
 * Offsets are for files, else NULL.  flags: SPLICE_F_MOVE, SPLICE_F_MORE; with
 * SPLICE_F_NONBLOCK it does not wait (-EAGAIN).  It waits for either side, but not in turn with
 * others: whoever comes while it waits goes first.  Closing either ends it (-ECANCELED), an
 * interrupt that comes while it waits closes neither; a descriptor's deadline that is set while it waits holds from its
 * next wait.
 *
 * Returns how many bytes, 0 at the end, or -Exxx (-EINVAL: neither is a pipe, or `out` is a socket
 * made elsewhere without O_NONBLOCK, where splice cannot be kept from blocking).
 */
VTHREAD_API ssize_t vthread_splice(int in, off_t *in_offset, int out, off_t *out_offset, size_t count, unsigned flags);
VTHREAD_API ssize_t vthread_splice_until(int in, off_t *in_offset, int out, off_t *out_offset, size_t count,
                                         unsigned flags, int64_t deadline_ns);

/*
 * tee(2): from a pipe to another, what is there being left there; as splice in all else.
 *
 * Returns how many bytes, at least one; 0 at the end, or -Exxx (-EINVAL: not two pipes).
 */
VTHREAD_API ssize_t vthread_tee(int in, int out, size_t count, unsigned flags);
VTHREAD_API ssize_t vthread_tee_until(int in, int out, size_t count, unsigned flags, int64_t deadline_ns);

/* ---- ending ---- */

/* shutdown(2): those who wait find out.  Returns 0 or Exxx. */
VTHREAD_API int vthread_shutdown(int fd, int how);

/*
 * Close, whoever made it.  Calls that wait for it return -ECANCELED; none of them
 * touches the next file that gets the number.  Never interrupted.  Returns 0 or Exxx.
 */
VTHREAD_API int vthread_close(int fd);

/* ---- any descriptor ---- */

/*
 * Wait until poll(2) would return, without taking a turn from readers and writers.
 *
 * events: POLLIN, POLLOUT or both.
 *
 * Returns what poll reports (POLLERR and POLLHUP too), or -Exxx.  Files are always ready.
 *
 * It tells the state, not a change of it (level, not edge): as long as there is something to
 * read, it returns at once, whoever made the descriptor.  Others may have read it by
 * the time the caller does, so what it then calls should be one that waits, or that reports
 * EAGAIN.  Nothing stays registered when it returns.
 */
VTHREAD_API int vthread_wait_fd(int fd, int events);
VTHREAD_API int vthread_wait_fd_until(int fd, int events, int64_t deadline_ns);

/*
 * poll(2) for several descriptors, with its meaning: any events, POLLERR, POLLHUP and
 * POLLNVAL unasked, entries with a negative fd passed over, a descriptor in several entries.
 * With no entries it sleeps.
 *
 * Returns how many entries have revents; 0, not -ETIMEDOUT, when the deadline has passed, and
 * VTHREAD_NOW only looks; or -EINTR, -EFAULT, -EINVAL (count above RLIMIT_NOFILE), -ENOMEM.
 * On an error revents are undefined.
 *
 * An entry whose descriptor is closed meanwhile gets POLLNVAL, whatever has its number by then.
 * Level, not edge, as above.  It costs two system calls for each entry that is waited for; entries
 * that ask for neither POLLIN nor POLLOUT, or for POLLPRI, take one more descriptor for
 * the time of the call (-EMFILE).
 */
VTHREAD_API int vthread_poll(struct pollfd *fds, nfds_t count);
VTHREAD_API int vthread_poll_until(struct pollfd *fds, nfds_t count, int64_t deadline_ns);

/*
 * Deadlines for all calls on the descriptor that read and accept, and that write and connect; of a
 * call's own and these the sooner holds.  VTHREAD_FOREVER takes one back.  They hold for calls that
 * wait already, too, and until they are set anew or the descriptor is closed.  Not for
 * vthread_wait_fd and vthread_poll, nor for files.
 *
 * Returns 0, EBADF, ENOMEM, EMFILE (a number above 4,194,303).
 */
VTHREAD_API int vthread_fd_set_deadline(int fd, int64_t read_ns, int64_t write_ns);

/*
 * Whether an interrupt closes the descriptor, as with the channels of Java.  The call that it
 * ends, or that an interrupted thread begins, then returns -ECANCELED rather than -EINTR, and the
 * flag stays set; so do calls of other threads that wait.  The peer sees the end.
 *
 * The number stays taken, so that nobody closes another's file by mistake: calls on
 * it return -ECANCELED, and for vthread_poll it has hung up, until it is closed with vthread_close.
 * Without effect on vthread_wait_fd, vthread_poll and files.
 *
 * Returns 0, EBADF, ENOMEM, EMFILE.
 */
VTHREAD_API int vthread_fd_set_interrupt_closes(int fd, bool on);

/*
 * Before a plain close(2), dup2(2) or fclose of a descriptor that calls of this
 * header were made on: forget it.  Calls that wait for it return -ECANCELED.
 *
 * Descriptors made elsewhere keep their flags.  On a blocking pipe a write takes at
 * most 4,096 bytes at a time (use write_all); a blocking socket's connect, and writes to a
 * terminal, run in a blocking section.
 *
 * Returns 0 or Exxx.
 */
VTHREAD_API int vthread_fd_forget(int fd);

/*
 * Which file has that number: another value than before if the descriptor was closed with
 * vthread_close, or forgotten, since.  For code that waits for a descriptor and then makes its
 * own system call: whoever has the number by then may be a stranger.
 *
 * Returns a number from 0 to 4,294,967,295, or -Exxx (-EBADF, -ENOMEM, -EMFILE). Does not wait.
 */
VTHREAD_API int64_t vthread_fd_generation(int fd);

#ifdef __cplusplus
}
#endif
#endif
