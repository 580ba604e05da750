/* SPDX-License-Identifier: MIT */
/*
 * What else the operating system makes one wait for.
 *
 * Errors as in net.h: a count or number, or -Exxx; others 0 or Exxx.
 */
#ifndef VTHREAD_OS_H
#define VTHREAD_OS_H

#include <signal.h>
#include <sys/select.h> /* sigset_t, in strict C11 too */
#include <sys/socket.h> /* socklen_t */
#include <sys/types.h>
#include <sys/uio.h>

#include <vthread/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Wait for a signal of the set and take it.
 *
 * From the first call on, its signals no longer have the effect they had (until
 * vthread_runtime_shutdown), and one that arrives while nobody waits is kept for the next
 * call.  Of several threads that wait for a signal the one that came first gets it.
 * Works whether or not the program blocks the signal.
 *
 * Returns the signal's number, or
 *   -EINVAL     the set is empty, NULL, or has a signal that cannot be waited for:
 *               SIGKILL, SIGSTOP, and those of faulting instructions
 *   -EINTR, -ETIMEDOUT, -ENOMEM, -ENOTSUP, -EDEADLK
 *
 * May switch.
 */
VTHREAD_API int vthread_signal_wait(const sigset_t *set);
VTHREAD_API int vthread_signal_wait_until(const sigset_t *set, int64_t deadline_ns);

/* ---- children ---- */

/*
 * waitpid(2), blocking the calling thread and no other.
 *
 * pid:        as waitpid's: a child, -1 any, 0 or below -1 those of a process group
 * ret_status: where the status goes; may be NULL
 * options:    WNOHANG, WUNTRACED, WCONTINUED ...
 *
 * A child whose end alone is waited for tells by itself (pidfd_open, Linux 5.3).  With any other pid, with
 * WUNTRACED or WCONTINUED, on older systems or without a free descriptor, the
 * children are asked again and again, every 16 ms at least: nothing but SIGCHLD would tell, which
 * is the program's.
 *
 * Returns the child's number; 0, with WNOHANG: none has anything to report; or
 *   -ECHILD     no such child, or another call has had its status
 *   -EINVAL     options
 *   -EINTR, -ETIMEDOUT, -ENOMEM, -ENOTSUP, -EDEADLK
 *
 * May switch.
 */
VTHREAD_API pid_t vthread_waitpid(pid_t pid, int *ret_status, int options);
VTHREAD_API pid_t vthread_waitpid_until(pid_t pid, int *ret_status, int options, int64_t deadline_ns);

/* ---- names ---- */

/*
 * getaddrinfo(3): the C library's own, so that names mean what they mean to every other program
 * (nsswitch.conf, /etc/hosts, mDNS, the order of addresses).  It runs on an OS thread of the library's, for
 * as long as it takes: the caller may leave, but a shutdown of the runtime waits for it.  32 run
 * at a time, others queue.  What needs neither files nor servers is answered without one.
 *
 * ret_list: to be freed with freeaddrinfo(3).
 *
 * Returns 0 or EAI_xxx (<netdb.h>, with _GNU_SOURCE; gai_strerror), of them
 *   EAI_INTR      interrupted            EAI_CANCELED  the deadline passed
 *   EAI_SYSTEM    something else; errno does not say what
 *
 * May switch.
 */
struct addrinfo;
VTHREAD_API int vthread_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                                    struct addrinfo **ret_list);
VTHREAD_API int vthread_getaddrinfo_until(const char *node, const char *service, const struct addrinfo *hints,
                                          struct addrinfo **ret_list, int64_t deadline_ns);

/*
 * getnameinfo(3), the other way round, and in the same way.  NI_NUMERICHOST and NI_NUMERICSERV need neither files nor
 * servers.
 *
 * Returns 0 or EAI_xxx, EAI_INTR and EAI_CANCELED as above; the buffers are changed only on success.
 *
 * May switch.
 */
struct sockaddr;
VTHREAD_API int vthread_getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_size,
                                    char *service, socklen_t service_size, int flags);
VTHREAD_API int vthread_getnameinfo_until(const struct sockaddr *address, socklen_t length, char *host,
                                          socklen_t host_size, char *service, socklen_t service_size, int flags,
                                          int64_t deadline_ns);

/* ---- files ---- */

/*
 * The system's calls of these names, as blocking sections (vthread_blocking_begin): a disk, or a server behind
 * the path, cannot be waited for, so the carrier is blocked, and a spare one takes over meanwhile.  Neither
 * deadlines nor interrupts end them.  For others that block (fallocate, readdir ...) there is
 * vthread_blocking_call.  To read and write at the file's position: vthread_read, vthread_write.
 *
 * -ENOTSUP in the child of a fork.
 */

/* mode: of a file that is made.  Returns a descriptor, close-on-exec, or -Exxx.  Close it with vthread_close. */
VTHREAD_API int vthread_open(const char *path, int flags, mode_t mode);
VTHREAD_API int vthread_openat(int directory, const char *path, int flags, mode_t mode);

/* Return the number of bytes, or -Exxx. */
VTHREAD_API ssize_t vthread_pread(int fd, void *buffer, size_t size, off_t offset);
VTHREAD_API ssize_t vthread_pwrite(int fd, const void *buffer, size_t size, off_t offset);
VTHREAD_API ssize_t vthread_preadv(int fd, const struct iovec *vector, int count, off_t offset);
VTHREAD_API ssize_t vthread_pwritev(int fd, const struct iovec *vector, int count, off_t offset);

/* Return 0 or Exxx. */
VTHREAD_API int vthread_fsync(int fd);
VTHREAD_API int vthread_fdatasync(int fd);
struct stat;
VTHREAD_API int vthread_stat(const char *path, struct stat *ret_stat);
VTHREAD_API int vthread_rename(const char *from, const char *to);
VTHREAD_API int vthread_unlink(const char *path);

/*
 * flock(2).  While another has the lock it is tried again and again, every 16 ms at least, for nothing
 * tells that it is free; so there is no order among those who wait.
 *
 * operation: LOCK_SH, LOCK_EX or LOCK_UN, with LOCK_NB or without (<sys/file.h>).
 *
 * Returns 0 or
 *   EWOULDBLOCK  another has it, and LOCK_NB was given
 *   ECANCELED    the descriptor was closed meanwhile, with vthread_close
 *   EINVAL, EBADF, EINTR, ETIMEDOUT, ENOMEM, ENOTSUP, EDEADLK
 *
 * May switch.
 */
VTHREAD_API int vthread_flock(int fd, int operation);
VTHREAD_API int vthread_flock_until(int fd, int operation, int64_t deadline_ns);

#ifdef __cplusplus
}
#endif
#endif
