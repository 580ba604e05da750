/* SPDX-License-Identifier: MIT */
/*
 * Who a thread is and how it is doing: self, id, name, state.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/probe.h"
#include "vthread/thread.h"

/* Names are short and change rarely: one lock for all.  Others than the thread itself hold a reference meanwhile. */
static struct lock name_lock;

vthread_t vthread_self(void)
{
    struct thread *self = thread_self(NULL);

    return self != NULL ? thread_handle(self) : NULL;
}

vthread_t vthread_self_virtual(void)
{
    struct thread *self = thread_mounted();

    return self != NULL && LIKELY(!runtime_forked()) ? thread_handle(self) : NULL;
}

bool vthread_equal(vthread_t a, vthread_t b)
{
    return a == b;
}

uint64_t vthread_id(vthread_t thread)
{
    return (uint64_t)(uintptr_t)thread;
}

/* The record, if the handle's thread has not ended (or is referenced still). */
static struct thread *known(vthread_t thread, uint64_t *ret_word)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);

    if (t == NULL)
        return NULL;
    *ret_word = atomic_load_acquire(&t->word);
    return word_generation(*ret_word) == generation ? t : NULL;
}

/* One bit of this byte is set for life; its owner changes others at any time. */
NO_SANITIZE NOINLINE static bool is_platform(const struct thread *t)
{
    return (*(const volatile uint8_t *)&t->flags & THREAD_PLATFORM) != 0;
}

bool vthread_is_virtual(vthread_t thread)
{
    uint64_t w;
    struct thread *t = known(thread, &w);

    return t != NULL && !is_platform(t);
}

size_t thread_name_copy(struct thread *t, char *buffer, size_t size)
{
    struct thread_extra *extra;
    size_t length;

    lock_acquire(&name_lock);
    extra = thread_extra(t);
    if (extra != NULL && extra->name != NULL)
        length = (size_t)snprintf(buffer, size, "%s", extra->name);
    else
        length = (size_t)snprintf(buffer, size, "%llu", (unsigned long long)(uintptr_t)thread_handle(t));
    lock_release(&name_lock);
    return length;
}

/* How many bytes are there, from the first; none of the second page's if that is not there. */
static size_t copy_loose(struct probe *probe, void *to, const void *from, size_t bytes)
{
    size_t first = PAGE_BYTES - (uintptr_t)from % PAGE_BYTES;
    size_t n = bytes < first ? bytes : first;

    if (!probe_read(probe, from, to, n))
        return 0;
    if (n < bytes && probe_read(probe, (const char *)from + n, (char *)to + n, bytes - n))
        n = bytes;
    return n;
}

void thread_name_peek(struct thread *t, char *buffer, size_t size)
{
    const struct thread_extra *extra = thread_extra(t);
    const char *name = NULL;
    struct probe probe;
    size_t n = 0;

    if (extra != NULL && probe_open(&probe) == 0) {
        lock_acquire(&name_lock); /* nobody changes it, if it is there still */
        if (copy_loose(&probe, &name, &extra->name, sizeof name) == sizeof name && name != NULL)
            n = copy_loose(&probe, buffer, name, size);
        lock_release(&name_lock);
        probe_close(&probe);
    }
    if (n == 0 || memchr(buffer, '\0', n) == NULL)
        snprintf(buffer, size, "%llu", (unsigned long long)(uintptr_t)thread_handle(t));
}

/* Keep the thread's extra part in being, unless it is the calling thread's own.  0, ESRCH or EAGAIN. */
static int hold(vthread_t thread, bool *ret_held)
{
    struct thread *mounted = thread_mounted();

    *ret_held = mounted == NULL || thread_handle(mounted) != thread;
    return *ret_held ? vthread_ref(thread) : 0;
}

static int get_name(vthread_t thread, char *buffer, size_t size)
{
    char name[256];
    uint64_t w;
    struct thread *t = known(thread, &w);
    size_t length;
    bool held;
    int error;

    error = t != NULL ? hold(thread, &held) : ESRCH;
    if (error != 0)
        return error;
    length = thread_name_copy(t, name, sizeof name);
    if (held)
        vthread_unref(thread);
    if (length >= size)
        return ERANGE;
    memcpy(buffer, name, length + 1);
    return 0;
}

int vthread_name(vthread_t thread, char *buffer, size_t size)
{
    int error;

    if (thread == NULL || (buffer == NULL && size > 0))
        return EINVAL;
    error = runtime_begin_look_anywhere();
    if (error != 0)
        return error;
    error = get_name(thread, buffer, size);
    runtime_end_look_anywhere();
    return error;
}

static int set_name(vthread_t thread, const char *name)
{
    uint64_t w;
    struct thread *t = known(thread, &w);
    struct thread_extra *extra;
    char *copy;
    bool held;
    int error;

    if (t == NULL || word_state(w) == WORD_TERMINATED)
        return ESRCH;
    copy = memory_alloc(strlen(name) + 1);
    if (copy == NULL)
        return ENOMEM;
    strcpy(copy, name);
    error = hold(thread, &held);
    if (error == 0) {
        lock_acquire(&name_lock);
        extra = thread_extra_get(t);
        if (extra != NULL) {
            char *old = extra->name;

            extra->name = copy;
            copy = old;
        }
        lock_release(&name_lock);
        error = extra != NULL ? 0 : ENOMEM;
        if (held)
            vthread_unref(thread);
    }
    memory_free(copy);
    return error;
}

int vthread_setname(vthread_t thread, const char *name)
{
    int error;

    if (thread == NULL || name == NULL || strlen(name) >= 256)
        return EINVAL;
    error = runtime_begin_look_anywhere();
    if (error != 0)
        return error;
    error = set_name(thread, name);
    runtime_end_look_anywhere();
    return error;
}

/* ---- state ---- */

static const char *const state_names[] = {
    [VTHREAD_NEW] = "NEW",
    [VTHREAD_STARTED] = "STARTED",
    [VTHREAD_RUNNING] = "RUNNING",
    [VTHREAD_PARKING] = "PARKING",
    [VTHREAD_PARKED] = "PARKED",
    [VTHREAD_PINNED] = "PINNED",
    [VTHREAD_TIMED_PARKING] = "TIMED_PARKING",
    [VTHREAD_TIMED_PARKED] = "TIMED_PARKED",
    [VTHREAD_TIMED_PINNED] = "TIMED_PINNED",
    [VTHREAD_UNPARKED] = "UNPARKED",
    [VTHREAD_YIELDING] = "YIELDING",
    [VTHREAD_YIELDED] = "YIELDED",
    [VTHREAD_TERMINATED] = "TERMINATED",
};

const char *vthread_state_name(vthread_state_t state)
{
    return (unsigned)state <= VTHREAD_TERMINATED ? state_names[state] : "UNKNOWN";
}

vthread_state_t vthread_state(vthread_t thread)
{
    uint64_t w;
    struct thread *t = known(thread, &w);
    vthread_state_t phase;

    if (t == NULL)
        return VTHREAD_TERMINATED;
    phase = (vthread_state_t)atomic_load_relaxed(&t->phase);
    switch (word_state(w)) {
    case WORD_NEW:
        return VTHREAD_NEW;
    case WORD_TERMINATED:
        return VTHREAD_TERMINATED;
    case WORD_PARKED:
        if (phase == VTHREAD_PINNED || phase == VTHREAD_TIMED_PINNED)
            return phase;
        return phase == VTHREAD_TIMED_PARKING ? VTHREAD_TIMED_PARKED : VTHREAD_PARKED;
    case WORD_ACTIVE:
        break;
    }
    /* A phase that belongs to the state before or after is one that has just been left or entered. */
    return phase == VTHREAD_NEW || phase == VTHREAD_TERMINATED ? VTHREAD_RUNNING : phase;
}

/* Does it wait for a lock that somebody owns? */
static bool is_blocked(vthread_t thread)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);

    return t != NULL && atomic_load_relaxed(&thread_waiters[thread_index(t)].kind) != WAIT_FOR_ANYTHING; /* a hint */
}

vthread_public_state_t vthread_public_state(vthread_t thread)
{
    switch (vthread_state(thread)) {
    case VTHREAD_NEW:
        return VTHREAD_PUBLIC_NEW;
    case VTHREAD_PARKED:
    case VTHREAD_PINNED:
        return is_blocked(thread) ? VTHREAD_PUBLIC_BLOCKED : VTHREAD_PUBLIC_WAITING;
    case VTHREAD_TIMED_PARKED:
    case VTHREAD_TIMED_PINNED:
        return is_blocked(thread) ? VTHREAD_PUBLIC_BLOCKED : VTHREAD_PUBLIC_TIMED_WAITING;
    case VTHREAD_TERMINATED:
        return VTHREAD_PUBLIC_TERMINATED;
    default:
        return VTHREAD_PUBLIC_RUNNABLE;
    }
}

bool vthread_is_alive(vthread_t thread)
{
    uint64_t w;

    if (known(thread, &w) == NULL)
        return false;
    return word_state(w) == WORD_ACTIVE || word_state(w) == WORD_PARKED;
}
