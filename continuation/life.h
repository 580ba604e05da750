/* SPDX-License-Identifier: MIT */
/*
 * The life of stacks and chunks, which two parties use: the runtime, which starts
 * and ends them, and the public continuations, which may come before it, outlive
 * it, or be all that the program uses.
 */
#ifndef CONTINUATION_LIFE_H
#define CONTINUATION_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "continuation/stack.h"

/*
 * What the first public continuation asks for when nothing has been started: how
 * the stacks are to be.  Returns 0, or the error that vthread_cont_new is to
 * return.  A layer above that has a configuration puts its own here.
 */
extern int (*continuation_prepare)(struct stack_params *ret_params);

/* Start stacks and chunks, unless they are there already.  0 or ENOMEM.  Any thread. */
int continuation_start(const struct stack_params *params);

bool continuation_is_started(void);

/* End them.  False, and nothing done, while public continuations are alive.  Nobody else may be using a stack. */
NODISCARD bool continuation_stop(void);

/* Public continuations alive, about. */
uint32_t continuation_alive(void);

#endif
