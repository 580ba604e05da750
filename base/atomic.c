/* SPDX-License-Identifier: MIT */
#include "base/atomic.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

bool barrier_asymmetric;

#if BUILT_WITH_TSAN
__typeof__(atomic_fence_word) atomic_fence_word;

void barrier_init(void)
{
}
#else
void barrier_init(void)
{
    if (!barrier_asymmetric)
        barrier_asymmetric = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}
#endif

void barrier_heavy(void)
{
    if (barrier_asymmetric)
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    else
        atomic_fence_seq_cst();
}
