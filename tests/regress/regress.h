/* SPDX-License-Identifier: MIT */
/* What the regression tests share: a condition that must hold, and a limit for those that used to hang. */
#ifndef TESTS_REGRESS_H
#define TESTS_REGRESS_H

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static inline void regress_configure(unsigned parallelism, unsigned stacks)
{
    vthread_runtime_params_t params = {
        .parallelism = parallelism, .stacks = stacks, .sole_stacks = stacks > 0 ? UINT_MAX : 0};

    alarm(50);
    EXPECT(vthread_runtime_configure(&params) == 0);
}

static inline void regress_wait_for(vthread_t t, vthread_state_t state)
{
    while (vthread_state(t) != state)
        usleep(200);
}

static inline int regress_end(void)
{
    EXPECT(vthread_runtime_shutdown(vthread_after_ms(20000)) == 0);
    return 0;
}

#endif
