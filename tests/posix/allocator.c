/* SPDX-License-Identifier: MIT */
/*
 * To be loaded before everything else: an allocator with a pthread mutex, as many are, which it holds for some time.
 * The runtime allocates where it must not wait.
 */
#include <pthread.h>
#include <sched.h>
#include <stddef.h>

/* The C library's own; its header does not name them. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define LOCKED(type, call)                                                                                             \
    ({                                                                                                                 \
        pthread_mutex_lock(&mutex);                                                                                    \
        type locked_result = call;                                                                                     \
        sched_yield();                                                                                                 \
        pthread_mutex_unlock(&mutex);                                                                                  \
        locked_result;                                                                                                 \
    })

#define EXPORT __attribute__((visibility("default")))

EXPORT void *malloc(size_t size)
{
    return LOCKED(void *, __libc_malloc(size));
}

EXPORT void *calloc(size_t n, size_t size)
{
    return LOCKED(void *, __libc_calloc(n, size));
}

EXPORT void *realloc(void *p, size_t size)
{
    return LOCKED(void *, __libc_realloc(p, size));
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    return LOCKED(void *, __libc_memalign(alignment, size));
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return LOCKED(void *, __libc_memalign(alignment, size));
}

EXPORT int posix_memalign(void **ret_p, size_t alignment, size_t size)
{
    *ret_p = LOCKED(void *, __libc_memalign(alignment, size));
    return *ret_p != NULL ? 0 : 12;
}

EXPORT void free(void *p)
{
    LOCKED(int, (__libc_free(p), 0));
}
