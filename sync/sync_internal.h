/* SPDX-License-Identifier: MIT */
/* Across the files of this layer. */
#ifndef SYNC_INTERNAL_H
#define SYNC_INTERNAL_H

#include <errno.h>

#include <vthread/sync.h>

#include "base/panic.h"
#include "sync/lock_order.h"
#include "sync/mutex.h"

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

/* Spare words of parameters, which a later version may give a meaning. */
static inline bool words_are_zero(const uintptr_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (words[i] != 0)
            return false;
    return true;
}

/* The thread has got a lock of the program's, or is about to let it go. */
static inline void lock_is_held(struct thread *self, const void *lock)
{
    thread_holds(self);
    lock_order_has(self, lock);
}

static inline void lock_is_let_go(struct thread *self, const void *lock)
{
    thread_lets_go(self);
    lock_order_lets_go(self, lock);
}

/* The end, with the reason, where the result of a lock call that cannot wait would not be looked at. */
static inline int lock_result(int error, uint64_t flags, int64_t deadline_ns)
{
    if (UNLIKELY(error != 0) && (flags & WORD_DEAF) && deadline_ns == INT64_MAX)
        panic(
            "a lock that must be waited for, and cannot be (vthread/sync.h): nobody would notice that it is not held");
    return error;
}

/* The calling thread, in a call that may wait.  NULL, and why, if it must not, or is interrupted (the flag is cleared).
 */
static inline struct thread *waiting_self(uint64_t flags, int *ret_error)
{
    struct thread *self = thread_mounted();

    if (LIKELY(self != NULL))
        *ret_error = 0;
    else
        self = thread_self(ret_error);
    if (self == NULL || (flags & WORD_DEAF) || LIKELY(!wait_is_interrupted(self)))
        return self;
    *ret_error = EINTR;
    return NULL;
}

/*
 * Lock it for the calling thread, with every check that a public call makes.
 * call: what to name in messages.  flags: WORD_DEAF or 0.
 */
MAY_SWITCH
int mutex_acquire(struct mutex *m, const char *call, uint64_t flags, int64_t deadline_ns);
COLD int mutex_refuse_release(struct mutex *m, const char *call); /* EPERM */
bool mutex_is_used(struct mutex *m);

/* The index of the writer, by an rwlock's first word; 0: there is none. */
uint32_t rwlock_writer(uint32_t word);

/* A vthread_lock_t, and what is in a monitor. */
struct reentrant {
    struct mutex mutex;
    uint32_t again; /* the owner's: how often it has locked it since it got it; 0 while it is free */
    uint32_t unused;
};

static inline struct reentrant *reentrant_of(vthread_lock_t *lock)
{
    return (struct reentrant *)(void *)lock;
}

/* Nobody holds it: now self does, once.  False: somebody does, or the order of locks is to be looked at. */
static inline bool lock_try_first(struct reentrant *r, struct thread *self)
{
    if (LOCK_ORDER || UNLIKELY(!mutex_try(&r->mutex, self)))
        return false;
    lock_is_held(self, r);
    return true;
}

MAY_SWITCH
int lock_acquire_reentrant(vthread_lock_t *lock, const char *call, uint64_t flags, int64_t deadline_ns);
/* The owner's: release it, however often it has locked it, and have it as it was before. */
void lock_release_wholly(vthread_lock_t *lock, struct thread *self, uint32_t *ret_again);
MAY_SWITCH
void lock_acquire_wholly(vthread_lock_t *lock, uint32_t again);

MAY_SWITCH
int cond_wait_lock(vthread_cond_t *cond, vthread_lock_t *lock, const char *call, int64_t deadline_ns);

#endif
