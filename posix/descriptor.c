/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that come and go: what the runtime knows of a number is forgotten before the number is given back, and
 * once more when it is given out, for it may have gone by a way that nobody sees (a system call made directly).
 *
 * These hooks are for platform threads, too: any thread may close what a virtual one waits for.  A descriptor that the
 * runtime knows nothing of costs a look at a table.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/resource.h>

#include "posix/descriptor.h"
#include "posix/file.h"
#include "posix/hook.h"

/* The runtime itself does this without us. */
#define TELLS() (!own_is_library(__builtin_return_address(0)))

static void forget(int fd)
{
    if (fd >= 0 && posix_is_our_process())
        vthread_fd_forget(fd);
}

int descriptor_born(int fd)
{
    forget(fd);
    return fd;
}

/* ---- the end of a number ---- */

HOOK int close(int fd)
{
    int error;

    if (fd < 0 || !TELLS() || !posix_is_our_process())
        return REAL(close)(fd);
    error = vthread_close(fd);
    if (error == ENOTSUP) /* after fork */
        return REAL(close)(fd);
    return error != 0 ? posix_fail(error) : 0;
}

static NOINLINE bool is_open(int fd)
{
    int before = errno;
    bool is = REAL(fcntl)(fd, F_GETFD) >= 0;

    errno = before;
    return is;
}

/*
 * Whoever begins to wait between "forgotten" and "gone" waits for what is gone.  So it is forgotten once more
 * afterwards, unless the number has been given out again: then who made that has done it, and others may wait for it.
 */
static void forget_gone(int fd)
{
    if (fd >= 0 && posix_is_our_process() && !is_open(fd))
        vthread_fd_forget(fd);
}

/* A number that stands for another file at once. */
HOOK int dup2(int from, int to)
{
    int fd;

    if (from == to || !TELLS() || !is_open(from))
        return REAL(dup2)(from, to);
    forget(to);
    fd = REAL(dup2)(from, to);
    return descriptor_born(fd);
}

HOOK int dup3(int from, int to, int flags)
{
    int fd;

    if (from == to || !TELLS() || !is_open(from))
        return REAL(dup3)(from, to, flags);
    forget(to);
    fd = REAL(dup3)(from, to, flags);
    return descriptor_born(fd);
}

HOOK int fclose(FILE *file)
{
    int fd = file != NULL && TELLS() ? fileno(file) : -1;
    int result;

    forget(fd);
    result = REAL(fclose)(file);
    forget_gone(fd);
    return result;
}

static FILE *forget_file(FILE *file)
{
    if (file != NULL)
        forget(fileno(file));
    return file;
}

/* Mostly the number that it was. */
static FILE *file_born(FILE *file, int before)
{
    forget_gone(before);
    return forget_file(file);
}

HOOK FILE *freopen(const char *restrict path, const char *restrict mode, FILE *restrict file)
{
    int fd = file != NULL ? fileno(file) : -1;

    return file_born(REAL(freopen)(path, mode, forget_file(file)), fd);
}

HOOK FILE *freopen64(const char *restrict path, const char *restrict mode, FILE *restrict file)
{
    int fd = file != NULL ? fileno(file) : -1;

    return file_born(REAL(freopen64)(path, mode, forget_file(file)), fd);
}

/* More the runtime cannot know of: its table ends here. */
enum { NUMBERS_MAX = 4194304 };

/* Not once more: whoever closes numbers by the thousand is not in a race for one of them. */
static void forget_range(unsigned first, unsigned last)
{
    struct rlimit limit;

    if (!posix_is_our_process() || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    for (unsigned fd = first; fd <= last && fd < limit.rlim_cur && fd < NUMBERS_MAX; fd++)
        vthread_fd_forget((int)fd);
}

HOOK int close_range(unsigned first, unsigned last, int flags)
{
    if (!(flags & CLOSE_RANGE_CLOEXEC))
        forget_range(first, last);
    return REAL(close_range)(first, last, flags);
}

HOOK void closefrom(int first)
{
    forget_range(first > 0 ? (unsigned)first : 0, UINT_MAX);
    REAL(closefrom)(first);
}

/* ---- the beginning ---- */

HOOK int dup(int fd)
{
    return TELLS() ? descriptor_born(REAL(dup)(fd)) : REAL(dup)(fd);
}

HOOK int socket(int domain, int type, int protocol)
{
    return TELLS() ? descriptor_born(REAL(socket)(domain, type, protocol)) : REAL(socket)(domain, type, protocol);
}

static int both_born(int result, const int fds[2])
{
    if (result == 0) {
        forget(fds[0]);
        forget(fds[1]);
    }
    return result;
}

HOOK int socketpair(int domain, int type, int protocol, int fds[2])
{
    return both_born(REAL(socketpair)(domain, type, protocol, fds), fds);
}

HOOK int pipe(int fds[2])
{
    return both_born(REAL(pipe)(fds), fds);
}

HOOK int pipe2(int fds[2], int flags)
{
    return both_born(REAL(pipe2)(fds, flags), fds);
}

/* ---- flags ---- */

/*
 * net.h remembers of a pipe that its calls need not ask poll first, so a pipe that is to block from now on is a new
 * one to it.  (With one that blocks no longer it asks in vain; who waits for it goes on waiting.  Sockets are used
 * in the same way whatever their flag is.)
 */
static void flag_changed(int fd, bool was, bool is)
{
    struct sockaddr address;
    socklen_t length = sizeof address;

    if (was && !is && getsockname(fd, &address, &length) != 0 && errno == ENOTSOCK)
        forget(fd);
}

static int set_flags(int fd, long flags)
{
    int before = errno;
    bool was = file_is_nonblocking(fd);
    int result = REAL(fcntl)(fd, F_SETFL, flags);

    if (result == 0) {
        flag_changed(fd, was, (flags & O_NONBLOCK) != 0);
        errno = before;
    }
    return result;
}

static int control(int fd, int command, void *argument, bool tells, bool is_virtual)
{
    if (is_virtual && (command == F_SETLKW || command == F_OFD_SETLKW) && argument != NULL)
        return process_lock_file(fd, command, argument);
    if (!tells)
        return REAL(fcntl)(fd, command, argument);
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return descriptor_born(REAL(fcntl)(fd, command, argument));
    case F_SETFL:
        return set_flags(fd, (long)(intptr_t)argument);
    default:
        return REAL(fcntl)(fd, command, argument);
    }
}

/* Whatever the third argument is, and if there is one, it is handed on as the word that it is. */
HOOK int fcntl(int fd, int command, ...)
{
    va_list list;
    void *argument;

    va_start(list, command);
    argument = va_arg(list, void *);
    va_end(list);
    return control(fd, command, argument, TELLS(), IS_VIRTUAL());
}

HOOK __attribute__((alias("fcntl"))) int fcntl64(int fd, int command, ...);

HOOK int ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    void *argument;
    bool was;
    int result;

    va_start(list, request);
    argument = va_arg(list, void *);
    va_end(list);
    if (request != FIONBIO || argument == NULL || !TELLS())
        return REAL(ioctl)(fd, request, argument);
    was = file_is_nonblocking(fd);
    result = REAL(ioctl)(fd, request, argument);
    if (result == 0)
        flag_changed(fd, was, *(const int *)argument != 0);
    return result;
}
