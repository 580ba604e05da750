/* SPDX-License-Identifier: MIT */
/*
 * fork and vfork.
 *
 * In the child of a fork there is no runtime, or not yet; what was a virtual thread goes on there as the only OS
 * thread. It keeps its values of pthread keys, and its signal mask, or gets that of the process: a carrier's would keep
 * every signal from it and from what it executes.  Nobody else waits for a lock there, whatever the parent's lines say.
 *
 * A child of vfork runs on its parent's memory, and would park its parent's thread.  On virtual threads vfork is fork.
 */
#include "posix/fork.h"

#include "posix/key.h"
#include "posix/line.h"
#include "posix/lock.h"
#include "posix/mask.h"

static pid_t process;

/* From "prepare" to "child", in the thread that forks; it does not wait in between. */
static _Thread_local struct carried {
    sigset_t mask;
    void *values[PTHREAD_KEYS_MAX];
} * carried;

static void prepare(void)
{
    carried = vthread_self_virtual() != NULL ? malloc(sizeof *carried) : NULL;
    if (carried == NULL) /* of a virtual one: it will do without, then */
        return;
    mask_of_child(&carried->mask);
    key_values(carried->values);
}

static void in_parent(void)
{
    free(carried);
    carried = NULL;
}

static void in_child(void)
{
    process = getpid();
    line_forget_all();
    lock_forget_others();
    if (carried == NULL)
        return;
    key_adopt(carried->values);
    REAL(pthread_sigmask)(SIG_SETMASK, &carried->mask, NULL);
    in_parent();
}

__attribute__((constructor(102))) static void look_at_process(void)
{
    process = getpid();
    if (pthread_atfork(prepare, in_parent, in_child) != 0)
        abort(); /* no memory, at the beginning of a process */
}

bool posix_is_our_process(void)
{
    return getpid() == process;
}

void *fork_vfork(void)
{
    return vthread_self_virtual() != NULL ? (void *)fork : (void *)REAL(vfork);
}
