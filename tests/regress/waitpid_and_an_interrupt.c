/* SPDX-License-Identifier: MIT */
/*
 * A thread that waited for its child was interrupted, and before it went on the child ended: waitpid returned the
 * child, and the interrupt was lost.
 *
 * The C library's waitpid is replaced by one that, after the interrupt, first ends the child.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <vthread/os.h>

#include "regress.h"

static atomic_int child;
static atomic_bool interrupted;

pid_t waitpid(pid_t pid, int *ret_status, int options)
{
    if (atomic_load(&interrupted)) {
        siginfo_t info;

        EXPECT(kill(atomic_load(&child), SIGKILL) == 0);
        EXPECT(waitid(P_PID, (id_t)atomic_load(&child), &info, WEXITED | WNOWAIT) == 0);
    }
    return (pid_t)syscall(SYS_wait4, pid, ret_status, options, NULL);
}

static void *wait_for_child(void *arg)
{
    pid_t pid = atomic_load(&child);
    pid_t found = vthread_waitpid(*(const pid_t *)arg, NULL, 0);

    atomic_store(&interrupted, false);
    if (found == -EINTR) {
        EXPECT(kill(pid, SIGKILL) == 0);
        EXPECT(vthread_waitpid(pid, NULL, 0) == pid);
        EXPECT(!vthread_interrupted());
    } else {
        EXPECT(found == pid);
        while (!vthread_interrupted()) /* asked just before */
            vthread_yield();
    }
    return NULL;
}

int main(void)
{
    static pid_t asked;

    regress_configure(2, 0);
    for (int any = 0; any < 2; any++) { /* a pidfd tells of the child, or it is asked for again and again */
        vthread_t t;
        pid_t pid = fork();

        if (pid == 0) {
            pause();
            _exit(0);
        }
        EXPECT(pid > 0);
        atomic_store(&child, pid);
        asked = any ? -1 : pid;
        EXPECT(vthread_create(&t, NULL, wait_for_child, &asked) == 0);
        while (vthread_public_state(t) != VTHREAD_PUBLIC_WAITING &&
               vthread_public_state(t) != VTHREAD_PUBLIC_TIMED_WAITING)
            usleep(200);
        atomic_store(&interrupted, true);
        EXPECT(vthread_interrupt(t) == 0);
        EXPECT(vthread_join(t, NULL) == 0);
    }
    return regress_end();
}
