/* SPDX-License-Identifier: MIT */
/* A tree of threads, ten children each; the leaves' numbers are added up on the way back. */
#include "stress.h"

struct node {
    uint64_t first;
    uint64_t leaves;
};

static void *grow(void *arg)
{
    struct node *self = arg; /* our own copy */
    vthread_t children[10];
    uint64_t sum = 0;

    if (self->leaves == 1)
        return (void *)(uintptr_t)self->first;
    for (uint64_t i = 0; i < 10; i++) {
        struct node child = {self->first + i * (self->leaves / 10), self->leaves / 10};

        MUST(vthread_create_copy(&children[i], NULL, grow, &child, sizeof child));
    }
    for (int i = 0; i < 10; i++)
        sum += (uintptr_t)stress_join(children[i]);
    return (void *)(uintptr_t)sum;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 100000);
    struct node root = {0, 1};
    vthread_t t;

    while (root.leaves * 10 <= (uint64_t)stress_threads(s.count))
        root.leaves *= 10;
    MUST(vthread_create_copy(&t, NULL, grow, &root, sizeof root));
    return stress_end("sum", (uintptr_t)stress_join(t), root.leaves * (root.leaves - 1) / 2);
}
