/* SPDX-License-Identifier: MIT */
#include "bench/layer.h"

struct layer layer;

void layer_start(const struct bench_run *run, uint32_t shared_stacks)
{
    struct stack_params params = {.stack_bytes = 1024 * 1024, .sole_max = 1024, .shared_max = shared_stacks};

    barrier_init();
    bench_check(run, chunk_init() && stack_init(&params));
    layer.stacks.random = 1;
}

void layer_stop(void)
{
    chunk_cache_flush(&layer.chunks);
    stack_cache_flush(&layer.stacks);
    stack_fini();
    chunk_fini();
}

void layer_finish(void *value)
{
    (void)value;
    sanitizer_last_out(&layer.frame, layer.stack);
    switch_out(&layer.frame, &layer); /* anything but NULL */
    __builtin_unreachable();
}
