/* SPDX-License-Identifier: MIT */
/*
 * Faults on stacks: overflows into a guard, and in strict mode accesses to the
 * place of a thread that waits.
 *
 * Both arrive as SIGSEGV on the carrier's (or a platform thread's) signal stack.
 * The handler writes one line, calls the failure handler after an overflow, and
 * lets the signal end the program as it would have; faults that are not ours go to
 * the handler that was there before.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/panic.h"
#include "vthread/mount.h"
#include "vthread/thread.h"

/* ---- strict mode ---- */

static char *page_end(char *p)
{
    return (char *)(((uintptr_t)p + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
}

void strict_displace(struct processor *p, struct thread *t, struct stack *s)
{
    if (s->kind == STACK_DEDICATED)
        return;
    s->resident = &t->cont;
    if (!cont_freeze(&t->cont, s, &p->chunks))
        return;                              /* out of memory: this wait is not checked */
    atomic_store_relaxed(&s->vacated, true); /* before it can fault, for on_fault */
    if (!memory_guard(s->limit, (size_t)(page_end(s->top) - s->limit))) {
        /* This wait is not checked; the pages may have been lost all the same. */
        atomic_store_relaxed(&s->vacated, false);
        switch_restore_top(s->top);
        cont_thaw(&t->cont, s, &p->chunks);
    }
}

void strict_enter(struct stack *s)
{
    if (!memory_unguard(s->limit, (size_t)(page_end(s->top) - s->limit)))
        panic("strict mode cannot make a stack accessible again");
    atomic_store_relaxed(&s->vacated, false);
    switch_restore_top(s->top);
}

/* ---- the fault handler ---- */

static struct sigaction before;
static bool installed;

struct line {
    char text[512];
    size_t length;
};

static void add(struct line *l, const char *s)
{
    size_t n = strlen(s);

    if (n > sizeof l->text - l->length - 1)
        n = sizeof l->text - l->length - 1;
    memcpy(l->text + l->length, s, n);
    l->length += n;
}

static void add_number(struct line *l, uint64_t value, unsigned base)
{
    char digits[24];
    char *p = digits + sizeof digits - 1;

    *p = '\0';
    do
        *--p = "0123456789abcdef"[value % base];
    while ((value /= base) > 0);
    add(l, p);
}

/* Without locks: the name may be changing, but a fault is the end anyway. */
static void add_name(struct line *l, struct thread *t)
{
    struct thread_extra *extra = thread_extra(t);

    if (extra != NULL && extra->name != NULL)
        add(l, extra->name);
    else
        add_number(l, (uint64_t)(uintptr_t)thread_handle(t), 10);
}

static void write_line(struct line *l)
{
    ssize_t ignored;

    l->text[l->length++] = '\n';
    ignored = write(STDERR_FILENO, l->text, l->length);
    (void)ignored;
}

static void report_overflow(struct stack *s, struct thread *self)
{
    const struct vthread_cont *inside = nested_self()->innermost;
    struct line l = {.length = 0};

    add(&l, "vthread: stack overflow in thread ");
    if (self != NULL)
        add_name(&l, self);
    else
        add(&l, "(unknown)");
    if (inside != NULL && inside->stack == s) {
        add(&l, ", in a continuation of scope ");
        add(&l, inside->scope->name != NULL ? inside->scope->name : "(no name)");
    }
    add(&l, ": its stack has ");
    add_number(&l, (uint64_t)(s->top - s->limit), 10);
    add(&l, " bytes; use less, or more with VTHREAD_STACK_BYTES, vthread_runtime_configure or "
            ".stack = VTHREAD_STACK_DEDICATED with .stack_bytes");
    write_line(&l);
    if (self != NULL)
        thread_failed(self, VTHREAD_FAILURE_STACK_OVERFLOW, 0);
}

/* Whose frames lay at the address when their thread began to wait? */
static struct thread *owner_of_address(struct stack *s, const char *address)
{
    uint32_t count = record_count();
    uint32_t index = stack_index(s);

    for (uint32_t i = 1; i < count; i++) {
        struct thread *t = &thread_table[i];
        enum word_state state = word_state(atomic_load_acquire(&t->word));

        if ((state == WORD_PARKED || state == WORD_ACTIVE) && !(t->flags & THREAD_PLATFORM) && t->cont.stack == index &&
            t->cont.sp != NULL && address >= (char *)t->cont.sp)
            return t;
    }
    return NULL;
}

static void report_stray(struct stack *s, const char *address, struct thread *self)
{
    struct thread *owner = owner_of_address(s, address);
    struct line l = {.length = 0};

    add(&l, "vthread: strict mode: thread ");
    if (self != NULL)
        add_name(&l, self);
    else
        add(&l, "(platform thread)");
    add(&l, " used address 0x");
    add_number(&l, (uint64_t)(uintptr_t)address, 16);
    if (owner != NULL) {
        add(&l, ", a local of thread ");
        add_name(&l, owner);
        add(&l, ", which is waiting");
    } else {
        add(&l, " on the private stack of a waiting thread");
    }
    add(&l, "; share copies, allocated or static memory, or give that thread a dedicated stack");
    write_line(&l);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    struct processor *p = processor_self();
    struct thread *self = p != NULL ? p->current : NULL;
    bool in_guard = false;
    struct stack *s = stack_table != NULL ? stack_find(info->si_addr, &in_guard) : NULL;

    if (s != NULL && in_guard) {
        report_overflow(s, self);
    } else if (s != NULL && stack_is_vacated(s)) {
        report_stray(s, info->si_addr, self);
    } else if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(signal, info, context);
        return;
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signal);
        return;
    }
    /* Back to the default: the instruction faults again and ends the program, with a core at the right place. */
    struct sigaction deadly = {.sa_handler = SIG_DFL};

    sigaction(signal, &deadly, NULL);
}

int overflow_handler_install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

    if (installed)
        return 0;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSEGV, &action, &before) != 0)
        return errno;
    installed = true;
    return 0;
}

void overflow_handler_remove(void)
{
    struct sigaction now;

    /* Only if it is still ours: somebody may have chained to it. */
    if (installed && sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_sigaction == on_fault) {
        sigaction(SIGSEGV, &before, NULL);
        installed = false;
    }
}
