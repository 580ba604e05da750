/* SPDX-License-Identifier: MIT */
/*
 * What else the operating system makes one wait for.
 *
 * Errors as in net.h: a count or number, or -Exxx.
 */
#ifndef VTHREAD_OS_H
#define VTHREAD_OS_H

#include <signal.h>
#include <sys/select.h> /* sigset_t, in strict C11 too */

#include <vthread/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Wait for a signal of the set and take it.
 *
 * From the first call on, its signals no longer have the effect they had (until
 * vthread_runtime_shutdown), and one that arrives while nobody waits is kept for the next
 * call.  Of several threads that wait for a signal the one that came first gets it.
 * Works whether or not the program blocks the signal.
 *
 * Returns the signal's number, or
 *   -EINVAL     the set is empty, NULL, or has a signal that cannot be waited for:
 *               SIGKILL, SIGSTOP, and those of faulting instructions
 *   -EINTR, -ETIMEDOUT, -ENOMEM, -ENOTSUP, -EDEADLK
 *
 * May switch.
 */
VTHREAD_API int vthread_signal_wait(const sigset_t *set);
VTHREAD_API int vthread_signal_wait_until(const sigset_t *set, int64_t deadline_ns);

#ifdef __cplusplus
}
#endif
#endif
