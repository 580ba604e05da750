/* SPDX-License-Identifier: MIT */
/*
 * What is said of the threads when an invariant is broken: little, but in any state that the runtime may be in.
 *
 * No lock, no memory, no name (which takes both) and no stack; records and carriers are read where they are.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "observe/dump.h"

enum { THREADS_MAX = 100 };

PRINTF_FORMAT(1, 2) static void say(const char *format, ...)
{
    char line[256];
    va_list args;
    ssize_t ignored;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n <= 0)
        return;
    ignored = write(STDERR_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    (void)ignored;
}

NO_SANITIZE static void say_thread(struct thread *t)
{
    uint64_t w = atomic_load_relaxed(&t->word);
    vthread_t id = thread_handle_of(t, w);

    say("    #%llu %s %s, carrier %u, waits for %p\n", (unsigned long long)vthread_id(id),
        t->flags & THREAD_PLATFORM ? "platform" : "virtual", vthread_state_name(vthread_state(id)),
        (unsigned)t->carrier, word_state(w) == WORD_PARKED ? atomic_load_relaxed(&t->slot) : NULL);
}

/* Those that are parked, or those that are not. */
static uint32_t say_threads(bool parked, uint32_t most)
{
    uint32_t records = record_count();
    uint32_t said = 0;

    for (uint32_t i = 1; i < records; i++) {
        enum word_state state = word_state(atomic_load_relaxed(&thread_table[i].word));

        if (state != WORD_TERMINATED && (state == WORD_PARKED) == parked && ++said <= most)
            say_thread(&thread_table[i]);
    }
    return said;
}

NO_SANITIZE static void say_carriers(void)
{
    uint32_t count = atomic_load_relaxed(&pool.count);

    for (uint32_t i = 0; i < count && i < THREADS_MAX; i++) {
        struct carrier *c = pool_carrier(i);
        struct thread *t = c != NULL ? ((struct processor *)(void *)c)->current : NULL;

        if (c != NULL)
            say("    carrier %u: state %u, %llu queued, runs #%llu\n", i, atomic_load_relaxed(&c->state),
                (unsigned long long)ring_count(&c->ring),
                (unsigned long long)(t != NULL ? vthread_id(thread_handle(t)) : 0));
    }
}

void dump_short(void)
{
    uint32_t active, parked;

    if (thread_table == NULL)
        return;
    say("vthread: threads and carriers at that moment:\n");
    active = say_threads(false, THREADS_MAX);
    parked = say_threads(true, active < THREADS_MAX ? THREADS_MAX - active : 0);
    say("    %u that are parked, %u others; the first %u were named\n", parked, active, (unsigned)THREADS_MAX);
    say_carriers();
}
