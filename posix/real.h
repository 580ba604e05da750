/* SPDX-License-Identifier: MIT */
/*
 * The C library's own functions, behind the names that this library takes.
 *
 * They are looked up when this library is initialised.  Whoever calls earlier, a constructor of another library or
 * an allocator that was loaded before, makes the look-up at its first call; dlsym allocates nothing unless it
 * fails, and what it asks for is always there but for the few names that are newer than the oldest C library that
 * will do, and those are asked for by nobody else.
 */
#ifndef POSIX_REAL_H
#define POSIX_REAL_H

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "base/attributes.h"

/* What pthread_cleanup_push and _pop are made of; the header has them for some compilations only. */
void __pthread_register_cancel(__pthread_unwind_buf_t *handler);
void __pthread_unregister_cancel(__pthread_unwind_buf_t *handler);
NORETURN void __pthread_unwind_next(__pthread_unwind_buf_t *handler);

/* A line or more for each file of hooks. */
/* clang-format off */
#define REAL_FUNCTIONS(F)                                                                                              \
    F(read) F(write) F(readv) F(writev) F(recv) F(recvfrom) F(recvmsg) F(send) F(sendto) F(sendmsg)                    \
    F(sendfile) F(splice) F(tee) F(vmsplice) F(recvmmsg) F(sendmmsg) \
    F(eventfd_read) F(eventfd_write) F(accept) F(accept4) F(connect)                                                                                    \
    F(poll) F(ppoll) F(select) F(pselect) F(epoll_wait) F(epoll_pwait) F(epoll_pwait2)                                           \
    F(sleep) F(usleep) F(nanosleep) F(clock_nanosleep) F(sched_yield)                                                  \
    F(close) F(dup) F(dup2) F(dup3) F(fclose) F(freopen) F(freopen64) F(close_range) F(closefrom)                      \
    F(socket) F(socketpair) F(pipe) F(pipe2) F(fcntl) F(fcntl64) F(ioctl)                                              \
    F(pthread_key_create) F(pthread_key_delete) F(pthread_setspecific) F(pthread_getspecific) F(pthread_exit)          \
    F(pthread_mutex_lock) F(pthread_mutex_trylock) F(pthread_mutex_timedlock) F(pthread_mutex_clocklock)               \
    F(pthread_mutex_unlock) F(pthread_cond_signal) F(pthread_cond_broadcast)                                           \
    F(pthread_cond_wait) F(pthread_cond_timedwait) F(pthread_cond_clockwait)                                           \
    F(pthread_rwlock_rdlock) F(pthread_rwlock_trywrlock) F(pthread_rwlock_wrlock) F(pthread_rwlock_unlock)             \
    F(pthread_rwlock_timedrdlock) F(pthread_rwlock_clockrdlock)                                                        \
    F(pthread_rwlock_timedwrlock) F(pthread_rwlock_clockwrlock)                                                        \
    F(sem_wait) F(sem_timedwait) F(sem_clockwait) F(sem_post) F(pthread_barrier_wait) F(pthread_once)                  \
    F(mtx_lock) F(mtx_timedlock) F(mtx_trylock) F(mtx_unlock) F(cnd_wait) F(cnd_timedwait)                             \
    F(cnd_signal) F(cnd_broadcast) F(call_once) F(thrd_sleep) F(thrd_yield) F(thrd_exit)                               \
    F(flockfile) F(ftrylockfile) F(funlockfile) F(pthread_sigmask) F(sigprocmask)                                      \
    F(__pthread_register_cancel) F(__pthread_unregister_cancel) F(__pthread_unwind_next)                               \
    F(pthread_create) F(thrd_create) F(pthread_self) F(thrd_current) F(pthread_join) F(thrd_join)                      \
    F(pthread_tryjoin_np) F(pthread_timedjoin_np) F(pthread_clockjoin_np) F(pthread_detach) F(thrd_detach)             \
    F(pthread_cancel) F(pthread_testcancel) F(pthread_setcancelstate) F(pthread_setcanceltype)                         \
    F(pthread_setname_np) F(pthread_getname_np) F(pthread_kill) F(pthread_sigqueue) F(pthread_getattr_np)              \
    F(pthread_getcpuclockid) F(pthread_getschedparam) F(pthread_setschedparam) F(pthread_setschedprio)                 \
    F(pthread_getaffinity_np) F(pthread_setaffinity_np)                                                                \
    F(getaddrinfo) F(getnameinfo) F(gethostbyname) F(gethostbyname_r) F(gethostbyname2)                         \
    F(gethostbyname2_r) F(gethostbyaddr) F(gethostbyaddr_r) F(flock) F(lockf) F(lockf64)                                \
    F(wait) F(wait3) F(wait4) F(waitpid) F(waitid) F(vfork)                                            \
    F(system) F(popen) F(pclose) F(posix_spawn) F(posix_spawnp)

/* Those that are used and not hooked. */
#define REAL_OTHERS(F) F(pthread_rwlock_tryrdlock) F(sem_trywait)
/* clang-format on */

struct real {
#define REAL_MEMBER(name) __typeof__(name) *name;
    REAL_FUNCTIONS(REAL_MEMBER)
    REAL_OTHERS(REAL_MEMBER)
#undef REAL_MEMBER
};

extern HIDDEN struct real real_table;

/* The function of that name, now found and kept in *at. */
HIDDEN void *real_find(void *at, const char *name);

/* REAL(read)(fd, buffer, size): relaxed, for whoever looks finds the same. */
#define REAL(name)                                                                                                     \
    ({                                                                                                                 \
        __typeof__(name) *real_one = __atomic_load_n(&real_table.name, __ATOMIC_RELAXED);                              \
        LIKELY(real_one != NULL) ? real_one : (__typeof__(name) *)real_find(&real_table.name, #name);                  \
    })

#endif
