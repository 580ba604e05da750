/* SPDX-License-Identifier: MIT */
/*
 * generator: a function that yields the Fibonacci numbers, up to a limit, one at a time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <vthread/continuation.h>

static vthread_cont_scope_t generator = VTHREAD_CONT_SCOPE_INITIALIZER("generator");

static void *fibonacci(void *limit)
{
    for (uintptr_t a = 0, b = 1, sum; a <= (uintptr_t)limit; a = b, b = sum) {
        sum = a + b;
        vthread_cont_yield(&generator, (void *)a);
    }
    return NULL;
}

int main(void)
{
    vthread_cont_t *numbers;
    void *value;
    int error;

    if (vthread_cont_new(&numbers, &generator, fibonacci, (void *)1000) != 0)
        return 1;
    while ((error = vthread_cont_run(numbers, &value)) == 0)
        printf("%" PRIuPTR "\n", (uintptr_t)value);
    vthread_cont_free(numbers);
    return error != ENODATA;
}
