/* SPDX-License-Identifier: MIT */
#include "bench/layer.h"

#include "continuation/life.h"

struct layer layer;

void layer_start(const struct bench_run *run, uint32_t shared_stacks)
{
    struct stack_params params = {.stack_bytes = 1024 * 1024, .sole_max = 1024, .shared_max = shared_stacks};

    bench_check(run, continuation_start(&params) == 0);
    layer.stacks.random = 1;
}

void layer_stop(void)
{
    chunk_cache_flush(&layer.chunks);
    stack_cache_flush(&layer.stacks);
    (void)!continuation_stop(); /* not while continuations are left */
}

void layer_finish(void *value)
{
    (void)value;
    sanitizer_last_out(&layer.frame, layer.stack);
    switch_out(&layer.frame, &layer); /* anything but NULL */
    __builtin_unreachable();
}
