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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/attributes.h"

/* A line for each file of hooks. */
#define REAL_FUNCTIONS(F)                                                                                              \
    F(read) F(write) F(readv) F(writev)                                                                                \
    F(recv) F(recvfrom) F(recvmsg) F(send) F(sendto) F(sendmsg) F(accept) F(accept4) F(connect)                        \
    F(poll) F(ppoll) F(select) F(pselect) F(epoll_wait) F(epoll_pwait)                                                 \
    F(sleep) F(usleep) F(nanosleep) F(clock_nanosleep) F(sched_yield)                                                  \
    F(close) F(dup2) F(dup3) F(fclose) F(close_range) F(closefrom) F(fcntl)                                            \
    F(pthread_key_create) F(pthread_key_delete) F(pthread_getspecific) F(pthread_setspecific) F(pthread_exit)          \
    F(pthread_sigmask) F(sigprocmask)                                                                                  \
    F(pthread_mutex_lock) F(pthread_mutex_trylock) F(pthread_mutex_timedlock) F(pthread_mutex_clocklock)               \
    F(pthread_mutex_unlock) F(pthread_cond_wait) F(pthread_cond_timedwait) F(pthread_cond_clockwait)                   \
    F(flockfile) F(ftrylockfile) F(funlockfile)                                                                        \
    F(getaddrinfo) F(getnameinfo) F(wait) F(waitpid) F(waitid) F(wait3) F(wait4) F(flock) F(system) F(pclose)

struct real {
#define REAL_MEMBER(name) __typeof__(name) *name;
    REAL_FUNCTIONS(REAL_MEMBER)
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
