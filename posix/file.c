/* SPDX-License-Identifier: MIT */
#include "posix/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <termios.h>

#include <vthread/sync.h>

#include "posix/wait.h"

enum { LOCKS = 128 };

static vthread_mutex_t locks[LOCKS];

/* Those of the two directions of a file are never the same. */
static vthread_mutex_t *lock_of(int fd, int events)
{
    return &locks[(2 * (unsigned)fd + (events == POLLOUT)) % LOCKS];
}

void file_lock(int fd, int events)
{
    vthread_mutex_t *lock = lock_of(fd, events);
    bool was_interrupted = false;
    unsigned times = 0;

    while (vthread_mutex_trylock(lock) != 0) {
        wait_turn();
        if (wait_again(&times, VTHREAD_FOREVER) == ECANCELED) /* at once, as long as the flag is set */
            was_interrupted |= vthread_interrupted();
    }
    if (was_interrupted)
        vthread_interrupt(vthread_self_virtual());
}

void file_unlock(int fd, int events)
{
    vthread_mutex_unlock(lock_of(fd, events));
}

NOINLINE bool file_is_nonblocking(int fd)
{
    int flags = RESULT(REAL(fcntl)(fd, F_GETFL));

    return flags < 0 || (flags & O_NONBLOCK) != 0;
}

static bool is_waited_for(const struct stat *st)
{
    return !S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISBLK(st->st_mode);
}

NOINLINE bool file_is_waited_for(int fd)
{
    struct stat st;

    return RESULT(fstat(fd, &st)) == 0 && is_waited_for(&st);
}

NOINLINE bool file_is_pipe(int fd)
{
    struct stat st;

    return RESULT(fstat(fd, &st)) == 0 && S_ISFIFO(st.st_mode);
}

NOINLINE bool file_is_writable(int fd)
{
    int flags = RESULT(REAL(fcntl)(fd, F_GETFL));

    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

static bool is_terminal(int fd)
{
    struct termios t;

    return RESULT(tcgetattr(fd, &t)) == 0;
}

NOINLINE enum file_kind file_look(int fd, int events)
{
    int flags = RESULT(REAL(fcntl)(fd, F_GETFL));
    struct stat st;

    if (flags < 0 || (flags & O_NONBLOCK) || (flags & O_ACCMODE) == (events == POLLIN ? O_WRONLY : O_RDONLY) ||
        RESULT(fstat(fd, &st)) != 0 || !is_waited_for(&st))
        return FILE_DIRECT;
    return events == POLLOUT && S_ISCHR(st.st_mode) && is_terminal(fd) ? FILE_TERMINAL : FILE_STREAM;
}

NOINLINE int file_poll(int fd, int events)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    int n = RESULT(REAL(poll)(&p, 1, 0));

    return n > 0 ? p.revents : n;
}

static NOINLINE int option_of(int fd, int option)
{
    int value = 0;
    socklen_t length = sizeof value;

    return RESULT(getsockopt(fd, SOL_SOCKET, option, &value, &length)) == 0 ? value : 0;
}

int file_socket_type(int fd)
{
    return option_of(fd, SO_TYPE);
}

int file_socket_domain(int fd)
{
    return option_of(fd, SO_DOMAIN);
}

int file_socket_error(int fd)
{
    return option_of(fd, SO_ERROR);
}

bool file_is_listening(int fd)
{
    return option_of(fd, SO_ACCEPTCONN) != 0;
}
