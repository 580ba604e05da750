/* SPDX-License-Identifier: MIT */
/* What kind of file a descriptor is, asked anew each time: nothing that could become wrong is remembered. */
#ifndef POSIX_FILE_H
#define POSIX_FILE_H

#include "posix/hook.h"

enum file_kind {
    FILE_DIRECT,   /* not to be waited for (files, disks), or non-blocking, or an error: the libc's function */
    FILE_STREAM,   /* blocks: pipes, eventfds, devices, sockets */
    FILE_TERMINAL, /* the same; writes may block although poll says that they will not */
};

/* Of a descriptor that is to be read (POLLIN) or written (POLLOUT). */
enum file_kind file_look(int fd, int events);

/* Is it open, and neither a file nor a disk? */
bool file_is_waited_for(int fd);

bool file_is_pipe(int fd);

bool file_is_writable(int fd); /* was it opened for that? */

/* Did its user ask for EAGAIN? */
bool file_is_nonblocking(int fd);

/* What poll reports now, 0 or -Exxx. */
int file_poll(int fd, int events);

/* SOCK_STREAM: what is written in pieces counts as one stream; 0: it is no socket. */
int file_socket_type(int fd);
int file_socket_domain(int fd);
bool file_is_listening(int fd);
int file_socket_error(int fd); /* and it has been told then */

/*
 * Between "poll says that it is there" and taking it, others keep away: those that take turns here, at least.
 * events: POLLIN for those that take, POLLOUT for those that put.  What is done in between does not wait; and should it
 * block after all, because others use the file, whoever ends that is at the other side.  Nobody queues for the lock: it
 * would be handed to a thread that has to go on on one carrier, and that may be blocked, by someone who waits for this
 * very lock.  Interruptions do not end the wait for it.
 */
MAY_SWITCH
void file_lock(int fd, int events);
void file_unlock(int fd, int events);

#endif
