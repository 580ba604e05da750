/* SPDX-License-Identifier: MIT */
/*
 * Files and paths: calls for which there is nothing to wait on, as blocking sections.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <vthread/os.h>

#include "base/attributes.h"
#include "net/descriptor.h"
#include "net/poller.h"
#include "net/system.h"
#include "vthread/thread.h"

/*
 * The result of `call` or -Exxx, in a blocking section; errno is as before.  A section stays on its OS thread, from
 * begin to end, so errno may be used in between.
 */
#define IN_SECTION(result, what, call)                                                                                 \
    do {                                                                                                               \
        bool began;                                                                                                    \
        int before;                                                                                                    \
                                                                                                                       \
        if (runtime_forked())                                                                                          \
            return -ENOTSUP;                                                                                           \
        began = vthread_blocking_begin(what) == 0;                                                                     \
        before = errno;                                                                                                \
        do                                                                                                             \
            (result) = (call);                                                                                         \
        while ((result) < 0 && errno == EINTR);                                                                        \
        if ((result) < 0) {                                                                                            \
            (result) = -errno;                                                                                         \
            errno = before;                                                                                            \
        }                                                                                                              \
        if (began)                                                                                                     \
            vthread_blocking_end();                                                                                    \
    } while (0)

/* ---- reading and writing at a place ---- */

NOINLINE ssize_t vthread_pread(int fd, void *buffer, size_t size, off_t offset)
{
    ssize_t n;

    IN_SECTION(n, "pread", pread(fd, buffer, size, offset));
    return n;
}

NOINLINE ssize_t vthread_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    ssize_t n;

    IN_SECTION(n, "pwrite", pwrite(fd, buffer, size, offset));
    return n;
}

NOINLINE ssize_t vthread_preadv(int fd, const struct iovec *vector, int count, off_t offset)
{
    ssize_t n;

    IN_SECTION(n, "preadv", preadv(fd, vector, count, offset));
    return n;
}

NOINLINE ssize_t vthread_pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
    ssize_t n;

    IN_SECTION(n, "pwritev", pwritev(fd, vector, count, offset));
    return n;
}

/* ---- to the disk ---- */

static NOINLINE int sync_file(int fd)
{
    int result;

    IN_SECTION(result, "fsync", fsync(fd));
    return result;
}

int vthread_fsync(int fd)
{
    return -sync_file(fd);
}

static NOINLINE int sync_data(int fd)
{
    int result;

    IN_SECTION(result, "fdatasync", fdatasync(fd));
    return result;
}

int vthread_fdatasync(int fd)
{
    return -sync_data(fd);
}

/* ---- paths ---- */

static NOINLINE int open_file(int directory, const char *path, int flags, mode_t mode)
{
    int fd;

    IN_SECTION(fd, "open", openat(directory, path, flags | O_CLOEXEC, mode));
    return fd;
}

int vthread_openat(int directory, const char *path, int flags, mode_t mode)
{
    int fd = open_file(directory, path, flags, mode);
    int error;

    error = fd >= 0 ? descriptor_renewed(fd) : 0;
    if (error != 0)
        system_close(fd);
    return error != 0 ? -error : fd;
}

int vthread_open(const char *path, int flags, mode_t mode)
{
    return vthread_openat(AT_FDCWD, path, flags, mode);
}

static NOINLINE int stat_path(const char *path, struct stat *ret_stat)
{
    int result;

    IN_SECTION(result, "stat", stat(path, ret_stat));
    return result;
}

int vthread_stat(const char *path, struct stat *ret_stat)
{
    return -stat_path(path, ret_stat);
}

static NOINLINE int rename_path(const char *from, const char *to)
{
    int result;

    IN_SECTION(result, "rename", rename(from, to));
    return result;
}

int vthread_rename(const char *from, const char *to)
{
    return -rename_path(from, to);
}

static NOINLINE int unlink_path(const char *path)
{
    int result;

    IN_SECTION(result, "unlink", unlink(path));
    return result;
}

int vthread_unlink(const char *path)
{
    return -unlink_path(path);
}
