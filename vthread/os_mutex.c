/* SPDX-License-Identifier: MIT */
/*
 * Mutexes of the C library's that a thread holds while it waits: it may go on on another OS thread, which does
 * not own them.
 *
 * The C library counts nowhere what a thread holds, with one exception: robust mutexes stand in a list that it gives
 * the kernel.  Others are seen where something counts them: a library loaded before (tools/mutex_check.c) or the
 * program itself, which defines vthread_os_mutex_held.
 *
 * Looked at when a thread has left, on request (VTHREAD_CHECK_MUTEXES): then every wait goes by the carrier.
 */
#include <dlfcn.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vthread/event.h"
#include "vthread/mount.h"
#include "vthread/sample.h"
#include "vthread/thread.h"

/* The mutex that the calling OS thread has locked last and still holds, or NULL; if somebody defines that. */
static const void *(*os_mutex_held)(void);

void os_mutex_init(void)
{
    /* Not an undefined weak symbol, which the linker may settle for good.  Not by carriers: as in mount_init. */
    *(void **)&os_mutex_held = dlsym(RTLD_DEFAULT, "vthread_os_mutex_held");
}

struct robust_list_head *os_mutex_list(void)
{
    struct robust_list_head *head = NULL;
    size_t bytes = 0;

    return syscall(SYS_get_robust_list, 0, &head, &bytes) == 0 ? head : NULL;
}

static const void *held(struct processor *p)
{
    const void *counted = os_mutex_held != NULL ? os_mutex_held() : NULL;
    uintptr_t entry;

    if (counted != NULL || p->robust == NULL)
        return counted;
    entry = (uintptr_t)p->robust->list.next & ~(uintptr_t)1; /* the bit says that it inherits priorities */
    if (entry == (uintptr_t)&p->robust->list)
        return NULL;
    return (const void *)(entry + (uintptr_t)p->robust->futex_offset); /* with which a mutex begins */
}

void os_mutex_look(struct processor *p, struct thread *t, struct stack *s)
{
    const void *mutex = held(p);
    const void *before = p->os_mutex; /* of a thread that left earlier, perhaps: it has been told of */
    struct event *e;

    p->os_mutex = mutex;
    if (mutex == NULL || mutex == before || !event_is_wanted(VTHREAD_EVENT_OS_MUTEX))
        return;
    e = event_new(VTHREAD_EVENT_OS_MUTEX, t);
    if (e == NULL)
        return;
    thread_name_copy(t, e->name, sizeof e->name);
    e->public.carrier = (int)p->carrier.index;
    e->public.mutex = mutex;
    e->sample = sample_of_leaver(t, s);
    event_post(e);
}
