/* SPDX-License-Identifier: MIT */
/*
 * pthread keys: on virtual threads their values are the virtual thread's.
 *
 * Each key has a twin among the runtime's own (vthread/local.h), made with it and with the same destructor. Platform
 * threads go on using the pthread key, virtual ones the twin.  C11's tss functions are the same under other names.
 */
#include "posix/key.h"

#include <errno.h>
#include <threads.h>

#include <vthread/local.h>

#include "base/atomic.h"

/* 0: none, for it was made by somebody whose calls we do not see; then it is the OS thread's, as ever. */
static ATOMIC(vthread_key_t) twins[PTHREAD_KEYS_MAX];

static void set_twin(pthread_key_t key, vthread_key_t twin)
{
    vthread_key_t before;

    if (key >= PTHREAD_KEYS_MAX)
        return;
    before = atomic_exchange_acq_rel(&twins[key], twin);
    if (before != 0)
        vthread_key_delete(before);
}

/* relaxed: whoever has the key has it from the one who made it */
static inline vthread_key_t twin_of(pthread_key_t key)
{
    return LIKELY(key < PTHREAD_KEYS_MAX) ? atomic_load_relaxed(&twins[key]) : 0;
}

static int create(pthread_key_t *key, void (*destructor)(void *value))
{
    vthread_key_t twin;
    int error = REAL(pthread_key_create)(key, destructor);

    if (error != 0)
        return error;
    error = vthread_key_create(&twin, destructor);
    if (error != 0) {
        REAL(pthread_key_delete)(*key);
        return error;
    }
    set_twin(*key, twin);
    return 0;
}

static int discard(pthread_key_t key)
{
    set_twin(key, 0); /* first: the number may be given out again at once, and have a new twin */
    return REAL(pthread_key_delete)(key);
}

static int set(pthread_key_t key, const void *value)
{
    vthread_key_t twin = twin_of(key);

    return twin != 0 ? vthread_setspecific(twin, value) : REAL(pthread_setspecific)(key, value);
}

static void *get(pthread_key_t key)
{
    vthread_key_t twin = twin_of(key);

    return twin != 0 ? vthread_getspecific(twin) : REAL(pthread_getspecific)(key);
}

void key_values(void *ret_values[PTHREAD_KEYS_MAX])
{
    for (pthread_key_t i = 0; i < PTHREAD_KEYS_MAX; i++) {
        vthread_key_t twin = twin_of(i);

        ret_values[i] = twin != 0 ? vthread_getspecific(twin) : NULL;
    }
}

void key_adopt(void *const values[PTHREAD_KEYS_MAX])
{
    for (pthread_key_t i = 0; i < PTHREAD_KEYS_MAX; i++)
        if (values[i] != NULL)
            REAL(pthread_setspecific)(i, values[i]); /* fails without memory only, and is not there then */
}

#define IS_OURS() own_is_library(__builtin_return_address(0))

HOOK int pthread_key_create(pthread_key_t *key, void (*destructor)(void *value))
{
    return IS_OURS() ? REAL(pthread_key_create)(key, destructor) : create(key, destructor);
}

HOOK int pthread_key_delete(pthread_key_t key)
{
    return IS_OURS() ? REAL(pthread_key_delete)(key) : discard(key);
}

HOOK int pthread_setspecific(pthread_key_t key, const void *value)
{
    return IS_VIRTUAL() ? set(key, value) : REAL(pthread_setspecific)(key, value);
}

HOOK void *pthread_getspecific(pthread_key_t key)
{
    return IS_VIRTUAL() ? get(key) : REAL(pthread_getspecific)(key);
}

HOOK int tss_create(tss_t *key, tss_dtor_t destructor)
{
    return create(key, destructor) == 0 ? thrd_success : thrd_error;
}

HOOK void tss_delete(tss_t key)
{
    discard(key);
}

HOOK int tss_set(tss_t key, void *value)
{
    int error = IS_VIRTUAL() ? set(key, value) : REAL(pthread_setspecific)(key, value);

    return error == 0 ? thrd_success : thrd_error;
}

HOOK void *tss_get(tss_t key)
{
    return IS_VIRTUAL() ? get(key) : REAL(pthread_getspecific)(key);
}
