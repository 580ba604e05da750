/* SPDX-License-Identifier: MIT */
/*
 * Calls that no descriptor can be waited for instead of: file locks, children.
 */
#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "posix/apart.h"
#include "posix/wait.h"

/* ---- file locks: an interruption does not end the wait ---- */

struct file_lock {
    int fd;
    int command;
    off_t size;
    struct flock lock;
    int result;
};

static void *flock_blocking(void *arg)
{
    struct file_lock *l = arg;

    l->result = RESULT(REAL(flock)(l->fd, l->command));
    return NULL;
}

static NOINLINE int flock_now(int fd, int operation)
{
    return RESULT(REAL(flock)(fd, operation));
}

HOOK int flock(int fd, int operation)
{
    struct file_lock l = {.fd = fd, .command = operation};

    if (!IS_VIRTUAL() || (operation & (LOCK_NB | LOCK_UN)))
        return REAL(flock)(fd, operation);
    l.result = wait_may_begin();
    if (l.result != 0)
        return posix_fail(l.result);
    l.result = flock_now(fd, operation | LOCK_NB);
    if (l.result == -EWOULDBLOCK)
        apart_call_copy(flock_blocking, &l, sizeof l);
    return (int)posix_result(l.result);
}

static void *setlkw_blocking(void *arg)
{
    struct file_lock *l = arg;

    l->result = RESULT(REAL(fcntl)(l->fd, l->command, &l->lock));
    return NULL;
}

int process_lock_file(int fd, int command, struct flock *lock)
{
    struct file_lock l = {.fd = fd, .command = command == F_SETLKW ? F_SETLK : F_OFD_SETLK, .lock = *lock};

    l.result = wait_may_begin();
    if (l.result != 0)
        return posix_fail(l.result);
    setlkw_blocking(&l);
    l.command = command;
    if (l.result == -EAGAIN || l.result == -EACCES)
        apart_call_copy(setlkw_blocking, &l, sizeof l);
    return (int)posix_result(l.result);
}

static void *lockf_blocking(void *arg)
{
    struct file_lock *l = arg;

    l->result = RESULT(REAL(lockf)(l->fd, l->command, l->size));
    return NULL;
}

static int park_lockf(int fd, off_t size)
{
    struct file_lock l = {.fd = fd, .command = F_TLOCK, .size = size};

    l.result = wait_may_begin();
    if (l.result != 0)
        return posix_fail(l.result);
    lockf_blocking(&l);
    l.command = F_LOCK;
    if (l.result == -EAGAIN || l.result == -EACCES)
        apart_call_copy(lockf_blocking, &l, sizeof l);
    return (int)posix_result(l.result);
}

HOOK int lockf(int fd, int command, off_t size)
{
    return IS_VIRTUAL() && command == F_LOCK ? park_lockf(fd, size) : REAL(lockf)(fd, command, size);
}

/* Where the library is built an off_t has 64 bits. */
HOOK int lockf64(int fd, int command, off64_t size)
{
    return IS_VIRTUAL() && command == F_LOCK ? park_lockf(fd, size) : REAL(lockf64)(fd, command, size);
}

/* ---- children ---- */

struct child {
    idtype_t type;
    id_t id;
    int options;
    siginfo_t info;
    int status;
    struct rusage usage;
    int result;
};

static NOINLINE int wait4_now(struct child *c, int options)
{
    return RESULT(REAL(wait4)((pid_t)c->id, &c->status, options, &c->usage));
}

static void *wait4_blocking(void *arg)
{
    struct child *c = arg;

    c->result = wait4_now(c, c->options);
    return NULL;
}

static NOINLINE int open_process(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0u);
}

/* Until the child of that number has ended: 0; ECANCELED; or another error, if that cannot be waited for. */
static int wait_for_end(pid_t pid)
{
    int fd = open_process(pid);
    int error;

    if (fd < 0)
        return ENOTSUP;
    error = wait_fd(fd, POLLIN, VTHREAD_FOREVER);
    vthread_close(fd);
    return error;
}

static pid_t park_wait(pid_t pid, int *status, int options, struct rusage *usage)
{
    struct child c = {.id = (id_t)pid, .options = options};
    int error = wait_may_begin();

    if (error != 0)
        return posix_fail(error);
    c.result = wait4_now(&c, options | WNOHANG);
    if (c.result == 0) {
        error = pid > 0 && !(options & (WUNTRACED | WCONTINUED)) ? wait_for_end(pid) : ENOTSUP;
        if (error == ECANCELED)
            return posix_fail(error);
        if (error == 0) /* somebody else may have got hold of it, but it has ended */
            c.result = wait4_now(&c, options);
        else
            apart_call_copy(wait4_blocking, &c, sizeof c);
    }
    if (c.result > 0 && status != NULL)
        *status = c.status;
    if (c.result > 0 && usage != NULL)
        *usage = c.usage;
    return (pid_t)posix_result(c.result);
}

HOOK pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    return !PARKS() || (options & WNOHANG) ? REAL(wait4)(pid, status, options, usage)
                                           : park_wait(pid, status, options, usage);
}

HOOK pid_t wait3(int *status, int options, struct rusage *usage)
{
    return !PARKS() || (options & WNOHANG) ? REAL(wait3)(status, options, usage)
                                           : park_wait(-1, status, options, usage);
}

HOOK pid_t waitpid(pid_t pid, int *status, int options)
{
    return !PARKS() || (options & WNOHANG) ? REAL(waitpid)(pid, status, options)
                                           : park_wait(pid, status, options, NULL);
}

HOOK pid_t wait(int *status)
{
    return !PARKS() ? REAL(wait)(status) : park_wait(-1, status, 0, NULL);
}

static NOINLINE int waitid_now(struct child *c, int options)
{
    c->info.si_pid = 0; /* stays so with WNOHANG if there is nothing yet */
    return RESULT(REAL(waitid)(c->type, c->id, &c->info, options));
}

static void *waitid_blocking(void *arg)
{
    struct child *c = arg;

    c->result = waitid_now(c, c->options);
    return NULL;
}

HOOK int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    struct child c = {.type = type, .id = id, .options = options};
    int error;

    if (!PARKS() || (options & WNOHANG))
        return REAL(waitid)(type, id, info, options);
    error = wait_may_begin();
    if (error != 0)
        return posix_fail(error);
    c.result = waitid_now(&c, options | WNOHANG);
    if (c.result == 0 && c.info.si_pid == 0) {
        error = type == P_PID && !(options & (WSTOPPED | WCONTINUED)) ? wait_for_end((pid_t)id) : ENOTSUP;
        if (error == ECANCELED)
            return posix_fail(error);
        if (error == 0) /* as in park_wait */
            c.result = waitid_now(&c, options);
        else
            apart_call_copy(waitid_blocking, &c, sizeof c);
    }
    if (c.result == 0 && info != NULL)
        *info = c.info;
    return (int)posix_result(c.result);
}
