/* SPDX-License-Identifier: MIT */
/*
 * Backtraces through the compiler's own unwinder (libgcc).
 */
#include <errno.h>
#include <unwind.h>

#include "vthread/thread.h"

struct walk {
    void **pcs;
    int n;
    int count;
    int skip;
};

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *arg)
{
    struct walk *walk = arg;
    void *pc = (void *)_Unwind_GetIP(context);

    if (walk->skip > 0)
        walk->skip--;
    else if (walk->count == walk->n || pc == NULL)
        return _URC_END_OF_STACK;
    else
        walk->pcs[walk->count++] = pc;
    return _URC_NO_REASON;
}

NOINLINE int vthread_backtrace(vthread_t thread, void **pcs, int n)
{
    struct walk walk = {pcs, n, 0, 1};

    if (pcs == NULL || n < 0 || thread == NULL)
        return -EINVAL;
    if (thread != vthread_self())
        return vthread_is_alive(thread) ? -EAGAIN : -ESRCH;
    _Unwind_Backtrace(step, &walk);
    return walk.count;
}
