/* SPDX-License-Identifier: MIT */
/*
 * Telling the user: misuse and failure, through handlers or one line on stderr.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/futex.h"
#include "vthread/event.h"
#include "vthread/thread.h"

static struct {
    struct lock lock; /* guards the pairs; not held while a handler runs */
    vthread_misuse_handler_t *misuse;
    void *misuse_user;
    vthread_failure_handler_t *failure;
    void *failure_user;
} handlers;

void vthread_set_misuse_handler(vthread_misuse_handler_t *handler, void *user)
{
    lock_acquire(&handlers.lock);
    handlers.misuse = handler;
    handlers.misuse_user = user;
    lock_release(&handlers.lock);
}

void vthread_set_failure_handler(vthread_failure_handler_t *handler, void *user)
{
    lock_acquire(&handlers.lock);
    handlers.failure = handler;
    handlers.failure_user = user;
    lock_release(&handlers.lock);
}

static void print_line(const char *line)
{
    char text[640];
    int n = snprintf(text, sizeof text, "vthread: %s\n", line);
    ssize_t ignored = write(STDERR_FILENO, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);

    (void)ignored;
}

/* The calling thread's name; does not make a record for a platform thread. */
static void calling_name(char *buffer, size_t size)
{
    struct thread *self = thread_mounted();

    if (self != NULL)
        thread_name_copy(self, buffer, size);
    else
        snprintf(buffer, size, "(platform thread)");
}

void misuse(const char *call, const char *format, ...)
{
    vthread_misuse_handler_t *handler;
    void *user;
    char name[64];
    char what[400];
    char message[560];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    calling_name(name, sizeof name);
    snprintf(message, sizeof message, "thread %s, %s: %s", name, call, what);
    lock_acquire(&handlers.lock);
    handler = handlers.misuse;
    user = handlers.misuse_user;
    lock_release(&handlers.lock);
    if (handler != NULL)
        handler(message, user);
    else
        print_line(message);
}

static void default_failure(const vthread_failure_t *f)
{
    char line[400];

    switch (f->kind) {
    case VTHREAD_FAILURE_FAILED:
        snprintf(line, sizeof line, "thread %s failed with error %d", f->name, f->error);
        break;
    case VTHREAD_FAILURE_STACK_OVERFLOW:
        snprintf(line, sizeof line, "thread %s overflowed its stack", f->name);
        break;
    case VTHREAD_FAILURE_PINNED_AT_END:
        snprintf(line, sizeof line, "thread %s ended while pinned: every vthread_pin needs its vthread_unpin", f->name);
        break;
    case VTHREAD_FAILURE_LOCKS_HELD:
        snprintf(line, sizeof line,
                 "thread %s ended with locks held, which nobody will get any more: every lock needs its unlock",
                 f->name);
        break;
    case VTHREAD_FAILURE_SCOPE_ABANDONED:
        snprintf(line, sizeof line,
                 "thread %s ended with a scope open: every vthread_scope_open needs its vthread_scope_close", f->name);
        break;
    }
    print_line(line);
}

static COLD void report_failure(struct thread *t, vthread_failure_kind_t kind, int error)
{
    static const char *const reasons[] = {
        [VTHREAD_FAILURE_FAILED] = "failed",
        [VTHREAD_FAILURE_STACK_OVERFLOW] = "stack overflow",
        [VTHREAD_FAILURE_PINNED_AT_END] = "ended while pinned",
        [VTHREAD_FAILURE_LOCKS_HELD] = "ended with locks held",
        [VTHREAD_FAILURE_SCOPE_ABANDONED] = "ended with a scope open",
    };
    struct event *e = event_new(VTHREAD_EVENT_FAILURE, t);

    if (e == NULL)
        return;
    e->public.reason = reasons[kind];
    e->public.error = error;
    thread_name_copy(t, e->name, sizeof e->name);
    event_post(e);
}

void thread_failed(struct thread *t, vthread_failure_kind_t kind, int error)
{
    struct thread_extra *extra = thread_extra(t);
    vthread_failure_handler_t *handler = extra != NULL ? extra->on_failure : NULL;
    void *user = extra != NULL ? extra->user : NULL;
    char name[256];
    vthread_failure_t failure = {.kind = kind, .error = error, .thread = thread_handle(t), .name = name};

    thread_name_copy(t, name, sizeof name);
    /* An overflow is told by a signal handler, which may not allocate. */
    if (event_is_wanted(VTHREAD_EVENT_FAILURE) && kind != VTHREAD_FAILURE_STACK_OVERFLOW)
        report_failure(t, kind, error);
    if (handler == NULL) {
        lock_acquire(&handlers.lock);
        handler = handlers.failure;
        user = handlers.failure_user;
        lock_release(&handlers.lock);
    }
    if (handler != NULL)
        handler(&failure, user);
    else
        default_failure(&failure);
}

int stack_refuse_private(const char *call, const char *what, const void *p)
{
    misuse(call,
           "%s (%p) points into this virtual thread's own stack, whose frames move while it waits; pass a copy "
           "(the _copy form of the call), allocate it, or give the thread a dedicated stack "
           "(.stack = VTHREAD_STACK_DEDICATED)",
           what, p);
    return EFAULT;
}
