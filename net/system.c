/* SPDX-License-Identifier: MIT */
#include "net/system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/attributes.h"
#include "carrier/carrier.h"

/* Evaluate `call`, again after EINTR; its result or -Exxx goes into `result`, errno is as before. */
#define CALL(result, call)                                                                                             \
    do {                                                                                                               \
        int before = errno;                                                                                            \
                                                                                                                       \
        do                                                                                                             \
            (result) = (call);                                                                                         \
        while (UNLIKELY((result) < 0) && errno == EINTR);                                                              \
        if (UNLIKELY((result) < 0)) {                                                                                  \
            (result) = -errno;                                                                                         \
            errno = before;                                                                                            \
        }                                                                                                              \
    } while (0)

/*
 * recv and send, one of which is in every request, without what glibc does around them in a program of several
 * threads: to be a cancellation point it takes two atomic operations per call.  These never block.  errno is not
 * involved. The sanitizers want to see the calls.
 */
#if (defined(__x86_64__) && !defined(__ILP32__) || defined(__aarch64__)) && !BUILT_WITH_ASAN && !BUILT_WITH_TSAN

static inline long transfer(long number, long fd, const void *buffer, size_t size, long flags)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = flags;
    register long r8 __asm__("r8") = 0; /* no address */
    register long r9 __asm__("r9") = 0;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(fd), "S"(buffer), "d"(size), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = fd;
    register const void *x1 __asm__("x1") = buffer;
    register size_t x2 __asm__("x2") = size;
    register long x3 __asm__("x3") = flags;
    register long x4 __asm__("x4") = 0;
    register long x5 __asm__("x5") = 0;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#endif
}

ssize_t system_recv(int fd, void *buffer, size_t size, int flags)
{
    ssize_t n;

    do
        n = transfer(SYS_recvfrom, fd, buffer, size, flags | MSG_DONTWAIT);
    while (UNLIKELY(n == -EINTR));
    return n;
}

ssize_t system_send(int fd, const void *buffer, size_t size, int flags)
{
    ssize_t n;

    do
        n = transfer(SYS_sendto, fd, buffer, size, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    while (UNLIKELY(n == -EINTR));
    return n;
}

#else

NOINLINE ssize_t system_recv(int fd, void *buffer, size_t size, int flags)
{
    ssize_t n;

    CALL(n, recv(fd, buffer, size, flags | MSG_DONTWAIT));
    return n;
}

NOINLINE ssize_t system_send(int fd, const void *buffer, size_t size, int flags)
{
    ssize_t n;

    CALL(n, send(fd, buffer, size, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    return n;
}

#endif

NOINLINE ssize_t system_recv_vector(int fd, const struct iovec *vector, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count};
    ssize_t n;

    CALL(n, recvmsg(fd, &message, MSG_DONTWAIT));
    return n;
}

NOINLINE ssize_t system_send_vector(int fd, const struct iovec *vector, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count};
    ssize_t n;

    CALL(n, sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
    return n;
}

NOINLINE ssize_t system_receive(int fd, struct msghdr *message, int flags)
{
    ssize_t n;

    CALL(n, recvmsg(fd, message, flags | MSG_DONTWAIT));
    return n;
}

NOINLINE ssize_t system_transmit(int fd, const struct msghdr *message, int flags)
{
    ssize_t n;

    CALL(n, sendmsg(fd, message, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    return n;
}

NOINLINE int system_receive_many(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    int n;

    CALL(n, recvmmsg(fd, messages, count, flags | MSG_DONTWAIT, NULL));
    return n;
}

NOINLINE int system_transmit_many(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    int n;

    CALL(n, sendmmsg(fd, messages, count, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    return n;
}

NOINLINE ssize_t system_readv(int fd, const struct iovec *vector, int count)
{
    ssize_t n;

    CALL(n, readv(fd, vector, count));
    return n;
}

/*
 * Calls that may raise SIGPIPE.  Carriers have it blocked for good, and nobody asks what is pending on them.  A
 * platform thread may have it open: hold it back meanwhile, and swallow the one that the call raised.
 */
struct pipe_signal {
    sigset_t old;
    bool was_pending;
};

static void hold_back_sigpipe(struct pipe_signal *s)
{
    sigset_t pipe;
    sigset_t pending;

    if (carrier_self() != NULL)
        return;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigemptyset(&pending);
    sigpending(&pending);
    s->was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe, &s->old);
}

static void let_sigpipe(const struct pipe_signal *s, bool raised)
{
    static const struct timespec now;
    sigset_t pipe;

    if (carrier_self() != NULL)
        return;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (raised && !s->was_pending) {
        int taken;

        CALL(taken, sigtimedwait(&pipe, NULL, &now));
        (void)taken; /* none: it is ignored, or went to somebody else */
    }
    pthread_sigmask(SIG_SETMASK, &s->old, NULL);
}

NOINLINE ssize_t system_writev(int fd, const struct iovec *vector, int count)
{
    struct pipe_signal s;
    ssize_t n;

    hold_back_sigpipe(&s);
    CALL(n, writev(fd, vector, count));
    let_sigpipe(&s, n == -EPIPE);
    return n;
}

NOINLINE ssize_t system_sendfile(int out, int in, off_t *offset, size_t count)
{
    struct pipe_signal s;
    ssize_t n;

    hold_back_sigpipe(&s);
    CALL(n, sendfile(out, in, offset, count));
    let_sigpipe(&s, n == -EPIPE);
    return n;
}

NOINLINE ssize_t system_splice(int in, off_t *in_offset, int out, off_t *out_offset, size_t count, unsigned flags)
{
    struct pipe_signal s;
    ssize_t n;

    hold_back_sigpipe(&s);
    CALL(n, splice(in, in_offset, out, out_offset, count, flags));
    let_sigpipe(&s, n == -EPIPE);
    return n;
}

NOINLINE ssize_t system_tee(int in, int out, size_t count, unsigned flags)
{
    struct pipe_signal s;
    ssize_t n;

    hold_back_sigpipe(&s);
    CALL(n, tee(in, out, count, flags));
    let_sigpipe(&s, n == -EPIPE);
    return n;
}

NOINLINE int system_flock(int fd, int operation)
{
    int result;

    CALL(result, flock(fd, operation));
    return result;
}

NOINLINE off_t system_seek(int fd, off_t offset, int whence)
{
    off_t at;

    CALL(at, lseek(fd, offset, whence));
    return at;
}

NOINLINE ssize_t system_pread(int fd, void *buffer, size_t size, off_t offset)
{
    ssize_t n;

    CALL(n, pread(fd, buffer, size, offset));
    return n;
}

NOINLINE int system_poll(int fd, int events)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    int n;

    CALL(n, poll(&p, 1, 0));
    return n > 0 ? p.revents : n;
}

NOINLINE int system_poll_all(struct pollfd *fds, nfds_t count)
{
    int n;

    CALL(n, poll(fds, count, 0));
    return n;
}

NOINLINE int system_socket(int domain, int type, int protocol)
{
    int fd;

    CALL(fd, socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
    return fd;
}

NOINLINE int system_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    int accepted;

    CALL(accepted, accept4(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return accepted;
}

NOINLINE int system_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int before = errno;
    int result = connect(fd, address, length);

    if (result < 0) {
        result = errno == EINTR ? -EINPROGRESS : -errno; /* interrupted, it goes on by itself */
        errno = before;
    }
    return result;
}

NOINLINE int system_bind(int fd, const struct sockaddr *address, socklen_t length)
{
    int result;

    CALL(result, bind(fd, address, length));
    return result;
}

NOINLINE int system_listen(int fd, int backlog)
{
    int result;

    CALL(result, listen(fd, backlog));
    return result;
}

NOINLINE int system_set_option(int fd, int level, int option, int value)
{
    int result;

    CALL(result, setsockopt(fd, level, option, &value, sizeof value));
    return result;
}

NOINLINE int system_shutdown(int fd, int how)
{
    int result;

    CALL(result, shutdown(fd, how));
    return result;
}

NOINLINE int system_close(int fd)
{
    int before = errno;
    int result = close(fd);

    if (result < 0) {
        result = errno == EINTR ? 0 : -errno; /* on Linux it is closed all the same: never twice */
        errno = before;
    }
    return result;
}

NOINLINE int system_replace(int fd, int by)
{
    int before = errno;
    int result;

    do
        result = dup3(by, fd, O_CLOEXEC);
    while (result < 0 && (errno == EINTR || errno == EBUSY)); /* the latter: another thread is about to open it */
    if (result < 0)
        result = -errno;
    errno = before;
    return result < 0 ? result : 0;
}

NOINLINE int system_dead_socket(void)
{
    int fds[2];
    int result;

    CALL(result, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
    if (result < 0)
        return result;
    system_shutdown(fds[0], SHUT_RDWR);
    system_close(fds[1]);
    return fds[0];
}

static NOINLINE int option_of(int fd, int option)
{
    int value = 0;
    socklen_t length = sizeof value;
    int result;

    CALL(result, getsockopt(fd, SOL_SOCKET, option, &value, &length));
    return result < 0 ? result : value;
}

int system_protocol(int fd)
{
    return option_of(fd, SO_PROTOCOL);
}

int system_socket_type(int fd)
{
    return option_of(fd, SO_TYPE);
}

NOINLINE bool system_has_only_error(int fd)
{
    int bytes = 0;
    int ready = system_poll(fd, POLLIN);
    int result;

    if (ready <= 0 || !(ready & POLLERR))
        return false;
    CALL(result, ioctl(fd, FIONREAD, &bytes));
    return result == 0 && bytes == 0;
}

NOINLINE int system_epoll_create(void)
{
    int fd;

    CALL(fd, epoll_create1(EPOLL_CLOEXEC));
    return fd;
}

NOINLINE int system_epoll_control(int epoll, int operation, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    int result;

    CALL(result, epoll_ctl(epoll, operation, fd, &event));
    return result;
}

/* epoll_wait counts in milliseconds; the call that does not is Linux 5.11's. */
static int wait_for_milliseconds(int epoll, struct epoll_event *events, int count, int64_t timeout_ns)
{
    int64_t ms = timeout_ns <= 0 ? timeout_ns : (timeout_ns - 1) / 1000000 + 1;

    return epoll_wait(epoll, events, count, ms > INT_MAX ? INT_MAX : (int)ms);
}

/* ThreadSanitizer must see the call: what was done before a registration is ordered before its events. */
#if defined(SYS_epoll_pwait2) && !BUILT_WITH_TSAN
#define WITH_EPOLL_PWAIT2 1
#else
#define WITH_EPOLL_PWAIT2 0
#endif

NOINLINE int system_epoll_wait(int epoll, struct epoll_event *events, int count, int64_t timeout_ns)
{
#if WITH_EPOLL_PWAIT2
    static ATOMIC(bool) is_missing;
#endif
    int before = errno;
    int n = -1;

#if WITH_EPOLL_PWAIT2
    if (timeout_ns > 0 && !atomic_load_relaxed(&is_missing)) {
        struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};

        n = (int)syscall(SYS_epoll_pwait2, epoll, events, count, &timeout, NULL, (size_t)0);
        /* A sandbox may answer what it does not know with EPERM. */
        if (n < 0 && (errno == ENOSYS || errno == EPERM))
            atomic_store_relaxed(&is_missing, true);
        else
            timeout_ns = INT64_MIN; /* done */
    }
#endif
    if (timeout_ns != INT64_MIN)
        n = wait_for_milliseconds(epoll, events, count, timeout_ns < 0 ? -1 : timeout_ns);
    errno = before;
    return n < 0 ? 0 : n;
}

NOINLINE pid_t system_waitpid(pid_t pid, int *ret_status, int options)
{
    pid_t found;

    CALL(found, waitpid(pid, ret_status, options));
    return found;
}

NOINLINE int system_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
    int fd;

    CALL(fd, (int)syscall(SYS_pidfd_open, pid, 0u)); /* close-on-exec by itself */
    return fd;
#else
    (void)pid;
    return -ENOSYS;
#endif
}

NOINLINE int system_is_nonblocking(int fd)
{
    int flags;

    CALL(flags, fcntl(fd, F_GETFL));
    return flags < 0 ? flags : (flags & O_NONBLOCK) != 0;
}

NOINLINE int system_file_type(int fd)
{
    struct stat st;
    int result;

    CALL(result, fstat(fd, &st));
    return result < 0 ? result : (int)(st.st_mode & S_IFMT);
}
