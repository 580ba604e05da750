/* SPDX-License-Identifier: MIT */
/*
 * Calls that no descriptor can be waited for instead of: names, file locks, children.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "posix/apart.h"
#include "posix/wait.h"

/* ---- names ---- */

struct lookup {
    char *node;
    char *service;
    const struct addrinfo *hints;
    struct addrinfo copy;
    struct addrinfo *found;
    int result;
    int error;
};

static void *look_up(void *arg)
{
    struct lookup *l = arg;

    l->result = REAL(getaddrinfo)(l->node, l->service, l->hints != NULL ? &l->copy : NULL, &l->found);
    l->error = errno;
    return NULL;
}

static int park_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                            struct addrinfo **found)
{
    struct lookup l = {.hints = hints, .result = EAI_MEMORY};

    if (hints != NULL)
        l.copy = *hints;
    l.copy.ai_flags |= AI_NUMERICHOST; /* an address is looked up nowhere */
    l.result = REAL(getaddrinfo)(node, service, &l.copy, found);
    if (l.result != EAI_NONAME || (hints != NULL && (hints->ai_flags & AI_NUMERICHOST)))
        return l.result;
    l.result = EAI_MEMORY;
    l.copy.ai_flags &= ~AI_NUMERICHOST;
    l.node = node != NULL ? strdup(node) : NULL;
    l.service = service != NULL ? strdup(service) : NULL;
    if ((node == NULL) == (l.node == NULL) && (service == NULL) == (l.service == NULL))
        apart_call_copy(look_up, &l, sizeof l);
    free(l.node);
    free(l.service);
    if (l.result == 0)
        *found = l.found;
    if (l.result == EAI_SYSTEM)
        posix_fail(l.error);
    return l.result;
}

HOOK int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
                     struct addrinfo **restrict found)
{
    return IS_VIRTUAL() ? park_getaddrinfo(node, service, hints, found)
                        : REAL(getaddrinfo)(node, service, hints, found);
}

/* Those below write where the caller says, which may be in its stack: that is kept. */

struct reverse_lookup {
    const struct sockaddr *address;
    socklen_t length;
    char *host;
    socklen_t host_size;
    char *service;
    socklen_t service_size;
    int flags;
    int result;
};

static void *look_up_reverse(void *arg)
{
    struct reverse_lookup *l = arg;

    l->result = REAL(getnameinfo)(l->address, l->length, l->host, l->host_size, l->service, l->service_size, l->flags);
    return NULL;
}

HOOK int getnameinfo(const struct sockaddr *restrict address, socklen_t length, char *restrict host,
                     socklen_t host_size, char *restrict service, socklen_t service_size, int flags)
{
    struct reverse_lookup l = {address, length, host, host_size, service, service_size, flags, 0};

    if (!IS_VIRTUAL() || ((flags & NI_NUMERICHOST) && (service == NULL || (flags & NI_NUMERICSERV))))
        return REAL(getnameinfo)(address, length, host, host_size, service, service_size, flags);
    vthread_blocking_call(look_up_reverse, &l);
    return l.result;
}

struct old_lookup {
    const char *name;
    struct hostent *result;
    char *buffer;
    size_t size;
    struct hostent **found;
    int *h_error;
    int error;
};

static void *look_up_old(void *arg)
{
    struct old_lookup *l = arg;

    l->result = REAL(gethostbyname)(l->name);
    return NULL;
}

static void *look_up_old_r(void *arg)
{
    struct old_lookup *l = arg;

    l->error = REAL(gethostbyname_r)(l->name, l->result, l->buffer, l->size, l->found, l->h_error);
    return NULL;
}

HOOK struct hostent *gethostbyname(const char *name)
{
    struct old_lookup l = {.name = name};

    if (!IS_VIRTUAL())
        return REAL(gethostbyname)(name);
    vthread_blocking_call(look_up_old, &l);
    return l.result;
}

HOOK int gethostbyname_r(const char *restrict name, struct hostent *restrict result, char *restrict buffer, size_t size,
                         struct hostent **restrict found, int *restrict h_error)
{
    struct old_lookup l = {name, result, buffer, size, found, h_error, 0};

    if (!IS_VIRTUAL())
        return REAL(gethostbyname_r)(name, result, buffer, size, found, h_error);
    vthread_blocking_call(look_up_old_r, &l);
    return l.error;
}

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
