/* SPDX-License-Identifier: MIT */
/*
 * vthread_waitpid: children as something to wait for.
 *
 * That a child has ended its pidfd tells, which is a descriptor like others.  It tells nothing of children that stop or
 * continue, and there is none for "any child".  SIGCHLD would tell, but is the program's.  There, and before Linux
 * 5.3, the children are asked again and again, at growing intervals.
 */
#include <errno.h>
#include <poll.h>
#include <sys/wait.h>

#include <vthread/net.h>
#include <vthread/os.h>

#include "base/clock.h"
#include "net/again.h"
#include "net/descriptor.h"
#include "net/poller.h"
#include "net/system.h"
#include "net/watch.h"
#include "vthread/thread.h"

/* pidfd: or -1.  The child's number, or -Exxx. */
static pid_t wait_for(struct thread *self, pid_t pid, int pidfd, int *ret_status, int options, int64_t deadline_ns)
{
    struct again again = {0};

    for (;;) {
        int error = pidfd >= 0 ? watch_wait(pidfd, POLLIN, deadline_ns) : again_wait(&again, self, deadline_ns);
        pid_t found;

        if (error == -EINTR) /* which is told now or never; a status keeps */
            return error;
        found = system_waitpid(pid, ret_status, options | WNOHANG);
        if (found != 0 || error < 0)
            return found != 0 ? found : error;
        if (pidfd >= 0) { /* ready, and yet nothing: a tracer has it, say */
            error = again_wait(&again, self, deadline_ns);
            if (error != 0)
                return error;
        }
    }
}

pid_t vthread_waitpid_until(pid_t pid, int *ret_status, int options, int64_t deadline_ns)
{
    int error = net_enter();
    struct thread *self;
    pid_t found;
    int pidfd = -1;

    if (error != 0)
        return error;
    self = thread_self(&error);
    if (self == NULL)
        return -error;
    if (atomic_load_relaxed(&self->word) & WORD_INTERRUPTED) { /* a hint: the wait looks again */
        word_clear(&self->word, WORD_INTERRUPTED);
        return -EINTR;
    }
    found = system_waitpid(pid, ret_status, options | WNOHANG);
    if (found != 0 || (options & WNOHANG))
        return found;
    if (deadline_ns != INT64_MAX && deadline_ns <= clock_now_ns())
        return -ETIMEDOUT;
    if (pid > 0 && !(options & (WUNTRACED | WCONTINUED)))
        pidfd = system_pidfd(pid); /* fails: without */
    error = pidfd >= 0 ? descriptor_renewed(pidfd) : 0;
    if (error != 0) {
        system_close(pidfd);
        return -error;
    }
    found = wait_for(self, pid, pidfd, ret_status, options, deadline_ns);
    if (pidfd >= 0)
        vthread_close(pidfd);
    return found;
}

pid_t vthread_waitpid(pid_t pid, int *ret_status, int options)
{
    return vthread_waitpid_until(pid, ret_status, options, VTHREAD_FOREVER);
}
