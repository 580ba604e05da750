/* SPDX-License-Identifier: MIT */
/*
 * What is said of the threads when an invariant is broken, whatever state the runtime may be in; the others still run.
 *
 * First, from here, what takes no lock and no memory: states, names, blockers, carriers.  Records and carriers are read
 * where they are, and names, which may be freed at any moment, by the kernel (base/probe.h).
 *
 * Then stacks, by a child: a copy of all of this process's memory, in which nothing moves any more, but where any
 * lock may be held for ever, malloc's too.  If it faults or gets stuck, it is gone, and this process is not.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "observe/dump.h"
#include "vthread/symbol.h"

enum { THREADS_MAX = 100, STACK_BYTES = 1024 * 1024, LOOK_NS = 5 * 1000 * 1000 };

int64_t dump_patience_ns = (int64_t)20 * 1000 * 1000 * 1000;

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

/* ---- states ---- */

/* "": it has none, or it cannot be read. */
static void read_name(struct probe *probe, struct thread *t, char *ret, size_t size)
{
    const struct thread_extra *extra = atomic_load_relaxed(&thread_cold(t)->extra);
    const char *from;
    size_t n = 0;

    if (extra != NULL && probe_read(probe, &extra->name, &from, sizeof from) && from != NULL)
        while (n < size - 1 && probe_read(probe, from + n, &ret[n], 1) && ret[n] != '\0') {
            if ((unsigned char)ret[n] < ' ' || ret[n] == 0x7f || ret[n] == '"')
                ret[n] = '?';
            n++;
        }
    ret[n] = '\0';
}

NO_SANITIZE static void say_thread(struct probe *probe, struct thread *t)
{
    uint64_t w = atomic_load_relaxed(&t->word);
    void *blocker = word_state(w) == WORD_PARKED ? atomic_load_relaxed(&t->slot) : NULL;
    vthread_t id = thread_handle_of(t, w);
    enum descriptor_use use;
    char name[64];
    int fd;

    read_name(probe, t, name, sizeof name);
    say("    #%llu \"%s\" %s %s, carrier %u", (unsigned long long)vthread_id(id), name,
        t->flags & THREAD_PLATFORM ? "platform" : "virtual", vthread_state_name(vthread_state(id)),
        (unsigned)t->carrier);
    if (blocker != NULL && thread_cold(t)->join_state == JOIN_QUEUED) /* a handle, or soon the value */
        say(", waits for #%llu\n", (unsigned long long)vthread_id((vthread_t)blocker));
    else if (thread_descriptor_of(blocker, w, &fd, &use))
        say(", waits for fd %d\n", fd);
    else
        say(", waits for %p\n", blocker);
}

/* Those that are parked, or those that are not. */
static uint32_t say_threads(struct probe *probe, bool parked, uint32_t most)
{
    uint32_t records = record_count();
    uint32_t said = 0;

    for (uint32_t i = 1; i < records; i++) {
        enum word_state state = word_state(atomic_load_relaxed(&thread_table[i].word));

        if (state != WORD_TERMINATED && (state == WORD_PARKED) == parked && ++said <= most)
            say_thread(probe, &thread_table[i]);
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

/* ---- stacks, in a child ---- */

static void say_frames(void **pcs, int n, bool is_sample)
{
    struct symbol symbol;
    char text[512];

    for (int i = 0; i < n; i++) {
        uintptr_t pc = (uintptr_t)pcs[i];

        symbol_find(pc, i == 0 && is_sample ? SYMBOL_INSTRUCTION : SYMBOL_RETURN_ADDRESS, &symbol);
        say("        at %s\n", symbol_text(pc, &symbol, text, sizeof text));
    }
}

static void say_parked(struct backtracer *b, struct thread *t)
{
    uint64_t w = atomic_load_acquire(&t->word);
    void *pcs[DUMP_FRAMES];
    int n = backtrace_parked(b, t, w, pcs, DUMP_FRAMES);

    if (n == -EAGAIN)
        n = backtrace_in_place(b, t, w, pcs, DUMP_FRAMES);
    say("    #%llu%s\n", (unsigned long long)vthread_id(thread_handle_of(t, w)), n < 0 ? ": no stack" : "");
    say_frames(pcs, n, false);
}

static void become_expendable(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* the core is to be that of the parent */
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL);
}

static int say_stacks(void *arg)
{
    struct backtracer *b;
    void *pcs[DUMP_FRAMES];
    uint32_t said = 0;

    become_expendable();
    b = backtracer_new();
    if (b == NULL)
        _exit(1);
    say("vthread: the stack on which that was found:\n");
    say_frames(pcs, backtrace_stand(b, arg, pcs, DUMP_FRAMES), true);
    say("vthread: stacks of threads that wait:\n");
    for (uint32_t i = 1; i < record_count() && said < THREADS_MAX; i++)
        if (word_state(atomic_load_relaxed(&thread_table[i].word)) == WORD_PARKED) {
            say_parked(b, &thread_table[i]);
            said++;
        }
    _exit(0);
}

/* False: it has not come to its end. */
static bool await_child(pid_t child)
{
    static const struct timespec a_little = {.tv_nsec = LOOK_NS};
    int status = 0;
    pid_t ended;

    for (int64_t waited_ns = 0; waited_ns < dump_patience_ns; waited_ns += LOOK_NS) {
        ended = waitpid(child, &status, __WALL | WNOHANG);
        if (ended == child)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (ended < 0 && errno != EINTR)
            return true; /* somebody else has waited for it */
        nanosleep(&a_little, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, __WALL);
    return false;
}

/* With a stack of its own, for the names of functions need more than a virtual thread may have left. */
static void have_stacks_said(struct stand *stand)
{
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t child = stack != MAP_FAILED ? clone(say_stacks, stack + STACK_BYTES, 0, stand) : -1;

    if (child < 0 || !await_child(child))
        say("vthread: no more stacks can be told\n");
}

void dump_short(void)
{
    struct probe probe = {{-1, -1}}; /* so that it reads nothing */
    struct stand stand;
    uint32_t active, parked;

    stand_here(&stand);
    (void)probe_open(&probe);
    if (thread_table != NULL) {
        say("vthread: threads and carriers at that moment:\n");
        active = say_threads(&probe, false, THREADS_MAX);
        parked = say_threads(&probe, true, active < THREADS_MAX ? THREADS_MAX - active : 0);
        say("    %u that are parked, %u others; the first %u were named\n", parked, active, (unsigned)THREADS_MAX);
        say_carriers();
    }
    if (!BUILT_WITH_TSAN)
        have_stacks_said(&stand);
}
