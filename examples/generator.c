/* SPDX-License-Identifier: MIT */
/*
 * generator: a function that yields the Fibonacci numbers, for as long as it is asked.
 */
#include <inttypes.h>
#include <stdio.h>

#include <vthread/continuation.h>

static vthread_cont_scope_t generator = VTHREAD_CONT_SCOPE_INITIALIZER("generator");

static void *fibonacci(void *arg)
{
    for (uintptr_t a = 0, b = 1, sum; arg != NULL; sum = a + b, a = b, b = sum)
        vthread_cont_yield(&generator, (void *)a);
    return NULL;
}

int main(void)
{
    vthread_cont_t *numbers;
    void *value;

    if (vthread_cont_new(&numbers, &generator, fibonacci, &generator) != 0)
        return 1;
    for (int i = 0; i < 20 && vthread_cont_run(numbers, &value) == 0; i++)
        printf("%" PRIuPTR "\n", (uintptr_t)value);
    return vthread_cont_free(numbers);
}
