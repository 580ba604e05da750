/* SPDX-License-Identifier: MIT */
/*
 * The real base/futex.c, with the explorer in place of the kernel.
 */
#include <errno.h>
#include <linux/futex.h>
#include <unistd.h>

#include "tests/model/explorer/internal.h"

static long kernel(void *word, int operation, uint32_t value, const void *timeout)
{
    if ((operation & FUTEX_CMD_MASK) == FUTEX_WAKE) {
        kernel_wake(word, (int)value);
        return 0;
    }
    if (kernel_wait(word, value, timeout != NULL))
        return 0;
    errno = ETIMEDOUT;
    return -1;
}

#define syscall(number, word, operation, value, timeout, ...) kernel(word, operation, (uint32_t)(value), timeout)

/* Spinning before sleeping would only hide the sleeping: the first pause leaves the loop. */
#undef cpu_pause
#define cpu_pause() break

#include "base/futex.c"
